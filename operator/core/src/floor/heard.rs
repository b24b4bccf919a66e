//! What is heard of pods, nodes and fleets, and who is to be looked at because of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{Floor, Kept};
use crate::fleet::Fleets;
use crate::place::{Amounts, NodeSeen, Nodes, Sums};
use crate::pods::{Change, Owner, Pods, is_open};

impl Floor {
    /// A pod of a job as it is now. Names the jobs to look at: its own, and those for which there is room now.
    pub fn put_pod(&mut self, pod: &Pod, now: Timestamp) -> Vec<Owner> {
        match self.pods.put(pod) {
            Some(change) => self.changed(change, now),
            None => Vec::new(),
        }
    }

    /// A pod of a job that is gone. Names as [`Floor::put_pod`].
    pub fn remove_pod(&mut self, pod: &Pod, now: Timestamp) -> Vec<Owner> {
        match self.pods.remove(pod) {
            Some(change) => self.changed(change, now),
            None => Vec::new(),
        }
    }

    /// All pods of jobs, anew. All jobs are to be looked at.
    pub fn replace_pods(&mut self, pods: Pods) {
        self.pods = pods;
        let made = |job: &str, key: (u32, u32)| self.pods.has(job, key);
        for (job, kept) in &mut self.kept {
            kept.retain(|key, _| !made(job, *key));
        }
        self.kept.retain(|_, kept| !kept.is_empty());
        self.count_anew();
    }

    /// A pod on a vk-node that is not that of a job, as it is now; one that has ended is as one that is gone. Names the jobs
    /// for which there is room now.
    pub fn put_stranger(&mut self, pod: &Pod, now: Timestamp) -> Vec<Owner> {
        let (Some(uid), Some(node)) = (&pod.metadata.uid, pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()))
        else {
            return Vec::new();
        };
        let amounts = Amounts::of_pod(pod);
        self.used.add(node, &amounts);
        if let Some((node, amounts)) = self.strangers.insert(uid.clone(), (node.clone(), amounts)) {
            self.free_node(&node, &amounts);
        }
        self.give(now)
    }

    /// Such a pod that is gone.
    pub fn remove_stranger(&mut self, uid: &str, now: Timestamp) -> Vec<Owner> {
        if let Some((node, amounts)) = self.strangers.remove(uid) {
            self.free_node(&node, &amounts);
        }
        self.give(now)
    }

    /// All such pods, anew. Names the jobs for which there is room now.
    pub fn replace_strangers<'a>(&mut self, pods: impl IntoIterator<Item = &'a Pod>, now: Timestamp) -> Vec<Owner> {
        self.strangers.clear();
        self.count_anew();
        pods.into_iter().flat_map(|pod| self.put_stranger(pod, now)).collect()
    }

    /// A node as it is now; none: it is gone. Whether that is news, and the jobs for which there is room now.
    pub fn put_node(&mut self, name: &str, node: Option<NodeSeen>, now: Timestamp) -> (bool, Vec<Owner>) {
        let node = node.map(|mut node| {
            self.fleets.settle(&mut node);
            node
        });
        let before = match node {
            Some(node) if self.nodes.get(name) == Some(&node) => return (false, Vec::new()),
            Some(node) => self.nodes.insert(name.to_owned(), node),
            None => self.nodes.remove(name),
        };
        if let Some(before) = before {
            self.whole.take(&before.allocatable);
        }
        if let Some(now) = self.nodes.get(name) {
            self.whole.add(&now.allocatable);
        }
        self.stir(name);
        (true, self.give(now))
    }

    /// All nodes, anew. All jobs are to be looked at.
    pub fn replace_nodes(&mut self, nodes: Nodes) {
        self.nodes = nodes;
        self.nodes.values_mut().for_each(|node| self.fleets.settle(node));
        self.whole = Amounts::default();
        self.nodes.values().for_each(|node| self.whole.add(&node.allocatable));
        self.queue.stir_all();
    }

    /// All fleets, as they are now. Names the jobs for which there is room now, and, if there is news, all that wait: what they are
    /// told may be another.
    pub fn put_fleets(&mut self, fleets: Fleets, now: Timestamp) -> Vec<Owner> {
        if fleets == self.fleets {
            return Vec::new();
        }
        self.fleets = fleets;
        self.nodes.values_mut().for_each(|node| self.fleets.settle(node));
        self.queue.stir_all();
        let mut named = self.give(now);
        named.extend(self.queue.owners());
        named
    }

    /// What was heard of a pod of a job.
    fn changed(&mut self, change: Change, now: Timestamp) -> Vec<Owner> {
        let Change { owner, before, after } = change;
        if let Some(pod) = after.as_ref().filter(|pod| is_open(pod)) {
            self.parts.add(&owner.namespace, &pod.amounts);
            self.used.add(&pod.node, &pod.amounts);
        }
        if let Some(pod) = &after {
            // The room that was kept for it is taken now, by itself.
            let kept = self.kept.get_mut(&owner.uid).and_then(|kept| kept.remove(&(pod.index, pod.attempt)));
            if self.kept.get(&owner.uid).is_some_and(BTreeMap::is_empty) {
                self.kept.remove(&owner.uid);
            }
            if let Some(kept) = kept {
                self.free(&kept);
            }
        }
        if let Some(pod) = before.filter(|pod| is_open(pod)) {
            self.parts.take(&owner.namespace, &pod.amounts);
            self.free_node(&pod.node, &pod.amounts);
        }
        let mut named = self.give(now);
        named.push(owner);
        named
    }

    pub(super) fn count_anew(&mut self) {
        let (mut used, mut parts) = (Sums::default(), Sums::default());
        for (owner, pod) in self.pods.iter().filter(|(_, pod)| is_open(pod)) {
            parts.add(&owner.namespace, &pod.amounts);
            used.add(&pod.node, &pod.amounts);
        }
        for (node, amounts) in self.strangers.values() {
            used.add(node, amounts);
        }
        for Kept { node, demand } in self.kept.values().flat_map(BTreeMap::values) {
            parts.add(&demand.namespace, &demand.amounts);
            used.add(node, &demand.amounts);
        }
        (self.used, self.parts) = (used, parts);
        self.queue.stir_all();
    }
}
