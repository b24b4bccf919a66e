//! How a record comes to be on disk: whole, or not at all.
//!
//! ```text
//!   .exit.json.PID.N   written ──▶ fsynced ──▶ renamed to exit.json ──▶ directory fsynced
//!        │ fails          │           │              │                        │
//!        ▼                ▼           ▼              ▼                        ▼
//!   nothing has happened, the temporary file is removed              it is there, and may be gone
//!                                                                    after a power failure
//! ```
//!
//! - The contents are durable before the name is: after a crash no name leads to half a record.
//! - A file whose fsync failed is thrown away, not fsynced again: the kernel forgets what it could not write, and the
//!   second fsync would say that all is well.
//! - When the directory's fsync fails the record is there. An end that others may have seen is not taken back; the writer
//!   is told that it is not durable, and writes again: see [`Dir::write_new`]. An intent and a start, from which nothing
//!   has followed yet, are taken back: see [`Dir::write_new_or_nothing`].
//! - `O_TMPFILE` is not used: NFS and Lustre do not have it, and a temporary name can be looked at by an admin.
//! - A temporary file that a crash leaves harms nobody: no record is read by such a name, a new one replaces it should
//!   the name come again, and it goes with its task's directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::RecordError;
use crate::dir::Dir;
use crate::faults::{self, Call};
use crate::points::{Stage, reach_stage};

/// Sets temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Whether a file may be there already when a new one takes its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    MayExist,
    MustBeNew,
    /// And is to go again if its name cannot be made durable.
    MustBeNewOrNothing,
}

impl Dir {
    /// Writes the file `name`, replacing what is there; after a crash it holds the old bytes or the new.
    ///
    /// # Errors
    /// When it could not be made durable. What was there before is then there still, or the new bytes are there and may
    /// be gone after a power failure: write again.
    pub fn write(&self, name: &str, bytes: &[u8], mode: Mode) -> Result<(), RecordError> {
        self.write_as(name, bytes, mode, Target::MayExist)
    }

    /// Writes the file `name`, which must not be there: of two who do this at once, one succeeds.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when it is there, durably, even if it was this caller who wrote it in an earlier try.
    /// Others when it could not be made durable: it is then not there, or it is and may be gone after a power failure.
    pub fn write_new(&self, name: &str, bytes: &[u8], mode: Mode) -> Result<(), RecordError> {
        self.write_once(name, bytes, mode, Target::MustBeNew)
    }

    /// As [`Self::write_new`], for a record that must not be seen after an error: it is then taken back.
    ///
    /// # Errors
    /// As those of [`Self::write_new`]; where it is there after all, taking it back has failed too.
    pub fn write_new_or_nothing(&self, name: &str, bytes: &[u8], mode: Mode) -> Result<(), RecordError> {
        self.write_once(name, bytes, mode, Target::MustBeNewOrNothing)
    }

    fn write_once(&self, name: &str, bytes: &[u8], mode: Mode, target: Target) -> Result<(), RecordError> {
        match self.write_as(name, bytes, mode, target) {
            Err(exists @ RecordError::Exists { .. }) => {
                // Whoever wrote it may have failed to make it durable, or not have come to it yet.
                self.sync_for(name)?;
                Err(exists)
            }
            other => other,
        }
    }

    /// Makes what happened to the names in this directory durable.
    ///
    /// # Errors
    /// When the kernel could not.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.sync_for("")
    }

    fn sync_for(&self, name: &str) -> Result<(), RecordError> {
        retry_on_intr(|| faults::at(Call::Sync, name).and_then(|()| rustix::fs::fsync(self)))
            .map_err(|e| self.error("make durable", "", e))
    }

    fn write_as(&self, name: &str, bytes: &[u8], mode: Mode, target: Target) -> Result<(), RecordError> {
        let n = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{name}.{}.{n}", std::process::id());
        let named = self.write_temporary(name, &temporary, bytes, mode).and_then(|()| {
            reach_stage(name, Stage::Synced);
            self.give_name(&temporary, name, target)
        });
        if named.is_err() {
            // It may never have been made; either way there is nothing else to do about it.
            let _ = rustix::fs::unlinkat(self, &*temporary, AtFlags::empty());
        }
        named?;
        reach_stage(name, Stage::Renamed);
        let synced = self.sync_for(name);
        if synced.is_err() && target == Target::MustBeNewOrNothing {
            // If this fails as well, the caller learns from the record's being there.
            let _ = self.remove_file(name).and_then(|()| self.sync_for(name));
        }
        synced?;
        reach_stage(name, Stage::Durable);
        Ok(())
    }

    fn write_temporary(&self, name: &str, temporary: &str, bytes: &[u8], mode: Mode) -> Result<(), RecordError> {
        let file = self.create_temporary(temporary, mode).map_err(|e| self.error("make", temporary, e))?;
        let written = write_all(&file, bytes, temporary).and_then(|()| {
            reach_stage(name, Stage::Written);
            retry_on_intr(|| faults::at(Call::Sync, temporary).and_then(|()| rustix::fs::fsync(&file)))
        });
        written.map_err(|e| self.error("write", temporary, e))
    }

    /// Makes a file that is new: an old one of the same name, which a process of the same number has left, may by now be
    /// a record as well (see `give_name`), and must not be written into.
    fn create_temporary(&self, temporary: &str, mode: Mode) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || -> Result<OwnedFd, Errno> {
            retry_on_intr(|| {
                faults::at(Call::Open, temporary).and_then(|()| rustix::fs::openat(self, temporary, flags, mode))
            })
        };
        match open() {
            Err(Errno::EXIST) => {
                faults::at(Call::Unlink, temporary)
                    .and_then(|()| rustix::fs::unlinkat(self, temporary, AtFlags::empty()))?;
                open().map(File::from)
            }
            other => other.map(File::from),
        }
    }

    fn give_name(&self, temporary: &str, name: &str, target: Target) -> Result<(), RecordError> {
        let renamed = faults::at(Call::Rename, name).and_then(|()| match target {
            Target::MayExist => rustix::fs::renameat(self, temporary, self, name),
            Target::MustBeNew | Target::MustBeNewOrNothing => {
                rustix::fs::renameat_with(self, temporary, self, name, RenameFlags::NOREPLACE)
            }
        });
        let renamed = match (renamed, target) {
            // NFS, Lustre and others cannot do it, but all of them can link.
            (Err(Errno::INVAL | Errno::NOSYS), Target::MustBeNew | Target::MustBeNewOrNothing) => {
                let linked = faults::at(Call::Link, name)
                    .and_then(|()| rustix::fs::linkat(self, temporary, self, name, AtFlags::empty()));
                if linked.is_ok() {
                    // The record has its name. If the other name cannot be taken away, it is litter and no more.
                    let _ = faults::at(Call::Unlink, temporary)
                        .and_then(|()| rustix::fs::unlinkat(self, temporary, AtFlags::empty()));
                }
                linked
            }
            (renamed, _) => renamed,
        };
        renamed.map_err(|e| match (e, target) {
            (Errno::EXIST, Target::MustBeNew | Target::MustBeNewOrNothing) => {
                RecordError::Exists { path: self.path().join(name) }
            }
            _ => self.error("name", name, e),
        })
    }
}

/// Writes all of `bytes`, however little the kernel takes at once.
fn write_all(file: &File, mut bytes: &[u8], name: &str) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match retry_on_intr(|| faults::room(Call::Write, name, bytes).and_then(|room| rustix::io::write(file, room))) {
            // write(2) does not do that to a file; a loop without an end would be the worst answer.
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
