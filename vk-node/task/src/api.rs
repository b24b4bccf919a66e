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
//! | `POST /v1/tasks/{id}/signal` | [`SignalRequest`] | 204 when its main process has been sent the signal |
//! | `POST /v1/tasks/{id}/reported` | | 204: whoever asked for the task has told of its end, so its records may be collected; `Conflict` while it is not final |
//! | `POST /v1/tasks/{id}/stream` | upgraded to [`stream`](crate::stream) | `exec` and `attach` |
//! | `GET /v1/tasks/{id}/logs` | [`LogQuery`] as the query | the bytes of stdout and stderr |
//! | `DELETE /v1/tasks/{id}` | | 204 when its records are gone; `Conflict` while it is not final |
//! | `PUT /v1/pods/{uid}/volumes/{name}` | [`VolumeContent`](crate::VolumeContent) | 204 when it is there as asked |
//! | `POST /v1/pods/{uid}/volumes/{name}/read` | [`ReadRequest`] | the [`FileContent`](crate::FileContent); `NotFound` where there is no such file |
//! | `DELETE /v1/pods/{uid}` | | 204 when its directory is gone; `Conflict` while a task of it is not final |
//! | `GET /v1/stats` | | [`Stats`](crate::Stats) |
//! | `GET /v1/stats/host` | | [`HostUsage`](crate::HostUsage), the first part of the same |
//! | `POST /v1/dial` | upgraded to [`stream`](crate::stream) | a TCP connection that the host makes |
//!
//! A refusal has the status of its reason and an [`ApiError`] as its body.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{FilePath, Origin, Signal, TaskId, TaskState};

/// The paths of the API, for servers and clients alike.
pub mod paths {
    use crate::{DirName, TaskId};

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

    /// A signal for one task.
    #[must_use]
    pub fn signal(id: &TaskId) -> String {
        format!("{TASKS}/{id}/signal")
    }

    /// That the end of one task has been told of.
    #[must_use]
    pub fn reported(id: &TaskId) -> String {
        format!("{TASKS}/{id}/reported")
    }

    /// A stream into one task.
    #[must_use]
    pub fn stream(id: &TaskId) -> String {
        format!("{TASKS}/{id}/stream")
    }

    /// A connection that the host makes.
    pub const DIAL: &str = "/v1/dial";
    /// What is used.
    pub const STATS: &str = "/v1/stats";
    /// What the host uses.
    pub const HOST_USAGE: &str = "/v1/stats/host";
    /// The directories of pods.
    pub const PODS: &str = "/v1/pods";

    /// A pod's directory.
    #[must_use]
    pub fn pod(uid: &DirName) -> String {
        format!("{PODS}/{uid}")
    }

    /// A volume of a pod.
    #[must_use]
    pub fn volume(uid: &DirName, name: &DirName) -> String {
        format!("{PODS}/{uid}/volumes/{name}")
    }

    /// A file of a volume of a pod.
    #[must_use]
    pub fn read(uid: &DirName, name: &DirName) -> String {
        format!("{}/read", volume(uid, name))
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
    /// Processes of its tree that have been killed and do not end. The task does not end before they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<Lingering>,
    /// Whether whoever asked for it has told of its end: its records may be collected.
    #[serde(default)]
    pub reported: bool,
    /// The last words of a task that has ended, where its specification asks for them: at most
    /// [`MAX_TERMINATION_MESSAGE_BYTES`], cut at the end of a character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<String>,
}

impl TaskView {
    /// Which run it is of the container of this name: how many came before; `None` where it is none of that container.
    #[must_use]
    pub fn run_of(&self, container: &str) -> Option<u32> {
        match &self.origin {
            Origin::Pod(run) if run.container == container => Some(run.restart),
            Origin::Pod(_) | Origin::Fifo { .. } => None,
        }
    }
}

/// The longest termination message: the kubelet's figure.
pub const MAX_TERMINATION_MESSAGE_BYTES: usize = 4096;
/// How much of the output stands in for one at most, in bytes and in lines: the kubelet's figures.
pub const MAX_TERMINATION_LOG: (usize, usize) = (2048, 80);

/// A process that has been killed and does not end, or a container that cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lingering {
    /// Its number on its host; 0 for a container.
    pub pid: i32,
    /// The name that it gives itself; for a container, its runtime's.
    pub name: String,
    /// Why it is still there, for people: another user's, or waiting in the kernel.
    pub why: String,
}

/// A request to send a signal to the main process of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRequest {
    /// The signal.
    pub signal: Signal,
}

/// A request to read a file of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadRequest {
    /// Where it is in the volume. Links are followed within it.
    pub path: FilePath,
}

/// The longest file that is read so: far more than an environment can hold.
pub const MAX_READ_BYTES: u64 = 1 << 20;

/// A request to end a task: `SIGTERM` (or what its specification says) to its whole tree, and `SIGKILL` to what is left after the grace. A second
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
    /// Only one of the outputs. Not together with `tail_lines`, which counts the lines of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
}

/// One of a task's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
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
    /// The number of that user's first group; `None` from a pipe of an earlier version.
    #[serde(default)]
    pub gid: Option<u32>,
    /// The numbers of the user's other groups; none from a pipe of an earlier version.
    #[serde(default)]
    pub groups: Vec<u32>,
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
    /// Memory that it may use, in bytes: the host's, or what a cgroup above it says.
    pub memory_bytes: u64,
    /// Where the records are, and why there.
    #[serde(default)]
    pub records: RecordsPlace,
    /// What holds tasks to their limits here.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Whether tasks can have mounts of their own.
    #[serde(default)]
    pub mount_namespaces: MountNamespaces,
    /// What the site's file says, and whether it is in force.
    #[serde(default)]
    pub site: SiteInfo,
}

/// Where the records of tasks are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordsPlace {
    /// The directory that holds `tasks`.
    pub directory: PathBuf,
    /// The kind of shared file system that the pipe's directory is on, where that is why the records are elsewhere:
    /// `nfs`, `lustre`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_off: Option<String>,
}

/// What holds tasks to their limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// The delegated cgroup (version 2) under which each task gets one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Memory.
    pub memory: Enforcer,
    /// Processors.
    pub cpu: Enforcer,
    /// Processes.
    pub processes: Enforcer,
}

/// Who holds the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Enforcer {
    /// The kernel, by a cgroup.
    Cgroup,
    /// The kernel, by binding processes to processors.
    Affinity,
    /// The shim, which looks from time to time and kills.
    #[default]
    Watchdog,
}

/// Whether tasks can be given mounts at absolute paths, each in a user and mount namespace of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MountNamespaces {
    /// A pipe of an earlier version has not told: they cannot.
    #[default]
    Unknown,
    /// They can.
    Available,
    /// They cannot.
    Unavailable {
        /// The kernel's or the site's reason.
        why: String,
    },
}

/// What the site's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteInfo {
    /// The file; `None` where there is none and the defaults are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What is wrong with the file as it is now: what it said before is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The container runtime for images, by name; `None` where images cannot be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Which namespaces it takes pods of, as JSON; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<String>,
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
    /// The site's policy forbids it (403).
    Denied,
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
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NoSpace => 507,
            Self::Internal => 500,
        }
    }
}
