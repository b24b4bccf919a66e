//! What a CmdFleet says about itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumProperty, EnumString, IntoStaticStr, VariantArray};

use crate::launcher::PilotsStatus;

/// How it is with the fleet. Written by the operator only, and only when something has changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CmdFleetStatus {
    /// The metadata.generation that this status was made for. While it is lower than metadata.generation, the operator
    /// has not seen the last change yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many nodes there are, for kubectl scale and autoscalers.
    #[serde(default)]
    pub replicas: i32,
    /// The nodes as a label selector, for kubectl scale and autoscalers: kubectl get nodes -l "…".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How many nodes there shall be: replicas, or else minNodes and what the queue needs beyond it.
    #[serde(default)]
    pub wanted_nodes: i32,
    /// How many nodes belong to the fleet.
    #[serde(default)]
    pub total_nodes: i32,
    /// How many of them are ready, cordoned ones included.
    #[serde(default)]
    pub ready_nodes: i32,
    /// How many of the ready ones have pods that have not ended, or room that is kept for such.
    #[serde(default)]
    pub busy_nodes: i32,
    /// How many of the ready ones have none.
    #[serde(default)]
    pub idle_nodes: i32,
    /// How many take no new pods, because they are cordoned or tainted.
    #[serde(default)]
    pub cordoned_nodes: i32,
    /// How many end soon.
    #[serde(default)]
    pub ending_nodes: i32,
    /// What the ready nodes have for pods in all, as quantities by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allocatable: BTreeMap<String, String>,
    /// What of that is in use, or kept for pods that are about to be made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, String>,
    /// What is free on those of the ready nodes that take new pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free: BTreeMap<String, String>,
    /// The nodes that end soon, the first first; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["node"]))]
    pub nodes_ending_soon: Vec<EndingNode>,
    /// Which versions of vk-node there are, the most frequent first; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["version"]))]
    pub versions: Vec<NodeVersion>,
    /// What waits for the fleet.
    #[serde(default)]
    pub queue: FleetQueue,
    /// How it is with the pilots, of a fleet with a launcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilots: Option<PilotsStatus>,
    /// What somebody should look at, in plain words; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How it is, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Ready; Reconciling and Stalled as tools know them from kstatus; LauncherPaused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A node that ends soon.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndingNode {
    /// Its name.
    pub node: String,
    /// When it ends.
    pub ends_at: Time,
}

/// How many nodes have a version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeVersion {
    /// The version of vk-node.
    pub version: String,
    /// So many have it.
    pub nodes: i32,
}

/// What waits for a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetQueue {
    /// So many CmdJobs wait for room.
    #[serde(default)]
    pub waiting_jobs: i32,
    /// So many pods of theirs would be made if there were room.
    #[serde(default)]
    pub waiting_pods: i32,
}

/// The types of a CmdFleet's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray, EnumMessage)]
pub enum FleetCondition {
    /// There are as many ready nodes as are wanted, in the state that is wanted. Always present.
    Ready,
    /// There is something to wait for. Present only when true.
    Reconciling,
    /// The fleet needs somebody's hand. Present only when true.
    Stalled,
    /// No pilot is submitted, because the last ones have failed, or because the launcher cannot be used. Present only when true.
    LauncherPaused,
}

/// Why a CmdFleet is as it is: the reason of its conditions. The properties are the conditions by which it is met, and what somebody can
/// do; all of it is in docs/reference/reasons.md.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray, EnumMessage, EnumProperty,
)]
pub enum FleetReason {
    /// there are as many ready nodes as are wanted
    #[strum(props(states = "Ready=True", advice = "nothing"))]
    NodesReady,
    /// `spec.scheduling` is Cordoned, and all nodes are
    #[strum(props(states = "Ready=True", advice = "`spec.scheduling: Active` takes it back"))]
    Cordoned,
    /// `spec.scheduling` is Draining, all nodes are cordoned, and nothing runs there that is to be evicted
    #[strum(props(states = "Ready=True", advice = "`spec.scheduling: Active` takes it back"))]
    Drained,
    /// fewer nodes are ready than are wanted
    #[strum(props(
        states = "Ready=False, Reconciling=True",
        advice = "start more at the site (`vk-operator join-token --fleet NAME`), or look why they do not come"
    ))]
    TooFewNodes,
    /// `spec.scheduling` is Cordoned, and not all nodes are yet
    #[strum(props(states = "Ready=False, Reconciling=True", advice = "nothing: it takes a moment"))]
    Cordoning,
    /// `spec.scheduling` is Draining, and something runs there still; the message says what holds it, a
    /// PodDisruptionBudget say
    #[strum(props(states = "Ready=False, Reconciling=True", advice = "wait, or see what the message says holds it"))]
    Draining,
    /// nodes that the fleet has cordoned are not uncordoned yet
    #[strum(props(states = "Ready=False, Reconciling=True", advice = "nothing: it takes a moment"))]
    Uncordoning,
    /// three pilots or more have failed in a row: one more is tried now and then, with growing pauses; the message
    /// has the last one's own words
    #[strum(props(
        states = "LauncherPaused=True",
        advice = "see the last pilot in `status.pilots`, and its batch job; a change of `spec.launcher` tries again at once"
    ))]
    PilotsFail,
    /// the object says something that cannot be done; the message says all of it
    #[strum(props(
        states = "LauncherPaused=True of the launcher; Ready=False, Stalled=True of anything else",
        advice = "correct all that the message lists, and apply it again"
    ))]
    Invalid,
}
