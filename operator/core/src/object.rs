//! What the metadata of a CmdJob says: which object it is, and whether it is to go. Its spec may say what it likes, or be such that
//! nobody can read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::labels;

use crate::effects::At;

/// The finalizer of an object whose dependents are being taken from it. From apimachinery's `FinalizerOrphanDependents`.
const ORPHAN: &str = "orphan";

/// A CmdJob by its metadata alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The UID.
    pub uid: &'a str,
    /// The resource version.
    pub version: Option<&'a str>,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// All its finalizers.
    pub finalizers: &'a [String],
}

impl<'a> Object<'a> {
    /// Reads the metadata of an object from an API server.
    ///
    /// # Errors
    /// What it lacks, if it is not from there.
    pub fn of(metadata: &'a ObjectMeta) -> Result<Self, &'static str> {
        Ok(Self {
            namespace: metadata.namespace.as_deref().ok_or("namespace")?,
            name: metadata.name.as_deref().ok_or("name")?,
            uid: metadata.uid.as_deref().ok_or("uid")?,
            version: metadata.resource_version.as_deref(),
            generation: metadata.generation,
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.as_deref().unwrap_or_default(),
        })
    }

    /// Where it is.
    pub fn at(&self) -> At<'a> {
        At { namespace: self.namespace, name: self.name }
    }

    /// Whether it has our finalizer.
    pub fn is_held(&self) -> bool {
        self.has(labels::FINALIZER)
    }

    /// Whether Kubernetes is taking its pods from it, so that they go on without it (`kubectl delete --cascade=orphan`).
    pub fn is_being_orphaned(&self) -> bool {
        self.deleting && self.has(ORPHAN)
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|other| other == finalizer)
    }
}
