//! A container's variables. The order and the expansion follow the kubelet: `envFrom` first, then `env` in its order, each
//! value expanded with all that came before it and the variables of Services, which give way to any other of their name.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, FileKeySelector, Pod};

use crate::admit::AdmittedContainer;
use crate::command::{ConfigError, Given};
use crate::downward;
use crate::env_files::{self, EnvFile};
use crate::expand::expand;
use crate::facts::NodeFacts;
use crate::services;
use crate::sources::{SourceRef, Sources};

/// The variables of a container, by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// All of them.
pub(crate) fn of(
    pod: &Pod,
    container: &AdmittedContainer,
    given: &Given,
    node: &NodeFacts,
) -> Result<Variables, ConfigError> {
    let services = services::variables(&given.services, &node.api_server);
    let mut own = Variables::new();
    for from in &container.env_from {
        whole_source(from, &given.sources, &mut own)?;
    }
    for var in &container.env {
        if let Some(value) = value_of(var, pod, container, given, node, &own, &services)? {
            own.insert(var.name.clone(), value);
        }
    }
    let mut all = services;
    all.append(&mut own);
    Ok(all)
}

/// Adds each entry of a ConfigMap or Secret under its (prefixed) key.
fn whole_source(from: &EnvFromSource, sources: &Sources, into: &mut Variables) -> Result<(), ConfigError> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), _) => (SourceRef::ConfigMap(map.name.clone()), map.optional),
        (None, Some(secret)) => (SourceRef::Secret(secret.name.clone()), secret.optional),
        (None, None) => return Ok(()),
    };
    match sources.get(&source).and_then(Option::as_ref) {
        Some(content) => {
            for (key, value) in &content.data {
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
    container: &AdmittedContainer,
    given: &Given,
    node: &NodeFacts,
    before: &Variables,
    services: &Variables,
) -> Result<Option<String>, ConfigError> {
    let untold = |error| ConfigError::Untold { name: var.name.clone(), error };
    let Some(from) = &var.value_from else {
        let value = var.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(value, |name| before.get(name).or_else(|| services.get(name)).map(String::as_str))));
    };
    if let Some(r) = &from.config_map_key_ref {
        return key_of(&var.name, SourceRef::ConfigMap(r.name.clone()), &r.key, r.optional, &given.sources);
    }
    if let Some(r) = &from.secret_key_ref {
        return key_of(&var.name, SourceRef::Secret(r.name.clone()), &r.key, r.optional, &given.sources);
    }
    if let Some(field) = &from.field_ref {
        return downward::field(&field.field_path, pod, node).map(Some).map_err(untold);
    }
    if let Some(selector) = &from.resource_field_ref {
        return downward::resource(selector, pod, &container.name, node).map(Some).map_err(untold);
    }
    if let Some(selector) = &from.file_key_ref {
        return key_of_file(&var.name, selector, given);
    }
    Err(ConfigError::Unsupported { name: var.name.clone() })
}

fn key_of(
    name: &str,
    source: SourceRef,
    key: &str,
    optional: Option<bool>,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    let found = sources.get(&source).and_then(Option::as_ref);
    match found.map(|content| content.data.get(key)) {
        Some(Some(value)) => text(name, value).map(Some),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(ConfigError::KeyMissing { source_ref: source, key: key.to_owned() }),
        None => Err(ConfigError::SourceMissing(source)),
    }
}

fn key_of_file(name: &str, selector: &FileKeySelector, given: &Given) -> Result<Option<String>, ConfigError> {
    let wrong = |why: String| ConfigError::EnvFile { name: name.to_owned(), why };
    let file = EnvFile::of(selector).map_err(wrong)?;
    let found = given.files.get(&file).and_then(Option::as_ref);
    let value = found.map(|text| env_files::value(text, &selector.key)).transpose().map_err(wrong)?.flatten();
    if value.is_some() || selector.optional == Some(true) {
        return Ok(value);
    }
    Err(wrong(match found {
        Some(_) => format!("environment variable key {:?} not found in file {:?}", selector.key, selector.path),
        None => format!("there is no file {:?} in the volume {:?}", selector.path, selector.volume_name),
    }))
}

fn text(name: &str, value: &[u8]) -> Result<String, ConfigError> {
    String::from_utf8(value.to_vec()).map_err(|_| ConfigError::NotText(name.to_owned()))
}
