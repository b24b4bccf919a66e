//! What is kept in memory about each pod between two looks. All of it can be lost: it saves work and writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use vk_node_core::admit::{AdmittedContainer, AdmittedPod, Refusal, admit};
use vk_node_core::facts::{HookFacts, NodeFacts, Trouble};

/// The memory, by pod UID. In boxes: up to half of a table is empty places.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<String, Box<Remembered>>>);

/// What is kept about one pod.
#[derive(Clone)]
pub(super) struct Remembered {
    /// What admission said of it, for the generation it had then.
    pub(super) admitted: Result<AdmittedPod, Refusal>,
    /// Why containers could not be started, by their names.
    pub(super) troubles: BTreeMap<String, Trouble>,
    /// How the hooks of containers have gone, by their names.
    pub(super) hooks: BTreeMap<String, HookFacts>,
    /// The runs with which the back-off of containers began anew, by their names.
    pub(super) back_off_from: BTreeMap<String, u32>,
    /// Why it is to be evicted, if it is.
    pub(super) evicted: Option<String>,
    /// When it was first decided to end the pod, if it was.
    pub(super) stopping_since: Option<Timestamp>,
    /// The pod as our last write left it: newer than the watch's for a moment.
    latest: Option<Box<Pod>>,
    /// How many rounds have failed since one went well.
    pub(super) failures: u32,
    /// When it was first seen.
    pub(super) seen: Instant,
    /// How often it was looked at.
    pub(super) looks: u64,
}

impl Remembered {
    /// A container of the pod, by its place in it.
    pub(super) fn container(&self, index: usize) -> Option<&AdmittedContainer> {
        self.admitted.as_ref().ok()?.containers.get(index)
    }
}

impl Memory {
    /// What is kept about `pod`, which `node` as it is now is to run if it is new or changed, and the newer of `pod` and what our last write left.
    pub(super) fn recall(&self, pod: &Pod, node: impl Fn() -> NodeFacts) -> (Remembered, Pod) {
        let mut all = self.lock();
        let entry = all.entry(pod.uid().unwrap_or_default()).or_insert_with(|| {
            Box::new(Remembered {
                admitted: admit(pod, &node()),
                troubles: BTreeMap::new(),
                hooks: BTreeMap::new(),
                back_off_from: BTreeMap::new(),
                evicted: None,
                stopping_since: None,
                latest: None,
                failures: 0,
                seen: Instant::now(),
                looks: 0,
            })
        });
        entry.looks += 1;
        // A refusal stands; the rest follows the pod.
        if let Ok(admitted) = &entry.admitted
            && admitted.generation != pod.metadata.generation
        {
            entry.admitted = admit(pod, &node());
        }
        let newest = match entry.latest.take() {
            Some(latest) if version(&latest) > version(pod) => {
                entry.latest = Some(latest.clone());
                *latest
            }
            _ => pod.clone(),
        };
        (Remembered::clone(entry), newest)
    }

    /// Changes what is kept about the pod with this UID, if anything is.
    pub(super) fn change(&self, uid: &str, change: impl FnOnce(&mut Remembered)) {
        if let Some(entry) = self.lock().get_mut(uid) {
            change(entry);
        }
    }

    /// Keeps what a write to the pod returned.
    pub(super) fn wrote(&self, pod: Pod) {
        self.change(&pod.uid().unwrap_or_default(), |entry| entry.latest = Some(Box::new(pod)));
    }

    /// The pods of which `wanted` is so, by their UIDs.
    pub(super) fn find<T>(&self, wanted: impl Fn(&Remembered) -> Option<T>) -> Vec<(String, T)> {
        self.lock().iter().filter_map(|(uid, entry)| Some((uid.clone(), wanted(entry)?))).collect()
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// A panic of another holder leaves the map whole: every change to it is one assignment.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Box<Remembered>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one resource may be compared as numbers, since Kubernetes 1.35 officially (KEP-5504).
fn version(pod: &Pod) -> u64 {
    pod.resource_version().and_then(|v| v.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
mod tests {
    use super::*;
    use crate::pods::kept::tests::running;

    #[test]
    fn what_is_remembered_of_a_pod_that_runs_takes_less_than_5_kib() {
        let pod: Pod = serde_json::from_value(running()).unwrap();
        let memory = Memory::default();
        // The table's own first places are no pod's.
        memory.lock().reserve(1);
        let bytes = allocation_counter::measure(|| drop(memory.recall(&pod, NodeFacts::default))).bytes_current;
        let entry = memory.lock();
        let entry = entry.values().next().unwrap();
        assert!(entry.admitted.is_ok(), "{:?}", entry.admitted.as_ref().err());
        assert!(bytes < 5 * 1024, "{bytes} bytes");
    }
}
