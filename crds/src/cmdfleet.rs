//! The `CmdFleet` resource. The doc comments below are what `kubectl explain cmdfleet` prints, so they speak to its users.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

use crate::fleet_status::CmdFleetStatus;
use crate::labels;
use crate::launcher::Launcher;
use crate::names::NODE_PREFIX;

/// The default of `spec.walltimeMarginSeconds`.
pub const DEFAULT_MARGIN_SECONDS: i64 = 120;
/// The most characters in a fleet's name: its nodes, pilots and the group of its join tokens are named after it.
pub const FLEET_NAME_MAX: usize = 40;

/// Which nodes belong together, how many of them there shall be, and what is the same for all.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "vk-cmd.io",
    version = "v1alpha1",
    kind = "CmdFleet",
    plural = "cmdfleets",
    shortname = "cf",
    shortname = "vkfleet",
    status = "CmdFleetStatus",
    derive = "PartialEq",
    doc = "The vk-cmd nodes that are run as one group at a site: which they are, how many of them there shall be, whose pods they take, and whether they take any. A CmdJob names it as its target.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "WANTED", type_ = "integer", json_path = ".status.wantedNodes", description = "How many nodes there shall be"),
    printcolumn(name = "NODES", type_ = "integer", json_path = ".status.totalNodes", description = "How many there are"),
    printcolumn(name = "READY", type_ = "integer", json_path = ".status.readyNodes", description = "How many of them are ready"),
    printcolumn(name = "BUSY", type_ = "integer", json_path = ".status.busyNodes", description = "How many of the ready ones run something"),
    printcolumn(name = "WAITING", type_ = "integer", json_path = ".status.queue.waitingJobs", description = "How many CmdJobs wait for room in the fleet"),
    printcolumn(name = "SCHEDULING", type_ = "string", json_path = ".spec.scheduling", description = "Whether its nodes take pods"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the fleet was created"),
    printcolumn(name = "IDLE", type_ = "integer", json_path = ".status.idleNodes", description = "How many of the ready ones run nothing", priority = 1),
    printcolumn(name = "ENDING", type_ = "integer", json_path = ".status.endingNodes", description = "How many end soon", priority = 1),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = ".status.message", description = "How it is, in plain words", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("a fleet's name has at most 40 characters, lower-case letters, digits and -, with a letter or digit at each end and no dots: its nodes, pilots and join tokens are named after it"),
)]
#[x_kube(
    validation = Rule::new("!has(self.maxNodes) || self.minNodes <= self.maxNodes").message("minNodes is more than maxNodes").field_path(".minNodes"),
    validation = Rule::new("!has(self.replicas) || !has(self.maxNodes) || self.replicas <= self.maxNodes").message("replicas is more than maxNodes: raise maxNodes too").field_path(".replicas"),
    validation = Rule::new("!has(self.replicas) || self.replicas >= self.minNodes").message("replicas is less than minNodes: lower minNodes too").field_path(".replicas"),
)]
#[serde(rename_all = "camelCase")]
pub struct CmdFleetSpec {
    /// Which vk-cmd nodes belong to the fleet. Default: those with the label vk-cmd.io/fleet of the fleet's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NodeSelector>,

    /// Which names the join tokens of this fleet may be used for, as patterns in which * stands for any characters.
    /// Default: vk-NAME and vk-NAME-*, where NAME is the fleet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = ("size(self) > 0", "nodeNames is empty: leave it out for vk-NAME and vk-NAME-*, where NAME is the fleet's"),
        validation = ("self.all(pattern, pattern.matches('^vk-[-a-z0-9.*?]+$'))", "a pattern of nodeNames begins with vk- and has lower-case letters, digits, - and ., with * for any characters and ? for one, e.g. vk-perlmutter-*"),
    )]
    pub node_names: Option<Vec<String>>,

    /// How many nodes there shall be. kubectl scale sets it. Default: as many as the queue needs, from minNodes to maxNodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0 && self <= 10000", "replicas is from 0 to 10000"))]
    pub replicas: Option<i32>,

    /// How many nodes there shall be at least, also when nobody needs them. Default 0.
    #[serde(default)]
    #[x_kube(validation = ("self >= 0 && self <= 10000", "minNodes is from 0 to 10000"))]
    pub min_nodes: i32,

    /// How many nodes there may be at most. Default: no limit. Nodes that people start beyond it are not ended, only told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0 && self <= 10000", "maxNodes is from 0 to 10000"))]
    pub max_nodes: Option<i32>,

    /// How long before its end a node takes nothing new, in seconds, and until when what is placed there must have ended: so that
    /// there is time to end properly. Only for nodes that say when they end. Default 120.
    #[serde(default = "default_margin")]
    #[x_kube(validation = ("self >= 0 && self <= 86400", "walltimeMarginSeconds is from 0 to 86400, a day"))]
    pub walltime_margin_seconds: i64,

    /// Of which namespaces the nodes take CmdJobs, beside what each node's site says. Default: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,

    /// Whether the nodes take pods. Default Active.
    #[serde(default)]
    pub scheduling: Scheduling,

    /// How its nodes are started: as allocations of the site's batch system. Without it nodes are started by people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Launcher>,
}

/// The nodes that have all of these labels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Labels, and the value that each has, e.g. {vk-cmd.io/site: nersc}.
    #[schemars(extend("maxProperties" = 8))]
    #[x_kube(
        validation = ("size(self) > 0", "selector.matchLabels is empty, and would be all vk-cmd nodes: name at least one label, or leave selector out for vk-cmd.io/fleet=NAME"),
        validation = ("self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))", "selector.matchLabels has a key that no label can have: letters, digits, -, _ and ., with a letter or digit at each end, and a domain with a slash before it or not"),
    )]
    pub match_labels: BTreeMap<String, String>,
}

/// Namespaces by patterns: * stands for any characters, ? for one, [a-z] for one of these, {a,b} for one of these. A denial wins.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(validation = ("has(self.allow) || has(self.deny)", "namespaces says nothing: name those of allow or of deny, or leave it out"))]
#[serde(rename_all = "camelCase")]
pub struct Namespaces {
    /// Only these. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = ("size(self) > 0", "namespaces.allow is empty, and would let nobody in: to take no pods set scheduling: Cordoned, to take all leave it out"))]
    pub allow: Option<Vec<String>>,
    /// Not these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub deny: Option<Vec<String>>,
}

/// Whether the nodes of a fleet take pods.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum Scheduling {
    /// They do.
    #[default]
    Active,
    /// They take no new ones; what runs goes on. As kubectl cordon, of all nodes of the fleet.
    Cordoned,
    /// They take no new ones, and what runs is evicted as far as PodDisruptionBudgets allow. As kubectl drain, of all nodes of
    /// the fleet.
    Draining,
}

impl CmdFleet {
    /// The labels by which nodes belong to the fleet.
    #[must_use]
    pub fn node_labels(&self) -> BTreeMap<String, String> {
        match &self.spec.selector {
            Some(selector) => selector.match_labels.clone(),
            None => BTreeMap::from([(labels::FLEET.to_owned(), self.name().to_owned())]),
        }
    }

    /// The patterns of the names that its join tokens may be used for.
    #[must_use]
    pub fn name_patterns(&self) -> Vec<String> {
        let usual = || ["", "-*"].map(|rest| format!("{NODE_PREFIX}{}{rest}", self.name())).to_vec();
        self.spec.node_names.clone().unwrap_or_else(usual)
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

fn default_margin() -> i64 {
    DEFAULT_MARGIN_SECONDS
}
