//! From what the pipe has measured to the kubelet's summary.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod};
use vk_task::{Disk, Origin, PodUsage, Stats, TaskId, TaskUsage, TaskView, Usage};

use super::summary::{
    ContainerStats, CpuStats, FsStats, MemoryStats, NodeStats, PodReference, PodStats, ProcessStats, RlimitStats,
    RuntimeStats, Summary, Time, VolumeStats,
};
use vk_cmd_crds::quantity::units;

/// What a summary is made of.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The node's name.
    pub node: &'a str,
    /// What the pipe has measured now.
    pub stats: &'a Stats,
    /// And some seconds before, if it has.
    pub before: Option<&'a Stats>,
    /// The pods of this node.
    pub pods: &'a [&'a Pod],
    /// Their tasks: what is not in here is not this node's.
    pub tasks: &'a [TaskView],
    /// Whether disks and processes are left out.
    pub only_cpu_and_memory: bool,
}

/// Makes the summary. Only what runs is in it, as in the kubelet's.
#[must_use]
pub fn gather(given: Given<'_>) -> Summary {
    let usages: HashMap<&TaskId, &TaskUsage> = given.stats.tasks.iter().map(|usage| (&usage.id, usage)).collect();
    let before: HashMap<&TaskId, &Usage> =
        given.before.iter().flat_map(|stats| &stats.tasks).map(|usage| (&usage.id, &usage.usage)).collect();
    let mut of_pods: HashMap<&str, BTreeMap<(&str, &TaskId), &TaskUsage>> = HashMap::new();
    for task in given.tasks {
        if let Origin::Pod(run) = &task.origin
            && let Some(usage) = usages.get(&task.id)
        {
            of_pods.entry(&run.uid).or_default().insert((&run.container, &task.id), usage);
        }
    }
    let pods = given.pods.iter().filter_map(|pod| {
        let uid = pod.metadata.uid.as_deref()?;
        let containers = of_pods.get(uid)?;
        let directory = given.stats.pods.iter().find(|usage| usage.uid.as_str() == uid);
        Some(of_pod(pod, containers, &before, directory, given))
    });
    let mut pods: Vec<PodStats> = pods.collect();
    pods.sort_by(|a, b| (&a.pod_ref.namespace, &a.pod_ref.name).cmp(&(&b.pod_ref.namespace, &b.pod_ref.name)));
    Summary { node: of_node(given), pods }
}

fn of_node(given: Given<'_>) -> NodeStats {
    let host = &given.stats.host;
    let time = Time(host.usage.at);
    let whole = || {
        let Disk { capacity_bytes, inodes, inodes_free, .. } = host.disk;
        let used = capacity_bytes.saturating_sub(host.disk.available_bytes);
        fs(host.disk, time, used, Some(inodes.saturating_sub(inodes_free)))
    };
    let all = !given.only_cpu_and_memory;
    NodeStats {
        node_name: given.node.to_owned(),
        start_time: Time(host.booted_at),
        cpu: cpu(&host.usage, given.before.map(|before| &before.host.usage)),
        memory: MemoryStats { available_bytes: Some(host.memory_available_bytes), ..memory(&host.usage) },
        fs: all.then(whole),
        runtime: all.then(|| RuntimeStats { image_fs: whole(), container_fs: whole() }),
        rlimit: all.then_some(RlimitStats { time, max_pid: host.max_processes, current: host.processes }),
    }
}

fn of_pod(
    pod: &Pod,
    tasks: &BTreeMap<(&str, &TaskId), &TaskUsage>,
    before: &HashMap<&TaskId, &Usage>,
    directory: Option<&PodUsage>,
    given: Given<'_>,
) -> PodStats {
    let (disk, all) = (given.stats.host.disk, !given.only_cpu_and_memory);
    let limit = |name: &str| containers(pod).find(|c| c.name == name).and_then(memory_limit);
    let containers: Vec<ContainerStats> = tasks
        .iter()
        .map(|((name, id), task)| {
            let working_set = task.usage.memory_working_set_bytes;
            let available = limit(name).map(|limit| limit.saturating_sub(working_set));
            ContainerStats {
                name: (*name).to_owned(),
                start_time: Time(task.started_at),
                cpu: cpu(&task.usage, before.get(id).copied()),
                memory: MemoryStats { available_bytes: available, ..memory(&task.usage) },
                logs: all.then(|| fs(disk, Time(task.usage.at), task.log_bytes, None)),
            }
        })
        .collect();
    let metadata = &pod.metadata;
    let time = Time(given.stats.host.usage.at);
    let sum = sum(tasks.values().map(|task| &task.usage));
    let rates = containers.iter().map(|container| container.cpu.usage_nano_cores);
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let first = tasks.values().map(|task| task.started_at).min();
    let logs: u64 = tasks.values().map(|task| task.log_bytes).sum();
    let volumes = directory.into_iter().flat_map(|directory| &directory.volumes);
    let volume = |volume: &vk_task::VolumeUsage| VolumeStats {
        fs: fs(disk, time, volume.bytes, Some(volume.inodes)),
        name: volume.name.as_str().to_owned(),
    };
    PodStats {
        pod_ref: PodReference {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        },
        start_time: Time(started.or(first).unwrap_or_default()),
        cpu: CpuStats { usage_nano_cores: rates.sum(), ..cpu(&sum, None) },
        memory: memory(&sum),
        volumes: volumes.filter(|_| all).map(volume).collect(),
        ephemeral_storage: all.then(|| {
            let (bytes, inodes) = directory.map(|d| (d.bytes, d.inodes)).unwrap_or_default();
            fs(disk, time, bytes.saturating_add(logs), Some(inodes))
        }),
        processes: all.then(|| ProcessStats { process_count: tasks.values().map(|task| task.processes).sum() }),
        containers,
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

fn memory_limit(container: &Container) -> Option<u64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    units(limits.get("memory")?).ok().filter(|limit| *limit > 0)
}

fn cpu(now: &Usage, before: Option<&Usage>) -> CpuStats {
    CpuStats {
        time: Time(now.at),
        usage_nano_cores: before.and_then(|before| rate(before, now)),
        usage_core_nano_seconds: now.cpu_nanos,
    }
}

/// How many processors were kept busy in between, in thousand millionths; `None` where the clock or the sum went back.
fn rate(before: &Usage, now: &Usage) -> Option<u64> {
    let nanos = u128::try_from(now.at.duration_since(before.at).as_nanos()).ok().filter(|nanos| *nanos > 0)?;
    let used = u128::from(now.cpu_nanos.checked_sub(before.cpu_nanos)?);
    u64::try_from(used * 1_000_000_000 / nanos).ok()
}

fn memory(usage: &Usage) -> MemoryStats {
    MemoryStats {
        time: Time(usage.at),
        available_bytes: None,
        usage_bytes: usage.memory_usage_bytes,
        working_set_bytes: usage.memory_working_set_bytes,
        rss_bytes: usage.memory_rss_bytes,
        page_faults: usage.page_faults,
        major_page_faults: usage.major_page_faults,
    }
}

fn fs(disk: Disk, time: Time, used_bytes: u64, inodes_used: Option<u64>) -> FsStats {
    let Disk { capacity_bytes, available_bytes, inodes, inodes_free } = disk;
    FsStats { time, available_bytes, capacity_bytes, used_bytes, inodes_free, inodes, inodes_used }
}

fn sum<'a>(all: impl Iterator<Item = &'a Usage>) -> Usage {
    all.fold(Usage::default(), |sum, one| Usage {
        at: sum.at.max(one.at),
        cpu_nanos: sum.cpu_nanos.saturating_add(one.cpu_nanos),
        memory_working_set_bytes: sum.memory_working_set_bytes.saturating_add(one.memory_working_set_bytes),
        memory_rss_bytes: sum.memory_rss_bytes.saturating_add(one.memory_rss_bytes),
        memory_usage_bytes: sum.memory_usage_bytes.saturating_add(one.memory_usage_bytes),
        page_faults: sum.page_faults.saturating_add(one.page_faults),
        major_page_faults: sum.major_page_faults.saturating_add(one.major_page_faults),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
