//! The conditions of a pod: the kubelet's, with its reasons and messages (`pkg/kubelet/status/generate.go`).

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Lists, Verdict, whole};
use crate::admit::Role;
use crate::look::{Look, Seen};

/// The conditions that are the node's to write.
pub const OURS: [&str; 6] = [READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED, RESIZE_PENDING];
const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const READY: &str = "Ready";
const CONTAINERS_READY: &str = "ContainersReady";
const SCHEDULED: &str = "PodScheduled";
/// It is there only while it holds.
const RESIZE_PENDING: &str = "PodResizePending";

/// That the pod was disturbed from outside: others write it too, and only what has our reason is ours.
const DISRUPTION: &str = "DisruptionTarget";
/// The kubelet's reason.
const BY_KUBELET: &str = "TerminationByKubelet";

/// Whether a condition of this type and reason is the node's to write.
#[must_use]
pub fn is_ours(kind: &str, reason: Option<&str>) -> bool {
    OURS.contains(&kind) || kind == DISRUPTION && reason == Some(BY_KUBELET)
}

/// What a resize can change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Whether a condition holds, and why.
#[derive(Clone, Default)]
struct Says {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Says {
    const YES: Self = Self { holds: true, reason: None, message: None };

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason), message }
    }
}

/// Our conditions, with the time of their last change kept; those that others wrote stay as they are.
pub(super) fn of(look: &Look<'_>, lists: &Lists, phase: &str, verdict: Verdict<'_>) -> Vec<PodCondition> {
    let before = look.facts.published.conditions.as_deref().unwrap_or_default();
    let containers_ready = containers_ready(look, phase);
    let ready = ready(look, containers_ready.clone());
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let resize = resize_pending(look).filter(|_| !is_over);
    let says = [
        (READY_TO_START, Says { holds: !is_over, ..Says::default() }),
        (INITIALIZED, initialized(look, lists, phase)),
        (READY, ready),
        (CONTAINERS_READY, containers_ready),
        (SCHEDULED, Says::YES),
    ];
    let mut disruption = None;
    if let Verdict::NodeEnds { why, .. } = verdict {
        disruption = Some((DISRUPTION, Says { reason: Some(BY_KUBELET), message: Some(why.to_owned()), ..Says::YES }));
    }
    // In the order in which they are there: the API server keeps it.
    let mut all = before.to_vec();
    all.retain(|condition| condition.type_ != RESIZE_PENDING || resize.is_some());
    for (kind, says) in says.into_iter().chain(resize.map(|says| (RESIZE_PENDING, says))).chain(disruption) {
        let status = if says.holds { "True" } else { "False" };
        let old = before.iter().find(|c| c.type_ == kind);
        let unchanged = old.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        let new = PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: says.reason.map(Into::into),
            message: says.message,
            last_transition_time: Some(unchanged.unwrap_or(Time(whole(look.facts.now)))),
            observed_generation: look.pod.generation,
            ..PodCondition::default()
        };
        match all.iter_mut().find(|c| c.type_ == kind) {
            Some(there) => *there = new,
            None => all.push(new),
        }
    }
    all
}

/// Whether containers run with other resources than the pod now says: they take these with their next run. The kubelet's
/// word for a resize that it cannot do now.
fn resize_pending(look: &Look<'_>) -> Option<Says> {
    let differs = |seen: &Seen<'_>| {
        let amounts = |resources: Option<&ResourceRequirements>| {
            let lists = resources.map(|r| [r.limits.clone(), r.requests.clone()]).unwrap_or_default();
            lists.map(|list| RESIZABLE.map(|name| list.as_ref().and_then(|list| list.get(name).cloned())))
        };
        let started = seen.as_started().filter(|_| seen.is_running());
        started.is_some_and(|status| amounts(status.resources.as_ref()) != amounts(seen.container.resources.as_ref()))
    };
    let names: Vec<&str> = look.all().filter(differs).map(|seen| seen.container.name.as_str()).collect();
    let message =
        format!("new resources hold from a container's next run on; these run with the old: {}", names.join(", "));
    (!names.is_empty()).then_some(Says { holds: true, reason: Some("Deferred"), message: Some(message) })
}

fn initialized(look: &Look<'_>, lists: &Lists, phase: &str) -> Says {
    let incomplete = names(look.init_part().filter_map(|seen| {
        let is_complete = match seen.container.role {
            Role::Sidecar => seen.is_started(),
            Role::Init | Role::Main | Role::Ephemeral => seen.is_ready(),
        };
        (!is_complete).then_some(seen.container.name.as_str())
    }));
    // Init containers that are run again later do not undo it.
    let mains_have_begun = lists.main.iter().any(has_begun);
    match incomplete {
        _ if phase == "Succeeded" => Says { reason: Some("PodCompleted"), ..Says::YES },
        Some(names) if !mains_have_begun => {
            Says::no("ContainersNotInitialized", Some(format!("containers with incomplete status: {names}")))
        }
        Some(_) | None => Says::YES,
    }
}

fn has_begun(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
}

fn containers_ready(look: &Look<'_>, phase: &str) -> Says {
    let counted = look.with(Role::Sidecar).chain(look.with(Role::Main));
    let unready = names(counted.filter(|seen| !seen.is_ready()).map(|seen| seen.container.name.as_str()));
    match unready {
        _ if phase == "Succeeded" => Says::no("PodCompleted", None),
        _ if phase == "Failed" => Says::no("PodFailed", None),
        Some(names) => Says::no("ContainersNotReady", Some(format!("containers with unready status: {names}"))),
        None => Says::YES,
    }
}

/// A pod is ready when its containers are, and all conditions hold that it lists as `readinessGates`.
fn ready(look: &Look<'_>, containers_ready: Says) -> Says {
    if !containers_ready.holds {
        return containers_ready;
    }
    let conditions = look.facts.published.conditions.as_deref().unwrap_or_default();
    let unmet: Vec<String> = look
        .pod
        .readiness_gates
        .iter()
        .filter_map(|gate| match conditions.iter().find(|condition| condition.type_ == *gate) {
            None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
            Some(condition) if condition.status != "True" => {
                Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", condition.status))
            }
            Some(_) => None,
        })
        .collect();
    if unmet.is_empty() { Says::YES } else { Says::no("ReadinessGatesNotReady", Some(unmet.join(", "))) }
}

/// As Go writes a list of them: `[a b]`; `None` where there are none.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let all: Vec<&str> = names.collect();
    (!all.is_empty()).then(|| format!("[{}]", all.join(" ")))
}
