//! `/metrics`: the node itself. With the kubelet's names where the meaning is the kubelet's.

use std::collections::BTreeMap;
use std::fs;

use vk_node_core::stats::text::{FamilyKind, Text};
use vk_task::{TaskState, TaskView};

use super::super::Context;

/// The states of tasks, as they are called here.
const STATES: [&str; 4] = ["accepted", "running", "ended", "unknown"];

pub(super) fn metrics(context: &Context) -> String {
    use FamilyKind::{Counter, Gauge};
    let mut text = Text::default();
    process(&mut text);

    let tasks: Vec<TaskView> =
        context.mirror.pods_of(&context.node.name).iter().flat_map(|key| context.mirror.of_pod(&key.uid)).collect();
    let running = || tasks.iter().filter(|task| matches!(task.state, TaskState::Running { .. }));
    let pods: std::collections::BTreeSet<&str> = running().filter_map(|t| Some(t.origin.run()?.uid.as_str())).collect();
    text.single("kubelet_running_pods", "Number of pods that have a running container", Gauge, float(pods.len()));
    let mut states: BTreeMap<&str, usize> = STATES.into_iter().map(|state| (state, 0)).collect();
    for task in &tasks {
        *states.entry(state_of(task)).or_default() += 1;
    }
    let of = |state: &str| float(states.get(state).copied().unwrap_or_default());
    let mut family = text.family("kubelet_running_containers", "Number of containers currently running", Gauge);
    for (kubelets, ours) in
        [("created", "accepted"), ("exited", "ended"), ("running", "running"), ("unknown", "unknown")]
    {
        family.sample(&[("container_state", kubelets)], of(ours));
    }
    let mut family = text.family("kubelet_node_name", "The node's name. The count is always 1.", Gauge);
    family.sample(&[("node", &context.node.name)], 1.0);

    let help = "Cumulative number of pod evictions by eviction signal";
    let mut family = text.family("kubelet_evictions", help, Counter);
    for (signal, count) in context.evictions.so_far() {
        family.sample(&[("eviction_signal", signal)], written_as(count));
    }
    let help = "Cumulative number pod admission rejections by the Kubelet.";
    let mut family = text.family("kubelet_admission_rejections_total", help, Counter);
    for (reason, count) in context.rejections.so_far() {
        family.sample(&[("reason", &reason)], written_as(count));
    }

    context.durations.write(&mut text);
    context.requests.write(&mut text);
    context.way.write(&mut text);

    let (ends, is_ending) = context.end.measured();
    if let Some(ends) = ends {
        let help = "When the node ends, as far as is known, since unix epoch in seconds.";
        text.single("vk_node_end_time_seconds", help, Gauge, ends.as_duration().as_secs_f64());
    }
    let help = "Whether the node's end is near: it takes nothing, and what runs is ended in time.";
    text.single("vk_node_ending", help, Gauge, f64::from(u8::from(is_ending)));

    let is_live = f64::from(u8::from(context.mirror.is_live()));
    text.single("vk_node_pipe_up", "Whether the pipe answers.", Gauge, is_live);
    let mut family = text.family("vk_node_tasks", "Tasks that the pipe has records of, by state.", Gauge);
    for state in STATES {
        family.sample(&[("state", state)], of(state));
    }
    let (written, failed) = context.status_writes.so_far();
    let help = "Writes of pods' statuses to the API server, by result.";
    let mut family = text.family("vk_node_status_writes_total", help, Counter);
    family.sample(&[("result", "failed")], written_as(failed));
    family.sample(&[("result", "successful")], written_as(written));
    text.into_string()
}

fn state_of(task: &TaskView) -> &'static str {
    match task.state {
        TaskState::Accepted { .. } => "accepted",
        TaskState::Running { .. } => "running",
        TaskState::Ended { .. } => "ended",
        TaskState::Unknown { .. } => "unknown",
    }
}

/// This process, as Prometheus' own libraries tell it.
fn process(text: &mut Text) {
    use FamilyKind::{Counter, Gauge};
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, boot) = (read("/proc/self/stat"), read("/proc/stat"));
    // By the numbers of proc_pid_stat(5), where the first field after the name is number 3.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|n| n.parse::<f64>().ok()).unwrap_or_default();
    let per_second = written_as(rustix::param::clock_ticks_per_second().max(1));
    let booted = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let cpu = (field(14) + field(15)) / per_second;
    text.single("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Counter, cpu);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    text.single("process_open_fds", "Number of open file descriptors.", Gauge, float(open));
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        text.single("process_max_fds", "Maximum number of open file descriptors.", Gauge, written_as(most));
    }
    let resident = field(24) * float(rustix::param::page_size());
    text.single("process_resident_memory_bytes", "Resident memory size in bytes.", Gauge, resident);
    text.single("process_virtual_memory_bytes", "Virtual memory size in bytes.", Gauge, field(23));
    let started = booted.unwrap_or_default() + field(22) / per_second;
    let help = "Start time of the process since unix epoch in seconds.";
    text.single("process_start_time_seconds", help, Gauge, started);
}

fn float(n: usize) -> f64 {
    written_as(u64::try_from(n).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
fn written_as(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_measured() {
        let mut text = Text::default();
        process(&mut text);
        let text = text.into_string();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
            line.parse().unwrap()
        };
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}
