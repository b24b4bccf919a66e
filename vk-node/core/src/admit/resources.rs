//! What a container may use at most, and what of the host it sees: limits, graphics processors, mounts.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, ResourceRequirements, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_task::{Gpus, Limits, Mount};

use super::fields::{Check, is_token_mount};
use crate::quantity::{InvalidQuantity, thousandths, units};

/// The extended resource that NVIDIA's device plugin offers.
const NVIDIA: &str = "nvidia.com/gpu";
/// The extended resource that AMD's device plugin offers.
const AMD: &str = "amd.com/gpu";

/// Where a container runs, as far as its fields mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Host,
    Image,
}

/// The limits of one container. Requests are the scheduler's to honour.
pub(super) fn limits(check: &mut Check<'_>, resources: Option<&ResourceRequirements>, place: Where) -> (Limits, Gpus) {
    let (mut all, mut gpus) = (Limits::default(), Vec::new());
    let Some(ResourceRequirements { claims, limits, requests: _ }) = resources else { return (all, Gpus::None) };
    check.default("resources.claims", claims.as_ref());
    for (name, quantity) in limits.iter().flatten() {
        let field = format!("resources.limits[{name}]");
        // As the kubelet takes it: a limit of zero is none.
        let some = |number: u64| Some(number).filter(|n| *n > 0);
        match name.as_str() {
            "cpu" => all.cpu_millis = number(check, &field, quantity, thousandths).and_then(some),
            "memory" => all.memory_bytes = number(check, &field, quantity, units).and_then(some),
            NVIDIA | AMD if place == Where::Host => check.add(
                &field,
                "a command on the host sees the graphics processors that its host shows it: leave the limit out, or \
                 name an image",
            ),
            NVIDIA | AMD => {
                let Some(n) = number(check, &field, quantity, units).and_then(some) else { continue };
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                gpus.push(if name == AMD { Gpus::Amd(n) } else { Gpus::Nvidia(n) });
            }
            _ => check.add(&field, "vk-node limits cpu and memory, and gives images GPUs: leave it out"),
        }
    }
    if let [_, second, ..] = gpus[..] {
        check.add("resources.limits", format!("a container gets GPUs of one maker, not {second:?} as well"));
    }
    (all, gpus.first().copied().unwrap_or_default())
}

fn number(
    check: &mut Check<'_>,
    field: &str,
    quantity: &Quantity,
    read: fn(&Quantity) -> Result<u64, InvalidQuantity>,
) -> Option<u64> {
    read(quantity).map_err(|error| check.add(field, format!("{:?}: {error}", quantity.0))).ok()
}

/// The pod's volumes that a container can be given, by name: paths of the host.
pub(super) type HostPaths<'a> = BTreeMap<&'a str, &'a str>;

/// Reads the pod's volumes. A path of the host that no container mounts has no effect here, as on any kubelet.
pub(super) fn volumes<'a>(check: &mut Check<'_>, volumes: impl Iterator<Item = &'a Volume>) -> HostPaths<'a> {
    let mut paths = HostPaths::new();
    for volume in volumes {
        let name = &volume.name;
        match &volume.host_path {
            Some(HostPathVolumeSource { path, type_ }) => {
                if type_.as_deref().is_some_and(|kind| !kind.is_empty()) {
                    check.add(
                        "volumes",
                        format!(
                            "vk-node may be where it does not see the host's files, and so does not check their type: \
                             leave hostPath.type of the volume {name} out"
                        ),
                    );
                }
                if !is_plain(path) {
                    check.add("volumes", format!("the volume {name}: {path:?} is no absolute path without \"..\""));
                }
                paths.insert(name, path);
            }
            None => check.add(
                "volumes",
                format!("this version of vk-node mounts only hostPath: remove the volume {name}, or use host paths"),
            ),
        }
    }
    paths
}

/// The mounts of one container.
pub(super) fn mounts<'a>(
    check: &mut Check<'_>,
    mounts: impl Iterator<Item = &'a VolumeMount>,
    place: Where,
    paths: &HostPaths<'_>,
) -> Vec<Mount> {
    let mut all = Vec::new();
    for mount in mounts.filter(|mount| !is_token_mount(mount)) {
        let VolumeMount {
            mount_path,
            mount_propagation,
            name,
            read_only,
            recursive_read_only,
            sub_path,
            sub_path_expr,
        } = mount;
        let mut refuse = |message: String| check.add("volumeMounts", message);
        if place == Where::Host {
            refuse(format!(
                "a command on the host sees the host's files where they are, and nothing can be mounted for it: remove \
                 the mount of {name}, and use the host's path"
            ));
            continue;
        }
        if sub_path.as_deref().is_some_and(|path| !path.is_empty()) || sub_path_expr.is_some() {
            refuse(format!("the mount of {name}: subPath is not known here: name the whole path in the volume"));
        }
        if mount_propagation.as_deref().is_some_and(|kind| kind != "None") {
            refuse(format!("the mount of {name}: only the mountPropagation None is known here: leave it out"));
        }
        if recursive_read_only.as_deref().is_some_and(|how| how != "Disabled") {
            refuse(format!("the mount of {name}: recursiveReadOnly is not known here: leave it out"));
        }
        if !is_plain(mount_path) {
            refuse(format!("the mount of {name}: {mount_path:?} is no absolute path without \"..\""));
        }
        // A volume of another kind has been refused where it stands.
        if let Some(source) = paths.get(name.as_str()) {
            let read_only = *read_only == Some(true);
            all.push(Mount { source: source.into(), target: mount_path.into(), read_only });
        }
    }
    all
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !Path::new(path).components().any(|part| part == Component::ParentDir)
}
