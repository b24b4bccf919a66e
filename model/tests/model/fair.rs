//! Whether namespaces get their share: who has waited for room is not passed over for one who uses more.

use std::collections::{BTreeMap, BTreeSet};

use vk_cmd_crds::State;
use vk_operator_core::place::{Amounts, Demand, Sums};
use vk_operator_core::pods::is_open;
use vk_operator_core::{PodSeen, validate};

use crate::api::Key;
use crate::laws::{Holds, Law, holds};
use crate::objects::{node_of, owner};
use crate::world::World;

/// How it was when all were last at rest.
#[derive(Default)]
pub(crate) struct Fair {
    /// The pods that there were.
    pods: BTreeSet<String>,
    /// What each namespace used.
    parts: Sums,
    /// The jobs that waited for room.
    waited: BTreeMap<Key, Option<i64>>,
}

impl World {
    /// All have heard and done everything: whoever got room since the last time used no more by then than a namespace that has waited for
    /// the same room all the time.
    ///
    /// Parts are counted as the operator counts them: what is being used, as a part of all that there is.
    pub(crate) fn check_fair(&mut self) -> Holds {
        let now = self.now_fair();
        let before = std::mem::replace(&mut self.fair, now);
        let now = &self.fair;
        if now.waited.iter().all(|(key, generation)| before.waited.get(key) != Some(generation)) {
            return Ok(());
        }
        let nodes = self.nodes_as_meant();
        let mut whole = Amounts::default();
        nodes.values().for_each(|node| whole.add(&node.allocatable));
        let mut used = Sums::default();
        for pod in self.api.pods.values().filter(|pod| PodSeen::of(pod).is_none_or(|pod| is_open(&pod))) {
            node_of(pod).into_iter().for_each(|node| used.add(node, &Amounts::of_pod(pod)));
        }
        for pod in self.api.pods.values() {
            let uid = pod.metadata.uid.as_ref().unwrap();
            let (Some(_), Some(node)) = (owner(pod), node_of(pod)) else { continue };
            if before.pods.contains(uid) || !now.pods.contains(uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap();
            // What this namespace used without its new pods.
            let mut own = now.parts.of(namespace).clone();
            let new = self.api.pods.values().filter(|other| {
                other.metadata.namespace.as_deref() == Some(namespace)
                    && now.pods.contains(other.metadata.uid.as_ref().unwrap())
                    && !before.pods.contains(other.metadata.uid.as_ref().unwrap())
            });
            new.for_each(|other| own.take(&Amounts::of_pod(other)));
            for (key, generation) in now.waited.iter().filter(|(key, _)| key.0 != namespace) {
                if before.waited.get(key) != Some(generation) {
                    continue;
                }
                let job = &self.api.jobs[key];
                // A status that only tells of progress may be written a moment later.
                let mut pods = self.api.pods.values().filter(|other| owner(other) == job.metadata.uid);
                if pods.any(|other| now.pods.contains(other.metadata.uid.as_ref().unwrap())) {
                    continue;
                }
                let Ok(valid) = validate(job) else { continue };
                let demand = Demand::of(&valid);
                let Some(seen) = nodes.get(node).filter(|seen| demand.target.means(node, &seen.labels)) else {
                    continue;
                };
                // In place of the pod.
                let mut rest = used.of(node).clone();
                rest.take(&Amounts::of_pod(pod));
                let could = demand.fits(seen, &rest, self.api.now).is_ok();
                let theirs = now.parts.of(&key.0).part_of(&whole).max(before.parts.of(&key.0).part_of(&whole));
                holds(Law::Fair, !could || own.part_of(&whole) <= theirs, || {
                    let name = pod.metadata.name.as_deref().unwrap();
                    format!(
                        "{name} of {namespace} got room on {node}, for which {key:?} has waited, whose namespace uses less"
                    )
                })?;
            }
        }
        Ok(())
    }

    fn now_fair(&self) -> Fair {
        let mut fair = Fair::default();
        for (key, job) in &self.api.jobs {
            let Some(status) = &job.status else { continue };
            let is_current = status.observed_generation == job.metadata.generation;
            let waits = status.state == Some(State::Waiting) && status.reason.as_deref() == Some("NoRoom");
            if waits && is_current && status.nodes.is_empty() {
                fair.waited.insert(key.clone(), job.metadata.generation);
            }
        }
        if fair.waited.is_empty() {
            return fair;
        }
        for pod in self.api.pods.values().filter(|pod| owner(pod).is_some()) {
            if PodSeen::of(pod).is_some_and(|seen| is_open(&seen)) {
                fair.pods.insert(pod.metadata.uid.clone().unwrap());
                fair.parts.add(pod.metadata.namespace.as_deref().unwrap(), &Amounts::of_pod(pod));
            }
        }
        fair
    }

    /// From now on, as if nothing had been.
    pub(crate) fn begin_fair(&mut self) {
        self.fair = self.now_fair();
    }
}
