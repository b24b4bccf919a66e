//! The volumes of a pod: what is in them, or why this node cannot have them.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, ResourceFieldSelector,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use vk_task::{DirName, FilePath, HostPathType};

use super::fields::Check;
use crate::sources::SourceRef;
use vk_cmd_crds::quantity::units;

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmittedVolume {
    /// Its name.
    pub name: DirName,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeKind {
    /// Files from these sources: `configMap`, `secret`, `downwardAPI`, or `projected`, which may have several of them. Of
    /// two files of one path the later counts.
    Files {
        /// Where they come from.
        sources: Vec<FileSource>,
        /// The permission bits of those that say nothing of theirs.
        default_mode: u32,
    },
    /// Nothing at first: `emptyDir`.
    Empty {
        /// Whether it is to be in memory.
        memory: bool,
    },
    /// A path of the host.
    Host {
        /// The path.
        path: PathBuf,
        /// What it must be.
        expects: HostPathType,
    },
}

/// Where files of a volume come from.
#[derive(Clone, Debug, PartialEq)]
pub enum FileSource {
    /// A ConfigMap or Secret.
    Object {
        /// Which one.
        object: SourceRef,
        /// These of its keys; all of them where there are none.
        items: Vec<KeyFile>,
        /// Whether it, and each of the keys, may be missing.
        optional: bool,
    },
    /// The pod itself.
    Downward(Vec<DownwardFile>),
    /// The API server, which makes a token for the pod's ServiceAccount.
    Token(TokenFile),
}

/// A file that holds the value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The key.
    pub key: String,
    /// The file.
    pub path: FilePath,
    /// Its permission bits, if not the volume's.
    pub mode: Option<u32>,
}

/// A file that holds something of the pod itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DownwardFile {
    /// The file.
    pub path: FilePath,
    /// Its permission bits, if not the volume's.
    pub mode: Option<u32>,
    /// What it holds.
    pub value: DownwardValue,
}

/// Something of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum DownwardValue {
    /// A field, by its path.
    Field(String),
    /// What a container may use.
    Resource(ResourceFieldSelector),
}

/// A file that holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// The file.
    pub path: FilePath,
    /// What it is for.
    pub request: TokenRequest,
}

/// What is asked of the API server for a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenRequest {
    /// For whom it is; none means the API server itself.
    pub audience: Option<String>,
    /// How long it is to be valid, in seconds.
    pub expiration_seconds: i64,
}

/// What the API server writes where a volume says nothing of its mode.
const DEFAULT_MODE: i32 = 0o644;
/// What the API server writes where a token says nothing of its life, in seconds.
const DEFAULT_EXPIRATION: i64 = 3600;
/// What stands in for every kind of volume that this node cannot have.
const INSTEAD: &str = "use hostPath for what is on this host's file systems, emptyDir for scratch, or configMap and secret for small files";

/// Reads the pod's volumes.
pub(super) fn read<'a>(check: &mut Check<'_>, volumes: impl Iterator<Item = &'a Volume>) -> Vec<AdmittedVolume> {
    volumes.filter_map(|volume| one(check, volume)).collect()
}

fn one(check: &mut Check<'_>, volume: &Volume) -> Option<AdmittedVolume> {
    let at = format!("volumes[{}]", volume.name);
    let name = match DirName::new(&volume.name) {
        Ok(name) => name,
        Err(error) => {
            check.add(&at, error.to_string());
            return None;
        }
    };
    let kind = if let Some(map) = &volume.config_map {
        let at = format!("{at}.configMap");
        let object = SourceRef::ConfigMap(map.name.clone());
        let source = object_of(check, &at, object, map.items.as_deref(), map.optional);
        VolumeKind::Files { sources: vec![source], default_mode: mode(map.default_mode) }
    } else if let Some(secret) = &volume.secret {
        let at = format!("{at}.secret");
        let object = SourceRef::Secret(secret.secret_name.clone().unwrap_or_default());
        let source = object_of(check, &at, object, secret.items.as_deref(), secret.optional);
        VolumeKind::Files { sources: vec![source], default_mode: mode(secret.default_mode) }
    } else if let Some(downward) = &volume.downward_api {
        let source = downward_of(check, &format!("{at}.downwardAPI"), downward.items.as_deref());
        VolumeKind::Files { sources: vec![source], default_mode: mode(downward.default_mode) }
    } else if let Some(projected) = &volume.projected {
        let sources = projected.sources.iter().flatten().enumerate();
        let sources =
            sources.filter_map(|(i, s)| projection(check, &format!("{at}.projected.sources[{i}]"), s)).collect();
        VolumeKind::Files { sources, default_mode: mode(projected.default_mode) }
    } else if let Some(host) = &volume.host_path {
        host_path(check, &format!("{at}.hostPath"), host)?
    } else if let Some(empty) = &volume.empty_dir {
        empty_dir(check, &format!("{at}.emptyDir"), empty)
    } else {
        check.add(&at, format!("vk-node has no volumes {}: {INSTEAD}", kind_of(volume)));
        return None;
    };
    Some(AdmittedVolume { name, kind })
}

/// What kind of volume it is, of those that this node cannot have.
fn kind_of(volume: &Volume) -> String {
    // The names are those of the API, and the value has one field besides the name.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let kind = fields.as_object().and_then(|fields| fields.keys().find(|key| *key != "name"));
    kind.map_or_else(|| "without a source".to_owned(), |kind| format!("of the kind {kind}"))
}

fn projection(check: &mut Check<'_>, at: &str, source: &VolumeProjection) -> Option<FileSource> {
    let VolumeProjection {
        cluster_trust_bundle,
        config_map,
        downward_api,
        pod_certificate,
        secret,
        service_account_token,
    } = source;
    // Both are off in Kubernetes 1.36 unless somebody turns them on: see its features ClusterTrustBundleProjection and
    // PodCertificateRequest.
    if cluster_trust_bundle.is_some() {
        check.add(at, "vk-node does not know clusterTrustBundle: put the certificates into a ConfigMap");
    }
    if pod_certificate.is_some() {
        check.add(at, "vk-node does not know podCertificate: put key and certificate into a Secret");
    }
    if let Some(map) = config_map {
        return Some(object_of(check, at, SourceRef::ConfigMap(map.name.clone()), map.items.as_deref(), map.optional));
    }
    if let Some(secret) = secret {
        return Some(object_of(
            check,
            at,
            SourceRef::Secret(secret.name.clone()),
            secret.items.as_deref(),
            secret.optional,
        ));
    }
    if let Some(downward) = downward_api {
        return Some(downward_of(check, at, downward.items.as_deref()));
    }
    let ServiceAccountTokenProjection { audience, expiration_seconds, path } = service_account_token.as_ref()?;
    Some(FileSource::Token(TokenFile {
        path: file_path(check, at, path)?,
        request: TokenRequest {
            audience: audience.clone().filter(|audience| !audience.is_empty()),
            expiration_seconds: expiration_seconds.unwrap_or(DEFAULT_EXPIRATION),
        },
    }))
}

fn object_of(
    check: &mut Check<'_>,
    at: &str,
    object: SourceRef,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> FileSource {
    let items = items.unwrap_or_default().iter().filter_map(|item| {
        let path = file_path(check, at, &item.path)?;
        Some(KeyFile { key: item.key.clone(), path, mode: item.mode.map(bits) })
    });
    FileSource::Object { object, items: items.collect(), optional: optional == Some(true) }
}

fn downward_of(check: &mut Check<'_>, at: &str, items: Option<&[DownwardAPIVolumeFile]>) -> FileSource {
    let items = items.unwrap_or_default().iter().filter_map(|item| {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => DownwardValue::Field(field.field_path.clone()),
            (None, Some(resource)) => DownwardValue::Resource(resource.clone()),
            (None, None) => {
                check.add(at, format!("{:?} has neither fieldRef nor resourceFieldRef", item.path));
                return None;
            }
        };
        Some(DownwardFile { path: file_path(check, at, &item.path)?, mode: item.mode.map(bits), value })
    });
    FileSource::Downward(items.collect())
}

fn host_path(check: &mut Check<'_>, at: &str, host: &HostPathVolumeSource) -> Option<VolumeKind> {
    let HostPathVolumeSource { path, type_ } = host;
    if !path.starts_with('/') || leads_up(path) {
        check.add(at, format!("{path:?} is no absolute path without \"..\""));
    }
    let expects = match type_.as_deref().unwrap_or_default() {
        "" => HostPathType::Unchecked,
        "Directory" => HostPathType::Directory,
        "DirectoryOrCreate" => HostPathType::DirectoryOrCreate,
        "File" => HostPathType::File,
        "FileOrCreate" => HostPathType::FileOrCreate,
        "Socket" => HostPathType::Socket,
        "CharDevice" => HostPathType::CharDevice,
        "BlockDevice" => HostPathType::BlockDevice,
        other => {
            check.add(at, format!("the type {other:?} is unknown here: leave it out, or write Directory or File"));
            return None;
        }
    };
    Some(VolumeKind::Host { path: path.into(), expects })
}

fn empty_dir(check: &mut Check<'_>, at: &str, empty: &EmptyDirVolumeSource) -> VolumeKind {
    let EmptyDirVolumeSource { medium, size_limit } = empty;
    // A pod that writes more is evicted: see `evict`.
    if let Some(Err(error)) = size_limit.as_ref().map(units) {
        check.add(at, format!("sizeLimit: {error}"));
    }
    let memory = match medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => {
            check.add(at, format!("vk-node has no volumes in the medium {other:?}: leave it out, or write Memory"));
            false
        }
    };
    VolumeKind::Empty { memory }
}

/// A path in a volume as the API takes it: the kubelet cleans it, and so does this.
fn file_path(check: &mut Check<'_>, at: &str, path: &str) -> Option<FilePath> {
    match clean(path) {
        Ok(path) => Some(path),
        Err(error) => {
            check.add(at, error.to_string());
            None
        }
    }
}

/// The path without what means nothing in it: `./a//b/` is `a/b`.
pub(crate) fn clean(path: &str) -> Result<FilePath, vk_task::InvalidFilePath> {
    if path.starts_with('/') {
        return Err(vk_task::InvalidFilePath(path.to_owned()));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    FilePath::new(parts.join("/")).map_err(|_| vk_task::InvalidFilePath(path.to_owned()))
}

pub(super) fn leads_up(path: &str) -> bool {
    Path::new(path).components().any(|part| part == Component::ParentDir)
}

fn mode(given: Option<i32>) -> u32 {
    bits(given.unwrap_or(DEFAULT_MODE))
}

/// The API server lets nothing else through than permission bits.
fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or_default() & 0o777
}
