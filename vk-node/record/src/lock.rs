//! Who cares for a task: the holder of the lock in its directory.
//!
//! It is a POSIX record lock. That kind goes with the process that took it, however it ends, and is not inherited over
//! `fork`, so no child of a shim can keep it alive. It has one trap: a process loses it as soon as it closes *any*
//! descriptor of the file. So nobody may open a lock file that its own process holds: the shim opens it once, and the
//! pipe looks at a task's lock from one place at a time.

use std::fs::File;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid};

use crate::faults::{self, Call};
use crate::{Dir, RecordError};

/// A lock that this process holds until the value is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// Nobody.
    Nobody,
    /// A process of this host that this process sees.
    Process(Pid),
    /// A process that cannot be named: in another PID namespace, or on another host.
    Elsewhere,
}

impl Lock {
    /// Takes the lock `name` in `dir`, or says that somebody has it (`None`).
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn try_take(dir: &Dir, name: &str) -> Result<Option<Self>, RecordError> {
        let file = open(dir, name)?;
        let locked = faults::at(Call::Lock, name)
            .and_then(|()| rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive));
        match locked {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(e) => Err(RecordError::Io { action: "lock", path: dir.path().join(name), source: e.into() }),
        }
    }
}

impl LockHolder {
    /// Who holds the lock `name` in `dir`. Not to be asked for a lock that this process holds: it would lose it.
    ///
    /// # Errors
    /// When the file cannot be opened or the kernel does not say.
    pub fn of(dir: &Dir, name: &str) -> Result<Self, RecordError> {
        let file = open(dir, name)?;
        let holder = faults::at(Call::Lock, name)
            .and_then(|()| rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)));
        match holder {
            Ok(None) => Ok(Self::Nobody),
            Ok(Some(lock)) => Ok(lock.pid.map_or(Self::Elsewhere, Self::Process)),
            Err(e) => Err(RecordError::Io {
                action: "ask for the holder of the lock",
                path: dir.path().join(name),
                source: e.into(),
            }),
        }
    }
}

fn open(dir: &Dir, name: &str) -> Result<File, RecordError> {
    dir.open_file(name, OFlags::RDWR | OFlags::CREATE)?.ok_or_else(|| RecordError::Io {
        action: "open",
        path: dir.path().join(name),
        source: Errno::NOENT.into(),
    })
}
