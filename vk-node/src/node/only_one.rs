//! One node for one pipe's directory.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Holds a directory for one node. The kernel lets go of it when the process ends, however it ends.
pub(super) struct OnlyOne(#[expect(dead_code, reason = "it is held, not read")] File);

/// Takes the directory for this node.
///
/// # Errors
/// When another node has it.
pub(super) fn claim(hostpipe: &Path) -> anyhow::Result<OnlyOne> {
    let path = hostpipe.join("node.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(OnlyOne(file)),
        Err(Errno::WOULDBLOCK) => bail!(
            "another `vk-node run` works with {}: end it, or give this one another --hostpipe",
            hostpipe.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_node_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = claim(directory.path()).unwrap();
        assert!(claim(directory.path()).is_err_and(|error| error.to_string().contains("another `vk-node run`")));
        drop(first);
        assert!(claim(directory.path()).is_ok());
    }
}
