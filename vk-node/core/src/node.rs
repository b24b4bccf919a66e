//! The Node object: what it says of itself when it is made, and what its status says while it lives.

use std::collections::BTreeMap;

use crate::config::{NodeTaint, Resources};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use vk_cmd_crds::labels;
use vk_cmd_crds::names::NodeName;
use vk_task::{Enforcement, Enforcer, HostInfo, RecordsPlace, SiteInfo};

/// The version of the kubelet whose behaviour this one follows; kubectl and the API server compare it with theirs.
const KUBELET_VERSION: &str = concat!("v1.36.0+vk-cmd.", env!("CARGO_PKG_VERSION"));

/// What this node has of what Kubernetes' nodes may lack, sorted: the API server looks. With
/// `ExtendWebSocketsToKubelet` it passes the WebSockets of clients on as they are, for exec, attach and port-forward alike.
const DECLARED_FEATURES: [&str; 1] = ["ExtendWebSocketsToKubelet"];

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProfile {
    /// Its name.
    pub name: NodeName,
    /// The address at which its kubelet API is reached.
    pub address: String,
    /// The port of its kubelet API.
    pub port: u16,
    /// How many pods it takes.
    pub max_pods: u32,
    /// More labels: `vk-cmd.io/site`, say.
    pub labels: BTreeMap<String, String>,
    /// Taints that it is made with, besides that of every vk-node.
    pub taints: Vec<NodeTaint>,
    /// What it offers: instead of what the host has, or besides it.
    pub capacity: Resources,
    /// What of that is not for pods.
    pub reserved: Resources,
}

/// Whether the node can run pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// It cannot, for this reason.
    NotReady {
        /// One word.
        reason: String,
        /// For people.
        message: String,
    },
}

/// The Node as it is made. The taint can be set only now: NodeRestriction lets no node change its own later.
#[must_use]
pub fn object(profile: &NodeProfile, host: &HostInfo, now: Timestamp) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(profile.name.as_str().to_owned()),
            labels: Some(labels_of(profile)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints_of(profile)), ..NodeSpec::default() }),
        status: Some(status(profile, host, &Health::Ready, None, now)),
    }
}

/// The annotation in which a Node that was made again has the UIDs of those that it replaces, the latest first.
const FORMER_UIDS: &str = "vk-cmd.io/former-uids";
/// How many of them it has.
const MOST_FORMER_UIDS: usize = 16;

/// Writes into a Node that is to be made that it replaces one of this lineage.
pub fn set_lineage(node: &mut Node, lineage: &[String]) {
    if !lineage.is_empty() {
        let former: Vec<&str> = lineage.iter().take(MOST_FORMER_UIDS).map(String::as_str).collect();
        node.metadata.annotations.get_or_insert_default().insert(FORMER_UIDS.to_owned(), former.join(","));
    }
}

/// The UID of a Node, and of those that it replaces in its cluster. What was started for one of them was started for this
/// cluster: its list of pods speaks about it.
#[must_use]
pub fn lineage(node: &Node) -> Vec<String> {
    let former = node.metadata.annotations.as_ref().and_then(|all| all.get(FORMER_UIDS)).map_or("", String::as_str);
    let all = node.metadata.uid.as_deref().into_iter().chain(former.split(','));
    all.filter(|uid| !uid.is_empty()).map(str::to_owned).collect()
}

/// The taint of every vk-node, and those of its profile.
fn taints_of(profile: &NodeProfile) -> Vec<Taint> {
    let taint = |key: &str, value: &str, effect: &str| Taint {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        effect: effect.to_owned(),
        time_added: None,
    };
    let own = taint(labels::TAINT_KEY, labels::TAINT_VALUE, labels::TAINT_EFFECT);
    let more = profile.taints.iter().map(|t| taint(&t.key, &t.value, t.effect.name()));
    std::iter::once(own).chain(more).collect()
}

/// The labels that every vk-node carries, and those of its profile.
#[must_use]
pub fn labels_of(profile: &NodeProfile) -> BTreeMap<String, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut all = profile.labels.clone();
    all.extend(
        [
            (labels::HOSTNAME, profile.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            (labels::NODE_TYPE, labels::NODE_TYPE_VALUE),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    all
}

/// The node's status at `now`. The times of the last change are kept from `before`.
#[must_use]
pub fn status(
    profile: &NodeProfile,
    host: &HostInfo,
    health: &Health,
    before: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let capacity = profile.capacity.clone().over(own_resources(host));
    let quantities = |resources: &Resources| {
        let pods = ("pods".to_owned(), Quantity(profile.max_pods.to_string()));
        Some(resources.quantities().into_iter().chain([pods]).collect::<BTreeMap<_, _>>())
    };
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
    NodeStatus {
        addresses: Some(vec![address("InternalIP", &profile.address), address("Hostname", &host.hostname)]),
        allocatable: quantities(&capacity.without(&profile.reserved)),
        capacity: quantities(&capacity),
        conditions: Some(vec![ready(health, host, before, now)]),
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).to_vec()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(profile.port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: labels_of(profile).remove("kubernetes.io/arch").unwrap_or_default(),
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

/// What the host has for tasks.
fn own_resources(host: &HostInfo) -> Resources {
    let own = [("cpu", u64::from(host.cpus) * 1000), ("memory", host.memory_bytes)];
    Resources(own.map(|(name, amount)| (name.to_owned(), amount)).into())
}

/// What is in force at a site, for people: what its administrator would ask first.
#[must_use]
pub fn in_force(host: &HostInfo) -> String {
    let HostInfo { records, enforcement, site, .. } = host;
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

fn ready(health: &Health, host: &HostInfo, before: Option<&NodeStatus>, now: Timestamp) -> NodeCondition {
    let (status, reason, message) = match health {
        Health::Ready => ("True", "PipeReachable", in_force(host)),
        Health::NotReady { reason, message } => ("False", reason.as_str(), message.clone()),
    };
    let old = before.and_then(|s| s.conditions.as_ref()).into_iter().flatten().find(|c| c.type_ == "Ready");
    let unchanged = old.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    NodeCondition {
        type_: "Ready".into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(unchanged.unwrap_or(Time(now))),
    }
}

#[cfg(test)]
mod tests {
    use vk_task::MountNamespaces;

    use super::*;

    fn host() -> HostInfo {
        HostInfo {
            mount_namespaces: MountNamespaces::Unknown,
            version: String::new(),
            hostname: String::new(),
            user: String::new(),
            uid: 1,
            gid: None,
            home: "/home/u".into(),
            directory: "/home/u/hostpipe".into(),
            boot_id: String::new(),
            machine_id: String::new(),
            kernel: String::new(),
            os_image: String::new(),
            cpus: 2,
            memory_bytes: 1 << 30,
            records: RecordsPlace::default(),
            enforcement: Enforcement::default(),
            site: SiteInfo::default(),
        }
    }

    #[test]
    fn a_node_made_again_knows_its_forebears() {
        let uids = |all: &[&str]| all.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>();
        let mut node =
            Node { metadata: ObjectMeta { uid: Some("a".into()), ..ObjectMeta::default() }, ..Node::default() };
        assert_eq!(lineage(&node), uids(&["a"]));
        for _ in 0..30 {
            let before = lineage(&node);
            node.metadata.annotations = None;
            set_lineage(&mut node, &before);
            node.metadata.uid = Some(format!("{}x", before[0]));
        }
        let all = lineage(&node);
        assert_eq!((all.len(), all[0].len(), all[1].len()), (MOST_FORMER_UIDS + 1, 31, 30));
    }

    #[test]
    fn readiness_keeps_the_time_of_its_last_change() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let condition = |health: &Health, before: Option<NodeCondition>, now| {
            let before = before.map(|c| NodeStatus { conditions: Some(vec![c]), ..NodeStatus::default() });
            ready(health, &host(), before.as_ref(), at(now))
        };
        let first = condition(&Health::Ready, None, 1);
        let second = condition(&Health::Ready, Some(first), 2);
        assert_eq!(second.last_transition_time, Some(Time(at(1))));
        assert_eq!(second.last_heartbeat_time, Some(Time(at(2))));
        let lost = Health::NotReady { reason: "PipeUnreachable".into(), message: String::new() };
        assert_eq!(condition(&lost, Some(second), 3).last_transition_time, Some(Time(at(3))));
    }

    #[test]
    fn a_ready_node_says_what_is_in_force() {
        let mut host = host();
        assert_eq!(
            in_force(&host),
            "commands run on this host; limits: memory by watchdog, cpu by watchdog, processes by watchdog"
        );
        host.site = SiteInfo {
            file: Some("/etc/site.yaml".into()),
            error: Some("line 3: no such field".into()),
            runtime: Some("podman".into()),
        };
        host.records = RecordsPlace { directory: "/var/tmp/vk-u".into(), moved_off: Some("lustre".into()) };
        host.enforcement = Enforcement {
            cgroup: Some("/sys/fs/cgroup/u".into()),
            memory: Enforcer::Cgroup,
            cpu: Enforcer::Affinity,
            processes: Enforcer::Watchdog,
        };
        assert_eq!(
            in_force(&host),
            "commands run on this host, images by podman; limits: memory by cgroup, cpu by affinity, processes by watchdog \
             below /sys/fs/cgroup/u; records are in /var/tmp/vk-u, because the pipe's directory is on a shared file system \
             (lustre); the site's file /etc/site.yaml is wrong, and what it said before is in force: line 3: no such field"
        );
    }
}
