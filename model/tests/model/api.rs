//! The API server: objects with resource versions, finalizers and deletion timestamps, and who else acts on them (the garbage
//! collectors of Kubernetes). Every call of the operator or of a node may be where it is killed, or where its reply is lost.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, from_value, json, to_value};
use vk_cmd_crds::CmdJob;
use vk_operator_core::effects::{CallFailure, Refusal};

use crate::script::Fault;

/// Why a look went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Killed,
    ReplyLost,
    /// The API server says no.
    No(Refusal),
}

impl CallFailure for Stop {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Killed | Self::ReplyLost => Refusal::Trouble,
            Self::No(refusal) => *refusal,
        }
    }

    fn words(&self) -> String {
        format!("{self:?}")
    }
}

/// The API server and the clock.
pub(crate) struct Api {
    pub(crate) now: Timestamp,
    pub(crate) jobs: BTreeMap<String, CmdJob>,
    pub(crate) pods: BTreeMap<String, Pod>,
    version: u64,
    /// Writes so far.
    pub(crate) writes: u32,
    /// The names of all pods that were ever made.
    pub(crate) made: Vec<String>,
    /// What was done, for people.
    pub(crate) history: Vec<String>,
    pub(crate) fault: Fault,
}

impl Api {
    pub(crate) fn new(jobs: &[Value]) -> Self {
        let jobs: Vec<CmdJob> = jobs.iter().map(|job| from_value(job.clone()).unwrap()).collect();
        Self {
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            jobs: jobs.into_iter().map(|job| (job.metadata.name.clone().unwrap(), job)).collect(),
            pods: BTreeMap::new(),
            version: 1,
            writes: 0,
            made: Vec::new(),
            history: Vec::new(),
            fault: Fault::None,
        }
    }

    pub(crate) fn say(&mut self, what: String) {
        self.history.push(what);
    }

    /// An effect of whoever looks now: it may be killed before, or not hear of it.
    pub(crate) fn effect<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.fault == Fault::Crash(0) {
            self.say(format!("    KILLED before: {what}"));
            return Err(Stop::Killed);
        }
        let is_lost = self.fault == Fault::Lost(0);
        self.fault = match self.fault {
            Fault::Crash(n) => Fault::Crash(n.saturating_sub(1)),
            Fault::Lost(0) | Fault::None => Fault::None,
            Fault::Lost(n) => Fault::Lost(n - 1),
        };
        let done = act(self);
        let answer = match &done {
            _ if is_lost => ": done, but the REPLY IS LOST",
            Ok(_) => "",
            Err(no) => &format!(": {no:?}"),
        };
        self.say(format!("    {what}{answer}"));
        if is_lost { Err(Stop::ReplyLost) } else { done }
    }

    fn next(&mut self) -> Option<String> {
        self.version += 1;
        self.writes += 1;
        Some(self.version.to_string())
    }

    /// A merge patch of a CmdJob.
    pub(crate) fn patch_job(&mut self, name: &str, patch: &Value) -> Result<CmdJob, Stop> {
        let job = self.jobs.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&job.metadata, patch)?;
        let mut whole = to_value(job).unwrap();
        json_patch::merge(&mut whole, patch);
        let mut changed: CmdJob = from_value(whole).unwrap();
        changed.metadata.resource_version = self.next();
        self.jobs.insert(name.to_owned(), changed.clone());
        self.sweep();
        Ok(changed)
    }

    /// Somebody changes the spec of a CmdJob.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut CmdJob)) {
        let version = self.next();
        let job = self.jobs.get_mut(name).unwrap();
        change(job);
        job.metadata.generation = job.metadata.generation.map(|n| n + 1);
        job.metadata.resource_version = version;
    }

    pub(crate) fn delete_job(&mut self, name: &str, uid: Option<&str>, version: Option<&str>) -> Result<(), Stop> {
        let job = self.jobs.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&job.metadata, &json!({"metadata": {"uid": uid, "resourceVersion": version}}))?;
        if job.metadata.deletion_timestamp.is_none() {
            let (now, version) = (self.now, self.next());
            let job = self.jobs.get_mut(name).unwrap();
            job.metadata.deletion_timestamp = Some(Time(now));
            job.metadata.resource_version = version;
        }
        self.sweep();
        Ok(())
    }

    pub(crate) fn create_pod(&mut self, pod: &Pod) -> Result<Pod, Stop> {
        let name = pod.metadata.name.clone().unwrap();
        if self.pods.contains_key(&name) {
            return Err(Stop::No(Refusal::AlreadyExists));
        }
        let mut pod = pod.clone();
        pod.metadata.resource_version = self.next();
        pod.metadata.uid = Some(format!("1a2b3c4d-5e6f-4000-9000-{:012}", self.version));
        pod.metadata.generation = Some(1);
        pod.metadata.creation_timestamp = Some(Time(self.now));
        pod.status = from_value(json!({"phase": "Pending"})).unwrap();
        self.made.push(name.clone());
        self.pods.insert(name, pod.clone());
        Ok(pod)
    }

    /// A merge patch of a pod's finalizers.
    pub(crate) fn patch_pod(&mut self, name: &str, patch: &Value) -> Result<(), Stop> {
        let pod = self.pods.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&pod.metadata, patch)?;
        let uid = pod.metadata.uid.clone().unwrap();
        let finalizers: Vec<String> = from_value(patch["metadata"]["finalizers"].clone()).unwrap();
        self.change_pod(name, &uid, |pod| pod.metadata.finalizers = (!finalizers.is_empty()).then_some(finalizers));
        Ok(())
    }

    /// Changes a pod, if it is still this one.
    pub(crate) fn change_pod(&mut self, name: &str, uid: &str, change: impl FnOnce(&mut Pod)) -> Option<Pod> {
        let before = self.pods.get(name).filter(|pod| pod.metadata.uid.as_deref() == Some(uid))?;
        let mut pod = before.clone();
        change(&mut pod);
        if pod != *before {
            pod.metadata.resource_version = self.next();
            self.pods.insert(name.to_owned(), pod.clone());
            self.sweep();
        }
        Some(pod)
    }

    /// From apimachinery's `BeforeDelete` and the pod's strategy: a pod that is over gets no grace, and grace only gets shorter.
    pub(crate) fn delete_pod(&mut self, name: &str, uid: &str, grace: Option<i64>) {
        let now = self.now;
        self.change_pod(name, uid, |pod| {
            let is_over = matches!(phase(pod), "Succeeded" | "Failed");
            let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            let grace = if is_over { 0 } else { grace.unwrap_or(own) };
            let before = pod.metadata.deletion_grace_period_seconds;
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
            pod.metadata.deletion_grace_period_seconds = Some(before.map_or(grace, |before| before.min(grace)));
        });
    }

    /// Takes away what is deleted and held by nobody, and the pods of jobs that are no more.
    fn sweep(&mut self) {
        let held = |meta: &ObjectMeta| meta.finalizers.as_ref().is_some_and(|all| !all.is_empty());
        self.jobs.retain(|_, job| job.metadata.deletion_timestamp.is_none() || held(&job.metadata));
        self.pods.retain(|_, pod| pod.metadata.deletion_grace_period_seconds != Some(0) || held(&pod.metadata));
        let orphans = self.pods.values().filter(|pod| {
            pod.metadata.deletion_timestamp.is_none() && self.jobs.values().all(|job| job.metadata.uid != owner(pod))
        });
        let orphans: Vec<_> = orphans.map(|pod| pod.metadata.clone()).collect();
        for meta in orphans {
            self.delete_pod(&meta.name.unwrap(), &meta.uid.unwrap(), None);
        }
    }

    /// Kubernetes' pod garbage collector: the pods of a node that is gone are failed and deleted with force.
    pub(crate) fn give_up(&mut self, node: &str) {
        let of_node = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(node);
        let pods: Vec<_> = self.pods.values().filter(of_node).map(|pod| pod.metadata.clone()).collect();
        let now = self.now;
        for meta in pods {
            let (name, uid) = (meta.name.unwrap(), meta.uid.unwrap());
            self.change_pod(&name, &uid, |pod| {
                if matches!(phase(pod), "Succeeded" | "Failed") {
                    return;
                }
                let status = pod.status.as_mut().unwrap();
                status.phase = Some("Failed".into());
                status.conditions.get_or_insert_default().push(PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some("DeletionByPodGC".into()),
                    last_transition_time: Some(Time(now)),
                    ..PodCondition::default()
                });
            });
            self.delete_pod(&name, &uid, Some(0));
        }
    }
}

pub(crate) fn owner(pod: &Pod) -> Option<String> {
    pod.metadata.owner_references.as_ref()?.first().map(|owner| owner.uid.clone())
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether an object is the one that is meant, in the version that is meant.
fn agrees(meta: &ObjectMeta, patch: &Value) -> Result<(), Stop> {
    let says = |field: &str, is: &Option<String>| {
        patch["metadata"][field].as_str().is_none_or(|said| is.as_deref() == Some(said))
    };
    let both = says("uid", &meta.uid) && says("resourceVersion", &meta.resource_version);
    if both { Ok(()) } else { Err(Stop::No(Refusal::Conflict)) }
}
