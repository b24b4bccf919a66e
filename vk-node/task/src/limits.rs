//! What a task may use at most, and which of these limits ended it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a task may use at most; what is `None` is not limited by it. Whether the kernel holds the line (a delegated
/// cgroup) or the shim watches and kills (the watchdog) is told by [`Enforcement`](crate::Enforcement).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Seconds from the opening of the gate; then it is ended as by a stop with [`Self::GRACE_SECONDS`] of grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<u64>,
    /// Resident memory of the whole tree, in bytes: anonymous and shared memory, a shared page once. Mapped files do not
    /// count. Past it the tree is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processors for the whole tree, in thousandths. Without a cgroup it is rounded up to whole processors that the
    /// tree is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Processes and threads of the whole tree. Past it the tree is killed (with a cgroup, a fork fails instead).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Bytes of output, both streams together. Past it the tree is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Niceness, -20 to 19: see setpriority(2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i8>,
    /// Limits of each process, as setrlimit(2) has them: soft and hard limit are both set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: BTreeMap<Rlimit, u64>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: LogLimits,
}

impl Limits {
    /// Between `SIGTERM` and `SIGKILL` of a task whose wall time is over.
    pub const GRACE_SECONDS: u64 = 30;
}

/// How much of a task's output is kept: the newest files of so many bytes each, the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLimits {
    /// The size at which a file is closed and the next is begun, in bytes. Less than [`Self::MIN_FILE_BYTES`] counts as
    /// that.
    pub file_bytes: u64,
    /// How many files there are at most, the one that is written to included. Less than [`Self::MIN_FILES`] counts as
    /// that.
    pub files: u32,
}

impl LogLimits {
    /// A file holds at least what is written to it in one go.
    pub const MIN_FILE_BYTES: u64 = 128 << 10;
    /// One that is written to, and one that was: as the kubelet wants it.
    pub const MIN_FILES: u32 = 2;

    /// The limits as they are kept to.
    #[must_use]
    pub fn in_force(self) -> Self {
        Self { file_bytes: self.file_bytes.max(Self::MIN_FILE_BYTES), files: self.files.max(Self::MIN_FILES) }
    }
}

impl Default for LogLimits {
    /// The kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self { file_bytes: 10 << 20, files: 5 }
    }
}

/// A resource that setrlimit(2) limits for each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rlimit {
    /// `RLIMIT_AS`, bytes.
    AddressSpace,
    /// `RLIMIT_CORE`, bytes.
    Core,
    /// `RLIMIT_CPU`, seconds.
    CpuSeconds,
    /// `RLIMIT_DATA`, bytes.
    Data,
    /// `RLIMIT_FSIZE`, bytes.
    FileSize,
    /// `RLIMIT_MEMLOCK`, bytes.
    LockedMemory,
    /// `RLIMIT_NOFILE`.
    OpenFiles,
    /// `RLIMIT_NPROC`: of the whole user, not only of the task.
    UserProcesses,
    /// `RLIMIT_STACK`, bytes.
    Stack,
}

/// A limit that ended a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitKind {
    /// [`Limits::wall_seconds`].
    WallTime,
    /// [`Limits::memory_bytes`].
    Memory,
    /// [`Limits::processes`].
    Processes,
    /// [`Limits::output_bytes`].
    Output,
}

impl fmt::Display for Rlimit {
    /// The name that getrlimit(2) has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressSpace => "RLIMIT_AS",
            Self::Core => "RLIMIT_CORE",
            Self::CpuSeconds => "RLIMIT_CPU",
            Self::Data => "RLIMIT_DATA",
            Self::FileSize => "RLIMIT_FSIZE",
            Self::LockedMemory => "RLIMIT_MEMLOCK",
            Self::OpenFiles => "RLIMIT_NOFILE",
            Self::UserProcesses => "RLIMIT_NPROC",
            Self::Stack => "RLIMIT_STACK",
        })
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WallTime => "its wall time",
            Self::Memory => "its memory",
            Self::Processes => "the number of its processes",
            Self::Output => "the size of its output",
        })
    }
}
