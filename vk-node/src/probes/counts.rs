//! How often probes were answered how, and how long that took: `/metrics/probes`, as the kubelet has it.

use std::time::Duration;

use vk_node_core::admit::PodKey;
use vk_node_core::probe::Kind;
use vk_node_core::probe::machine::Answer;
use vk_node_core::stats::text::{FamilyKind, Histogram, Text};

/// The answers to one probe. Those that could not be made are not counted, as in the kubelet.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    successful: u64,
    failed: u64,
    /// Of the successful ones.
    took: Histogram,
}

impl Counts {
    pub(super) fn add(&mut self, answer: &Answer, took: Duration) {
        match answer {
            Answer::Success | Answer::Warning { .. } => {
                self.successful += 1;
                self.took.observe(took);
            }
            Answer::Failure { .. } => self.failed += 1,
            Answer::Error { .. } => {}
        }
    }
}

/// As text.
pub(super) fn text<'a>(all: impl Iterator<Item = (&'a PodKey, &'a str, Kind, &'a Counts)> + Clone) -> String {
    let mut text = Text::default();
    let help = "Cumulative number of a liveness, readiness or startup probe for a container by result.";
    let mut family = text.family("prober_probe_total", help, FamilyKind::Counter);
    for (pod, container, kind, counts) in all.clone() {
        for (result, count) in [("failed", counts.failed), ("successful", counts.successful)] {
            if count > 0 {
                let labels = [
                    ("container", container),
                    ("namespace", &pod.namespace),
                    ("pod", &pod.name),
                    ("pod_uid", &pod.uid),
                    ("probe_type", &kind.to_string()),
                    ("result", result),
                ];
                #[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
                family.sample(&labels, count as f64);
            }
        }
    }
    let help = "Duration in seconds for a probe response.";
    let mut family = text.family("prober_probe_duration_seconds", help, FamilyKind::Histogram);
    for (pod, container, kind, counts) in all.filter(|(_, _, _, counts)| counts.successful > 0) {
        let labels = [
            ("container", container),
            ("namespace", &pod.namespace),
            ("pod", &pod.name),
            ("probe_type", &kind.to_string()),
        ];
        family.histogram(&labels, &counts.took);
    }
    text.into_string()
}
