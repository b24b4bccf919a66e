//! Temporary directories, only ours to enter, that go away with us unless someone will want to look inside.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::janitor;

/// A temporary directory. It is removed when this is dropped, at the end of the process at the latest; but kept if the drop comes
/// from a failing test, after [`keep`](Scratch::keep), or with [`janitor::KEEP_VARIABLE`] set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    kept: AtomicBool,
}

impl Scratch {
    /// Makes one with mode 0700, its name starting with `prefix`.
    pub fn new(prefix: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir();
        let path =
            directory.with_context(|| format!("cannot make a directory in {}", std::env::temp_dir().display()))?.keep();
        janitor::remove_at_exit(&path)?;
        let kept = AtomicBool::new(std::env::var_os(janitor::KEEP_VARIABLE).is_some());
        Ok(Self { path, kept })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there for good, for someone to read what is in it.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
        // Without the shell it is not removed either.
        let _ = janitor::keep(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if self.kept.load(Ordering::Relaxed) {
            eprintln!("kept {} with its logs", self.path.display());
        } else {
            // If something cannot be removed the janitor tries again.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file that only we can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
