//! The Node's conditions: the kubelet's, in its words, and our own for the pipe, the way in and the end.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use vk_cmd_crds::labels;

use super::shortage::Shortage;
use super::status::{View, in_force};
use super::way::WayIn;
use crate::ending::{Cause, Source};
use crate::events::{Note, NoteKind};

/// The condition of the pipe's health.
const PIPE_READY: &str = "vk-cmd.io/PipeReady";

/// Why a node cannot run pods. What it is short of is no such reason: what runs goes on, and the scheduler places nothing
/// more by the conditions of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The pipe does not answer: nothing can be started or stopped, and nothing is known.
    PipeUnreachable,
    /// The API server does not let the node see its pods.
    PodsRefused {
        /// In its words.
        why: String,
    },
    /// It was told to end, and what runs goes on.
    Shutdown,
    /// It has ended, and nothing of it runs.
    Left,
}

impl Trouble {
    /// In one word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PipeUnreachable => "PipeUnreachable",
            Self::PodsRefused { .. } => "PodsRefused",
            Self::Shutdown | Self::Left => "NodeShutdown",
        }
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::PipeUnreachable => "the pipe does not answer: start `vk-node pipe` on the host".into(),
            Self::PodsRefused { why } => format!(
                "the API server does not let this node see its pods: check that its credentials are its own ({why})"
            ),
            Self::Shutdown => "vk-node was told to end; what runs goes on".into(),
            Self::Left => "the node has ended, and nothing of it runs".into(),
        }
    }
}

/// What is to be told of the end of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nearing {
    /// No end is known.
    #[default]
    Unknown,
    /// It is far.
    Far {
        /// Who says when.
        source: Source,
        /// When.
        at: Timestamp,
    },
    /// It is not near, and the site's administrator has the node take nothing new.
    Drained,
    /// It is near.
    Near {
        /// Why.
        cause: Cause,
        /// Who says when.
        source: Source,
        /// When.
        at: Timestamp,
    },
}

/// A condition without its times.
struct Says {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

/// All of them, in the kubelet's order. The times of the last change are kept from `before`.
pub(super) fn conditions(view: &View<'_>, before: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let shortages = view.shortages;
    let says = [
        pressure(
            "MemoryPressure",
            shortages.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            shortages.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            shortages.processes,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        pipe(view),
        reachable(view.way),
        ending(view.nearing),
        ready(view),
    ];
    says.into_iter().map(|says| dated(says, before, now)).collect()
}

fn pressure(kind: &'static str, shortage: Shortage, short: (&str, &str), enough: (&str, &str)) -> Says {
    let (status, (reason, message)) = match shortage {
        Shortage::Short { .. } => ("True", short),
        Shortage::Enough => ("False", enough),
        Shortage::Unknown => ("Unknown", ("PipeTellsNothing", "the pipe has not told yet what is used")),
    };
    Says { kind, status, reason: reason.to_owned(), message: message.to_owned() }
}

fn pipe(view: &View<'_>) -> Says {
    match view.trouble {
        Some(trouble @ Trouble::PipeUnreachable) => says_no(PIPE_READY, trouble),
        Some(Trouble::PodsRefused { .. } | Trouble::Shutdown | Trouble::Left) | None => {
            Says { kind: PIPE_READY, status: "True", reason: "PipeReachable".to_owned(), message: in_force(view.host) }
        }
    }
}

fn reachable(way: &WayIn) -> Says {
    Says { kind: labels::REACHABLE, status: way.status(), reason: way.reason().to_owned(), message: way.message() }
}

fn ending(nearing: Nearing) -> Says {
    let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
    let (status, reason, message) = match nearing {
        Nearing::Unknown => ("False", "NoEndKnown", "nobody says when this node ends".to_owned()),
        Nearing::Drained => (
            "True",
            Cause::Drained.reason(),
            "the node is drained by its site (vk-node drain): what runs goes on, and nothing is to be placed here"
                .to_owned(),
        ),
        Nearing::Far { source, at } => {
            ("False", "WalltimeLasts", format!("the node ends at {} (by {})", whole(at), source.words()))
        }
        Nearing::Near { cause, source, at } => {
            let why = match cause {
                Cause::Walltime => {
                    format!("the node's walltime is nearly over: it ends at {} (by {})", whole(at), source.words())
                }
                Cause::Signalled => format!("the node was told that it is to end: it does by {}", whole(at)),
                Cause::Preempted => format!("the node's batch job was preempted: it ends by {}", whole(at)),
                // It is told as `Nearing::Drained`; what is near is an end.
                Cause::Drained => format!("the node is drained by its site, and ends by {}", whole(at)),
            };
            ("True", cause.reason(), format!("{why}; what runs is ended by then, and nothing is to be placed here"))
        }
    };
    Says { kind: labels::ENDING, status, reason: reason.to_owned(), message }
}

fn ready(view: &View<'_>) -> Says {
    match view.trouble {
        Some(trouble) => says_no("Ready", trouble),
        None => Says {
            kind: "Ready",
            status: "True",
            reason: "KubeletReady".to_owned(),
            message: "kubelet is posting ready status".to_owned(),
        },
    }
}

fn says_no(kind: &'static str, trouble: &Trouble) -> Says {
    Says { kind, status: "False", reason: trouble.reason().to_owned(), message: trouble.message() }
}

fn dated(says: Says, before: Option<&NodeStatus>, now: Timestamp) -> NodeCondition {
    let old = before.and_then(|s| s.conditions.as_ref()).into_iter().flatten().find(|c| c.type_ == says.kind);
    let unchanged = old.filter(|c| c.status == says.status).and_then(|c| c.last_transition_time.clone());
    NodeCondition {
        type_: says.kind.to_owned(),
        status: says.status.to_owned(),
        reason: Some(says.reason),
        message: Some(says.message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(unchanged.unwrap_or(Time(now))),
    }
}

/// What people are told when conditions change: the kubelet's events.
#[must_use]
pub fn changes(node: &str, before: &NodeStatus, after: &NodeStatus) -> Vec<Note> {
    let find = |of: &NodeStatus, kind: &str| {
        let conditions = of.conditions.as_deref().unwrap_or_default();
        conditions.iter().find(|condition| condition.type_ == kind).cloned()
    };
    let status = |of: &NodeStatus, kind: &str| find(of, kind).map(|condition| condition.status);
    let words = [
        ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        (labels::ENDING, "NodeEnding", "NodeNotEnding"),
        ("Ready", "NodeReady", "NodeNotReady"),
    ];
    let changed = words.into_iter().filter_map(|(kind, if_true, if_false)| {
        let now = status(after, kind)?;
        let was = status(before, kind)?;
        let reason = match now.as_str() {
            _ if was == now => return None,
            "True" => if_true,
            // That there is enough is no news where nobody knew.
            "False" if was == "True" => if_false,
            _ => return None,
        };
        Some(Note::new(NoteKind::Normal, reason, format!("Node {node} status is now: {reason}")))
    });
    let reachable = [before, after].map(|of| find(of, labels::REACHABLE));
    changed.chain(reached(&reachable)).collect()
}

/// What people are told of the way in. That it works at first is no news.
fn reached([before, after]: &[Option<NodeCondition>; 2]) -> Option<Note> {
    let (before, after) = (before.as_ref()?, after.as_ref()?);
    let message = after.message.clone().unwrap_or_default();
    match (&*before.status, &*after.status) {
        (was, "False") if was != "False" => Some(Note::new(NoteKind::Warning, "NodeNotReachable", message)),
        ("False", "True") => Some(Note::new(NoteKind::Normal, "NodeReachable", message)),
        _ => None,
    }
}
