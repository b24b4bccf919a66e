//! The Node object: what it says of itself when it is made, and what its status says while it lives.
//!
//! ```text
//!   profile (configuration) ─┐
//!   host, usage (the pipe) ──┼──▶ status ──▶ is_due? ──▶ patch
//!   shortages, trouble ──────┘
//! ```

mod conditions;
mod marks;
mod reach;
mod shortage;
mod status;
mod way;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::labels;
use vk_cmd_crds::names::NodeName;

use crate::config::{NodeTaint, Resources};
use crate::images::ImageMap;

pub use self::conditions::{Nearing, Trouble, changes};
pub use self::marks::{Lives, Marks, left};
pub use self::reach::{Reach, Through};
pub use self::shortage::Shortages;
pub use self::status::{Said, Told, View, allocatable, in_force, is_due, is_overwritten, patch, status, version};
pub use self::way::{By, Fault, Patience, WayIn};

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProfile {
    /// Its name.
    pub name: NodeName,
    /// Where the API server reaches its kubelet API; none while that is not known.
    pub reach: Option<Reach>,
    /// How many pods it takes.
    pub max_pods: u32,
    /// More labels: `vk-cmd.io/site`, say.
    pub labels: BTreeMap<String, String>,
    /// Taints that it is made with, besides that of every vk-node.
    pub taints: Vec<NodeTaint>,
    /// What it offers: instead of what the host has, or besides it.
    pub capacity: Resources,
    /// What of that is not for pods.
    pub reserved: Resources,
    /// Images that stand for programs of the host.
    pub images: ImageMap,
}

/// The Node as it is made. The taint can be set only now: NodeRestriction lets no node change its own later.
#[must_use]
pub fn object(profile: &NodeProfile, lasts: Option<Lasts>, view: &View<'_>, now: Timestamp) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(profile.name.as_str().to_owned()),
            labels: Some(labels_of(profile, lasts)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints_of(profile)), ..NodeSpec::default() }),
        status: Some(status(profile, view, None, now)),
    }
}

/// The annotation in which a Node that was made again has the UIDs of those that it replaces, the latest first.
const FORMER_UIDS: &str = "vk-cmd.io/former-uids";
/// How many of them it has.
const MOST_FORMER_UIDS: usize = 16;

/// Writes into a Node that is to be made that it replaces one of this lineage.
pub fn set_lineage(node: &mut Node, lineage: &[String]) {
    if !lineage.is_empty() {
        let former: Vec<&str> = lineage.iter().take(MOST_FORMER_UIDS).map(String::as_str).collect();
        node.metadata.annotations.get_or_insert_default().insert(FORMER_UIDS.to_owned(), former.join(","));
    }
}

/// The UID of a Node, and of those that it replaces in its cluster. What was started for one of them was started for this
/// cluster: its list of pods speaks about it.
#[must_use]
pub fn lineage(node: &Node) -> Vec<String> {
    let former = node.metadata.annotations.as_ref().and_then(|all| all.get(FORMER_UIDS)).map_or("", String::as_str);
    let all = node.metadata.uid.as_deref().into_iter().chain(former.split(','));
    all.filter(|uid| !uid.is_empty()).map(str::to_owned).collect()
}

/// The taint of every vk-node, and those of its profile.
fn taints_of(profile: &NodeProfile) -> Vec<Taint> {
    let taint = |key: &str, value: &str, effect: &str| Taint {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        effect: effect.to_owned(),
        time_added: None,
    };
    let own = taint(labels::TAINT_KEY, labels::TAINT_VALUE, labels::TAINT_EFFECT);
    let more = profile.taints.iter().map(|t| taint(&t.key, &t.value, t.effect.name()));
    std::iter::once(own).chain(more).collect()
}

/// The processors' kind, in Go's words.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How exactly the time that is left is told: by the minute.
const ALIVETIME_STEP: u64 = 60;

/// How long a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasts {
    /// In all, from its start.
    pub whole: Duration,
    /// From now on.
    pub left: Duration,
}

/// The labels that every vk-node carries, those of its profile, and how long it is there, if that is known.
#[must_use]
pub fn labels_of(profile: &NodeProfile, lasts: Option<Lasts>) -> BTreeMap<String, String> {
    let mut all = profile.labels.clone();
    all.extend(
        [
            (labels::HOSTNAME, profile.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch()),
            (labels::NODE_TYPE, labels::NODE_TYPE_VALUE),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if let Some(Lasts { whole, left }) = lasts {
        let (whole, left) = (whole.as_secs(), left.as_secs());
        // Never more than there is.
        let left = if left == whole { left } else { left / ALIVETIME_STEP * ALIVETIME_STEP };
        all.insert(labels::JIRIAF_WALLTIME.to_owned(), whole.to_string());
        all.insert(labels::JIRIAF_ALIVETIME.to_owned(), left.to_string());
    }
    all
}

/// Those of them that stay as they are.
#[must_use]
pub fn lasting_labels(profile: &NodeProfile, lasts: Option<Lasts>) -> BTreeMap<String, String> {
    let mut all = labels_of(profile, lasts);
    all.remove(labels::JIRIAF_ALIVETIME);
    all
}

#[cfg(test)]
mod tests;
