//! What can go wrong with records.

use std::io;
use std::path::PathBuf;

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The kernel refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A record is there and makes no sense.
    #[error("{} is not a record that this vk-node can read: look at it, and remove its task's directory if it is of no use", path.display())]
    Malformed {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Something that must be the user's own is not.
    #[error(
        "{} {what}: vk-cmd uses only what belongs to its own user (uid {uid}) and is no link; move it away", path.display()
    )]
    NotOurs {
        /// What is not the user's.
        path: PathBuf,
        /// What it is instead.
        what: String,
        /// The user.
        uid: u32,
    },
    /// Something is where something else must be, and is not the pipe's to remove.
    #[error("{} is in the place of {what}: move it away", path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
        /// What must be.
        what: String,
    },
    /// A record that is made once is there already.
    #[error("{} is there already", path.display())]
    Exists {
        /// The record.
        path: PathBuf,
    },
}

impl RecordError {
    /// The kernel's error, if it was one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Malformed { .. } | Self::NotOurs { .. } | Self::Exists { .. } | Self::InTheWay { .. } => None,
        }
    }

    /// Whether it is about something that is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.io().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        self.io().is_some_and(|e| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// An error with its sources, in one line: for logs, and for records that people read.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
