//! What `kubectl describe` tells of a pod and its node: events with the kubelet's reasons.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, room};

/// Waits until there are events with these reasons and the text in their messages about an object.
pub(crate) async fn told(client: &Client, namespace: Option<&str>, name: &str, wanted: &[(&str, &str)]) {
    let events: Api<Event> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::default_namespaced(client.clone()),
    };
    let of_it = ListParams::default().fields(&format!("involvedObject.name={name}"));
    let what = format!("the events of {name}");
    let reached = wait::until(&what, LONG, GLANCE, async || {
        let there: BTreeSet<(String, String)> = events
            .list(&of_it)
            .await?
            .items
            .into_iter()
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect();
        let is_there = |(reason, text): &(&str, &str)| there.iter().any(|(r, m)| r == reason && m.contains(text));
        Ok(if wanted.iter().all(is_there) { Probe::Ready(()) } else { Probe::not_yet(format!("{there:?}")) })
    });
    reached.await.unwrap();
}

#[tokio::test]
async fn a_pods_life_is_told_in_events() {
    let room = room("events").await;
    let _site = room.site("vk-events").await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "told"},
        "spec": {
            "nodeName": "vk-events", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "vk-cmd.io/host", "command": ["sleep", "600"],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
            }],
        },
    });
    let kubectl = room.kubectl(&["apply", "-f", "-"]);
    exec::text_with_input(kubectl, pod.to_string().as_bytes(), SOON).await.unwrap();
    told(&room.client, Some("events"), "told", &[("Failed", "configmap \"settings\" not found")]).await;
    room.says(&["create", "configmap", "settings", "--from-literal=A=b"]).await;
    told(&room.client, Some("events"), "told", &[("Started", "Container started")]).await;
    room.says(&["delete", "pod", "told", "--timeout=60s"]).await;
    told(&room.client, Some("events"), "told", &[("Killing", "Stopping container main: the pod was deleted")]).await;
    let described = room.says(&["describe", "node", "vk-events"]).await;
    assert!(described.contains("Starting vk-node."), "{described}");
}
