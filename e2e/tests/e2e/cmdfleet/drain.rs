//! Cordon, drain and uncordon of a whole fleet.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};

const FLEET: &str = "cf-drain";

fn node(n: u32) -> String {
    format!("vk-{FLEET}-{n}")
}

/// Whether a node is unschedulable, and by whom.
async fn cordon(room: &Room, n: u32) -> (bool, Option<String>) {
    let nodes: Api<Node> = Api::all(room.client.clone());
    let node = nodes.get(&node(n)).await.unwrap();
    let by = node.annotations().get("vk-cmd.io/cordoned-by").cloned();
    (node.spec.and_then(|spec| spec.unschedulable).unwrap_or_default(), by)
}

async fn set(room: &Room, n: u32, unschedulable: bool) {
    let nodes: Api<Node> = Api::all(room.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
    nodes.patch(&node(n), &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_whole_fleet_is_cordoned_drained_and_uncordoned_and_only_what_was_cordoned_so() {
    let room = room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({})).await;
    let site = room.nodes_of(FLEET, 3, &[]).await;
    fleet.until("to have its nodes", |status| status.ready_nodes == 3).await;
    // Somebody has cordoned one before.
    set(&room, 2, true).await;
    fleet.change(json!({"scheduling": "Cordoned"})).await;
    let cordoned = fleet.is("Cordoned").await;
    assert_eq!((cordoned.cordoned_nodes, cordoned.ready_nodes), (3, 3));
    assert!(cordoned.problems[0].contains("cordoned by somebody, and not by the operator: vk-cf-drain-2"));
    let ours = (true, Some("fleet".to_owned()));
    assert_eq!(
        [cordon(&room, 0).await, cordon(&room, 1).await, cordon(&room, 2).await],
        [ours.clone(), ours.clone(), (true, None)]
    );
    // Somebody uncordons one: it is cordoned again.
    set(&room, 0, false).await;
    wait::until("the node to be cordoned again", LONG, GLANCE, async || {
        let is = cordon(&room, 0).await;
        Ok(if is == ours { Probe::Ready(()) } else { Probe::not_yet(format!("{is:?}")) })
    })
    .await
    .unwrap();
    fleet.change(json!({"scheduling": "Active"})).await;
    fleet.is("NodesReady").await;
    assert_eq!(
        [cordon(&room, 0).await, cordon(&room, 1).await, cordon(&room, 2).await],
        [(false, None), (false, None), (true, None)]
    );
    set(&room, 2, false).await;

    // Two jobs: what one runs a budget keeps; and a pod that nobody would make again.
    let forever = json!({"target": {"node": node(0)}, "script": "exec sleep 1000", "terminationGracePeriodSeconds": 1});
    let plain = room.job("plain", forever).await;
    let kept = room
        .job(
            "kept",
            json!({"target": {"node": node(1)}, "script": "exec sleep 1000", "terminationGracePeriodSeconds": 1}),
        )
        .await;
    plain.running().await;
    kept.running().await;
    let lone: Pod = serde_json::from_value(json!({
        "metadata": {"name": "lone"},
        "spec": {
            "nodeName": node(2), "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "vk-cmd.io/host", "command": ["/bin/sleep", "1000"]}],
        },
    }))
    .unwrap();
    room.pods().create(&PostParams::default(), &lone).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(room.client.clone(), &room.namespace);
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "keep"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"vk-cmd.io/job": "kept"}}},
    }))
    .unwrap();
    budgets.create(&PostParams::default(), &budget).await.unwrap();

    fleet.change(json!({"scheduling": "Draining"})).await;
    let held = fleet
        .until("to be held", |status| {
            status
                .message
                .as_deref()
                .is_some_and(|said| said.starts_with("2 pods left: ") && said.contains("budget keep needs"))
        })
        .await;
    let said = held.message.unwrap();
    assert!(
        said.contains("cf-drain/kept")
            && said.contains("is kept by a PodDisruptionBudget: The disruption budget keep needs 1"),
        "{said}"
    );
    assert!(said.contains("cf-drain/lone has no controller that would make it again: delete it yourself"), "{said}");
    let evicted = plain.ended().await;
    assert_eq!(evicted.attempt().signal.as_deref(), Some("SIGTERM"), "{evicted:?}");
    assert_eq!(kept.running().await.failed, 0);

    // What holds it goes, and it goes on by itself.
    budgets.delete("keep", &DeleteParams::default()).await.unwrap();
    room.pods().delete("lone", &DeleteParams::default()).await.unwrap();
    let drained = fleet.is("Drained").await;
    assert_eq!((drained.busy_nodes, drained.cordoned_nodes), (0, 3));
    kept.ended().await;

    // A fleet that is gone holds no node.
    fleet.remove().await;
    wait::until("the nodes to be uncordoned", LONG, GLANCE, async || {
        let all = [cordon(&room, 0).await, cordon(&room, 1).await, cordon(&room, 2).await];
        let is_free = all.iter().all(|(unschedulable, by)| !unschedulable && by.is_none());
        Ok(if is_free { Probe::Ready(()) } else { Probe::not_yet(format!("{all:?}")) })
    })
    .await
    .unwrap();
    drop(site);
}
