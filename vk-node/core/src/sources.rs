//! The ConfigMaps and Secrets that a pod is given something of: which ones are needed, and what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::admit::{AdmittedContainer, FileSource, VolumeKind};

/// An object in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceRef {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
}

/// What such an object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// `data`: what variables and files are made of.
    pub data: BTreeMap<String, Vec<u8>>,
    /// `binaryData` of a ConfigMap: files are made of it, variables are not.
    pub binary: BTreeMap<String, Vec<u8>>,
    /// Whether it will never change.
    pub immutable: bool,
}

/// What was found of the objects that were asked for: `None` where the API server says that there is none.
pub type Sources = BTreeMap<SourceRef, Option<Arc<Content>>>;

impl Content {
    /// The value of a key, for a file.
    #[must_use]
    pub fn file(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).or_else(|| self.binary.get(key)).map(Vec::as_slice)
    }
}

impl From<ConfigMap> for Content {
    fn from(map: ConfigMap) -> Self {
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Self { data: text.collect(), binary: binary.collect(), immutable: map.immutable == Some(true) }
    }
}

impl From<Secret> for Content {
    fn from(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Self { data: data.collect(), binary: BTreeMap::new(), immutable: secret.immutable == Some(true) }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(name) => write!(f, "configmap {name:?}"),
            Self::Secret(name) => write!(f, "secret {name:?}"),
        }
    }
}

/// The objects that must be read before the container's environment can be built.
#[must_use]
pub fn needed(container: &AdmittedContainer) -> BTreeSet<SourceRef> {
    let from_env = container.env.iter().filter_map(|var| var.value_from.as_ref()).flat_map(|from| {
        let map = from.config_map_key_ref.as_ref().map(|r| SourceRef::ConfigMap(r.name.clone()));
        let secret = from.secret_key_ref.as_ref().map(|r| SourceRef::Secret(r.name.clone()));
        map.into_iter().chain(secret)
    });
    let whole = container.env_from.iter().flat_map(|from| {
        let map = from.config_map_ref.as_ref().map(|r| SourceRef::ConfigMap(r.name.clone()));
        let secret = from.secret_ref.as_ref().map(|r| SourceRef::Secret(r.name.clone()));
        map.into_iter().chain(secret)
    });
    from_env.chain(whole).collect()
}

/// The objects that a volume's files come from.
#[must_use]
pub fn needed_by(volume: &VolumeKind) -> BTreeSet<SourceRef> {
    let VolumeKind::Files { sources, .. } = volume else { return BTreeSet::new() };
    let objects = sources.iter().filter_map(|source| match source {
        FileSource::Object { object, .. } => Some(object.clone()),
        FileSource::Downward(_) | FileSource::Token(_) => None,
    });
    objects.collect()
}
