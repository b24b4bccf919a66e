//! What tasks and their host use: the answer to `GET /v1/stats`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DirName, TaskId};

/// What is used at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The host, with all that runs on it.
    pub host: HostUsage,
    /// Each task that runs.
    pub tasks: Vec<TaskUsage>,
    /// The directory of each pod that has one.
    pub pods: Vec<PodUsage>,
}

/// What a host uses and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostUsage {
    /// Processors and memory.
    pub usage: Usage,
    /// Memory that a new program could get, in bytes: `MemAvailable`, or what a cgroup above the pipe leaves.
    pub memory_available_bytes: u64,
    /// When the host was started.
    pub booted_at: Timestamp,
    /// Processes and threads: those there are, and the most there may be.
    pub processes: u64,
    /// See [`Self::processes`].
    pub max_processes: u64,
    /// The file system of the records and the pods' directories.
    pub disk: Disk,
}

/// What a task uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskUsage {
    /// The task.
    pub id: TaskId,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// Processors and memory of its whole tree.
    pub usage: Usage,
    /// Its processes.
    pub processes: u64,
    /// Its log, in bytes on disk.
    pub log_bytes: u64,
}

/// Processors and memory that are used. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When this was measured.
    pub at: Timestamp,
    /// Time on processors since the beginning, in nanoseconds. It never gets less while a task runs, even though processes
    /// of it end.
    pub cpu_nanos: u64,
    /// Memory that cannot be taken back under pressure, in bytes: the kubelet's working set.
    pub memory_working_set_bytes: u64,
    /// Anonymous memory, in bytes.
    pub memory_rss_bytes: u64,
    /// All memory that is charged, in bytes, with caches.
    pub memory_usage_bytes: u64,
    /// Page faults since the beginning.
    pub page_faults: u64,
    /// Page faults that read from disk, since the beginning.
    pub major_page_faults: u64,
}

/// What a pod's directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUsage {
    /// The pod's UID.
    pub uid: DirName,
    /// Bytes on disk of its working and temporary directories and its volumes, but for those in memory.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Each of its volumes: name, bytes, files and directories.
    pub volumes: Vec<VolumeUsage>,
    /// What each of its containers has there for itself; a pipe of an earlier version does not tell.
    #[serde(default)]
    pub containers: Vec<ContainerDisk>,
}

/// What a container has for itself in its pod's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDisk {
    /// The container's name.
    pub name: DirName,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What one volume holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeUsage {
    /// The volume's name.
    pub name: DirName,
    /// Bytes on disk, or in memory for a volume that is there.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Its size in bytes.
    pub capacity_bytes: u64,
    /// Bytes that this user may still write.
    pub available_bytes: u64,
    /// The most files it can hold; 0 where there is no such limit.
    pub inodes: u64,
    /// Files that can still be made.
    pub inodes_free: u64,
}
