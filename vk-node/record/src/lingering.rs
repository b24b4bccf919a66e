//! Why a process that was killed is still there.

use std::fs;

use vk_task::Lingering;

use crate::process::{Sent, Stat, line};

/// What `/proc` says of a process that does not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pid: i32,
    name: String,
    /// One letter: see the field `state` of proc_pid_stat(5).
    state: char,
    parent: i32,
    /// The process that traces it, or 0.
    tracer: i32,
    /// Its effective user.
    uid: u32,
    /// The function of the kernel that it waits in, if the kernel tells.
    waits_in: Option<String>,
    forbidden: bool,
}

impl Left {
    /// Of the process `stat`, to which a `SIGKILL` went as `sent` says; `None` when it is gone.
    #[must_use]
    pub fn of(stat: &Stat, sent: Sent) -> Option<Self> {
        let text = fs::read(format!("/proc/{}/status", stat.pid)).ok()?;
        let waits_in = fs::read_to_string(format!("/proc/{}/wchan", stat.pid)).ok();
        Some(Self {
            pid: stat.pid,
            name: value(&text, "Name").unwrap_or_default(),
            state: value(&text, "State").and_then(|s| s.chars().next()).unwrap_or('?'),
            parent: stat.parent,
            tracer: value(&text, "TracerPid").and_then(|n| n.parse().ok()).unwrap_or_default(),
            // Real, effective, saved, file system.
            uid: value(&text, "Uid")
                .and_then(|ids| ids.split_ascii_whitespace().nth(1)?.parse().ok())
                .unwrap_or_default(),
            waits_in: waits_in.filter(|w| !matches!(w.as_str(), "" | "0")),
            forbidden: sent == Sent::Forbidden,
        })
    }

    /// For people; `own` is the user who tried to kill it. Pure.
    #[must_use]
    pub fn explain(&self, own: u32) -> Lingering {
        let why = match (self.state, self.tracer, &self.waits_in) {
            _ if self.forbidden => format!(
                "it has become user {}'s, and user {own} may not end it: an administrator of the host can",
                self.uid
            ),
            ('Z', 0, _) => format!("it has ended, and its parent, process {}, has not taken that in", self.parent),
            ('Z', tracer, _) => {
                format!("it has ended, and process {tracer}, which traces it, holds on to it: end that one")
            }
            ('D', _, waits_in) => format!(
                "it waits in the kernel{} and cannot be interrupted, as when a file server does not answer: it ends when \
                 that wait does",
                waits_in.as_ref().map(|w| format!(" ({w})")).unwrap_or_default()
            ),
            (state, ..) => format!("it was sent SIGKILL and has not ended yet (state {state})"),
        };
        Lingering { pid: self.pid, name: self.name.clone(), why }
    }
}

/// What stands in the line `name:`, as text.
fn value(text: &[u8], name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(line(text, name)?).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(left: &Left) -> String {
        left.explain(1000).why
    }

    #[test]
    fn each_reason_has_its_words() {
        let left = Left {
            pid: 7,
            name: "x".into(),
            state: 'S',
            parent: 8,
            tracer: 0,
            uid: 0,
            waits_in: None,
            forbidden: false,
        };
        assert!(why(&left).contains("has not ended yet (state S)"));
        assert!(why(&Left { forbidden: true, ..left.clone() }).contains("user 0's, and user 1000 may not end it"));
        let waiting = Left { state: 'D', waits_in: Some("rpc_wait".into()), ..left.clone() };
        assert!(why(&waiting).contains("in the kernel (rpc_wait) and"));
        assert!(why(&Left { waits_in: None, ..waiting }).contains("in the kernel and"));
        assert!(why(&Left { state: 'Z', ..left.clone() }).contains("process 8, has not taken"));
        assert!(why(&Left { state: 'Z', tracer: 9, ..left.clone() }).contains("process 9, which traces it"));
    }

    #[test]
    fn a_living_process_is_described() {
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        let left = Left::of(&me, Sent::Yes).unwrap();
        assert_eq!((left.pid, left.tracer, left.forbidden), (me.pid, 0, false));
        assert_eq!(left.uid, rustix::process::geteuid().as_raw());
        assert!(!left.name.is_empty() && left.state != '?', "{left:?}");
    }
}
