//! The pods of all jobs, as a watch tells of them, by job. Kept as [`PodSeen`], which is a fraction of a pod: there may be a
//! hundred thousand of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::labels;

use crate::place::Amounts;
use crate::seen::{Life, PodSeen};
use crate::shared::Shared;
use crate::work;

/// The pods of one job, by index and attempt.
pub type PodsOfJob = BTreeMap<(u32, u32), Arc<PodSeen>>;

/// The pods of all jobs.
#[derive(Debug, Default)]
pub struct Pods {
    /// By the job's UID.
    by_job: HashMap<String, (Owner, PodsOfJob)>,
    /// How many open pods each job has on each node, by the node's name and the job's UID.
    open_on: HashMap<Arc<str>, HashMap<String, usize>>,
    /// The pods of jobs that are to go and are held, by UID: whose they are.
    leaving: HashMap<String, (Owner, Arc<PodSeen>)>,
    nodes: Shared<str>,
    amounts: Shared<Amounts>,
    conditions: Shared<[(String, String)]>,
    /// Pods that were made for a job and have been taken from it (`kubectl delete --cascade=orphan`), by UID.
    orphans: HashMap<String, (Owner, PodSeen)>,
}

/// How it is with one pod of a job, before and after something was heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Whose it is.
    pub owner: Owner,
    /// Before; none: it was not known.
    pub before: Option<Arc<PodSeen>>,
    /// After; none: it is gone, or the job's no longer.
    pub after: Option<Arc<PodSeen>>,
}

/// The job that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// Of a pod that belongs to a CmdJob.
    pub fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == labels::KIND)?;
        let namespace = pod.metadata.namespace.clone()?;
        Some(Self { namespace, name: owner.name.clone(), uid: owner.uid.clone() })
    }

    /// Of a pod that was made for a CmdJob and says so no longer but in its labels.
    fn former(pod: &Pod) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref()?;
        let (name, uid) = (labels.get(labels::JOB)?.clone(), labels.get(labels::JOB_UID)?.clone());
        Some(Self { namespace: pod.metadata.namespace.clone()?, name, uid })
    }
}

impl Pods {
    /// A pod as it is now, or was a moment ago: what is older than what is known is no news. (The answer to its creation may come
    /// after the watch has told that it runs.) None, if it is not that of a job, or no news.
    pub fn put(&mut self, pod: &Pod) -> Option<Change> {
        let seen = PodSeen::of(pod)?;
        let Some(owner) = Owner::of(pod) else {
            let former = Owner::former(pod)?;
            let before = self.take(&former.uid, &seen);
            self.orphans.insert(seen.uid.clone(), (former.clone(), seen));
            return Some(Change { owner: former, before, after: None });
        };
        let (_, pods) = self.by_job.entry(owner.uid.clone()).or_insert_with(|| (owner.clone(), PodsOfJob::new()));
        let key = (seen.index, seen.attempt);
        if pods.get(&key).is_some_and(|known| known.uid == seen.uid && known.version > seen.version) {
            return None;
        }
        let seen = Arc::new(PodSeen {
            node: self.nodes.one(&seen.node),
            amounts: self.amounts.one(&seen.amounts),
            conditions: self.conditions.one(&seen.conditions),
            ..seen
        });
        let before = pods.insert(key, Arc::clone(&seen));
        if let Some(before) = &before {
            self.unnote(&owner.uid, before);
        }
        self.note(&owner, &seen);
        Some(Change { owner, before, after: Some(seen) })
    }

    /// A pod that is gone. None, if it was not that of a job.
    pub fn remove(&mut self, pod: &Pod) -> Option<Change> {
        let gone = PodSeen::of(pod)?;
        self.orphans.remove(&gone.uid);
        let owner = Owner::of(pod).or_else(|| Owner::former(pod))?;
        let before = self.take(&owner.uid, &gone);
        Some(Change { owner, before, after: None })
    }

    fn take(&mut self, job: &str, pod: &PodSeen) -> Option<Arc<PodSeen>> {
        let (_, pods) = self.by_job.get_mut(job)?;
        // Another pod may have its name already.
        let is_it = pods.get(&(pod.index, pod.attempt)).is_some_and(|known| known.uid == pod.uid);
        let known = is_it.then(|| pods.remove(&(pod.index, pod.attempt))).flatten();
        if pods.is_empty() {
            self.by_job.remove(job);
        }
        if let Some(known) = &known {
            self.unnote(job, known);
        }
        known
    }

    /// A pod is there, as this.
    fn note(&mut self, owner: &Owner, pod: &Arc<PodSeen>) {
        if is_open(pod) {
            let jobs = self.open_on.entry(Arc::clone(&pod.node)).or_default();
            let count = jobs.entry(owner.uid.clone()).or_default();
            *count = count.saturating_add(1);
        }
        if pod.deleting && pod.held {
            self.leaving.insert(pod.uid.clone(), (owner.clone(), Arc::clone(pod)));
        }
    }

    /// A pod is not there any more, or not as this.
    fn unnote(&mut self, job: &str, pod: &PodSeen) {
        if is_open(pod)
            && let Some(jobs) = self.open_on.get_mut(&pod.node)
            && let Some(count) = jobs.get_mut(job)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                jobs.remove(job);
            }
            if jobs.is_empty() {
                self.open_on.remove(&pod.node);
            }
        }
        self.leaving.remove(&pod.uid);
    }

    /// The pods of the job with this UID.
    pub fn of_job(&self, uid: &str) -> PodsOfJob {
        self.by_job.get(uid).map(|(_, pods)| pods.clone()).unwrap_or_default()
    }

    /// Whether a job has the pod of this index and attempt.
    pub fn has(&self, job: &str, key: (u32, u32)) -> bool {
        self.by_job.get(job).is_some_and(|(_, pods)| pods.contains_key(&key))
    }

    /// All of them, with whose they are.
    pub fn iter(&self) -> impl Iterator<Item = (&Owner, &PodSeen)> {
        let all = self.by_job.values().flat_map(|(owner, pods)| pods.values().map(move |pod| (owner, &**pod)));
        all.inspect(|_| work::done())
    }

    /// The jobs that have pods which are open on a node.
    pub fn jobs_on(&self, node: &str) -> Vec<Owner> {
        let jobs = self.open_on.get(node).into_iter().flat_map(HashMap::keys).inspect(|_| work::done());
        jobs.filter_map(|uid| self.by_job.get(uid)).map(|(owner, _)| owner.clone()).collect()
    }

    /// The pods that are held though nobody is left who would count them, of jobs that are not `known`: those that are to go, and
    /// those that were left to themselves.
    pub fn strays(&self, known: impl Fn(&Owner) -> bool) -> Vec<(Owner, PodSeen)> {
        let pods = self.leaving.values().map(|(owner, pod)| (owner, &**pod));
        let orphans = self.orphans.values().map(|(owner, pod)| (owner, pod)).filter(|(_, pod)| pod.held);
        let all = pods.chain(orphans).inspect(|_| work::done());
        all.filter(|(owner, _)| !known(owner)).map(|(owner, pod)| (owner.clone(), pod.clone())).collect()
    }
}

/// Whether it takes up room on its node.
pub fn is_open(pod: &PodSeen) -> bool {
    !matches!(pod.life, Life::Ended(_))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn pod_of(job: &str, uid: &str, version: usize, node: &str, phase: &str, leaving: bool) -> Pod {
        let leaving =
            if leaving { ", deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [vk-cmd.io/count]" } else { "" };
        let leaving = leaving.replace("vk-cmd.io/count", labels::FINALIZER);
        let yaml = format!(
            "{{metadata: {{name: p, namespace: n, uid: {uid}, resourceVersion: '{version}', labels: {{vk-cmd.io/index: '0', \
             vk-cmd.io/attempt: '0'}}, ownerReferences: [{{apiVersion: v, kind: CmdJob, name: {job}, uid: {job}, controller: \
             true}}]{leaving}}}, spec: {{nodeName: {node}, containers: []}}, status: {{phase: {phase}}}}}"
        );
        serde_yaml_ng::from_str(&yaml).unwrap()
    }

    fn pod(version: usize, phase: &str) -> Pod {
        pod_of("j", "u", version, "vk-1", phase, false)
    }

    #[test]
    fn the_answer_to_a_creation_that_comes_late_is_no_news() {
        let mut pods = Pods::default();
        assert!(pods.put(&pod(7, "Running")).is_some());
        assert_eq!(pods.put(&pod(5, "Pending")), None);
        assert!(matches!(pods.of_job("j")[&(0, 0)].life, Life::Running(_)));
        assert!(pods.put(&pod(8, "Succeeded")).is_some());
        assert!(matches!(pods.of_job("j")[&(0, 0)].life, Life::Ended(_)));
    }

    proptest! {
        #[test]
        fn what_is_looked_up_is_what_a_walk_over_all_would_find(
            changes in prop::collection::vec(
                (0..3_usize, 0..2_usize, 0..2_usize, prop::sample::select(vec!["Pending", "Running", "Failed"]), any::<bool>(),
                 prop::bool::weighted(0.3)),
                1..40,
            ),
        ) {
            let mut pods = Pods::default();
            for (version, (job, uid, node, phase, leaving, is_gone)) in changes.into_iter().enumerate() {
                let (job, node) = (["a", "b", "c"][job], ["vk-1", "vk-2"][node]);
                // Another pod may come in the place of one that was not heard to be gone.
                let pod = pod_of(job, &format!("{job}-{uid}"), version, node, phase, leaving);
                if is_gone { drop(pods.remove(&pod)) } else { drop(pods.put(&pod)) }
                for node in ["vk-1", "vk-2"] {
                    let on: BTreeSet<String> = pods.jobs_on(node).into_iter().map(|owner| owner.uid).collect();
                    let all = pods.iter().filter(|(_, pod)| &*pod.node == node && is_open(pod));
                    prop_assert_eq!(on, all.map(|(owner, _)| owner.uid.clone()).collect::<BTreeSet<_>>());
                }
                let strays: HashSet<String> = pods.strays(|_| false).into_iter().map(|(_, pod)| pod.uid).collect();
                let all = pods.iter().filter(|(_, pod)| pod.deleting && pod.held).map(|(_, pod)| pod.uid.clone());
                prop_assert_eq!(strays, all.collect::<HashSet<_>>());
            }
        }
    }

    #[test]
    fn a_pods_news_costs_the_same_however_many_there_are() {
        let with = |others: usize| {
            let mut pods = Pods::default();
            for n in 0..others {
                pods.put(&pod_of(&format!("other-{n}"), &format!("u-{n}"), n, "vk-2", "Running", false));
            }
            let (_, work) = work::count(|| {
                pods.put(&pod(1, "Running"));
                assert_eq!(pods.jobs_on("vk-1").len(), 1);
                pods.put(&pod_of("j", "u", 2, "vk-1", "Succeeded", true));
                assert_eq!((pods.jobs_on("vk-1").len(), pods.strays(|_| false).len()), (0, 1));
                pods.remove(&pod(3, "Succeeded"));
            });
            work
        };
        assert_eq!(with(100), with(10_000));
    }

    /// As the Job controller does it: nobody is to be needed for its deletion.
    #[test]
    fn a_pod_that_was_left_to_itself_is_held_no_longer_than_its_job_is_there() {
        let mut left = pod(7, "Running");
        left.metadata.finalizers = Some(vec![labels::FINALIZER.to_owned()]);
        let mut pods = Pods::default();
        pods.put(&left);
        // Its job is gone, but the garbage collector has yet to decide about it.
        assert!(pods.strays(|_| false).is_empty());
        left.metadata.owner_references = None;
        let named = [(labels::JOB, "j"), (labels::JOB_UID, "j")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        left.metadata.labels.as_mut().unwrap().extend(named);
        pods.put(&left);
        assert!(pods.strays(|_| true).is_empty());
        assert_eq!(pods.strays(|_| false).len(), 1);
    }
}
