//! A file that many processes add lines to, and that is set aside when it is full.
//!
//! Each line is written in one go to the end of the file: the kernel does not mix such writes.
//!
//! A file that is full is set aside as `….1`, in place of the one before. Many writers may find that at once. The rule:
//! whoever holds the lock of the very file that still has the name may rename it. Others find, before they write next,
//! that the name is another file's now.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};

use crate::{Dir, RecordError};

/// One writer's hold on such a file.
#[derive(Debug)]
pub struct SharedFile {
    name: &'static str,
    max_bytes: u64,
    held: Option<Held>,
}

/// A file that is held open.
#[derive(Debug)]
struct Held {
    file: File,
    /// Its number on its file system.
    inode: u64,
}

impl SharedFile {
    /// The file `name`, which is set aside when it has so many bytes.
    #[must_use]
    pub fn new(name: &'static str, max_bytes: u64) -> Self {
        Self { name, max_bytes, held: None }
    }

    /// The file in `dir`, to write to its end: the one that has the name and is not full.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a plain file of ours.
    pub fn current(&mut self, dir: &Dir) -> Result<&File, RecordError> {
        let named = dir.stat(self.name)?;
        let max_bytes = self.max_bytes;
        let usable = self.held.take().filter(|held| {
            named.is_some_and(|stat| {
                stat.st_ino == held.inode && u64::try_from(stat.st_size).is_ok_and(|size| size < max_bytes)
            })
        });
        let usable = match usable {
            Some(usable) => usable,
            None => self.open(dir)?,
        };
        Ok(&self.held.insert(usable).file)
    }

    /// Lets it go.
    pub fn close(&mut self) {
        self.held = None;
    }

    fn open(&self, dir: &Dir) -> Result<Held, RecordError> {
        let (held, full) = self.open_named(dir)?;
        if !full || !self.set_aside(dir, &held)? {
            return Ok(held);
        }
        Ok(self.open_named(dir)?.0)
    }

    /// Opens the file that has the name; says whether it is full.
    fn open_named(&self, dir: &Dir) -> Result<(Held, bool), RecordError> {
        let file = dir.append_to(self.name)?;
        let metadata = file.metadata().map_err(|source| self.error(dir, "look at", source))?;
        if metadata.mode() & 0o077 != 0 {
            fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(|e| self.error(dir, "close to others", e.into()))?;
        }
        Ok((Held { file, inode: metadata.ino() }, metadata.len() >= self.max_bytes))
    }

    /// Sets the file aside, unless another does it; says whether it has lost its name.
    fn set_aside(&self, dir: &Dir, held: &Held) -> Result<bool, RecordError> {
        if flock(&held.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        if dir.stat(self.name)?.is_some_and(|stat| stat.st_ino == held.inode) {
            dir.move_to(self.name, dir, &format!("{}.1", self.name))?;
        }
        // The lock goes with the file, which the caller lets go.
        Ok(true)
    }

    /// That something could not be done with the file.
    #[must_use]
    pub fn error(&self, dir: &Dir, action: &'static str, source: std::io::Error) -> RecordError {
        RecordError::Io { action, path: dir.path().join(self.name), source }
    }
}
