//! `/metrics/resource`, as the kubelet has it (pkg/kubelet/metrics/collectors/resource_metrics.go): what metrics-server
//! scrapes. The labels are in the order in which it writes them.

use super::summary::{ContainerStats, PodStats, Summary};
use super::text::{FamilyKind, Text};

/// The text for what was gathered; `None` when the pipe could not be asked.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
pub fn resource_metrics(summary: Option<&Summary>) -> String {
    use FamilyKind::{Counter, Gauge};
    let mut text = Text::default();
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let pods = || summary.iter().flat_map(|summary| &summary.pods);
    let containers = || pods().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));

    let help = "Cumulative cpu time consumed by the container in core-seconds";
    let mut family = text.family("container_cpu_usage_seconds_total", help, Counter);
    for (pod, container) in containers() {
        let cpu = &container.cpu;
        family.sample_at(&labels(pod, container), seconds(cpu.usage_core_nano_seconds), cpu.time.0);
    }
    let help = "Current working set of the container in bytes";
    let mut family = text.family("container_memory_working_set_bytes", help, Gauge);
    for (pod, container) in containers() {
        let memory = &container.memory;
        family.sample_at(&labels(pod, container), memory.working_set_bytes as f64, memory.time.0);
    }
    let help = "Start time of the container since unix epoch in seconds";
    let mut family = text.family("container_start_time_seconds", help, Gauge);
    for (pod, container) in containers() {
        let started = container.start_time.0.as_millisecond() as f64 / 1e3;
        family.sample(&labels(pod, container), started);
    }

    if let Some(summary) = summary {
        let (cpu, memory) = (&summary.node.cpu, &summary.node.memory);
        let help = "Cumulative cpu time consumed by the node in core-seconds";
        let mut family = text.family("node_cpu_usage_seconds_total", help, Counter);
        family.sample_at(&[], seconds(cpu.usage_core_nano_seconds), cpu.time.0);
        let help = "Current working set of the node in bytes";
        let mut family = text.family("node_memory_working_set_bytes", help, Gauge);
        family.sample_at(&[], memory.working_set_bytes as f64, memory.time.0);
    }

    let help = "Cumulative cpu time consumed by the pod in core-seconds";
    let mut family = text.family("pod_cpu_usage_seconds_total", help, Counter);
    for pod in pods() {
        family.sample_at(&of_pod(pod), seconds(pod.cpu.usage_core_nano_seconds), pod.cpu.time.0);
    }
    let help = "Current working set of the pod in bytes";
    let mut family = text.family("pod_memory_working_set_bytes", help, Gauge);
    for pod in pods() {
        family.sample_at(&of_pod(pod), pod.memory.working_set_bytes as f64, pod.memory.time.0);
    }

    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    for name in ["resource_scrape_error", "scrape_error"] {
        text.single(name, help, Gauge, f64::from(u8::from(summary.is_none())));
    }
    text.into_string()
}

fn labels<'a>(pod: &'a PodStats, container: &'a ContainerStats) -> [(&'a str, &'a str); 3] {
    let [name, namespace] = of_pod(pod);
    [("container", &container.name), name, namespace]
}

fn of_pod(pod: &PodStats) -> [(&str, &str); 2] {
    [("pod", &pod.pod_ref.name), ("namespace", &pod.pod_ref.namespace)]
}
