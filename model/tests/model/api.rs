//! The API server: objects with resource versions, finalizers and deletion timestamps, a log of what has changed for those who
//! watch, and who else acts on them (the garbage collectors of Kubernetes). Every call of the operator or of a node may be
//! where it is killed, or where its reply is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, from_value, to_value};
use vk_cmd_crds::{CmdFleet, CmdJob, CmdJobStatus, labels};
use vk_operator_core::effects::{At, Refusal};

use crate::objects::{agrees, is_restricted, key, key_of, list, owner, phase};
use crate::script::{Fault, Taken};

/// A namespace and a name.
pub(crate) type Key = (String, String);

/// Why a look went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Killed,
    ReplyLost,
    /// The API server says no.
    No(Refusal),
}

/// What those who watch are told.
#[allow(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Clone)]
pub(crate) enum Change {
    Job(Arc<CmdJob>),
    JobGone(Arc<CmdJob>),
    Pod(Arc<Pod>),
    PodGone(Arc<Pod>),
    Node(String, Option<Arc<Node>>),
    Fleet(Arc<CmdFleet>),
}

/// The API server and the clock.
pub(crate) struct Api {
    pub(crate) now: Timestamp,
    pub(crate) jobs: BTreeMap<Key, Arc<CmdJob>>,
    pub(crate) pods: BTreeMap<Key, Arc<Pod>>,
    pub(crate) nodes: BTreeMap<String, Arc<Node>>,
    pub(crate) fleets: BTreeMap<String, Arc<CmdFleet>>,
    /// CmdJobs that do not fit their type.
    pub(crate) unreadable: BTreeSet<Key>,
    /// Why no pods are taken in a namespace: [`Refusal::PodSecurity`]: none but those of the standard `restricted`.
    pub(crate) closed: BTreeMap<String, Refusal>,
    /// Everything that has happened to objects, in order.
    pub(crate) log: Vec<Change>,
    pub(crate) version: u64,
    /// Changes of objects so far.
    pub(crate) writes: u32,
    /// Of these, the changes of the status of each CmdJob, by UID.
    pub(crate) told: BTreeMap<String, u32>,
    /// The pods that were ever made for CmdJobs: names, and the UIDs of their jobs.
    pub(crate) made: Vec<(String, String)>,
    /// How many CmdJobs were ever made.
    pub(crate) jobs_made: usize,
    /// Nodes with pods whose pilot an operator has cancelled.
    pub(crate) cancelled_busy: Vec<String>,
    /// What was done, for people; none: nobody reads it.
    pub(crate) history: Option<Vec<String>>,
    pub(crate) fault: Fault,
}

impl Api {
    pub(crate) fn new(is_read: bool) -> Self {
        Self {
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            jobs: BTreeMap::new(),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            fleets: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            closed: BTreeMap::new(),
            log: Vec::new(),
            version: 1,
            writes: 0,
            told: BTreeMap::new(),
            made: Vec::new(),
            jobs_made: 0,
            cancelled_busy: Vec::new(),
            history: is_read.then(Vec::new),
            fault: Fault::None,
        }
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(what());
        }
    }

    /// An effect of whoever looks now: it may be killed before, or not hear of it. Who is killed does nothing more.
    pub(crate) fn effect<T>(
        &mut self,
        what: impl Fn() -> String,
        act: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if self.fault == Fault::Crash(0) {
            self.say(|| format!("    KILLED before: {}", what()));
            return Err(Stop::Killed);
        }
        let is_lost = self.fault == Fault::Lost(0);
        self.fault = match self.fault {
            Fault::Crash(n) => Fault::Crash(n.saturating_sub(1)),
            Fault::Lost(0) | Fault::None => Fault::None,
            Fault::Lost(n) => Fault::Lost(n - 1),
        };
        let done = act(self);
        self.say(|| match &done {
            _ if is_lost => format!("    {}: done, but the REPLY IS LOST", what()),
            Ok(_) => format!("    {}", what()),
            Err(no) => format!("    {}: {no:?}", what()),
        });
        if is_lost { Err(Stop::ReplyLost) } else { done }
    }

    pub(crate) fn next(&mut self) -> String {
        self.version += 1;
        self.writes += 1;
        self.version.to_string()
    }

    pub(crate) fn job(&self, at: At<'_>) -> Option<&Arc<CmdJob>> {
        self.jobs.get(&key(at))
    }

    pub(crate) fn pod(&self, at: At<'_>) -> Option<&Arc<Pod>> {
        self.pods.get(&key(at))
    }

    /// An operator makes a CmdJob.
    pub(crate) fn make_job(&mut self, job: CmdJob) -> Result<(), Stop> {
        if self.jobs.contains_key(&key_of(&job.metadata)) {
            return Err(Stop::No(Refusal::AlreadyExists));
        }
        self.create_job(job);
        Ok(())
    }

    /// Somebody makes a CmdJob.
    pub(crate) fn create_job(&mut self, mut job: CmdJob) {
        job.metadata.uid = Some(uid_of(self.jobs_made));
        job.metadata.generation = Some(1);
        self.jobs_made += 1;
        job.metadata.resource_version = Some(self.next());
        job.metadata.creation_timestamp = Some(Time(self.now));
        let job = Arc::new(job);
        self.jobs.insert(key_of(&job.metadata), Arc::clone(&job));
        self.log.push(Change::Job(job));
    }

    /// Changes a CmdJob, if there is anything to change.
    fn change_job(&mut self, key: &Key, change: impl FnOnce(&mut CmdJob)) -> Option<Arc<CmdJob>> {
        let before = self.jobs.get(key)?;
        let mut job = CmdJob::clone(before);
        change(&mut job);
        if job == **before {
            return Some(Arc::clone(before));
        }
        job.metadata.resource_version = Some(self.next());
        let job = Arc::new(job);
        self.jobs.insert(key.clone(), Arc::clone(&job));
        self.log.push(Change::Job(Arc::clone(&job)));
        self.sweep_jobs();
        Some(job)
    }

    /// A merge patch of a CmdJob's finalizers.
    pub(crate) fn patch_job(&mut self, at: At<'_>, patch: &Value) -> Result<(), Stop> {
        let job = self.job(at).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&job.metadata, patch)?;
        if let Some(finalizers) = patch["metadata"].get("finalizers") {
            let finalizers = list(finalizers);
            self.change_job(&key(at), |job| job.metadata.finalizers = finalizers);
        }
        Ok(())
    }

    /// A merge patch of a CmdJob's status.
    pub(crate) fn patch_status(&mut self, at: At<'_>, patch: &Value) -> Result<Arc<CmdJob>, Stop> {
        let job = self.job(at).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&job.metadata, patch)?;
        let mut whole = to_value(job.status.clone().unwrap_or_default()).unwrap();
        json_patch::merge(&mut whole, &patch["status"]);
        let status: CmdJobStatus = from_value(whole).unwrap();
        if job.status.as_ref() != Some(&status) {
            *self.told.entry(job.metadata.uid.clone().unwrap()).or_default() += 1;
        }
        Ok(self.change_job(&key(at), |job| job.status = Some(status)).unwrap())
    }

    /// Somebody changes the spec of a CmdJob.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut CmdJob)) {
        self.change_job(key, |job| {
            let before = job.spec.clone();
            change(job);
            if job.spec != before {
                job.metadata.generation = job.metadata.generation.map(|n| n + 1);
            }
        });
    }

    /// Operators of another version take a CmdJob so. Nobody has changed it, so that its generation stays; whoever has not heard of it is one
    /// of the version before.
    pub(crate) fn take_job(&mut self, key: &Key, taken: Taken) {
        match taken {
            Taken::Unreadable => drop(self.unreadable.insert(key.clone())),
            Taken::Valid | Taken::Invalid => drop(self.unreadable.remove(key)),
        }
        let dir = (taken == Taken::Invalid).then(|| "not-absolute".to_owned());
        if let Some(job) = self.change_job(key, |job| job.spec.working_dir = dir) {
            self.log.push(Change::Job(job));
        }
    }

    pub(crate) fn delete_job(&mut self, at: At<'_>, uid: Option<&str>, version: Option<&str>) -> Result<(), Stop> {
        let job = self.job(at).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&job.metadata, &serde_json::json!({"metadata": {"uid": uid, "resourceVersion": version}}))?;
        let now = self.now;
        self.change_job(&key(at), |job| {
            job.metadata.deletion_timestamp.get_or_insert(Time(now));
        });
        Ok(())
    }

    /// Somebody takes the finalizers of a CmdJob by force.
    pub(crate) fn force_job(&mut self, key: &Key) {
        self.change_job(key, |job| job.metadata.finalizers = None);
    }

    pub(crate) fn create_pod(&mut self, pod: &Pod) -> Result<Pod, Stop> {
        let key = key_of(&pod.metadata);
        if self.pods.contains_key(&key) {
            return Err(Stop::No(Refusal::AlreadyExists));
        }
        let owner = owner(pod);
        let is_well = |no: &Refusal| *no == Refusal::PodSecurity && is_restricted(pod);
        if let Some(no) = self.closed.get(&key.0).filter(|no| owner.is_some() && !is_well(no)) {
            return Err(Stop::No(*no));
        }
        let mut pod = pod.clone();
        pod.metadata.resource_version = Some(self.next());
        pod.metadata.uid = Some(format!("1a2b3c4d-5e6f-4000-9000-{:012}", self.version));
        pod.metadata.generation = Some(1);
        pod.metadata.creation_timestamp = Some(Time(self.now));
        pod.status = from_value(serde_json::json!({"phase": "Pending"})).unwrap();
        if let Some(owner) = owner {
            self.made.push((key.1.clone(), owner));
        }
        self.pods.insert(key, Arc::new(pod.clone()));
        self.log.push(Change::Pod(Arc::new(pod.clone())));
        Ok(pod)
    }

    /// Takes our finalizer from a pod, if it is still this one.
    pub(crate) fn release_pod(&mut self, at: At<'_>, uid: &str) -> Result<(), Stop> {
        let pod = self.pod(at).ok_or(Stop::No(Refusal::NotFound))?;
        if pod.metadata.uid.as_deref() != Some(uid) {
            return Err(Stop::No(Refusal::Conflict));
        }
        self.change_pod(&key(at), uid, |pod| {
            let others = pod.metadata.finalizers.take().into_iter().flatten();
            let others: Vec<String> = others.filter(|finalizer| finalizer != labels::FINALIZER).collect();
            pod.metadata.finalizers = (!others.is_empty()).then_some(others);
        });
        Ok(())
    }

    /// Changes a pod, if it is still this one.
    pub(crate) fn change_pod(&mut self, key: &Key, uid: &str, change: impl FnOnce(&mut Pod)) -> Option<Arc<Pod>> {
        let before = self.pods.get(key).filter(|pod| pod.metadata.uid.as_deref() == Some(uid))?;
        let mut pod = Pod::clone(before);
        change(&mut pod);
        if pod == **before {
            return Some(Arc::clone(before));
        }
        pod.metadata.resource_version = Some(self.next());
        let pod = Arc::new(pod);
        self.pods.insert(key.clone(), Arc::clone(&pod));
        self.log.push(Change::Pod(Arc::clone(&pod)));
        self.sweep_pod(key);
        Some(pod)
    }

    /// From apimachinery's `BeforeDelete` and the pod's strategy: a pod that is over gets no grace, and grace only gets shorter.
    pub(crate) fn delete_pod(&mut self, key: &Key, uid: &str, grace: Option<i64>) -> Result<(), Stop> {
        let pod = self.pods.get(key).ok_or(Stop::No(Refusal::NotFound))?;
        if pod.metadata.uid.as_deref() != Some(uid) {
            return Err(Stop::No(Refusal::Conflict));
        }
        let now = self.now;
        self.change_pod(key, uid, |pod| {
            let is_over = matches!(phase(pod), "Succeeded" | "Failed");
            let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            let grace = if is_over { 0 } else { grace.unwrap_or(own) };
            let before = pod.metadata.deletion_grace_period_seconds;
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
            pod.metadata.deletion_grace_period_seconds = Some(before.map_or(grace, |before| before.min(grace)));
        });
        Ok(())
    }
}

/// The UID of the CmdJob of this number.
fn uid_of(number: usize) -> String {
    format!("{number:08x}-5e6f-4000-8000-000000000000")
}
