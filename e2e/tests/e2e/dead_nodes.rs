//! Node objects of nodes that have died, and whose time is long over: see docs/explanation/walltime.md, "Node objects that are left over". No minutes
//! are waited for: what Kubernetes has noted of a node is written here, with the times of long ago.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use vk_cmd_crds::labels;
use vk_cmd_e2e::chart;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};
use crate::rough::rough;

/// So long ago, in whole seconds.
fn ago(time: SignedDuration) -> Timestamp {
    Timestamp::from_second((Timestamp::now() - time).as_second()).unwrap()
}

/// As Kubernetes sees a vk-node that has been as it is since then, and whose end was at a time.
async fn put(room: &Room, name: &str, ready: &str, since: Timestamp, ended: Option<Timestamp>) {
    let annotations = ended.map(|ended| json!({labels::ENDS_AT: ended.to_string()}));
    let since = since.to_string();
    let node: Node = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {labels::NODE_TYPE: labels::NODE_TYPE_VALUE}, "annotations": annotations},
        "status": {"conditions": [{
            "type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "lastTransitionTime": since,
            "lastHeartbeatTime": since,
        }]},
    }))
    .unwrap();
    api(room).create(&PostParams::default(), &node).await.unwrap();
}

fn api(room: &Room) -> Api<Node> {
    Api::all(room.client.clone())
}

/// Waits until a Node is gone, and says when that was seen.
async fn gone(room: &Room, name: &str) -> Timestamp {
    let what = format!("the Node {name} to be removed");
    wait::until(&what, LONG, GLANCE, async || {
        Ok(match api(room).get_opt(name).await? {
            None => Probe::Ready(Timestamp::now()),
            Some(node) => Probe::not_yet(format!("{node:?}")),
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_node_of_one_that_died_is_removed_ten_minutes_after_its_end_and_no_other() {
    let room = room("dead-nodes").await;
    let minutes = |count| ago(SignedDuration::from_mins(count));
    // It may come back at any time; it is heard from.
    put(&room, "vk-dead-endless", "Unknown", minutes(60), None).await;
    put(&room, "vk-dead-not", "True", minutes(60), Some(minutes(30))).await;
    // It has been heard from lately.
    put(&room, "vk-dead-lately", "Unknown", minutes(8), Some(minutes(60))).await;
    let ended = minutes(10) + SignedDuration::from_secs(4);
    put(&room, "vk-dead-soon", "Unknown", minutes(30), Some(ended)).await;
    put(&room, "vk-dead-long", "Unknown", minutes(30), Some(minutes(20))).await;
    gone(&room, "vk-dead-long").await;
    // The operator looks again by itself when the time has come, and not before.
    let seen = gone(&room, "vk-dead-soon").await;
    let due = ended + SignedDuration::from_mins(10);
    assert!(seen >= due, "{seen} {due}");
    for name in ["vk-dead-endless", "vk-dead-not", "vk-dead-lately"] {
        api(&room).delete(name, &DeleteParams::default()).await.expect(name);
    }
}

#[tokio::test]
async fn how_long_a_node_must_be_silent_is_for_whoever_runs_the_operator_to_say() {
    let ground = rough().await;
    let mut usual = ground.operator.lock().await;
    if usual.process().is_some() {
        usual.kill().unwrap();
    }
    let chart = chart::installed(ground.plane.cluster()).await.unwrap().unwrap();
    let account = ground.plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await.unwrap();
    let operator = Operator::start_with(&account, &["--dead-node-after", "3s"]).await.unwrap();
    let room = ground.room("dead-sooner").await;
    let seconds = |count| ago(SignedDuration::from_secs(count));
    put(&room, "vk-dead-sooner", "Unknown", seconds(3600), Some(seconds(60))).await;
    gone(&room, "vk-dead-sooner").await;
    drop(operator);
    usual.restart().unwrap();
}
