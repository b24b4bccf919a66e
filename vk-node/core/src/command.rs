//! From an admitted container and what it is given to the task that runs it.

use std::cell::RefCell;

use k8s_openapi::api::core::v1::Pod;
use vk_task::{
    AskingNode, ContainerRun, EnvName, InvalidSpec, Leftovers, Origin, Place, Program, TaskSpec, VolumeMount,
};

use crate::admit::{AdmittedContainer, AdmittedMount, PodKey, ProgramTemplate};
use crate::downward::Untold;
use crate::env_files::EnvFiles;
use crate::environment::{self, Variables};
use crate::expand::expand;
use crate::facts::NodeFacts;
use crate::services::Service;
use crate::sources::{SourceRef, Sources};

/// What a container is given that neither the pod's own object nor the node holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// What was found of the ConfigMaps and Secrets that its variables come from.
    pub sources: Sources,
    /// What is in the files that its variables come from.
    pub files: EnvFiles,
    /// The Services that its variables tell of, besides the API server's.
    pub services: Vec<Service>,
}

/// Why a container's task cannot be built. All but [`Self::Spec`] may be mended from outside while the pod waits: the
/// kubelet calls that `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A ConfigMap or Secret is not there, and not optional.
    #[error("{0} not found: create it, or mark the reference optional")]
    SourceMissing(SourceRef),
    /// It is there without the key.
    #[error("{source_ref} has no key {key:?}: add it, or mark the reference optional")]
    KeyMissing {
        /// The object.
        source_ref: SourceRef,
        /// The key.
        key: String,
    },
    /// The Services of the cluster are not known yet, in the kubelet's words.
    #[error("services have not yet been read at least once, cannot construct envvars")]
    ServicesUnread,
    /// A value is no text.
    #[error("the value for the variable {0} is not UTF-8 text, which is what a variable can hold here")]
    NotText(String),
    /// A variable cannot be passed to a process.
    #[error(transparent)]
    Name(#[from] vk_task::InvalidEnvName),
    /// A source that this node does not know.
    #[error("the variable {name} comes from a kind of source that vk-node does not know: write its value")]
    Unsupported {
        /// The variable.
        name: String,
    },
    /// Something of the pod that cannot be told.
    #[error("the variable {name}: {error}")]
    Untold {
        /// The variable.
        name: String,
        /// Why.
        error: Untold,
    },
    /// A file that variables come from cannot be read.
    #[error("{0}")]
    File(String),
    /// A file that it comes from does not give it.
    #[error("the variable {name}: {why}")]
    EnvFile {
        /// The variable.
        name: String,
        /// Why.
        why: String,
    },
    /// A `subPathExpr` names a variable that is not there.
    #[error("the mount at {target}: missing value for {variable:?}")]
    NoValue {
        /// Where the mount is.
        target: String,
        /// The variable.
        variable: String,
    },
    /// A `subPathExpr` leads out of its volume.
    #[error("the mount at {target}: {error}")]
    SubPath {
        /// Where the mount is.
        target: String,
        /// Why.
        error: vk_task::InvalidFilePath,
    },
    /// What was built cannot be run on any Linux.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Spec(Vec<InvalidSpec>),
}

/// Builds the task for run `restart` of `container`.
///
/// # Errors
/// See [`ConfigError`].
pub fn build(
    pod: &Pod,
    container: &AdmittedContainer,
    restart: u32,
    given: &Given,
    node: &NodeFacts,
) -> Result<TaskSpec, ConfigError> {
    let env = environment::of(pod, container, given, node)?;
    let lookup = |name: &str| env.get(name).map(String::as_str);
    let program = match &container.program {
        ProgramTemplate::Exec(argv) => Program::Exec { argv: argv.iter().map(|arg| expand(arg, lookup)).collect() },
        ProgramTemplate::Script { text, runner } => {
            Program::Script { text: expand(text, lookup), runner: runner.clone() }
        }
    };
    let mounts = container.mounts.iter().map(|mount| mounted(mount, &env)).collect::<Result<Vec<_>, _>>()?;
    let PodKey { namespace, name, uid } = PodKey::of(pod);
    let service_account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default();
    let container_name = container.name.clone();
    let run = ContainerRun {
        namespace,
        pod: name,
        uid,
        service_account,
        container: container_name,
        restart,
        node: Some(AskingNode { name: node.name.clone(), uid: node.uid.clone() }),
    };
    let mut variables = container.image_env.clone();
    for (name, value) in env {
        variables.insert(EnvName::new(name)?, value);
    }
    let spec = TaskSpec {
        env: variables,
        place: container.place.clone(),
        mounts,
        host_aliases: container.host_aliases.clone(),
        own_directory: container.place == Place::Host,
        working_dir: container.working_dir.clone(),
        stdio: container.stdio,
        limits: container.limits.clone(),
        security: container.security.clone(),
        stop_signal: container.stop_signal,
        termination_message: Some(container.termination_message.clone()),
        ..TaskSpec::new(Origin::Pod(run), program, Leftovers::Kill)
    };
    match spec.problems() {
        problems if problems.is_empty() => Ok(spec),
        problems => Err(ConfigError::Spec(problems)),
    }
}

/// A mount with the part of the volume that is meant by it.
fn mounted(mount: &AdmittedMount, env: &Variables) -> Result<VolumeMount, ConfigError> {
    let AdmittedMount { source, part, target, read_only } = mount;
    let unknown = RefCell::new(None);
    let expanded = |text: &str| {
        expand(text, |name| {
            let value = env.get(name).map(String::as_str);
            if value.is_none() {
                unknown.borrow_mut().get_or_insert_with(|| name.to_owned());
            }
            value
        })
    };
    let told = || target.display().to_string();
    let sub_path = part.resolved(expanded).map_err(|error| ConfigError::SubPath { target: told(), error });
    // A command keeps what it cannot expand; a path may not, as in the kubelet: it would be made, and be the wrong one.
    if let Some(variable) = unknown.into_inner() {
        return Err(ConfigError::NoValue { target: told(), variable });
    }
    Ok(VolumeMount { source: source.clone(), sub_path: sub_path?, target: target.clone(), read_only: *read_only })
}

#[cfg(test)]
mod tests;
