//! How a fleet comes to its nodes: allocations of the site's batch system, asked for and given back by the operator by way of a
//! vk-node there. The doc comments are what `kubectl explain cmdfleet.spec.launcher` prints.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, IntoStaticStr, VariantArray};

/// How the nodes of a fleet are started: as pilots, which are allocations of the site's batch system in which vk-nodes run. Each
/// pilot is a CmdJob on the gateway that submits the allocation, stays until that has ended, and cancels it when it is told to
/// end itself. Exactly one of slurm, pbs, condor and command.
// A struct with optional fields rather than an enum, so that the API server can say in words what is missing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[x_kube(
    validation = ("[has(self.slurm), has(self.pbs), has(self.condor), has(self.command)].exists_one(system, system)", "name the batch system: exactly one of slurm, pbs, condor and command"),
)]
#[serde(rename_all = "camelCase")]
pub struct Launcher {
    /// From where the batch system is spoken to.
    pub gateway: Gateway,

    /// The namespace in which the pilots' CmdJobs are made. It must exist, and whoever may change CmdJobs in it has pilots
    /// submitted in the gateway's name.
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "namespace is the name of a namespace, e.g. vk-cmd-pilots"))]
    pub namespace: String,

    /// Slurm: sbatch, squeue and scancel on the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<Slurm>,
    /// PBS: qsub, qstat and qdel on the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pbs: Option<Pbs>,
    /// HTCondor: condor_submit, condor_q, condor_history and condor_rm on the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condor: Option<Condor>,
    /// Another batch system, by commands of the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Commands>,

    /// How long an allocation is asked for, in seconds. A waiting job whose walltimeSeconds would not fit into it asks for no
    /// pilot.
    #[x_kube(validation = ("self >= 60", "walltimeSeconds is 60 or more: batch systems count in minutes"))]
    pub walltime_seconds: i64,

    /// How many nodes one pilot brings. Default 1.
    #[serde(default = "one")]
    #[x_kube(validation = ("self >= 1 && self <= 1000", "nodesPerPilot is from 1 to 1000"))]
    pub nodes_per_pilot: i32,

    /// What one node has for jobs, e.g. {cpu: 128, memory: 512Gi, pods: 250}: by this it is counted how many nodes the queue
    /// needs. Default: what the nodes of this fleet have had; until there has been one, one pilot is sent ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_resources: Option<BTreeMap<String, Quantity>>,

    /// What runs in the allocation.
    #[serde(default)]
    pub node: NodeProgram,

    /// Where pilots keep what they know and their nodes' directories, as an absolute path that the gateway and the nodes
    /// share. Default: $HOME/.vk-cmd/pilots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("self.startsWith('/')", "directory is an absolute path: it is not read by a shell, so ~ and $HOME do not work here"))]
    pub directory: Option<String>,

    /// Variables for the batch system's commands and for the nodes, e.g. {SLURM_CONF: /opt/slurm/slurm.conf}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub environment: Option<BTreeMap<String, String>>,

    /// How many pilots there may be at a time. Default: no limit but maxNodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "maxPilots is 0 (submit none) or more"))]
    pub max_pilots: Option<i32>,

    /// How many pilots may wait in the batch system's queue at a time. Default 10.
    #[serde(default = "ten")]
    #[x_kube(validation = ("self >= 1", "maxPendingPilots is 1 or more: to submit none, set maxPilots to 0"))]
    pub max_pending_pilots: i32,

    /// How long a node stays that nobody uses, and a pilot in the queue that nobody waits for, in seconds. Default 300.
    #[serde(default = "idle_seconds")]
    #[x_kube(validation = ("self >= 0", "idleSeconds is 0 or more"))]
    pub idle_seconds: i64,

    /// How long a cancelled allocation may take to be gone, in seconds, before its pilot is not waited for any more. More than
    /// the batch system gives between TERM and KILL. Default 300.
    #[serde(default = "cancel_seconds")]
    #[x_kube(validation = ("self >= 1", "cancelSeconds is 1 or more"))]
    pub cancel_seconds: i64,

    /// How often the batch system is asked how it is with an allocation, in seconds: from one second on, with pauses that grow to
    /// this. Default 30.
    #[serde(default = "poll_seconds")]
    #[x_kube(validation = ("self >= 1", "pollSeconds is 1 or more"))]
    pub poll_seconds: i64,
}

/// The vk-node from which the batch system is spoken to: on a login node, say.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Gateway {
    /// Its name, which begins with vk-. It does not belong to the fleet.
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self.startsWith('vk-')", "this is not a vk-cmd node: their names begin with vk-, e.g. vk-gw (list them: kubectl get nodes -l type=virtual-kubelet)"))]
    pub node: String,
}

/// The program that an allocation runs, `vk-node run`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeProgram {
    /// Where vk-node is. Without a slash it is looked up in PATH. Default vk-node.
    #[serde(default = "vk_node")]
    #[schemars(length(max = 1024))]
    pub program: String,
    /// The node's file (docs/reference/node.md), as an absolute path: with bootstrapKubeconfig in it, most often. What differs from node to
    /// node (name, labels, directory) is given beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("self.startsWith('/')", "config is an absolute path: it is not read by a shell, so ~ and $HOME do not work here"))]
    pub config: Option<String>,
    /// More labels of the nodes, beside vk-cmd.io/fleet and vk-cmd.io/pilot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: Option<BTreeMap<String, String>>,
    /// More arguments of `vk-node run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub args: Option<Vec<String>>,
    /// A script for /bin/sh that is read before vk-node is started, on each node: `module load …`, say. It must not end the
    /// shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub setup: Option<String>,
}

impl Default for NodeProgram {
    fn default() -> Self {
        Self { program: vk_node(), config: None, labels: None, args: None, setup: None }
    }
}

/// What sbatch is told.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slurm {
    /// `--partition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub partition: Option<String>,
    /// `--account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub account: Option<String>,
    /// `--qos`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub qos: Option<String>,
    /// `--constraint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub constraint: Option<String>,
    /// More options of sbatch, each a word of its own: [--exclusive, --licenses=scratch].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    #[x_kube(validation = ("self.all(word, word.startsWith('-'))", "extraArgs are options of sbatch, each beginning with - and with its value after =, e.g. --gres=gpu:4"))]
    pub extra_args: Option<Vec<String>>,
    /// How several nodes of one pilot are asked for. Default Allocation.
    #[serde(default)]
    pub layout: Layout,
    /// Whether Slurm may run the allocation again, under the same name, after it was preempted or its machine has failed.
    /// Default false: the operator submits another one, if it is still needed.
    #[serde(default)]
    pub requeue: bool,
    /// How long before the end of the allocation vk-node gets USR1, in seconds: `--signal=B:USR1@…`. Slurm may send it up to
    /// a minute early. Default 120; 0: not at all.
    #[serde(default = "signal_seconds")]
    #[x_kube(validation = ("self >= 0 && self <= 65535", "signalSeconds is from 0 to 65535"))]
    pub signal_seconds: i32,
}

/// How several nodes of one pilot are asked for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum Layout {
    /// One allocation of so many nodes, which begin and end together; each runs a vk-node by srun.
    #[default]
    Allocation,
    /// A job array of so many allocations of one node, each of which begins when there is room for it.
    Array,
}

/// What qsub is told.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pbs {
    /// `-q`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub queue: Option<String>,
    /// `-A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub account: Option<String>,
    /// What of each node is asked for, the chunk of `-l select=N:…`, e.g. ncpus=128:mem=512gb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub chunk: Option<String>,
    /// More arguments of qsub, each a word of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub extra_args: Option<Vec<String>>,
}

/// What stands in the file for condor_submit. Each node of a pilot is a process of one cluster of jobs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condor {
    /// Lines of the submit description, by their name: {request_cpus: "8", request_memory: 16GB, requirements: …}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub submit: Option<BTreeMap<String, String>>,
}

/// The commands of another batch system, each a script for /bin/sh on the gateway. They find PILOT_NAME (unique to this pilot),
/// PILOT_SCRIPT (the file that each node is to run, with its index in PILOT_INDEX), PILOT_NODES, PILOT_SECONDS, PILOT_LOG (where the
/// output goes), and PILOT_ID (what submit has printed).
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commands {
    /// Submits, and prints the allocation's id as its last line.
    #[schemars(length(min = 1, max = 65_536))]
    pub submit: String,
    /// Prints, in one word, how it is with PILOT_ID: waiting, running, ended or failed; held, if it could not be started and waits for
    /// somebody to release it: it is cancelled then, and has failed; gone, if the batch system does not know it any more.
    #[schemars(length(min = 1, max = 65_536))]
    pub state: String,
    /// Cancels PILOT_ID.
    #[schemars(length(min = 1, max = 65_536))]
    pub cancel: String,
    /// Prints the id of the allocation whose name is PILOT_NAME, or nothing. By this a pilot that was interrupted while it submitted
    /// does not submit twice. Default: it is not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub find: Option<String>,
}

/// How it is with the pilots of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PilotsStatus {
    /// How many nodes are wanted of the launcher now: those that are used or kept, and those that the queue needs.
    #[serde(default)]
    pub wanted_nodes: i32,
    /// Pilots without a node yet: to be submitted by the gateway, or in the batch system's queue.
    #[serde(default)]
    pub pending: i32,
    /// Pilots with a node.
    #[serde(default)]
    pub running: i32,
    /// Pilots that are being cancelled.
    #[serde(default)]
    pub cancelling: i32,
    /// How many pilots have failed in a row.
    #[serde(default)]
    pub failures: i32,
    /// The number of the last pilot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_number: Option<i64>,
    /// A digest of the launcher that lastGoodNumber and nodeResources are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<String>,
    /// The number of the last pilot that has ended as it should, or worked until it was given back. Failures before it are no row any
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_number: Option<i64>,
    /// What its nodes have had for jobs: by this it is counted how many nodes the queue needs, where the launcher does not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_resources: BTreeMap<String, String>,
    /// Until when no pilot is submitted, because the last ones have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Time>,
    /// What there is to know in plain words: why none is submitted, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last pilots, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub recent: Vec<PilotStatus>,
}

/// One pilot.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PilotStatus {
    /// Its name, which is that of its CmdJob.
    pub name: String,
    /// Where it is.
    pub state: PilotState,
    /// How many of its nodes are there.
    #[serde(default)]
    pub nodes: i32,
    /// What it says of that itself: the gateway's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a pilot is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    Display,
    IntoStaticStr,
    VariantArray,
    EnumMessage,
)]
pub enum PilotState {
    /// The gateway has not taken it up.
    Waiting,
    /// It is submitted, or about to be; none of its nodes has been seen.
    Pending,
    /// A node of it has been seen.
    Running,
    /// It is being cancelled.
    Cancelling,
    /// Its allocation has ended as allocations do. Final.
    Ended,
    /// It could not be submitted, or its allocation has failed. Final.
    Failed,
}

fn one() -> i32 {
    1
}

fn ten() -> i32 {
    10
}

fn idle_seconds() -> i64 {
    300
}

fn cancel_seconds() -> i64 {
    300
}

fn poll_seconds() -> i64 {
    30
}

fn signal_seconds() -> i32 {
    120
}

fn vk_node() -> String {
    "vk-node".to_owned()
}
