//! How long pods took to start, and looks at them, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vk_node_core::stats::text::{FamilyKind, Histogram, Text};

/// The kubelet's bounds for the start of a pod, in seconds.
const START: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
    600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// The durations. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    starts: Histogram,
    /// By the kubelet's words for what is done: `create`, `sync`.
    looks: BTreeMap<&'static str, Histogram>,
}

impl Default for Durations {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept { starts: Histogram::with(&START), looks: BTreeMap::new() })))
    }
}

impl Durations {
    /// A pod was seen, and runs after so long.
    pub(super) fn started(&self, after: Duration) {
        self.lock().starts.observe(after);
    }

    /// A look at a pod, the first one or another, is done after so long.
    pub(super) fn looked(&self, is_first: bool, after: Duration) {
        let kind = if is_first { "create" } else { "sync" };
        self.lock().looks.entry(kind).or_default().observe(after);
    }

    /// Writes them down.
    pub(crate) fn write(&self, text: &mut Text) {
        let kept = self.lock();
        let help = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
        text.family("kubelet_pod_start_duration_seconds", help, FamilyKind::Histogram).histogram(&[], &kept.starts);
        let help = "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync";
        let mut family = text.family("kubelet_pod_worker_duration_seconds", help, FamilyKind::Histogram);
        for (kind, looks) in &kept.looks {
            family.histogram(&[("operation_type", kind)], looks);
        }
    }

    /// A panic of another holder leaves it whole: a count more or less.
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_looks_are_told_as_the_kubelet_does() {
        let durations = Durations::default();
        durations.started(Duration::from_secs(7));
        durations.looked(true, Duration::from_millis(3));
        durations.looked(false, Duration::from_millis(30));
        let mut text = Text::default();
        durations.write(&mut text);
        let text = text.into_string();
        for line in [
            "kubelet_pod_start_duration_seconds_bucket{le=\"6\"} 0\n",
            "kubelet_pod_start_duration_seconds_bucket{le=\"8\"} 1\n",
            "kubelet_pod_start_duration_seconds_bucket{le=\"3600\"} 1\n",
            "kubelet_pod_start_duration_seconds_count 1\n",
            "kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} 1\n",
            "kubelet_pod_worker_duration_seconds_bucket{operation_type=\"sync\",le=\"0.025\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} {text}");
        }
    }
}
