//! The rows of `top`: what jobs use now, by the metrics API, beside what they may.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use vk_cmd_crds::labels;
use vk_cmd_crds::quantity::{thousandths, units};

use crate::nodes::{bytes_text, cpu_text};

/// The headings.
pub const HEADINGS: [&str; 6] = ["NAME", "INDEX", "NODE", "CPU", "MEMORY", "POD"];

/// What of `metrics.k8s.io/v1beta1` PodMetrics is read.
#[derive(Clone, Debug, Deserialize)]
pub struct PodMetrics {
    metadata: Metadata,
    containers: Vec<ContainerMetrics>,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ContainerMetrics {
    usage: std::collections::BTreeMap<String, Quantity>,
}

/// A list of them.
#[derive(Clone, Debug, Deserialize)]
pub struct PodMetricsList {
    /// The pods.
    pub items: Vec<PodMetrics>,
}

/// Rows of the pods of CmdJobs that run, by job and index. One that was not measured yet has question marks.
#[must_use]
pub fn rows(pods: &[Pod], metrics: &[PodMetrics]) -> Vec<Vec<String>> {
    let mut rows: Vec<(String, u32, Vec<String>)> = Vec::new();
    for pod in pods {
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
        let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        let (Some(job), Some(index), Some(name)) =
            (label(labels::JOB), label(labels::INDEX), pod.metadata.name.clone().filter(|_| runs))
        else {
            continue;
        };
        let spec = pod.spec.as_ref();
        let limits =
            spec.and_then(|spec| spec.containers.first()?.resources.as_ref()?.limits.clone()).unwrap_or_default();
        let used = metrics.iter().find(|told| told.metadata.name == name);
        let cell = |resource: &str, read: fn(&Quantity) -> Option<u64>, text: fn(u64) -> String| {
            let sum = used.map(|used| {
                let amounts = used.containers.iter().filter_map(|container| read(container.usage.get(resource)?));
                amounts.fold(0_u64, u64::saturating_add)
            });
            let used = sum.map_or_else(|| "?".to_owned(), text);
            match limits.get(resource).and_then(read) {
                Some(most) => format!("{used}/{}", text(most)),
                None => used,
            }
        };
        let node = spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let cpu = cell("cpu", |quantity| thousandths(quantity).ok(), cpu_text);
        let memory = cell("memory", |quantity| units(quantity).ok(), bytes_text);
        let number = index.parse().unwrap_or_default();
        rows.push((job.clone(), number, vec![job, index, node, cpu, memory, name]));
    }
    rows.sort();
    rows.into_iter().map(|(_, _, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    #[test]
    fn what_is_used_stands_beside_what_may_be() {
        let pod = |name: &str, index: &str, phase: &str| {
            let pod = json!({
                "metadata": {"name": name, "labels": {"vk-cmd.io/job": "fit", "vk-cmd.io/index": index}},
                "spec": {"nodeName": "vk-a", "containers": [{"name": "main", "resources": {"limits": {"memory": "1Gi"}}}]},
                "status": {"phase": phase},
            });
            serde_json::from_value::<Pod>(pod).unwrap()
        };
        let list = json!({"items": [{"metadata": {"name": "fit-b"}, "containers": [
            {"name": "main", "usage": {"cpu": "1250m", "memory": "524288Ki"}},
            {"name": "other", "usage": {"cpu": "250000000n"}},
        ]}]});
        let metrics: PodMetricsList = serde_json::from_value(list).unwrap();
        let pods = [pod("fit-c", "10", "Running"), pod("fit-b", "2", "Running"), pod("fit-a", "0", "Succeeded")];
        let expected = "\
NAME   INDEX   NODE   CPU   MEMORY      POD
fit    2       vk-a   1.5   512Mi/1Gi   fit-b
fit    10      vk-a   ?     ?/1Gi       fit-c
";
        assert_eq!(table::render(&HEADINGS, &rows(&pods, &metrics.items), None, table::plain), expected);
    }
}
