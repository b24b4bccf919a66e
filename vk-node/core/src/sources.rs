//! The ConfigMaps and Secrets that a container's environment comes from: which ones are needed, and what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::admit::AdmittedContainer;

/// An object in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceRef {
    /// A ConfigMap.
    ConfigMap(String),
    /// A Secret.
    Secret(String),
}

/// What was found of the objects that were asked for: `None` where the API server says that there is none.
pub type Sources = BTreeMap<SourceRef, Option<BTreeMap<String, Vec<u8>>>>;

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
