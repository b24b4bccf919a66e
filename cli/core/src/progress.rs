//! What is said while a job is waited for: on a terminal one line that changes, elsewhere a line for each change.

use vk_cmd_crds::CmdJob;

use crate::{plain, table};

/// Tells of one job, each thing once.
#[derive(Clone, Debug, Default)]
pub struct Teller {
    last: Option<String>,
}

impl Teller {
    /// The line for the job as it is now, if it is another than the last one. `None` for a job that is gone.
    pub fn tell(&mut self, name: &str, job: Option<&CmdJob>) -> Option<String> {
        let line = match job {
            Some(job) => line(job),
            None => format!("{name}: gone"),
        };
        if self.last.as_ref() == Some(&line) {
            return None;
        }
        self.last = Some(line.clone());
        Some(line)
    }
}

/// A job in one line: `hello: Running: the process runs on vk-a`.
#[must_use]
pub fn line(job: &CmdJob) -> String {
    format!("{}: {}: {}", plain::name(job), plain::state(job), table::one_line(&plain::reason(job)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plain::tests::job;

    #[test]
    fn a_change_is_told_once() {
        let status = |message: &str| job("a", &json!({}), &json!({"state": "Waiting", "message": message}));
        let mut teller = Teller::default();
        let mut told = |job: Option<&CmdJob>| teller.tell("a", job);
        assert_eq!(told(Some(&status("no room\nyet"))).as_deref(), Some("a: Waiting: no room yet"));
        assert_eq!(told(Some(&status("no room\nyet"))), None);
        assert_eq!(told(Some(&status("still none"))).as_deref(), Some("a: Waiting: still none"));
        assert_eq!(told(None).as_deref(), Some("a: gone"));
        assert_eq!(told(None), None);
    }
}
