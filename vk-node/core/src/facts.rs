//! What is known when a decision about a pod is made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_task::clock::Steps;
use vk_task::{HostInfo, MountNamespaces, TaskId, TaskView};

use crate::admit::{AdmittedPod, HookKind, Refusal};
use crate::ending::{EndFacts, JobTerm};
use crate::images::ImageMap;

/// What is known about one pod when a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What admission said of it.
    pub admitted: Result<&'a AdmittedPod, &'a Refusal>,
    /// Whether somebody has deleted it, and what grace it has.
    pub deletion: Deletion,
    /// Its status as the API server has it, as far as we know.
    pub published: &'a PodStatus,
    /// The tasks that the pipe has for its UID. They must be complete: never decide on a pipe that has not answered.
    pub tasks: &'a [TaskView],
    /// What went wrong when a container was last to be started, by its name.
    pub troubles: &'a BTreeMap<String, Trouble>,
    /// What probes have told, by the container's name.
    pub probed: &'a BTreeMap<String, Probed>,
    /// How hooks have gone, by the container's name.
    pub hooks: &'a BTreeMap<String, HookFacts>,
    /// The runs with which the back-off of containers began anew, by their names: those that followed a run which lasted.
    /// Without it, it goes on from where all runs have brought it.
    pub back_off_from: &'a BTreeMap<String, u32>,
    /// Why it is to be evicted, if it is: see [`crate::evict`].
    pub evicted: Option<&'a str>,
    /// The end of the node, if one is known: see [`crate::ending`].
    pub end: Option<&'a EndFacts>,
    /// The TERM that comes to all processes of a batch job, as far as it has to do with how tasks ended.
    pub job_term: &'a JobTerm,
    /// The tasks that were warned of the node's end, each with the end that it was warned of ([`EndFacts::at_boot`]). What is
    /// forgotten is warned again.
    pub warned: &'a BTreeMap<TaskId, Duration>,
    /// When this process first decided to end the pod, if it has: the grace counts from then.
    pub stopping_since: Option<Timestamp>,
    /// This node.
    pub node: &'a NodeFacts,
    /// The time.
    pub now: Timestamp,
    /// The steps of the clock that it is by. Times that were recorded before are compared with `now` by
    /// [`Facts::present`] only.
    pub steps: &'a Steps,
}

impl Facts<'_> {
    /// What the clock that runs now would have shown when `recorded` was recorded, however often it was set since.
    #[must_use]
    pub fn present(&self, recorded: Timestamp) -> Timestamp {
        self.steps.present(recorded)
    }
}

/// Whether a pod has been deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It has not.
    NotAsked,
    /// It has; its processes have so long between `SIGTERM` and `SIGKILL`.
    Asked {
        /// `metadata.deletionGracePeriodSeconds`.
        grace: SignedDuration,
    },
}

/// How the hooks of one run of a container have gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookFacts {
    /// The run that they were done for.
    pub restart: u32,
    /// `postStart`.
    pub post_start: Hook,
    /// `preStop`.
    pub pre_stop: Hook,
}

/// How a hook has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// This process has not done it. Where the node has been restarted, it may have been done before.
    #[default]
    Unknown,
    /// It is being done.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It is done.
    Done {
        /// When it was begun.
        since: Timestamp,
    },
    /// It could not be done, or has failed.
    Failed {
        /// When it was begun.
        since: Timestamp,
        /// Why, for people.
        message: String,
    },
}

impl HookFacts {
    /// How the hook of this kind has gone.
    #[must_use]
    pub fn get(&self, kind: HookKind) -> &Hook {
        match kind {
            HookKind::PostStart => &self.post_start,
            HookKind::PreStop => &self.pre_stop,
        }
    }

    /// Keeps how the hook of this kind has gone.
    pub fn set(&mut self, kind: HookKind, hook: Hook) {
        match kind {
            HookKind::PostStart => self.post_start = hook,
            HookKind::PreStop => self.pre_stop = hook,
        }
    }
}

impl Hook {
    /// When it was begun, if it was.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Unknown => None,
            Self::Running { since } | Self::Done { since } | Self::Failed { since, .. } => Some(*since),
        }
    }
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In the kubelet's words: `CreateContainerConfigError`, say.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Whether and when it is worth another try.
    pub retry: Retry,
}

/// Whether a start that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At this time: it may have been mended from outside by then.
    At(Timestamp),
    /// Never: the same would come of it, or it is forbidden. The pod has failed.
    Never,
}

/// What a decision needs to know of this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The UID of its Node object.
    pub uid: String,
    /// Its address, which is also that of its pods: they are in the host's network.
    pub address: String,
    /// Whether its tasks can have mounts of their own.
    pub mount_namespaces: MountNamespaces,
    /// What runs images here, by name; none where they cannot be run.
    pub image_runtime: Option<String>,
    /// Whose its tasks' processes are.
    pub user: SiteUser,
    /// The user's other groups.
    pub groups: Vec<u32>,
    /// What images stand for here.
    pub images: ImageMap,
    /// Where its tasks reach the API server.
    pub api_server: Endpoint,
    /// Its own labels, those that stay as they are. Others may have given it more.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What its pods may use in all: the Node's `status.allocatable`.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// The user of the pipe, whose all processes at a site are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SiteUser {
    /// A pipe of an earlier version has not told all of it.
    #[default]
    Unknown,
    /// These are the numbers of the user and of the user's first group.
    Known {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl NodeFacts {
    /// The same with what the pipe now says of what can be run here: the site's file may have been changed since.
    #[must_use]
    pub fn at(&self, host: &HostInfo) -> Self {
        Self {
            mount_namespaces: host.mount_namespaces.clone(),
            image_runtime: host.site.runtime.clone(),
            ..self.clone()
        }
    }
}

impl SiteUser {
    /// As the pipe tells of it.
    #[must_use]
    pub fn of(host: &HostInfo) -> Self {
        host.gid.map_or(Self::Unknown, |gid| Self::Known { uid: host.uid, gid })
    }
}

/// A host and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; one of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What the probes of one run of a container have told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The run that they were made for; what they told of an earlier one says nothing.
    pub restart: u32,
    /// Whether it has come up.
    pub startup: Probe,
    /// Whether it is to be ended.
    pub liveness: Probe,
    /// Whether it can serve.
    pub readiness: Probe,
}

/// What a probe has told last, after its thresholds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// Nothing yet; where the node has been restarted, what was published of this very run still holds.
    #[default]
    Unknown,
    /// It succeeds.
    Success,
    /// It fails.
    Failure {
        /// Why, for people.
        message: String,
    },
}
