//! The pods of all jobs, as a watch tells of them: by job, and how many are open on each node. Kept as [`PodSeen`], which is a
//! fraction of a pod: there may be a hundred thousand of them.

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
    open_on: BTreeMap<String, u32>,
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
    /// A pod as it is now. Says whose it is.
    pub fn put(&mut self, pod: &Pod) -> Option<Owner> {
        let seen = PodSeen::of(pod)?;
        let Some(owner) = Owner::of(pod) else {
            let former = Owner::former(pod)?;
            self.take(&former.uid, &seen);
            self.orphans.insert(seen.uid.clone(), (former.clone(), seen));
            return Some(former);
        };
        if is_open(&seen) {
            self.weigh(&seen.node, 1);
        }
        let key = (seen.index, seen.attempt);
        let (_, pods) = self.by_job.entry(owner.uid.clone()).or_insert_with(|| (owner.clone(), PodsOfJob::new()));
        if let Some(before) = pods.insert(key, seen)
            && is_open(&before)
        {
            self.weigh(&before.node, -1);
        }
        Some(owner)
    }

    /// A pod that is gone. Says whose it was.
    pub fn remove(&mut self, pod: &Pod) -> Option<Owner> {
        let gone = PodSeen::of(pod)?;
        self.orphans.remove(&gone.uid);
        let owner = Owner::of(pod).or_else(|| Owner::former(pod))?;
        self.take(&owner.uid, &gone);
        Some(owner)
    }

    fn take(&mut self, job: &str, pod: &PodSeen) {
        let Some((_, pods)) = self.by_job.get_mut(job) else { return };
        // Another pod may have its name already.
        if pods.get(&(pod.index, pod.attempt)).is_none_or(|known| known.uid != pod.uid) {
            return;
        }
        let known = pods.remove(&(pod.index, pod.attempt));
        if pods.is_empty() {
            self.by_job.remove(job);
        }
        if let Some(known) = known.filter(is_open) {
            self.weigh(&known.node, -1);
        }
    }

    /// The pods of the job with this UID.
    pub fn of_job(&self, uid: &str) -> PodsOfJob {
        self.by_job.get(uid).map(|(_, pods)| pods.clone()).unwrap_or_default()
    }

    /// How many pods of jobs are open on each node.
    pub fn load(&self) -> &BTreeMap<String, u32> {
        &self.open_on
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

    fn weigh(&mut self, node: &str, change: i32) {
        let count = self.open_on.entry(node.to_owned()).or_default();
        *count = count.saturating_add_signed(change);
        if *count == 0 {
            self.open_on.remove(node);
        }
    }
}

fn is_open(pod: &PodSeen) -> bool {
    !matches!(pod.life, Life::Ended(_))
}
