//! The name of a task, which is also the name of its directory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a task. It names a directory under `tasks/`, so it can be no path: 1 to 200 characters out of
/// `A-Z a-z 0-9 . _ -`, not beginning with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// The longest task id, in bytes: it leaves room for a suffix in a file name of 255.
const MAX_LEN: usize = 200;

/// A string that names no task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no task id: use 1 to 200 characters out of A-Z a-z 0-9 . _ -, the first not a dot")]
pub struct InvalidTaskId(pub String);

impl TaskId {
    /// Checks `text` and makes it a task id.
    ///
    /// # Errors
    /// When `text` could be a path or a hidden file, or is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidTaskId> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_LEN || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(InvalidTaskId(text));
        }
        Ok(Self(text))
    }

    /// The id of a container's run: the same run always gives the same id, which is what makes a second start of it
    /// impossible.
    ///
    /// # Errors
    /// When the parts do not make a task id: no UID or container name of a real API server does that.
    pub fn for_container(pod_uid: &str, container: &str, restart: u32) -> Result<Self, InvalidTaskId> {
        Self::new(format!("{pod_uid}_{container}_{restart}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_never_a_path() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\0b", "a b", "ü", &"x".repeat(201)] {
            assert_eq!(TaskId::new(bad), Err(InvalidTaskId(bad.to_owned())));
        }
        assert!(TaskId::new("x".repeat(200)).is_ok());
    }

    #[test]
    fn the_same_run_has_the_same_id() {
        let id = TaskId::for_container("0b9d", "main", 3).unwrap();
        assert_eq!(id.as_str(), "0b9d_main_3");
    }
}
