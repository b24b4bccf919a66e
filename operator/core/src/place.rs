//! Which node an attempt goes to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use vk_cmd_crds::{Reason, labels};

use crate::plan::Start;
use crate::validate::{Target, ValidJob};
use crate::words;

/// A vk-node, reduced to what matters for placing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes pods.
    pub state: NodeState,
}

/// Whether a node takes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is not ready.
    NotReady {
        /// What it says about that.
        why: Option<String>,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// It takes no new pods (`spec.unschedulable`).
    Cordoned,
    /// It takes pods.
    Ready,
}

/// The vk-nodes, by name.
pub type Nodes = BTreeMap<String, NodeSeen>;

impl NodeSeen {
    /// Reads a node.
    pub fn of(node: &Node) -> Self {
        Self { labels: node.metadata.labels.clone().unwrap_or_default(), state: state(node) }
    }
}

fn state(node: &Node) -> NodeState {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "True" => {
            let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
            if cordoned { NodeState::Cordoned } else { NodeState::Ready }
        }
        Some(not) => NodeState::NotReady {
            why: not.message.clone().filter(|message| !message.is_empty()),
            since: not.last_transition_time.as_ref().map(|time| time.0),
        },
        None => NodeState::NotReady { why: None, since: None },
    }
}

impl Target<'_> {
    /// Whether a node of this name and these labels is meant.
    pub fn means(&self, name: &str, found: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Node(node) => node.as_str() == name,
            Self::Fleet(fleet) => found.get(labels::FLEET).is_some_and(|value| value == fleet),
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| found.get(key) == Some(value)),
        }
    }
}

/// The names of the nodes that a target means.
pub fn targets(target: &Target<'_>, nodes: &Nodes) -> BTreeSet<String> {
    let meant = nodes.iter().filter(|(name, node)| target.means(name, &node.labels));
    meant.map(|(name, _)| name.clone()).collect()
}

/// Finds a node for an attempt: of those that take it, the one with the fewest pods by `load`; or says why none does.
pub fn place(
    job: &ValidJob<'_>,
    start: &Start,
    nodes: &Nodes,
    load: &BTreeMap<String, u32>,
) -> Result<String, (Reason, String)> {
    let is_meant = |name: &str, node: &NodeSeen| match &start.node {
        Some(only) => only == name,
        None => job.target.means(name, &node.labels),
    };
    let meant: Vec<(&String, &NodeSeen)> = nodes.iter().filter(|(name, node)| is_meant(name, node)).collect();
    let ready = meant.iter().filter(|(_, node)| node.state == NodeState::Ready);
    let best = ready.min_by_key(|(name, _)| (load.get(*name).copied().unwrap_or_default(), *name));
    match (best, meant.as_slice()) {
        (Some((name, _)), _) => Ok((*name).clone()),
        (None, []) => Err(match (&start.node, &job.target) {
            (Some(node), _) => (Reason::NodeMissing, format!("node {node}, on which the job is to run, is gone")),
            (None, Target::Node(_)) => (Reason::NodeMissing, words::no_nodes(&job.target)),
            (None, _) => (Reason::NoNodes, words::no_nodes(&job.target)),
        }),
        (None, [(name, only)]) => Err(why_not(name, &only.state)),
        (None, several) => Err((Reason::NoRoom, why_none(several))),
    }
}

fn why_not(node: &str, state: &NodeState) -> (Reason, String) {
    match state {
        NodeState::NotReady { why, .. } => (
            Reason::NodeNotReady,
            format!(
                "node {node} is not ready{}: the job starts when it is; see at the site whether \"vk-node run --node-name \
                 {node}\" is running",
                why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
            ),
        ),
        NodeState::Cordoned | NodeState::Ready => (
            Reason::NodeCordoned,
            format!("node {node} is cordoned and takes no new work: the job starts after \"kubectl uncordon {node}\""),
        ),
    }
}

fn why_none(nodes: &[(&String, &NodeSeen)]) -> String {
    let count = |which: fn(&NodeState) -> bool| nodes.iter().filter(|(_, node)| which(&node.state)).count();
    let parts = [
        (count(|state| matches!(state, NodeState::NotReady { .. })), "not ready"),
        (count(|state| *state == NodeState::Cordoned), "cordoned"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    format!("none of {} nodes takes it: {}", nodes.len(), parts.join(", "))
}
