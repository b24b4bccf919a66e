//! The pods of all jobs, as a watch tells of them, by job. Kept as [`PodSeen`], which is a fraction of a pod: there may be a
//! hundred thousand of them.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::labels;

use crate::seen::{Life, PodSeen};

/// The pods of one job, by index and attempt.
pub type PodsOfJob = BTreeMap<(u32, u32), PodSeen>;

/// The pods of all jobs.
#[derive(Debug, Default)]
pub struct Pods {
    /// By the job's UID.
    by_job: HashMap<String, (Owner, PodsOfJob)>,
    /// Pods that were made for a job and have been taken from it (`kubectl delete --cascade=orphan`), by UID.
    orphans: HashMap<String, (Owner, PodSeen)>,
}

/// How it is with one pod of a job, before and after something was heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Whose it is.
    pub owner: Owner,
    /// Before; none: it was not known.
    pub before: Option<PodSeen>,
    /// After; none: it is gone, or the job's no longer.
    pub after: Option<PodSeen>,
}

/// The job that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        let before = pods.insert(key, seen.clone());
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

    fn take(&mut self, job: &str, pod: &PodSeen) -> Option<PodSeen> {
        let (_, pods) = self.by_job.get_mut(job)?;
        // Another pod may have its name already.
        let is_it = pods.get(&(pod.index, pod.attempt)).is_some_and(|known| known.uid == pod.uid);
        let known = is_it.then(|| pods.remove(&(pod.index, pod.attempt))).flatten();
        if pods.is_empty() {
            self.by_job.remove(job);
        }
        known
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
        self.by_job.values().flat_map(|(owner, pods)| pods.values().map(move |pod| (owner, pod)))
    }

    /// The UIDs of the jobs that have pods which are open on a node.
    pub fn jobs_on(&self, node: &str) -> Vec<String> {
        let has = |pods: &PodsOfJob| pods.values().any(|pod| pod.node == node && is_open(pod));
        self.by_job.iter().filter(|(_, (_, pods))| has(pods)).map(|(uid, _)| uid.clone()).collect()
    }

    /// The pods that are to go and are held, of jobs that are not `known`: nobody is left who would count them.
    pub fn strays(&self, known: impl Fn(&Owner) -> bool) -> Vec<(Owner, PodSeen)> {
        let unknown = self.by_job.values().filter(|(owner, _)| !known(owner));
        let pods = unknown.flat_map(|(owner, pods)| pods.values().map(move |pod| (owner, pod)));
        let orphans = self.orphans.values().map(|(owner, pod)| (owner, pod)).filter(|(owner, _)| !known(owner));
        let all = pods.chain(orphans);
        all.filter(|(_, pod)| pod.deleting && pod.held).map(|(owner, pod)| (owner.clone(), pod.clone())).collect()
    }
}

/// Whether it takes up room on its node.
pub fn is_open(pod: &PodSeen) -> bool {
    !matches!(pod.life, Life::Ended(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(version: u32, phase: &str) -> Pod {
        let yaml = format!(
            "{{metadata: {{name: p, namespace: n, uid: u, resourceVersion: '{version}', labels: {{vk-cmd.io/index: '0', \
             vk-cmd.io/attempt: '0'}}, ownerReferences: [{{apiVersion: v, kind: CmdJob, name: j, uid: j, controller: true}}]}}, \
             status: {{phase: {phase}}}}}"
        );
        serde_yaml_ng::from_str(&yaml).unwrap()
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
}
