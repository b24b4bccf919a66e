//! The node's stay, kept in a file beside the pipe's records: see [`vk_node_core::ending::Stay`].

use rustix::fs::Mode;
use tracing::warn;
use vk_api_client::chain;
use vk_node_core::ending::Stay;
use vk_record::{Dir, RecordError, names, process};

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Kept {
    dir: Dir,
    stay: Stay,
}

impl Kept {
    /// Goes on with what is made of the stay that is kept in the pipe's directory, and of the id of this boot. What is kept and makes no
    /// sense is as good as nothing.
    ///
    /// # Errors
    /// When the directory cannot be read, or the kernel does not say which boot this is.
    pub(super) fn resume(dir: Dir, resumed: impl FnOnce(Option<Stay>, &str) -> Stay) -> Result<Self, RecordError> {
        let boot_id = process::boot_id().map_err(|source| RecordError::Io {
            action: "read",
            path: "the id of this boot".into(),
            source,
        })?;
        let before = dir.read(names::NODE_STAY)?.and_then(|text| serde_json::from_slice::<Stay>(&text).ok());
        let stay = resumed(before.clone(), &boot_id);
        let this = Self { dir, stay };
        if before.as_ref() != Some(&this.stay) {
            this.write();
        }
        Ok(this)
    }

    /// The stay.
    pub(super) fn stay(&self) -> &Stay {
        &self.stay
    }

    /// Changes it.
    pub(super) fn change(&mut self, change: impl FnOnce(Stay) -> Stay) {
        let after = change(self.stay.clone());
        if after != self.stay {
            self.stay = after;
            self.write();
        }
    }

    /// The stay is over, and nothing is left to be told of it.
    pub(super) fn end(&self) {
        if let Err(error) = self.dir.remove_file(names::NODE_STAY) {
            warn!("cannot remove what is kept of when the node ends: {}", chain(&error));
        }
    }

    /// Where that fails, the next start knows less, and the node goes on all the same.
    fn write(&self) {
        let written =
            serde_json::to_vec(&self.stay).map(|text| self.dir.write(names::NODE_STAY, &text, Mode::RUSR | Mode::WUSR));
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("cannot keep when the node ends, a restart would move that: {}", chain(&error)),
            Err(error) => warn!("cannot keep when the node ends, a restart would move that: {}", chain(&error)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
mod tests {
    use std::time::Duration;

    use vk_node_core::ending::Here;

    use super::*;

    #[test]
    fn it_outlives_the_process_until_it_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let resume = |now: u64| {
            let resumed = |kept, boot_id: &str| {
                let (lasts, kill_wait) = (Some(Duration::from_secs(100)), Duration::from_secs(30));
                Stay::resumed(kept, &Here { boot_id, job: None, lasts, kill_wait, now: Duration::from_secs(now) })
            };
            Kept::resume(Dir::open_or_create(directory.path()).unwrap(), resumed).unwrap()
        };
        let started = |kept: &Kept| kept.stay().started().as_secs();
        assert_eq!(started(&resume(5)), 5);
        let mut kept = resume(60);
        assert_eq!(started(&kept), 5);
        kept.change(|stay| stay.told(Duration::from_secs(70)));
        let next = resume(80);
        assert_eq!(next.stay().former().map(|former| former.term.as_secs()), Some(70));
        next.end();
        assert_eq!((started(&resume(90)), resume(91).stay().former()), (90, None));
        std::fs::write(directory.path().join(names::NODE_STAY), "no JSON").unwrap();
        assert_eq!(started(&resume(95)), 95);
    }
}
