//! What the operator sees of the world, reduced to what matters for deciding.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Node, Pod, PodStatus};
use vk_cmd_crds::{CmdJobStatus, labels};

/// Everything seen that bears on one CmdJob.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// By number of the attempt: the pod of the name that this attempt's pod must have. An attempt without an entry was not
    /// seen, which proves nothing.
    pub pods: BTreeMap<u32, Sight>,
    /// The target node.
    pub node: NodeSeen,
}

/// What was seen under the name of one attempt's pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// The job's own pod.
    Ours(PodSeen),
    /// A pod that does not belong to the job.
    Foreign,
    /// No such pod, or one of another UID than the recorded one: said by the API server itself when it was asked, not by a
    /// cache.
    Gone,
}

/// A pod made for a CmdJob.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is being deleted. It is not gone before it is gone.
    pub deleting: bool,
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
    /// Nobody knows.
    Unknown,
}

/// The target node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeSeen {
    /// There is none of that name.
    Missing,
    /// It is not ready; what it says about that.
    NotReady(Option<String>),
    /// It takes no new pods (`spec.unschedulable`).
    Cordoned,
    /// It takes pods.
    Ready,
}

impl PodSeen {
    /// Reads a pod.
    pub fn of(pod: &Pod) -> Self {
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            life: pod.status.as_ref().map_or(Life::Pending(None), life),
        }
    }
}

impl Sight {
    /// Reads a pod that has the name of an attempt of the job with this UID.
    pub fn of(pod: &Pod, job_uid: &str) -> Self {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        if owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == job_uid) {
            Self::Ours(PodSeen::of(pod))
        } else {
            Self::Foreign
        }
    }
}

impl NodeSeen {
    /// Reads a node, if there is one.
    pub fn of(node: Option<&Node>) -> Self {
        let Some(node) = node else { return Self::Missing };
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        match conditions.iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "True" => {
                let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
                if cordoned { Self::Cordoned } else { Self::Ready }
            }
            Some(not) => Self::NotReady(not.message.clone().filter(|message| !message.is_empty())),
            None => Self::NotReady(None),
        }
    }
}

/// The attempts whose pods must be asked for by name, because they are recorded as not ended and the cache does not show
/// the pod that was recorded. A cache may be behind; only the API server's own answer proves that a pod is gone.
pub fn unproven(recorded: &CmdJobStatus, cached: &BTreeMap<u32, Sight>) -> Vec<u32> {
    let open = recorded.attempts.iter().filter(|attempt| !attempt.state.is_final());
    open.filter_map(|attempt| {
        let number = u32::try_from(attempt.attempt).ok()?;
        let shown = matches!(cached.get(&number), Some(Sight::Ours(pod)) if pod.uid == attempt.pod_uid);
        (!shown).then_some(number)
    })
    .collect()
}

fn life(status: &PodStatus) -> Life {
    let main = status.container_statuses.iter().flatten().find(|c| c.name == labels::MAIN_CONTAINER);
    let state = main.and_then(|main| main.state.as_ref());
    match status.phase.as_deref() {
        Some("Succeeded") => Life::Ended(end(status, state, EndKind::Succeeded)),
        Some("Failed") => Life::Ended(end(status, state, EndKind::Failed)),
        Some("Running") => Life::Running(started(state)),
        _ => Life::Pending(obstacle(status, main)),
    }
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
            kind,
            exit_code: (kind == EndKind::Succeeded).then_some(0),
            signal: None,
            reason: status.reason.clone(),
            message: status.message.clone(),
            started_at: None,
            finished_at: None,
        },
    }
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
