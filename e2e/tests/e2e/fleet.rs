//! Many nodes in one process: each has its own pods, and none judges another's.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};

const NODES: usize = 20;

fn node(n: usize) -> String {
    format!("vk-fleet-{n}")
}

impl Room {
    /// A pod that is bound to a node from the beginning and runs this script.
    async fn bound(&self, name: &str, node: &str, script: &str) {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 2,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "vk-cmd.io/host", "command": ["/bin/sh", "-c", script]}],
            },
        });
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn in_phase(&self, name: &str, phase: &str) -> Pod {
        let what = format!("pod {name} to be {phase}");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let pod = self.pods().get(name).await?;
            let is_there = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase);
            Ok(if is_there { Probe::Ready(pod) } else { Probe::not_yet(format!("{:?}", pod.status)) })
        });
        reached.await.unwrap()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn all_ready(room: &Room, but: &[String]) -> Vec<Node> {
    let nodes: Api<Node> = Api::all(room.client.clone());
    join_all((0..NODES).map(node).filter(|name| !but.contains(name)).map(|name| {
        let nodes = nodes.clone();
        async move {
            let what = format!("{name} to be ready");
            let ready = wait::until(&what, LONG, GLANCE, async || {
                Ok(match nodes.get_opt(&name).await? {
                    Some(node) if is_ready(&node) => Probe::Ready(node),
                    other => Probe::not_yet(format!("{:?}", other.and_then(|n| n.status))),
                })
            });
            ready.await.unwrap()
        }
    }))
    .await
}

async fn gone(what: &str, path: &std::path::Path, site: &Site) {
    let is_gone = wait::until(what, LONG, GLANCE, async || {
        let still = std::fs::read_to_string(path)?;
        let pid = still.trim().parse::<i32>()?;
        let runs = site.processes()?.contains(&pid);
        Ok(if runs { Probe::not_yet(format!("{pid} runs")) } else { Probe::Ready(()) })
    });
    is_gone.await.unwrap();
}

#[tokio::test]
async fn twenty_nodes_in_one_process_have_their_own_pods_and_judge_no_others() {
    let room = room("fleet").await;
    // Credentials that may act for all of them; each has a port of its own.
    let mut settings =
        Settings::new(&node(0), room.ground.plane.kubeconfig(), Some(room.ground.plane.client_ca().into()));
    settings.address = Some(std::net::Ipv4Addr::LOCALHOST.into());
    settings.node_flags = vec!["--nodes".into(), format!("vk-fleet-={NODES}").into()];
    let mut site = room.site_with(settings).await;
    let made = all_ready(&room, &[]).await;
    let ports: std::collections::BTreeSet<_> = made.iter().map(port).collect();
    assert_eq!(ports.len(), NODES, "each has its own port");

    // One pod on each runs until it is told to end, and says which process it is.
    for n in 0..NODES {
        let here = site.home();
        let script = format!(
            "echo run >> {0}/{n}.runs; echo $$$$ > {0}/{n}.pid; echo output of {n}; \
             until test -e {0}/end; do sleep 0.1; done",
            here.display()
        );
        room.bound(&format!("pod-{n}"), &node(n), &script).await;
    }
    join_all((0..NODES).map(|n| {
        let room = &room;
        async move { room.in_phase(&format!("pod-{n}"), "Running").await }
    }))
    .await;
    for n in [0, 7, 19] {
        assert_eq!(room.says(&["logs", &format!("pod-{n}")]).await, format!("output of {n}\n"));
    }

    // Pods go by force while nobody looks: after the restart their own node ends them, and no other touches the rest.
    site.kill_node().unwrap();
    let forced = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for n in [3, 4] {
        room.pods().delete(&format!("pod-{n}"), &forced).await.unwrap();
    }
    site.start_node().unwrap();
    for n in [3, 4] {
        gone(&format!("the process of pod-{n} to end"), &site.home().join(format!("{n}.pid")), &site).await;
    }

    // A Node object that somebody removes is made again at once, and nothing happens to what runs there.
    let nodes: Api<Node> = Api::all(room.client.clone());
    let before = nodes.get(&node(5)).await.unwrap().metadata.uid;
    nodes.delete(&node(5), &DeleteParams::default()).await.unwrap();
    let again = wait::until("the Node to be made again", Duration::from_secs(30), GLANCE, async || {
        Ok(match nodes.get_opt(&node(5)).await? {
            Some(node) if node.metadata.uid != before && is_ready(&node) => Probe::Ready(node),
            other => Probe::not_yet(format!("{:?}", other.map(|n| n.metadata.uid))),
        })
    });
    let again = again.await.unwrap();
    assert_eq!(again.metadata.annotations.unwrap()["vk-cmd.io/former-uids"], before.unwrap());

    std::fs::write(site.home().join("end"), "").unwrap();
    for n in (0..NODES).filter(|n| ![3, 4].contains(n)) {
        room.in_phase(&format!("pod-{n}"), "Succeeded").await;
        assert_eq!(std::fs::read_to_string(site.home().join(format!("{n}.runs"))).unwrap(), "run\n", "pod-{n}");
    }
}

fn port(node: &Node) -> i32 {
    let endpoint = node.status.as_ref().and_then(|s| s.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref());
    endpoint.map(|e| e.port).unwrap_or_default()
}
