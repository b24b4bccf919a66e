//! Admission: is this pod one that this node can run, field by field? Nothing is ignored: a field is honoured, or has
//! no meaning for a host process and says nothing else, or the pod is refused with all the reasons at once.

mod container;
mod fields;
mod lifecycle;
mod mounts;
mod qos;
mod refusal;
mod resources;
mod security;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, ResourceRequirements, VolumeMountStatus};
use vk_cmd_crds::labels;
use vk_task::{
    DirName, EnvName, HostAlias, Limits, Place, ScriptRunner, Security, Stdio, StopSignal, TerminationMessage,
    VolumeSource,
};

use self::container::Common;
use crate::ending::Warning;
use crate::env_files;
use crate::evict::StorageLimits;
use crate::facts::NodeFacts;
use crate::probe::Probes;

pub use self::lifecycle::{ExitCodeRule, HookAction, HookKind, Hooks, Restarts};
pub use self::mounts::{AdmittedMount, Part};
pub use self::qos::QosClass;
pub use self::refusal::{Problem, Problems, REFUSED, Refusal};
pub(crate) use self::volumes::clean;
pub use self::volumes::{
    AdmittedVolume, DownwardFile, DownwardValue, FileSource, KeyFile, TokenFile, TokenRequest, VolumeKind,
};

/// A pod that this node can run, reduced to what running it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmittedPod {
    /// Which pod.
    pub key: PodKey,
    /// Its containers, init and ephemeral ones among them: in the order in which they are started.
    pub containers: Vec<AdmittedContainer>,
    /// Its volumes, those that a container is given or has variables of, and that have to be made: paths of the host stand in the mounts.
    pub volumes: Vec<AdmittedVolume>,
    /// Ephemeral containers that this node cannot run, and why. They are no reason to refuse a pod that runs already.
    pub refused: Vec<RefusedContainer>,
    /// `terminationGracePeriodSeconds`: the time between `SIGTERM` and `SIGKILL`.
    pub grace: SignedDuration,
    /// `activeDeadlineSeconds`, counted from the pod's start time.
    pub deadline_seconds: Option<u32>,
    /// `readinessGates`: conditions that others write, and that the pod's readiness waits for.
    pub readiness_gates: Vec<String>,
    /// The annotation [`labels::WARNING_SIGNAL`].
    pub warning: Option<Warning>,
    /// How much room it may use on disk.
    pub storage: StorageLimits,
    /// Its class of quality of service.
    pub qos_class: QosClass,
    /// `metadata.generation`.
    pub generation: Option<i64>,
}

/// An ephemeral container that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedContainer {
    /// Its name.
    pub name: String,
    /// Its image, as written.
    pub image: String,
    /// Why.
    pub problems: Problems,
}

/// Which pod: its name may be used again by another one, its UID never.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
}

/// A container of an [`AdmittedPod`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdmittedContainer {
    /// Its name.
    pub name: String,
    /// What part it has in the pod.
    pub role: Role,
    /// Its image, as written.
    pub image: String,
    /// What it runs, before `$(VAR)` is expanded.
    pub program: ProgramTemplate,
    /// `env`.
    pub env: Vec<EnvVar>,
    /// `envFrom`.
    pub env_from: Vec<EnvFromSource>,
    /// Variables that it has unless `env` or `envFrom` say otherwise: those of its image in the node's image map.
    pub image_env: BTreeMap<EnvName, String>,
    /// `workingDir`.
    pub working_dir: Option<PathBuf>,
    /// On the host, or in an image.
    pub place: Place,
    /// The volumes that it is given.
    pub mounts: Vec<AdmittedMount>,
    /// `volumeMounts`, as its status tells of them.
    pub told_mounts: Vec<VolumeMountStatus>,
    /// Its pod's `hostAliases`.
    pub host_aliases: Vec<HostAlias>,
    /// `stdin`, `stdinOnce`, `tty`.
    pub stdio: Stdio,
    /// `resources.limits`.
    pub limits: Limits,
    /// What its security context takes from it.
    pub security: Security,
    /// `resources`, as written: what the status tells of them.
    pub resources: Option<ResourceRequirements>,
    /// `startupProbe`, `livenessProbe`, `readinessProbe`.
    pub probes: Probes,
    /// When it is run again.
    pub restarts: Restarts,
    /// What is done when it has been started, and before it is ended.
    pub hooks: Hooks,
    /// `lifecycle.stopSignal`.
    pub stop_signal: Option<StopSignal>,
    /// Where its last words are.
    pub termination_message: TerminationMessage,
}

/// What part a container has in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one is started.
    Init,
    /// Is started among the init containers and runs beside the main ones: an init container with `restartPolicy: Always`.
    Sidecar,
    /// One of `containers`.
    Main,
    /// Added while the pod runs; never run again.
    Ephemeral,
}

/// What a container runs, before `$(VAR)` is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramTemplate {
    /// `command` followed by `args`.
    Exec(Vec<String>),
    /// The script of a CmdJob, which the operator put into the last argument.
    Script {
        /// The text.
        text: String,
        /// What runs it.
        runner: ScriptRunner,
    },
}

/// A `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Run again whatever the end was.
    Always,
    /// Run again unless the exit code was 0.
    OnFailure,
    /// Run once.
    Never,
}

/// What the API server writes where a pod says nothing of its grace.
const DEFAULT_GRACE_SECONDS: i64 = 30;

impl PodKey {
    /// The key of a pod that came from an API server.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Decides whether `node` can run `pod`.
///
/// # Errors
/// With every field of the pod that this node cannot honour, and why.
pub fn admit(pod: &Pod, node: &NodeFacts) -> Result<AdmittedPod, Problems> {
    let mut problems = Vec::new();
    let Some(spec) = &pod.spec else {
        return Err(Problems(vec![Problem { field: "spec".into(), message: "the pod has none".into() }]));
    };
    let of_pod = fields::pod(&pod.metadata, spec, node, &mut problems);
    let annotation = |name: &str| pod.metadata.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str);
    let script = annotation(labels::SCRIPT);
    let warning = annotation(labels::WARNING_SIGNAL).map(str::parse::<Warning>).transpose();
    let warning = warning.unwrap_or_else(|wrong| {
        let field = format!("metadata.annotations[{}]", labels::WARNING_SIGNAL);
        problems.push(Problem { field, message: wrong.to_string() });
        None
    });
    let common = Common { node, of_pod: &of_pod, script, policy: lifecycle::pods_policy(spec) };
    let mut containers = Vec::new();
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        let role = lifecycle::init_role(container);
        containers.extend(common.admit(container, role, &format!("spec.initContainers[{i}]"), &mut problems));
    }
    for (i, container) in spec.containers.iter().enumerate() {
        containers.extend(common.admit(container, Role::Main, &format!("spec.containers[{i}]"), &mut problems));
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let mut refused = Vec::new();
    for (i, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let container = lifecycle::as_container(ephemeral);
        let (at, mut problems) = (format!("spec.ephemeralContainers[{i}]"), Vec::new());
        let admitted = common.admit(&container, Role::Ephemeral, &at, &mut problems);
        match admitted.filter(|_| problems.is_empty()) {
            Some(admitted) => containers.push(admitted),
            None => refused.push(RefusedContainer {
                name: container.name,
                image: container.image.unwrap_or_default(),
                problems: Problems(problems),
            }),
        }
    }
    // As in the kubelet: what no container is given is not made.
    let given: Vec<&AdmittedMount> = containers.iter().flat_map(|container| &container.mounts).collect();
    let read: BTreeSet<_> = containers.iter().flat_map(|container| env_files::needed(&container.env)).collect();
    let is_given = |name: &DirName| {
        given.iter().any(|mount| matches!(&mount.source, VolumeSource::Volume { name: given } if given == name))
            || read.iter().any(|file| file.volume == *name)
    };
    let volumes = of_pod.volumes.into_iter().filter(|volume| is_given(&volume.name)).collect();
    Ok(AdmittedPod {
        key: PodKey::of(pod),
        containers,
        volumes,
        refused,
        grace: SignedDuration::from_secs(spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS).max(0)),
        deadline_seconds: spec.active_deadline_seconds.map(|s| u32::try_from(s.max(0)).unwrap_or(u32::MAX)),
        readiness_gates: spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect(),
        warning,
        storage: StorageLimits::of(spec),
        qos_class: QosClass::of(spec),
        generation: pod.metadata.generation,
    })
}

#[cfg(test)]
mod tests;
