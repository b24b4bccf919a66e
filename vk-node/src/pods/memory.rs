//! What is kept in memory about each pod between two looks. All of it can be lost: it saves work and writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use vk_cmd_crds::amounts::Amounts;
use vk_node_core::admit::{AdmittedContainer, AdmittedPod, Refusal, admit};
use vk_node_core::ending::EndFacts;
use vk_node_core::facts::{HookFacts, NodeFacts, Trouble};
use vk_node_core::meant;
use vk_node_core::room::{Arrival, Room};
use vk_task::{TaskId, TaskView};

use super::{KeptPod, Rejections, Unreadable};

/// The memory.
#[derive(Default)]
pub(super) struct Memory {
    all: Mutex<All>,
    rejections: Rejections,
}

#[derive(Default)]
struct All {
    /// By pod UID. In boxes: up to half of a table is empty places.
    pods: HashMap<String, Box<Remembered>>,
    /// What of the node is in use by them.
    room: Room,
}

/// What is asked of the others when a pod is seen for the first time.
pub(super) struct Door<'a> {
    /// The node's pods, of the API server.
    pub(super) pods: &'a dyn Fn() -> Vec<Arc<KeptPod>>,
    /// The tasks that the pipe has for the pod of a UID.
    pub(super) tasks: &'a dyn Fn(&str) -> Vec<TaskView>,
    /// The node as it is now.
    pub(super) node: &'a dyn Fn() -> NodeFacts,
    /// The end of the node, if one is known.
    pub(super) end: &'a dyn Fn() -> Option<EndFacts>,
    /// The time.
    pub(super) now: &'a dyn Fn() -> Timestamp,
    /// Whether the pod that is looked at is meant for the node.
    pub(super) is_meant: bool,
}

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
    /// The tasks that were warned of the node's end, and of which.
    pub(super) warned: BTreeMap<TaskId, Duration>,
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

impl Remembered {
    fn new(admitted: Result<AdmittedPod, Refusal>) -> Self {
        Self {
            admitted,
            troubles: BTreeMap::new(),
            hooks: BTreeMap::new(),
            back_off_from: BTreeMap::new(),
            evicted: None,
            warned: BTreeMap::new(),
            stopping_since: None,
            latest: None,
            failures: 0,
            seen: Instant::now(),
            looks: 0,
        }
    }
}

impl Memory {
    /// What is kept about `pod`, and the newer of `pod` and what our last write left. If it is new, it and all others that are
    /// new are let in, or not. None: it is not among the node's pods any more.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn recall(&self, pod: &Pod, door: &Door<'_>) -> Result<Option<(Remembered, Pod)>, Unreadable> {
        let mut all = self.lock();
        let uid = pod.uid().unwrap_or_default();
        if !all.pods.contains_key(&uid) {
            all.take_in(&uid, door, &self.rejections)?;
        }
        let All { pods, room } = &mut *all;
        let Some(entry) = pods.get_mut(&uid) else { return Ok(None) };
        entry.looks += 1;
        // A refusal stands; the rest follows the pod.
        if let Ok(admitted) = &entry.admitted
            && admitted.generation != pod.metadata.generation
        {
            entry.admitted = admit(pod, &(door.node)()).map_err(Refusal::from);
        }
        // Another size is taken when a container is run anew, at the latest.
        if pod.metadata.generation > Some(1) && room.is_held_by(&uid) {
            room.hold(&uid, Amounts::of_pod(pod));
        }
        let newest = match entry.latest.take() {
            Some(latest) if version(&latest) > version(pod) => {
                entry.latest = Some(latest.clone());
                *latest
            }
            _ => pod.clone(),
        };
        Ok(Some((Remembered::clone(entry), newest)))
    }

    /// Whether it is to be asked what labels the node has before this pod is [recalled](Self::recall).
    pub(super) fn is_in_doubt(&self, pod: &Pod, node: &NodeFacts) -> bool {
        !is_plainly_meant(pod, node) && !self.lock().pods.contains_key(&pod.uid().unwrap_or_default())
    }

    /// How many pods have been refused.
    pub(super) fn rejections(&self) -> Rejections {
        self.rejections.clone()
    }

    /// The pod with this UID is over, and others can have its room.
    pub(super) fn free_room_of(&self, uid: &str) {
        self.lock().room.free(uid);
    }

    /// The UIDs of those that something is kept about and that are not `there`.
    pub(super) fn others_than(&self, there: &HashSet<String>) -> Vec<String> {
        self.lock().pods.keys().filter(|uid| !there.contains(*uid)).cloned().collect()
    }

    /// Changes what is kept about the pod with this UID, if anything is.
    pub(super) fn change(&self, uid: &str, change: impl FnOnce(&mut Remembered)) {
        if let Some(entry) = self.lock().pods.get_mut(uid) {
            change(entry);
        }
    }

    /// Whether a pod is over, by the newer of what the watch and our last write have told.
    pub(super) fn is_over(&self, pod: &Pod) -> bool {
        let is_over = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let all = self.lock();
        let entry = all.pods.get(pod.metadata.uid.as_deref().unwrap_or_default());
        is_over(pod) || entry.and_then(|entry| entry.latest.as_deref()).is_some_and(is_over)
    }

    /// Keeps what a write to the pod returned.
    pub(super) fn wrote(&self, pod: Pod) {
        self.change(&pod.uid().unwrap_or_default(), |entry| entry.latest = Some(Box::new(pod)));
    }

    /// The pods of which `wanted` is so, by their UIDs.
    pub(super) fn find<T>(&self, wanted: impl Fn(&Remembered) -> Option<T>) -> Vec<(String, T)> {
        self.lock().pods.iter().filter_map(|(uid, entry)| Some((uid.clone(), wanted(entry)?))).collect()
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&self, uid: &str) {
        let mut all = self.lock();
        all.pods.remove(uid);
        all.room.free(uid);
    }

    /// A panic of another holder leaves the maps whole: nothing that could panic stands between changes that belong together.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Lets in the pod of this UID and all others that are new, as far as they can be run and there is room for them. Those of
    /// which it is to be asked first whether they are meant are left for their own look.
    fn take_in(&mut self, looked: &str, door: &Door<'_>, rejections: &Rejections) -> Result<(), Unreadable> {
        let is_new = |pod: &Arc<KeptPod>| {
            let uid = pod.meta().uid.as_deref().unwrap_or_default();
            !self.pods.contains_key(uid)
        };
        let new =
            (door.pods)().iter().filter(|pod| is_new(pod)).map(|pod| pod.read()).collect::<Result<Vec<_>, _>>()?;
        let node = (door.node)();
        let tasks: Vec<_> = new.iter().map(|pod| (door.tasks)(&pod.uid().unwrap_or_default())).collect();
        let is_looked = |pod: &Pod| pod.metadata.uid.as_deref() == Some(looked);
        let arrivals = new.iter().zip(&tasks).map(|(pod, tasks)| {
            let is_meant = door.is_meant || !is_looked(pod);
            Arrival { pod, tasks, is_meant }
        });
        let is_decided = |arrival: &Arrival<'_>| {
            is_looked(arrival.pod) || is_plainly_meant(arrival.pod, &node) || !arrival.is_at_the_door()
        };
        let (end, now) = ((door.end)(), (door.now)());
        // Only what is new is asked whether there is time for it.
        let has_time = |arrival: &Arrival<'_>, pod: &AdmittedPod| match &end {
            Some(end) if arrival.is_at_the_door() => end.takes(pod.deadline_seconds, pod.grace, now),
            Some(_) | None => Ok(()),
        };
        let looked = arrivals.filter(is_decided).map(|arrival| {
            let admitted = admit(arrival.pod, &node).map_err(Refusal::from);
            let admitted = admitted.and_then(|pod| Ok(has_time(&arrival, &pod).map(|()| pod)?));
            (arrival, admitted)
        });
        // What cannot be run here takes nothing, unless another version of this node has started something of it.
        let (to_let_in, refused): (Vec<_>, Vec<_>) =
            looked.partition(|(arrival, admitted)| admitted.is_ok() || !arrival.tasks.is_empty());
        let arrivals: Vec<Arrival<'_>> = to_let_in.iter().map(|(arrival, _)| *arrival).collect();
        let answers = self.room.take_in(&arrivals, &Amounts::read(&node.allocatable));
        let answered = to_let_in
            .into_iter()
            .zip(answers)
            .map(|((arrival, admitted), answer)| (arrival, admitted.and_then(|admitted| answer.map(|()| admitted))));
        for (arrival, admitted) in answered.chain(refused) {
            // One that has failed was counted when it did.
            let phase = arrival.pod.status.as_ref().and_then(|status| status.phase.as_deref());
            if let Err(refusal) = &admitted
                && phase != Some("Failed")
            {
                rejections.count(refusal);
            }
            self.pods.insert(arrival.pod.uid().unwrap_or_default(), Box::new(Remembered::new(admitted)));
        }
        Ok(())
    }
}

/// Whether a pod is meant for the node whatever others have labelled that with.
fn is_plainly_meant(pod: &Pod, node: &NodeFacts) -> bool {
    pod.spec.as_ref().is_none_or(|spec| meant::is_plainly_meant(spec, &node.labels))
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
        memory.lock().pods.reserve(1);
        let kept = Arc::new(KeptPod::try_from(pod.clone()).unwrap());
        let door = Door {
            pods: &|| vec![kept.clone()],
            tasks: &|_| Vec::new(),
            node: &NodeFacts::default,
            end: &|| None,
            now: &Timestamp::now,
            is_meant: true,
        };
        let bytes = allocation_counter::measure(|| drop(memory.recall(&pod, &door))).bytes_current;
        let all = memory.lock();
        let entry = all.pods.values().next().unwrap();
        assert!(entry.admitted.is_ok(), "{:?}", entry.admitted.as_ref().err());
        assert!(bytes < 5 * 1024, "{bytes} bytes");
    }
}
