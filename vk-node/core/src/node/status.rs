//! The Node's status, when it is to be written, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use vk_task::{Enforcement, Enforcer, HostInfo, HostUsage, MountNamespaces, RecordsPlace, SiteInfo};

use super::conditions::{Nearing, Trouble, conditions};
use super::shortage::Shortages;
use super::way::WayIn;
use super::{NodeProfile, arch};
use crate::config::Resources;

/// The version of the kubelet whose behaviour this one follows; kubectl and the API server compare it with theirs.
const KUBELET_VERSION: &str = concat!("v1.36.0+vk-cmd.", env!("CARGO_PKG_VERSION"));

/// What this node has of what Kubernetes' nodes may lack, sorted: the API server looks. With
/// `ExtendWebSocketsToKubelet` it passes the WebSockets of clients on as they are, for exec, attach and port-forward alike.
const DECLARED_FEATURES: [&str; 1] = ["ExtendWebSocketsToKubelet"];
/// How many images a Node tells of at most: the kubelet's `nodeStatusMaxImages`.
const MAX_IMAGES: usize = 50;

/// What is known at a moment, besides the profile.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Facts about the host.
    pub host: &'a HostInfo,
    /// What is used there, if the pipe has told.
    pub usage: Option<&'a HostUsage>,
    /// What it is short of.
    pub shortages: Shortages,
    /// Why it cannot run pods, if it cannot.
    pub trouble: Option<&'a Trouble>,
    /// What is known of its end.
    pub nearing: Nearing,
    /// How its way in stands.
    pub way: &'a WayIn,
}

/// A status that the API server has, and when it was written, by a clock that never jumps.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: NodeStatus,
    /// When.
    pub at: Duration,
    /// The version of the Node that has it.
    pub version: u64,
}

/// What a Node says, as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The version of the Node.
    pub version: u64,
    /// Type and status of each of its conditions.
    pub conditions: Vec<(String, String)>,
}

impl Said {
    /// What a Node says.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        Self {
            version: version(node),
            conditions: conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect(),
        }
    }
}

/// The version of a Node. They are numbers, the later the larger (KEP-5504).
#[must_use]
pub fn version(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Whether somebody has written over what was told. The cluster's node controller does: all conditions of a node that it has not
/// heard from become `Unknown`, and stay so until the node says otherwise.
#[must_use]
pub fn is_overwritten(told: &Told, said: &Said) -> bool {
    let is_said = |ours: &NodeCondition| {
        said.conditions.iter().any(|(kind, status)| (kind, status) == (&ours.type_, &ours.status))
    };
    said.version > told.version && !told.status.conditions.iter().flatten().all(is_said)
}

/// Whether `status` is to be written: it says something new, or it is time to say again that nothing is new.
#[must_use]
pub fn is_due(told: Option<&Told>, status: &NodeStatus, now: Duration, report_every: Duration) -> bool {
    told.is_none_or(|told| now.saturating_sub(told.at) >= report_every || timeless(&told.status) != timeless(status))
}

/// The status without the times at which it was told.
fn timeless(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    status
}

/// The strategic merge patch that makes `before` into `status`. What is in a mapping already stays there unless it is taken
/// out by name, and so does an address of another type: the addresses replace those before.
#[must_use]
pub fn patch(before: Option<&NodeStatus>, status: &NodeStatus) -> Value {
    let mut patch = json!({"status": status});
    for (field, was, is) in [
        ("capacity", before.and_then(|s| s.capacity.as_ref()), status.capacity.as_ref()),
        ("allocatable", before.and_then(|s| s.allocatable.as_ref()), status.allocatable.as_ref()),
    ] {
        let gone = was.into_iter().flatten().filter(|(name, _)| is.is_none_or(|is| !is.contains_key(*name)));
        let gone: Vec<&String> = gone.map(|(name, _)| name).collect();
        if let Some(Value::Object(resources)) = patch.pointer_mut(&format!("/status/{field}")) {
            resources.extend(gone.into_iter().map(|name| (name.clone(), Value::Null)));
        }
    }
    if let Some(Value::Array(addresses)) = patch.pointer_mut("/status/addresses") {
        addresses.push(json!({"$patch": "replace"}));
    }
    patch
}

/// The node's status at `now`. The times of the last change are kept from `before`.
#[must_use]
pub fn status(profile: &NodeProfile, view: &View<'_>, before: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let host = view.host;
    let reach = profile.reach.as_ref();
    let images = profile.images.names().take(MAX_IMAGES);
    let images: Vec<ContainerImage> =
        images.map(|name| ContainerImage { names: Some(vec![name.to_owned()]), size_bytes: None }).collect();
    NodeStatus {
        addresses: Some(reach.map(|reach| reach.addresses(&host.hostname)).unwrap_or_default()),
        allocatable: Some(allocatable(profile, view)),
        capacity: Some(quantities(&capacity(profile, view), profile)),
        conditions: Some(conditions(view, before, now)),
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).to_vec()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: reach.map(|reach| DaemonEndpoint { port: i32::from(reach.at.port()) }),
        }),
        images: (!images.is_empty()).then_some(images),
        node_info: Some(NodeSystemInfo {
            architecture: arch().to_owned(),
            boot_id: host.boot_id.clone(),
            container_runtime_version: format!("vk-cmd://{}", host.version),
            kernel_version: host.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.into(),
            machine_id: host.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: host.os_image.clone(),
            swap: None,
            system_uuid: String::new(),
        }),
        ..NodeStatus::default()
    }
}

/// What the host has for tasks: what the pipe may use of it.
/// What the node has for pods: its `status.allocatable`.
#[must_use]
pub fn allocatable(profile: &NodeProfile, view: &View<'_>) -> BTreeMap<String, Quantity> {
    quantities(&capacity(profile, view).without(&profile.reserved), profile)
}

fn capacity(profile: &NodeProfile, view: &View<'_>) -> Resources {
    profile.capacity.clone().over(own_resources(view))
}

fn quantities(resources: &Resources, profile: &NodeProfile) -> BTreeMap<String, Quantity> {
    let pods = ("pods".to_owned(), Quantity(profile.max_pods.to_string()));
    resources.quantities().into_iter().chain([pods]).collect()
}

fn own_resources(view: &View<'_>) -> Resources {
    let disk = view.usage.map(|usage| usage.disk.capacity_bytes).filter(|bytes| *bytes > 0);
    let own = [
        ("cpu", Some(u64::from(view.host.cpus) * 1000)),
        ("memory", Some(view.host.memory_bytes)),
        ("ephemeral-storage", disk),
    ];
    Resources(own.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), amount?))).collect())
}

/// What is in force at a site, for people: what its administrator would ask first.
#[must_use]
pub fn in_force(host: &HostInfo) -> String {
    let HostInfo { records, enforcement, site, mount_namespaces, .. } = host;
    let mut all = vec![match &site.runtime {
        Some(runtime) => format!("commands run on this host, images by {runtime}"),
        None => "commands run on this host".to_owned(),
    }];
    let Enforcement { cgroup, memory, cpu, processes } = enforcement;
    let by = |name: &str, enforcer: &Enforcer| {
        let enforcer = match enforcer {
            Enforcer::Cgroup => "cgroup",
            Enforcer::Affinity => "affinity",
            Enforcer::Watchdog => "watchdog",
        };
        format!("{name} by {enforcer}")
    };
    let place = cgroup.as_ref().map(|path| format!(" below {}", path.display())).unwrap_or_default();
    let limited = [by("memory", memory), by("cpu", cpu), by("processes", processes)].join(", ");
    all.push(format!("limits: {limited}{place}"));
    if let MountNamespaces::Unavailable { why } = mount_namespaces {
        all.push(format!("commands have no mounts of their own: {why}"));
    }
    if let RecordsPlace { directory, moved_off: Some(kind) } = records {
        all.push(format!(
            "records are in {}, because the pipe's directory is on a shared file system ({kind})",
            directory.display()
        ));
    }
    if let SiteInfo { file: Some(file), error: Some(error), .. } = site {
        all.push(format!("the site's file {} is wrong, and what it said before is in force: {error}", file.display()));
    }
    all.join("; ")
}
