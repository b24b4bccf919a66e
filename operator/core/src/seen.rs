//! What the operator sees of the world, reduced to what matters for deciding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use vk_cmd_crds::labels;

use crate::place::{self, Amounts, NodeState, Nodes};
use crate::pods::{PodsOfJob, is_open};
use crate::validate::{Completions, ValidJob};

/// Everything seen that bears on one CmdJob.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its pods, by index and attempt. A cache that is behind may lack some: making one of them again is refused by the API
    /// server, for its name is taken.
    pub pods: PodsOfJob,
    /// How it is with the nodes of those of these pods that have not ended, where they are not as they should be.
    pub nodes: BTreeMap<String, Absence>,
    /// Of a job for every node: the nodes that its target means now, by name.
    pub targets: BTreeSet<String>,
    /// What has become of the jobs that it waits for.
    pub after: BTreeMap<String, Dependency>,
}

impl Seen {
    /// What bears on a job: its pods, how their nodes are, which nodes it is for, and the jobs that it waits for.
    pub fn of(job: &ValidJob<'_>, pods: PodsOfJob, nodes: &Nodes, after: BTreeMap<String, Dependency>) -> Self {
        let absences = absences(&pods, nodes);
        let targets = match job.completions {
            Completions::EveryNode => place::targets(&job.target, nodes),
            Completions::Of(_) | Completions::Any => BTreeSet::new(),
        };
        Self { pods, nodes: absences, targets, after }
    }
}

/// How it is with the nodes of those of a job's pods that have not ended, where they are not as they should be.
pub(crate) fn absences(pods: &PodsOfJob, nodes: &Nodes) -> BTreeMap<String, Absence> {
    let absent = |name: &str| match nodes.get(name).map(|node| &node.state) {
        Some(NodeState::NotReady { since, .. }) => Some(Absence::Silent(*since)),
        Some(NodeState::Ready | NodeState::Cordoned | NodeState::Tainted(_)) => None,
        None => Some(Absence::Gone),
    };
    let open = pods.values().filter(|pod| is_open(pod));
    let absences = open.filter_map(|pod| Some((&pod.node, absent(&pod.node)?)));
    absences.map(|(node, absence)| (node.to_string(), absence)).collect()
}

/// How a node is missing that has pods of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is not heard from, since then: what it ran may run or not.
    Silent(Option<Timestamp>),
    /// There is no such node any more.
    Gone,
}

/// What is known of a job that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// There is none of that name.
    Missing,
    /// It is not finished.
    Unfinished,
    /// It waits, by way of others, for the one that waits for it.
    Cycle,
    /// It has succeeded.
    Complete,
    /// It has failed.
    Failed,
}

/// What was seen under the name of a pod that was to be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// The job's own pod.
    Ours(Box<PodSeen>),
    /// A pod that does not belong to the job.
    Foreign,
}

/// A pod made for a CmdJob.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Which of two sights of it is the newer one: the greater. Resource versions of one object can be compared as numbers
    /// (documented by Kubernetes since 1.35, true of etcd always).
    pub version: u64,
    /// The index that it works on.
    pub index: u32,
    /// The number of the attempt at that index.
    pub attempt: u32,
    /// The node that it was sent to.
    pub node: Arc<str>,
    /// What it takes there.
    pub amounts: Arc<Amounts>,
    /// Whether it is being deleted. It is not gone before it is gone.
    pub deleting: bool,
    /// Whether it stays until it has been counted ([`vk_cmd_crds::labels::FINALIZER`]).
    pub held: bool,
    /// Its conditions: types and statuses.
    pub conditions: Arc<[(String, String)]>,
    /// How far its process is.
    pub life: Life,
}

/// How far the process of a pod is.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// Not started; what stands in the way, if somebody has said so.
    Pending(Option<String>),
    /// Running, since then.
    Running(Option<Timestamp>),
    /// Kubernetes has given it up, at that time, because its node is gone: nobody knows whether it runs.
    Lost(Timestamp),
    /// Ended.
    Ended(End),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// How, in short.
    pub kind: EndKind,
    /// Its exit code, if there was one.
    pub exit_code: Option<i32>,
    /// The number of the signal that killed it.
    pub signal: Option<i32>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in plain words.
    pub message: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How a process ended, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// Exit code 0.
    Succeeded,
    /// Any other way, or it never started.
    Failed,
    /// The node had no room or no time for it after all, and nothing was started.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl PodSeen {
    /// Reads a pod that belongs to a CmdJob; none if it does not say which attempt it is, so that it was made by somebody
    /// else.
    pub fn of(pod: &Pod) -> Option<Self> {
        let meta = &pod.metadata;
        let number = |label: &str| meta.labels.as_ref()?.get(label)?.parse().ok();
        let finalizers = meta.finalizers.as_deref().unwrap_or_default();
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        Some(Self {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            version: meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default(),
            index: number(labels::INDEX)?,
            attempt: number(labels::ATTEMPT)?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default().into(),
            amounts: Arc::new(Amounts::of_pod(pod)),
            deleting: meta.deletion_timestamp.is_some(),
            held: finalizers.iter().any(|finalizer| finalizer == labels::FINALIZER),
            conditions: conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect(),
            life: pod.status.as_ref().map_or(Life::Pending(None), life),
        })
    }
}

impl Sight {
    /// Reads a pod that has the name of an attempt of the job with this UID.
    pub fn of(pod: &Pod, job_uid: &str) -> Self {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let is_ours = owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == job_uid);
        PodSeen::of(pod).filter(|_| is_ours).map_or(Self::Foreign, |pod| Self::Ours(Box::new(pod)))
    }
}

fn life(status: &PodStatus) -> Life {
    let main = status.container_statuses.iter().flatten().find(|c| c.name == labels::MAIN_CONTAINER);
    let state = main.and_then(|main| main.state.as_ref());
    // What the node says of the process is true whatever the phase is made to be, and why it has not run it.
    let has_ended = state.is_some_and(|state| state.terminated.is_some())
        || status.reason.as_deref().is_some_and(|reason| reason != "NodeLost");
    match status.phase.as_deref() {
        Some("Failed") if !has_ended && let Some(since) = given_up(status) => Life::Lost(since),
        Some("Succeeded") => Life::Ended(end(status, state, EndKind::Succeeded)),
        Some("Failed") => Life::Ended(end(status, state, EndKind::Failed)),
        Some("Running") => Life::Running(started(state)),
        _ => Life::Pending(obstacle(status, main)),
    }
}

/// When Kubernetes gave the pod up because its node is gone. From its pod garbage collector (`podgc`), which puts pods of
/// nodes that are no more into phase Failed, with this condition, and deletes them: none of that is news of the process.
fn given_up(status: &PodStatus) -> Option<Timestamp> {
    let is_it = |c: &&PodCondition| {
        c.type_ == "DisruptionTarget" && c.status == "True" && c.reason.as_deref() == Some("DeletionByPodGC")
    };
    let condition = status.conditions.iter().flatten().find(is_it)?;
    Some(condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

fn started(state: Option<&ContainerState>) -> Option<Timestamp> {
    let running = state.and_then(|state| state.running.as_ref())?;
    running.started_at.as_ref().map(|time| time.0)
}

/// The end of a pod that is in a terminal phase. The phase has the last word on success; the container tells the details.
fn end(status: &PodStatus, state: Option<&ContainerState>, kind: EndKind) -> End {
    match state.and_then(|state| state.terminated.as_ref()) {
        Some(terminated) => ended(terminated, kind),
        // No container ever ran: the node refused the pod, or somebody evicted it. Then the pod itself says why.
        None => End {
            kind: if status.reason.as_deref().is_some_and(was_not_let_in) { EndKind::Refused } else { kind },
            exit_code: (kind == EndKind::Succeeded).then_some(0),
            signal: None,
            reason: status.reason.clone(),
            message: status.message.clone(),
            started_at: None,
            finished_at: None,
        },
    }
}

/// Whether this is what a kubelet says that has no room (`OutOfcpu`), or no time any more (`NodeShutdown`; of a vk-node
/// `OutOfWalltime`): the pod was not started, and may be elsewhere.
fn was_not_let_in(reason: &str) -> bool {
    reason.starts_with("OutOf") || says_no_time(reason)
}

/// Whether a node says so that ends too soon.
pub(crate) fn says_no_time(reason: &str) -> bool {
    matches!(reason, "OutOfWalltime" | "NodeShutdown")
}

fn ended(terminated: &ContainerStateTerminated, kind: EndKind) -> End {
    let unknown = terminated.reason.as_deref() == Some(labels::CONTAINER_STATUS_UNKNOWN);
    // "Error" and "Completed" are what every container says: they add nothing to the exit code.
    let reason = terminated.reason.clone().filter(|reason| reason != "Error" && reason != "Completed");
    End {
        kind: if unknown { EndKind::Unknown } else { kind },
        // The 137 that goes with an unknown end was not returned by anybody.
        exit_code: (!unknown).then_some(terminated.exit_code),
        signal: terminated.signal.filter(|signal| *signal != 0),
        reason,
        message: terminated.message.clone().filter(|message| !message.is_empty()),
        started_at: terminated.started_at.as_ref().map(|time| time.0),
        finished_at: terminated.finished_at.as_ref().map(|time| time.0),
    }
}

/// What keeps a pod from starting, if it is more than the usual course of things.
fn obstacle(status: &PodStatus, main: Option<&ContainerStatus>) -> Option<String> {
    let unschedulable = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    if let Some(condition) = unschedulable {
        return Some(format!(
            "the scheduler has not placed it: {}",
            condition.message.as_deref().unwrap_or("it does not say why")
        ));
    }
    let waiting = main?.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|r| !matches!(*r, "ContainerCreating" | "PodInitializing"))?;
    Some(match waiting.message.as_deref() {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}
