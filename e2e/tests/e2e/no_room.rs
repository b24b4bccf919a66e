//! A node refuses what it has no room for, whoever has bound it there.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vk_cmd_crds::{AttemptState, State};
use vk_cmd_e2e::site::Settings;

use crate::ground::{GLANCE, Room, room};
use crate::plain_pods::phase;

impl Room {
    /// Binds a pod to a node, as somebody who has not looked whether there is room, that sleeps and asks for so much.
    async fn put_on(&self, node: &str, name: &str, cpu: &str) {
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "c", "image": "vk-cmd.io/host", "command": ["sleep", "1000"],
                "resources": {"requests": {"cpu": cpu}},
            }],
        }}))
        .await;
    }
}

fn lacks(pod: &Pod) -> bool {
    phase(pod) == "Failed" && pod.status.as_ref().is_some_and(|s| s.reason.as_deref() == Some("OutOfcpu"))
}

#[tokio::test]
async fn a_node_refuses_what_is_meant_for_others_by_the_labels_that_it_has_now() {
    let room = room("not-meant").await;
    let _site = room.site("vk-not-meant").await;
    let put = async |name: &str, mut rest: Value| {
        rest["nodeName"] = json!("vk-not-meant");
        rest["restartPolicy"] = json!("Never");
        rest["tolerations"] = json!([{"operator": "Exists"}]);
        rest["containers"] = json!([{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]);
        room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": rest})).await;
    };
    put("elsewhere", json!({"nodeSelector": {"example.org/rack": "17"}})).await;
    let status = room.pod("elsewhere", "to be refused", |pod| phase(pod) == "Failed").await.status.unwrap();
    let message =
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned();
    assert_eq!((status.reason.as_deref(), status.message), (Some("NodeAffinity"), Some(message)));
    room.says(&["label", "node", "vk-not-meant", "example.org/rack=17"]).await;
    put("here", json!({"nodeSelector": {"example.org/rack": "17"}})).await;
    let by_name = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["vk-not-meant"]}]}]);
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": by_name}});
    put("by-name", json!({"affinity": {"nodeAffinity": affinity}})).await;
    for name in ["here", "by-name"] {
        room.pod(name, "to succeed", |pod| phase(pod) == "Succeeded").await;
    }
}

#[tokio::test]
async fn a_node_refuses_what_it_has_no_room_for_and_a_cmdjob_waits_until_it_has() {
    let room = room("no-room").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.yaml");
    std::fs::write(&file, "version: 1\ncapacity: {cpu: 2}\n").unwrap();
    let settings = Settings::on(room.ground.plane, "vk-no-room").unwrap();
    let settings = Settings { node_flags: vec!["--config".into(), file.into()], ..settings };
    let mut site = room.site_with(settings).await;

    room.put_on("vk-no-room", "first", "1500m").await;
    room.pod("first", "to run", |pod| phase(pod) == "Running").await;
    room.put_on("vk-no-room", "second", "1").await;
    let status = room.pod("second", "to be refused", lacks).await.status.unwrap();
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000")
    );
    assert_eq!(status.container_statuses, None);
    // What fits beside it is let in.
    room.put_on("vk-no-room", "small", "500m").await;
    room.pod("small", "to run", |pod| phase(pod) == "Running").await;

    // What runs is not refused by a node that is started anew, and what has no room is.
    site.kill_node().unwrap();
    room.put_on("vk-no-room", "third", "100m").await;
    site.start_node().unwrap();
    room.pod("third", "to be refused", lacks).await;
    for name in ["first", "small"] {
        room.pod(name, "to run still", |pod| phase(pod) == "Running").await;
    }

    // Whoever places a CmdJob may not know yet what somebody else has placed: here it is told a fable of the node.
    let nodes: Api<Node> = Api::all(room.client.clone());
    let fable = json!({"status": {"allocatable": {"cpu": "64"}}});
    let telling = async {
        // The node tells the truth whenever it has news.
        loop {
            nodes.patch_status("vk-no-room", &PatchParams::default(), &Patch::Merge(&fable)).await.unwrap();
            tokio::time::sleep(GLANCE).await;
        }
    };
    nodes.patch_status("vk-no-room", &PatchParams::default(), &Patch::Merge(&fable)).await.unwrap();
    let job = room.run("job", "vk-no-room", json!({"script": "exit 0", "resources": {"requests": {"cpu": "1"}}})).await;
    let waits = |status: &vk_cmd_crds::CmdJobStatus| {
        status.state == Some(State::Waiting) && status.message.as_deref().is_some_and(|text| text.contains("OutOfcpu"))
    };
    // Cancel-safe: a fable more or less.
    let status = tokio::select! {
        status = job.until("to say that the node has no room", waits) => status,
        () = telling => unreachable!("it is told for ever"),
    };
    assert_eq!((status.reason.as_deref(), status.failed), (Some("NoRoom"), 0), "{status:?}");
    let first = &status.attempts[0];
    assert_eq!((first.state, first.reason.as_deref()), (AttemptState::Refused, Some("OutOfcpu")), "{first:?}");
    room.says(&["delete", "pod", "first", "--timeout=60s"]).await;
    let ended = job.ended().await;
    // backoffLimit is 0, and nothing has failed.
    assert_eq!((ended.state, ended.succeeded, ended.failed), (Some(State::Complete), 1, 0), "{ended:?}");
}
