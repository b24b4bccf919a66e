//! A node, reduced to what matters for placing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use vk_cmd_crds::labels;
use vk_site::Rule;

use super::Amounts;
use crate::cordon::Cordon;
use crate::fleet::Terms;

/// A vk-node, reduced to what matters for placing.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSeen {
    /// Its labels, but for the one that changes by the minute.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes pods.
    pub state: NodeState,
    /// What it has for pods.
    pub allocatable: Amounts,
    /// When it ends, if that is known.
    pub ends: Option<Timestamp>,
    /// So long before that nothing may run any more that was placed there.
    pub margin: SignedDuration,
    /// Whether it says that its end is near: it takes nothing new.
    pub is_ending: bool,
    /// Which namespaces it takes pods of.
    pub namespaces: Rule,
    /// What its fleet says of it, if it belongs to a CmdFleet.
    pub terms: Option<Arc<Terms>>,
    /// What has no bearing on placing, and is told.
    pub about: About,
}

/// What of a node is told, and has no bearing on placing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The version of vk-node.
    pub version: String,
    /// Whether it is cordoned, and why by us.
    pub cordon: Cordon,
    /// Whether it says that it takes nothing new because its site has drained it, and not because it ends.
    pub is_drained: bool,
    /// Its own label `vk-cmd.io/fleet`, or that it has none, where [`NodeSeen::labels`] has that of a CmdFleet instead.
    pub fleet_label: Option<Option<String>>,
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
    /// It has a taint, of this key, that pods of CmdJobs do not tolerate.
    Tainted(String),
    /// It takes pods.
    Ready,
}

/// The vk-nodes, by name.
pub type Nodes = BTreeMap<String, NodeSeen>;

impl NodeSeen {
    /// Until when it takes what ends by then, if its end is known: a while before that, as it says itself and its fleet says.
    pub fn until(&self) -> Option<Timestamp> {
        self.ends.map(|ends| {
            let own = ends.checked_sub(self.margin).unwrap_or(Timestamp::MIN);
            self.terms.as_ref().map_or(own, |terms| terms.until(ends).min(own))
        })
    }

    /// Reads a node.
    pub fn of(node: &Node) -> Self {
        let annotation = |name: &str| node.metadata.annotations.as_ref()?.get(name);
        let mut found = node.metadata.labels.clone().unwrap_or_default();
        found.remove(labels::JIRIAF_ALIVETIME);
        Self {
            labels: found,
            state: state(node),
            allocatable: Amounts::read(node.status.iter().flat_map(|status| status.allocatable.iter().flatten())),
            ends: annotation(labels::ENDS_AT).and_then(|time| time.parse().ok()),
            margin: margin_of(node),
            is_ending: says_ending(node),
            // What cannot be read keeps nobody out: the node has the last word.
            namespaces: annotation(labels::NAMESPACES).and_then(|rule| Rule::from_json(rule).ok()).unwrap_or_default(),
            terms: None,
            about: About {
                version: version(node),
                cordon: Cordon::of(node),
                is_drained: ending(node).is_some_and(|ending| ending.reason.as_deref() == Some(labels::DRAINED)),
                fleet_label: None,
            },
        }
    }
}

fn version(node: &Node) -> String {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map(|info| info.kubelet_version.clone()).unwrap_or_default()
}

/// How long before its end a node is Ending; nothing, where it does not say.
pub(crate) fn margin_of(node: &Node) -> SignedDuration {
    let text = node.metadata.annotations.as_ref().and_then(|all| all.get(labels::WALLTIME_MARGIN));
    let seconds = text.and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    SignedDuration::from_secs(seconds.into())
}

/// Whether a node says that its end is near.
pub(crate) fn says_ending(node: &Node) -> bool {
    ending(node).is_some()
}

/// The condition by which it says that, where it does.
fn ending(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == labels::ENDING && condition.status == "True")
}

fn state(node: &Node) -> NodeState {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "True" => taking(node),
        Some(not) => NodeState::NotReady {
            why: not.message.clone().filter(|message| !message.is_empty()),
            since: not.last_transition_time.as_ref().map(|time| time.0),
        },
        None => NodeState::NotReady { why: None, since: None },
    }
}

/// Of a ready node.
fn taking(node: &Node) -> NodeState {
    let spec = node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable).unwrap_or(false) {
        return NodeState::Cordoned;
    }
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints
        .iter()
        .find(|taint| keeps_away(taint))
        .map_or(NodeState::Ready, |taint| NodeState::Tainted(taint.key.clone()))
}

/// Whether pods of CmdJobs do not tolerate a taint. Those that tell of a node that is not ready go away a moment after the
/// node is ready, and say nothing that the condition does not.
fn keeps_away(taint: &Taint) -> bool {
    let is_own = taint.key == labels::TAINT_KEY && taint.value.as_deref() == Some(labels::TAINT_VALUE);
    let is_late = matches!(&*taint.key, "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable");
    taint.effect != "PreferNoSchedule" && !is_own && !is_late
}
