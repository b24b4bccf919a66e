//! The words of the pipe: what a task is, what is asked for it, and what is known of it.
//!
//! Everything that speaks to the pipe or reads its records uses these types: the node, the pipe, the shim. This crate
//! is pure: it holds no file, socket or clock.
//!
//! A task is one run of one container of one pod. Its life, as its records tell it:
//!
//! ```text
//!            intent on disk          gate open            exit on disk
//!  (nothing) ─────────────▶ Accepted ─────────▶ Running ──────────────▶ Ended
//!                              │                   │
//!                              │ exec failed       │ the shim died, and the process with it:
//!                              ▼                   ▼ nobody saw the end
//!                            Ended              Unknown
//! ```
//!
//! `Accepted` may be started (again) by anyone who holds the task's lock; nothing past it ever is.

mod api;
mod cgroup;
pub mod clock;
pub mod control;
mod id;
mod launch;
mod limits;
mod pod;
mod security;
mod spec;
mod state;
mod stats;
mod stop_signal;
pub mod stream;

/// The environment variable that tells a task's processes its id.
pub const TASK_VARIABLE: &str = "VK_CMD_TASK";

/// The environment variable that carries a mark, made anew for each start of a task, to all its processes: by it they
/// are known to be the task's, whatever became of their parents, and nobody else's, whatever its id.
pub const RUN_VARIABLE: &str = "VK_CMD_RUN";

/// The environment variable that names the file for a task's last words, where it is asked for any: see
/// [`TerminationMessage`].
pub const TERMINATION_LOG_VARIABLE: &str = "VK_CMD_TERMINATION_LOG";

/// The environment variable by which the pipe tells a shim how many files the task may open (its soft limit), where the
/// pipe itself may open more. The task does not get it.
pub const OPEN_FILES_VARIABLE: &str = "VK_CMD_SHIM_OPEN_FILES";

/// The environment variable by which the pipe tells a shim in which directory it may make a cgroup for the task. The task
/// does not get it.
pub const CGROUP_VARIABLE: &str = "VK_CMD_SHIM_CGROUP";

pub use api::{
    ApiError, Enforcement, Enforcer, ErrorReason, HostInfo, Lingering, LogQuery, LogStream, MAX_READ_BYTES,
    MAX_TERMINATION_LOG, MAX_TERMINATION_MESSAGE_BYTES, MountNamespaces, ReadRequest, RecordsPlace, SignalRequest,
    SiteInfo, StopRequest, TaskView, WatchEvent, paths,
};
pub use cgroup::CgroupChoice;
pub use id::{InvalidTaskId, TaskId};
pub use launch::{Bind, ExecVia, HostSetup, Launch, OwnDirectory, RuntimeLaunch, Terminate};
pub use limits::{LimitKind, Limits, LogLimits, Rlimit};
pub use pod::{
    DirName, FileContent, FilePath, HostAlias, HostPathType, InvalidDirName, InvalidFilePath, TerminationMessage,
    VolumeContent, VolumeMount, VolumeSource,
};
pub use security::{Capability, InvalidCapability, Security};
pub use spec::{
    AskingNode, ContainerRun, EnvName, Gpus, Image, InvalidEnvName, InvalidSpec, Leftovers, MAX_EXEC_STRING_BYTES,
    Mount, Origin, Place, Program, ScriptRunner, Stdin, Stdio, TaskSpec,
};
pub use state::{End, Signal, StartFailure, TaskState};
pub use stats::{ContainerDisk, Disk, HostUsage, PodUsage, Stats, TaskUsage, Usage, VolumeUsage};
pub use stop_signal::{InvalidStopSignal, StopSignal};
