//! The Node object, by kubectl: what it says, who may change it, and what becomes of it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};
use crate::kubelet_api::Kubelet;

impl Room {
    /// Waits until a Node is as `wanted` says.
    pub(crate) async fn node(&self, name: &str, what: &str, wanted: impl Fn(&Node) -> bool) -> Node {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let what = format!("node {name} {what}");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            Ok(match nodes.get_opt(name).await? {
                Some(node) if wanted(&node) => Probe::Ready(node),
                other => Probe::not_yet(format!("{other:?}")),
            })
        });
        reached.await.unwrap()
    }
}

pub(crate) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is(node: &Node, kind: &str, status: &str) -> bool {
    condition(node, kind).is_some_and(|condition| condition.status == status)
}

pub(crate) fn reason<'a>(node: &'a Node, kind: &str) -> &'a str {
    condition(node, kind).and_then(|condition| condition.reason.as_deref()).unwrap_or_default()
}

fn labels(node: &Node, key: &str) -> String {
    node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
}

/// A site whose node is set up by a file and by the variables of the original.
async fn configured(room: &Room, name: &str, file: &str) -> (Site, TempDir) {
    let mut settings = Settings::on(room.ground.plane, name).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.yaml");
    std::fs::write(&path, file).unwrap();
    settings.node_flags = vec!["--config".into(), path.into()];
    let variables = [("JIRIAF_SITE", "Local"), ("JIRIAF_NODETYPE", "cpu"), ("JIRIAF_WALLTIME", "36000")];
    settings.environment = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
    (room.site_with(settings).await, directory)
}

#[tokio::test]
async fn a_node_says_what_it_is_and_what_is_configured() {
    let room = room("node-object").await;
    let file = "version: 1\n\
                maxPods: 17\n\
                labels: {example.org/rack: \"17\"}\n\
                site: elsewhere\n\
                fleet: nightly\n\
                registerWithTaints: [{key: example.org/batch, value: \"yes\", effect: NoSchedule}]\n\
                capacity: {cpu: 64, example.org/fpga: 3}\n\
                systemReserved: {cpu: 500m}\n\
                images: [{match: docker.io/library/r:4, command: [R]}]\n";
    let (mut site, _kept) = configured(&room, "vk-object", file).await;
    let all_known = |node: &Node| is(node, "MemoryPressure", "False") && is(node, "Ready", "True");
    let node = room.node("vk-object", "to be ready without pressure", all_known).await;

    for (kind, reason) in [
        ("MemoryPressure", "KubeletHasSufficientMemory"),
        ("DiskPressure", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "KubeletHasSufficientPID"),
        ("vk-cmd.io/PipeReady", "PipeReachable"),
        ("vk-cmd.io/Reachable", "NodeListens"),
        ("Ready", "KubeletReady"),
    ] {
        assert_eq!(self::reason(&node, kind), reason);
    }
    for (key, value) in [
        ("kubernetes.io/hostname", "vk-object"),
        ("example.org/rack", "17"),
        // A variable stands over the file.
        ("vk-cmd.io/site", "Local"),
        ("jiriaf.site", "Local"),
        ("jiriaf.nodetype", "cpu"),
        ("vk-cmd.io/nodetype", "cpu"),
        ("vk-cmd.io/fleet", "nightly"),
        ("jiriaf.walltime", "36000"),
    ] {
        assert_eq!(labels(&node, key), value, "{key}");
    }
    let alive: u64 = labels(&node, "jiriaf.alivetime").parse().unwrap();
    assert!((35_000..=36_000).contains(&alive), "{alive}");
    let taints = node.spec.as_ref().unwrap().taints.as_ref().unwrap();
    assert!(taints.iter().any(|taint| taint.key == "example.org/batch"), "{taints:?}");
    assert!(taints.iter().any(|taint| taint.key == "virtual-kubelet.io/provider"), "{taints:?}");

    let status = node.status.as_ref().unwrap();
    let amount = |of: &str, name: &str| {
        let all = if of == "capacity" { &status.capacity } else { &status.allocatable };
        all.as_ref().unwrap().get(name).map(|quantity| quantity.0.clone()).unwrap_or_default()
    };
    assert_eq!((&*amount("capacity", "cpu"), &*amount("allocatable", "cpu")), ("64", "63500m"));
    assert_eq!((&*amount("capacity", "pods"), &*amount("capacity", "example.org/fpga")), ("17", "3"));
    assert!(!amount("capacity", "ephemeral-storage").is_empty() && !amount("capacity", "memory").is_empty());
    assert_eq!(status.images.as_ref().unwrap()[0].names.as_ref().unwrap()[0], "docker.io/library/r:4");

    // What kubectl and other tools ask of a kubelet.
    let configz = Kubelet::of(&room, &mut site).await.get("/configz").await;
    let configz: Value = serde_json::from_str(&configz).unwrap();
    assert_eq!(configz["kubeletconfig"]["maxPods"], 17);
    assert_eq!(configz["kubeletconfig"]["systemReserved"]["cpu"], "500m");
    assert_eq!(configz["vk-node"]["labels"]["example.org/rack"], "17");
    let port = status.daemon_endpoints.as_ref().unwrap().kubelet_endpoint.as_ref().unwrap().port;
    assert_eq!(configz["kubeletconfig"]["port"], port);
    let described = room.says(&["describe", "node", "vk-object"]).await;
    assert!(described.contains("kubelet has no disk pressure") && described.contains("Starting"), "{described}");
}

#[tokio::test]
async fn what_others_do_to_a_node_is_mended_and_what_is_theirs_is_left() {
    let room = room("node-mended").await;
    let mut site = room.site("vk-mended").await;
    let nodes: Api<Node> = Api::all(room.client.clone());
    let witness = site.home().join("runs");
    let script =
        format!("echo run >> {}; until test -e {}/end; do sleep 0.1; done", witness.display(), site.home().display());
    let job = room.script("spans", "vk-mended", &script).await;
    job.running().await;

    // Labels: ours are put back, those of others are left.
    let patch = json!({"metadata": {"labels": {"type": "other", "kubernetes.io/os": null, "mine": "too"}}});
    nodes.patch("vk-mended", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let is_mended =
        |node: &Node| labels(node, "type") == "virtual-kubelet" && labels(node, "kubernetes.io/os") == "linux";
    let node = room.node("vk-mended", "to have its labels again", is_mended).await;
    assert_eq!(labels(&node, "mine"), "too");

    // The object itself, while the node runs: made again at once, and nothing happens to what runs there.
    nodes.delete("vk-mended", &DeleteParams::default()).await.unwrap();
    let is_another = |other: &Node| other.metadata.uid != node.metadata.uid && is(other, "Ready", "True");
    room.node("vk-mended", "to be made again", is_another).await;

    // Told to end, it says so, gives its name back, and is not made again.
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), "kube-node-lease");
    site.stop_node().unwrap();
    let gone = room.node("vk-mended", "to say that it is shut down", |node| is(node, "Ready", "False")).await;
    assert_eq!(reason(&gone, "Ready"), "NodeShutdown");
    // The lease belonged to the object that was deleted: the garbage collector may have taken it meanwhile.
    let holder = leases.get_opt("vk-mended").await.unwrap().and_then(|lease| lease.spec?.holder_identity);
    assert_eq!(holder.unwrap_or_default(), "", "another host may take the name at once");
    site.start_node().unwrap();
    room.node("vk-mended", "to be ready again", |node| is(node, "Ready", "True")).await;

    std::fs::write(site.home().join("end"), "").unwrap();
    job.ended().await;
    assert_eq!(std::fs::read_to_string(witness).unwrap(), "run\n");
}

#[tokio::test]
async fn a_node_without_its_pipe_says_so_keeps_its_name_and_is_ready_again_with_it() {
    let room = room("node-pipe").await;
    let mut site = room.site_with(Settings::on(room.ground.plane, "vk-lost").unwrap().with_separate_pipe()).await;
    let before = room.node("vk-lost", "to be ready", |node| is(node, "Ready", "True")).await;
    site.kill_pipe().unwrap();
    let lost = room.node("vk-lost", "to be not ready", |node| is(node, "Ready", "False")).await;
    for kind in ["Ready", "vk-cmd.io/PipeReady"] {
        assert!(is(&lost, kind, "False"), "{kind}");
        assert_eq!(reason(&lost, kind), "PipeUnreachable");
    }
    // The lease goes on: the name and the processes are still this node's.
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), "kube-node-lease");
    let renewed = async || leases.get("vk-lost").await.unwrap().spec.unwrap().renew_time.unwrap();
    let first = renewed().await;
    let goes_on = wait::until("the lease to be renewed", Duration::from_secs(60), GLANCE, async || {
        let now = renewed().await;
        Ok(if now.0 > first.0 { Probe::Ready(()) } else { Probe::not_yet("not yet renewed") })
    });
    goes_on.await.unwrap();
    site.start_pipe().await.unwrap();
    let back = room.node("vk-lost", "to be ready again", |node| is(node, "Ready", "True")).await;
    let changed = |node: &Node| condition(node, "Ready").and_then(|c| c.last_transition_time.clone());
    assert!(changed(&back) > changed(&before));
    let events = room.says(&["get", "events", "-A", "--field-selector=involvedObject.name=vk-lost"]).await;
    assert!(events.contains("NodeNotReady"), "{events}");
}
