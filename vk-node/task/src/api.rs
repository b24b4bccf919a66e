//! The structured way into the pipe: HTTP/1.1 with JSON on the Unix socket `vk-cmd.sock`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/info` | | [`HostInfo`] |
//! | `GET /v1/tasks` | | a list of [`TaskView`] |
//! | `GET /v1/watch` | | lines of [`WatchEvent`], the first one a snapshot, until the caller hangs up |
//! | `PUT /v1/tasks/{id}` | [`TaskSpec`](crate::TaskSpec) | [`TaskView`]: 201 when it is new, 200 when it was there |
//! | `GET /v1/tasks/{id}` | | [`TaskView`] |
//! | `POST /v1/tasks/{id}/stop` | [`StopRequest`] | [`TaskView`], at once: the end comes by the watch |
//! | `GET /v1/tasks/{id}/logs` | [`LogQuery`] as the query | the bytes of stdout and stderr |
//! | `DELETE /v1/tasks/{id}` | | 204 when its records are gone; `Conflict` while it is not final |
//!
//! A refusal has the status of its reason and an [`ApiError`] as its body.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Origin, TaskId, TaskState};

/// The paths of the API, for servers and clients alike.
pub mod paths {
    use crate::TaskId;

    /// Facts about the host.
    pub const INFO: &str = "/v1/info";
    /// All tasks.
    pub const TASKS: &str = "/v1/tasks";
    /// All tasks, and what becomes of them.
    pub const WATCH: &str = "/v1/watch";

    /// One task.
    #[must_use]
    pub fn task(id: &TaskId) -> String {
        format!("{TASKS}/{id}")
    }

    /// The end of one task, asked for.
    #[must_use]
    pub fn stop(id: &TaskId) -> String {
        format!("{TASKS}/{id}/stop")
    }

    /// The output of one task.
    #[must_use]
    pub fn logs(id: &TaskId) -> String {
        format!("{TASKS}/{id}/logs")
    }
}

/// A task as the pipe sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its name.
    pub id: TaskId,
    /// Who asked for it.
    pub origin: Origin,
    /// What is known of it.
    pub state: TaskState,
    /// The request to end it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRequest>,
}

/// A request to end a task: `SIGTERM` to its whole tree, and `SIGKILL` to what is left after the grace. A second
/// request can only bring the kill forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopRequest {
    /// When what is left is killed.
    pub kill_at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(clippy::large_enum_variant, reason = "an event is looked at and dropped; there are never many")]
pub enum WatchEvent {
    /// All tasks there are; what was known before and is not in it is gone.
    Snapshot {
        /// The tasks.
        tasks: Vec<TaskView>,
    },
    /// A task is new or has changed.
    Changed {
        /// The task.
        task: TaskView,
    },
    /// A task's records are gone.
    Removed {
        /// Its name.
        id: TaskId,
    },
}

/// What of a task's output is wanted: the options of `kubectl logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    /// Go on with what is written later, until the task is final.
    pub follow: bool,
    /// Only the last so many lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_lines: Option<u64>,
    /// Only what was written at or after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_time: Option<Timestamp>,
    /// Each line with the time it was written.
    pub timestamps: bool,
    /// No more than so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// Facts about the host that the pipe runs on: the node may sit in a container that sees others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostInfo {
    /// The pipe's version.
    pub version: String,
    /// The host's name.
    pub hostname: String,
    /// The user that tasks run as.
    pub user: String,
    /// That user's numeric id.
    pub uid: u32,
    /// That user's home directory.
    pub home: PathBuf,
    /// The pipe's directory, as the host sees it.
    pub directory: PathBuf,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The machine's id, from `/etc/machine-id`, or empty.
    pub machine_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name for people.
    pub os_image: String,
    /// Processors that the pipe may use.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind of refusal.
    pub reason: ErrorReason,
    /// What happened, why, and what to do next.
    pub message: String,
}

/// The kinds of refusal, each with its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorReason {
    /// The request makes no sense (400).
    Invalid,
    /// There is no such task (404).
    NotFound,
    /// The task is not in a state for it (409).
    Conflict,
    /// The disk is full or a quota is reached (507).
    NoSpace,
    /// The pipe failed (500).
    Internal,
}

impl ErrorReason {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NoSpace => 507,
            Self::Internal => 500,
        }
    }
}
