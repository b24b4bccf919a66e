//! From an admitted container and what its sources hold to the task that runs it. The order of variables and the
//! expansion follow the kubelet: `envFrom` first, then `env` in its order, each value expanded with the `env` before
//! it, then command and arguments with all of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, ObjectFieldSelector, Pod};
use vk_task::{ContainerRun, EnvName, InvalidSpec, Leftovers, Origin, Program, TaskSpec};

use crate::admit::{AdmittedContainer, PodKey, ProgramTemplate};
use crate::expand::expand;
use crate::facts::NodeFacts;
use crate::sources::{SourceRef, Sources};

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
    /// A value is no text.
    #[error("the value for the variable {0} is not UTF-8 text, which is what a variable can hold here")]
    NotText(String),
    /// A variable cannot be passed to a process.
    #[error(transparent)]
    Name(#[from] vk_task::InvalidEnvName),
    /// A source that this node does not know.
    #[error("the variable {name} comes from {from}, which this version of vk-node does not know: write its value")]
    Unsupported {
        /// The variable.
        name: String,
        /// The source.
        from: String,
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
    sources: &Sources,
    node: &NodeFacts,
) -> Result<TaskSpec, ConfigError> {
    let env = environment(pod, container, sources, node)?;
    let lookup = |name: &str| env.get(name).map(String::as_str);
    let program = match &container.program {
        ProgramTemplate::Exec(argv) => Program::Exec { argv: argv.iter().map(|arg| expand(arg, lookup)).collect() },
        ProgramTemplate::Script { text, runner } => {
            Program::Script { text: expand(text, lookup), runner: runner.clone() }
        }
    };
    let PodKey { namespace, name, uid } = PodKey::of(pod);
    let service_account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default();
    let container_name = container.name.clone();
    let run = ContainerRun { namespace, pod: name, uid, service_account, container: container_name, restart };
    let mut variables = container.image_env.clone();
    for (name, value) in env {
        variables.insert(EnvName::new(name)?, value);
    }
    let spec = TaskSpec {
        env: variables,
        place: container.place.clone(),
        working_dir: container.working_dir.clone(),
        stdio: container.stdio,
        limits: container.limits.clone(),
        security: container.security.clone(),
        ..TaskSpec::new(Origin::Pod(run), program, Leftovers::Kill)
    };
    match spec.problems() {
        problems if problems.is_empty() => Ok(spec),
        problems => Err(ConfigError::Spec(problems)),
    }
}

fn environment(
    pod: &Pod,
    container: &AdmittedContainer,
    sources: &Sources,
    node: &NodeFacts,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut all = BTreeMap::new();
    for from in &container.env_from {
        whole_source(from, sources, &mut all)?;
    }
    let mut own = BTreeMap::new();
    for var in &container.env {
        if let Some(value) = value_of(var, pod, sources, node, &own)? {
            own.insert(var.name.clone(), value);
        }
    }
    all.append(&mut own);
    Ok(all)
}

/// Adds each entry of a ConfigMap or Secret under its (prefixed) key.
fn whole_source(
    from: &EnvFromSource,
    sources: &Sources,
    into: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), _) => (SourceRef::ConfigMap(map.name.clone()), map.optional),
        (None, Some(secret)) => (SourceRef::Secret(secret.name.clone()), secret.optional),
        (None, None) => return Ok(()),
    };
    match sources.get(&source).and_then(Option::as_ref) {
        Some(data) => {
            for (key, value) in data {
                let name = format!("{prefix}{key}");
                into.insert(name.clone(), text(&name, value)?);
            }
            Ok(())
        }
        None if optional == Some(true) => Ok(()),
        None => Err(ConfigError::SourceMissing(source)),
    }
}

/// The value of one variable; `None` when it comes from an optional source that is not there.
fn value_of(
    var: &EnvVar,
    pod: &Pod,
    sources: &Sources,
    node: &NodeFacts,
    before: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    let Some(from) = &var.value_from else {
        let value = var.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(value, |name| before.get(name).map(String::as_str))));
    };
    if let Some(r) = &from.config_map_key_ref {
        return key_of(&var.name, SourceRef::ConfigMap(r.name.clone()), &r.key, r.optional, sources);
    }
    if let Some(r) = &from.secret_key_ref {
        return key_of(&var.name, SourceRef::Secret(r.name.clone()), &r.key, r.optional, sources);
    }
    if let Some(field) = &from.field_ref {
        return field_of(field, pod, node).map(Some).ok_or_else(|| ConfigError::Unsupported {
            name: var.name.clone(),
            from: format!("the field {}", field.field_path),
        });
    }
    let from = if from.resource_field_ref.is_some() { "resourceFieldRef" } else { "an unknown kind of source" };
    Err(ConfigError::Unsupported { name: var.name.clone(), from: from.into() })
}

fn key_of(
    name: &str,
    source: SourceRef,
    key: &str,
    optional: Option<bool>,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    let found = sources.get(&source).and_then(Option::as_ref);
    match found.map(|data| data.get(key)) {
        Some(Some(value)) => text(name, value).map(Some),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(ConfigError::KeyMissing { source_ref: source, key: key.to_owned() }),
        None => Err(ConfigError::SourceMissing(source)),
    }
}

/// The fields of the downward API that a variable can be given; `None` for a path that is none of them.
fn field_of(field: &ObjectFieldSelector, pod: &Pod, node: &NodeFacts) -> Option<String> {
    let meta = &pod.metadata;
    let entry = |path: &str, of: &Option<BTreeMap<String, String>>| {
        let key = path.strip_prefix("['")?.strip_suffix("']")?;
        Some(of.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    match field.field_path.as_str() {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => Some(node.name.clone()),
        "spec.serviceAccountName" => {
            Some(pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default())
        }
        "status.hostIP" | "status.podIP" | "status.hostIPs" | "status.podIPs" => Some(node.address.clone()),
        path => {
            if let Some(rest) = path.strip_prefix("metadata.labels") {
                entry(rest, &meta.labels)
            } else {
                path.strip_prefix("metadata.annotations").and_then(|rest| entry(rest, &meta.annotations))
            }
        }
    }
}

fn text(name: &str, value: &[u8]) -> Result<String, ConfigError> {
    String::from_utf8(value.to_vec()).map_err(|_| ConfigError::NotText(name.to_owned()))
}

#[cfg(test)]
mod tests;
