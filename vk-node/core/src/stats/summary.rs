//! The kubelet's `Summary`, as far as it is filled here: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The node.
    pub node: NodeStats,
    /// The pods that run.
    pub pods: Vec<PodStats>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    /// Its name.
    pub node_name: String,
    /// When its host was started.
    pub start_time: Time,
    /// Processors of the whole host.
    pub cpu: CpuStats,
    /// Memory of the whole host.
    pub memory: MemoryStats,
    /// The file system of the records and the pods' directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FsStats>,
    /// The same: there are no images here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStats>,
    /// Processes of the whole host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rlimit: Option<RlimitStats>,
}

/// File systems of a container runtime.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStats {
    /// Of images.
    pub image_fs: FsStats,
    /// Of containers.
    pub container_fs: FsStats,
}

/// How many processes there are, and may be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RlimitStats {
    /// When.
    pub time: Time,
    /// The most.
    #[serde(rename = "maxpid")]
    pub max_pid: u64,
    /// Now.
    #[serde(rename = "curproc")]
    pub current: u64,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    /// Which.
    pub pod_ref: PodReference,
    /// When it was begun.
    pub start_time: Time,
    /// Its containers that run.
    pub containers: Vec<ContainerStats>,
    /// The sum over them.
    pub cpu: CpuStats,
    /// The sum over them.
    pub memory: MemoryStats,
    /// Its volumes.
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStats>,
    /// Its directory and its logs.
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<FsStats>,
    /// Its processes.
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    pub processes: Option<ProcessStats>,
}

/// How many processes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessStats {
    /// So many.
    pub process_count: u64,
}

/// Which pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    /// Its name.
    pub name: String,
    /// When its run began.
    pub start_time: Time,
    /// Processors.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<FsStats>,
}

/// Processors.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    /// When.
    pub time: Time,
    /// How busy they were kept since the look before, in thousand millionths of one; not known at the first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_nano_cores: Option<u64>,
    /// What was used since the start, in thousand millionths of one for one second.
    pub usage_core_nano_seconds: u64,
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// When.
    pub time: Time,
    /// What is left: of the host, or up to the container's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// All.
    pub usage_bytes: u64,
    /// What cannot be taken back.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Since the start.
    pub page_faults: u64,
    /// Since the start.
    pub major_page_faults: u64,
}

/// A file system, and what somebody uses of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FsStats {
    /// When.
    pub time: Time,
    /// What may still be written.
    pub available_bytes: u64,
    /// Its size.
    pub capacity_bytes: u64,
    /// What is used of it: in all, or by whom this is about.
    pub used_bytes: u64,
    /// How many files can still be made.
    pub inodes_free: u64,
    /// How many it can hold.
    pub inodes: u64,
    /// How many there are: in all, or of whom this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_used: Option<u64>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VolumeStats {
    /// What it uses.
    #[serde(flatten)]
    pub fs: FsStats,
    /// Its name.
    pub name: String,
}

/// A time, as `metav1.Time` is written: in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.0}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_whole_seconds() {
        let time = Time("2026-01-02T03:04:05.987654321Z".parse().unwrap());
        assert_eq!(serde_json::to_value(time).unwrap(), "2026-01-02T03:04:05Z");
    }
}
