//! Where a container is given the volumes of its pod.
//!
//! ```text
//!                    relative path                          absolute path
//!   on the host      a link in its own working directory    a mount in a namespace of its own, where this host has such
//!   in an image      a mount, from the image's root         a mount
//! ```

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{VolumeMount, VolumeMountStatus};
use vk_site::Kind;
use vk_task::{FilePath, HostPathType, InvalidFilePath, MountNamespaces, VolumeSource};

use super::fields::Check;
use super::resources::Where;
use crate::facts::NodeFacts;

use super::volumes::{AdmittedVolume, VolumeKind, clean, leads_up};

/// The volume that the API server adds to a pod for its service account; its name begins so.
const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
/// Where the API server mounts it, without the slash.
const TOKEN_MOUNT_PATH: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// A volume that a container is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedMount {
    /// What it is given.
    pub source: VolumeSource,
    /// Which part of it.
    pub part: Part,
    /// Where: see [`vk_task::VolumeMount::target`].
    pub target: PathBuf,
    /// Whether it may not write to it.
    pub read_only: bool,
}

/// Which part of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// `subPath`.
    Path(FilePath),
    /// `subPathExpr`: what comes of it when `$(VAR)` is expanded.
    Expanded(String),
}

/// The mounts of one container, which is at `place`.
pub(super) fn read<'a>(
    check: &mut Check<'_>,
    mounts: impl Iterator<Item = &'a VolumeMount>,
    place: Where,
    volumes: &[AdmittedVolume],
    is_root_read_only: bool,
    node: &NodeFacts,
) -> Vec<AdmittedMount> {
    let mut all: Vec<_> = mounts.filter_map(|mount| one(check, mount, place, volumes, node)).collect();
    // What a host process sees without any mount is no reason to put it in a namespace, where set-uid programs do not
    // work. In one that is read-only it is a place that can be written to.
    if place == Where::Host
        && !is_root_read_only
        && all.iter().filter(|mount| mount.target.is_absolute()).all(AdmittedMount::is_there_already)
    {
        all.retain(|mount| !mount.target.is_absolute());
    }
    all
}

fn one(
    check: &mut Check<'_>,
    mount: &VolumeMount,
    place: Where,
    volumes: &[AdmittedVolume],
    node: &NodeFacts,
) -> Option<AdmittedMount> {
    let VolumeMount { mount_path, mount_propagation, name, read_only, recursive_read_only, sub_path, sub_path_expr } =
        mount;
    let mut refuse = |message: String| check.add(&format!("volumeMounts[{name}]"), message);
    if mount_propagation.as_deref().is_some_and(|kind| kind != "None") {
        refuse("vk-node knows only the mountPropagation None: leave it out".into());
    }
    if recursive_read_only.as_deref() == Some("Enabled") {
        refuse("vk-node cannot promise recursiveReadOnly: leave it out, or write IfPossible".into());
    }
    let part = match (sub_path.as_deref(), sub_path_expr.as_deref()) {
        (Some(path), _) if !path.is_empty() => match sub_path_of(path) {
            Ok(part) => part.map_or(Part::Whole, Part::Path),
            Err(error) => {
                refuse(error.to_string());
                return None;
            }
        },
        (_, Some(text)) if !text.is_empty() => Part::Expanded(text.to_owned()),
        _ => Part::Whole,
    };
    // A volume that this node cannot have has been refused where it stands; that the volume is there is checked by the
    // API server.
    let volume = volumes.iter().find(|volume| volume.name.as_str() == name)?;
    let is_files = matches!(volume.kind, VolumeKind::Files { .. });
    let wants_read_only = *read_only == Some(true);
    let target = target(mount_path, place).map_err(&mut refuse).ok()?;
    let source = match &volume.kind {
        VolumeKind::Files { .. } | VolumeKind::Empty { .. } => VolumeSource::Volume { name: volume.name.clone() },
        VolumeKind::Host { path, expects } => VolumeSource::Host { path: path.clone(), expects: *expects },
    };
    // As in the kubelet: what comes from the API server is not the container's to write to.
    let read_only = wants_read_only || is_files;
    let mut admitted = AdmittedMount { source, part, target, read_only };
    match (place, admitted.target.is_absolute(), &node.mount_namespaces) {
        (Where::Image, _, _) if is_token(volume, &admitted.target) && !makes_mount_points(node) => return None,
        (Where::Image, _, _) | (Where::Host, true, MountNamespaces::Available) => {}
        (Where::Host, false, _) if wants_read_only && !is_files => refuse(
            "a relative path is reached by a link, which keeps nobody from writing: leave readOnly out, or write an \
             absolute path"
                .into(),
        ),
        (Where::Host, false, _) => {}
        // The API server adds it to nearly every pod, and most never look at it: no reason to refuse them all.
        (Where::Host, true, _) if is_token(volume, &admitted.target) => admitted.target = TOKEN_MOUNT_PATH.into(),
        (Where::Host, true, _) if admitted.is_there_already() => {}
        (Where::Host, true, MountNamespaces::Unavailable { why }) => refuse(cannot_mount(mount_path, why)),
        (Where::Host, true, MountNamespaces::Unknown) => {
            refuse(cannot_mount(mount_path, "the pipe is of an earlier version"));
        }
    }
    Some(admitted)
}

/// What the status tells of a mount: the kubelet's, for a runtime that does not promise more of what is read-only.
pub(super) fn told(mount: &VolumeMount) -> VolumeMountStatus {
    let read_only = mount.read_only.filter(|read_only| *read_only);
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only,
        recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    }
}

/// Refuses a field that takes a mount namespace, on a host that has none for its tasks.
pub(super) fn needs_mounts(check: &mut Check<'_>, field: &str, what: &str, node: &NodeFacts) {
    let why = match &node.mount_namespaces {
        MountNamespaces::Available => return,
        MountNamespaces::Unavailable { why } => why,
        MountNamespaces::Unknown => "the pipe is of an earlier version",
    };
    check.add(field, format!("a command on this host cannot be {what} ({why}): leave it out"));
}

fn cannot_mount(path: &str, why: &str) -> String {
    format!(
        "a command on this host cannot be given mounts at absolute paths ({why}): write a relative mountPath, as {:?}, \
         which counts from the directory that the container starts in",
        path.trim_start_matches('/')
    )
}

impl AdmittedMount {
    /// Whether a host process sees at `target` what it is to be given there without any mount.
    fn is_there_already(&self) -> bool {
        let is_same = match &self.source {
            VolumeSource::Host { path, expects: HostPathType::Unchecked } => {
                path.components().eq(self.target.components())
            }
            VolumeSource::Host { .. } | VolumeSource::Volume { .. } => false,
        };
        is_same && self.part == Part::Whole && !self.read_only
    }
}

/// Where a volume is to be. A relative path means the image's root in an image, as in the kubelet.
fn target(path: &str, place: Where) -> Result<PathBuf, String> {
    if leads_up(path) {
        return Err(format!("{path:?} has \"..\" in it: write the path without"));
    }
    let normal: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    if normal.as_os_str().is_empty() || normal == Path::new("/") {
        return Err(format!("nothing can be mounted at {path:?}: name a directory in it"));
    }
    Ok(match place {
        Where::Host => normal,
        Where::Image => Path::new("/").join(normal),
    })
}

/// A path in a volume; none where it stands for the volume itself, as `.` does.
fn sub_path_of(path: &str) -> Result<Option<FilePath>, InvalidFilePath> {
    let is_whole = !path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "."));
    if is_whole { Ok(None) } else { clean(path).map(Some) }
}

/// Whether what runs images here can mount at a path that the image does not have. Where it cannot, the service account's
/// volume is left out: few images have a directory for it, and none of the others could be run.
fn makes_mount_points(node: &NodeFacts) -> bool {
    let cannot = [Kind::Charliecloud, Kind::Shifter].map(Kind::name);
    !node.image_runtime.as_deref().is_some_and(|runtime| cannot.contains(&runtime))
}

/// The service account's volume, which the API server adds to each pod that does not decline it.
fn is_token(volume: &AdmittedVolume, target: &Path) -> bool {
    volume.name.as_str().starts_with(TOKEN_VOLUME_PREFIX) && target == Path::new("/").join(TOKEN_MOUNT_PATH)
}

impl Part {
    /// The part that is meant, when `expand` has done its work on it.
    ///
    /// # Errors
    /// When it leads out of the volume.
    pub(crate) fn resolved(&self, expand: impl Fn(&str) -> String) -> Result<Option<FilePath>, InvalidFilePath> {
        match self {
            Self::Whole => Ok(None),
            Self::Path(path) => Ok(Some(path.clone())),
            Self::Expanded(text) => sub_path_of(&expand(text)),
        }
    }
}
