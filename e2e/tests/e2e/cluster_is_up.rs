//! The harness itself: is this a real, whole Kubernetes?

use serde_json::Value;
use vk_cmd_e2e::exec;

use crate::fixture::{SOON, control_plane, namespace};
use crate::rough::rough;

#[tokio::test]
async fn server_says_its_version() {
    let plane = control_plane().await;
    let mut kubectl = plane.kubectl();
    kubectl.args(["version", "-o", "json"]);
    let version: Value = serde_json::from_str(&exec::text(kubectl, SOON).await.unwrap()).unwrap();
    let server = version["serverVersion"]["gitVersion"].as_str().unwrap();
    assert!(server.starts_with("v1.36."), "the API server says {server}");
}

#[tokio::test]
async fn controllers_and_scheduler_work() {
    let plane = control_plane().await;
    plane.helpers_healthy().await.unwrap();
    namespace(plane, "up").await;
    // Job controller, then scheduler: with no node to run on the pod gets the scheduler's reason.
    let mut kubectl = plane.kubectl();
    kubectl.args(["-n", "up", "create", "job", "nowhere", "--image=none", "--", "true"]);
    exec::text(kubectl, SOON).await.unwrap();
    let mut kubectl = plane.kubectl();
    kubectl.args(["-n", "up", "wait", "pod", "-l", "job-name=nowhere", "--timeout=60s"]);
    kubectl.arg("--for=jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable");
    exec::text(kubectl, SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_credential_is_held_to_its_own_node() {
    let plane = control_plane().await;
    let kubeconfig = plane.node_kubeconfig("vk-mine").unwrap();
    let node = |name: &str| format!(r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}"}}}}"#);
    let create = async |name: &str| {
        let mut kubectl = std::process::Command::new(plane.cluster().kubectl_path());
        kubectl.arg("--kubeconfig").arg(&kubeconfig).args(["create", "-f", "-"]);
        exec::output_with_input(kubectl, node(name).as_bytes(), SOON).await.unwrap()
    };
    let other = create("vk-other").await;
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("is not allowed to modify node"), "{said}");
    let mine = create("vk-mine").await;
    assert!(mine.status.success(), "{}", String::from_utf8_lossy(&mine.stderr));
}

#[tokio::test]
async fn an_api_server_that_crashed_comes_back_with_its_data() {
    let ground = rough().await;
    let plane = ground.plane;
    namespace(plane, "kept").await;

    plane.stop_api_server(true).unwrap();
    let mut kubectl = plane.kubectl();
    kubectl.args(["get", "namespace", "kept"]);
    assert!(exec::text(kubectl, SOON).await.is_err(), "the API server still answers");

    plane.start_api_server().await.unwrap();
    let mut kubectl = plane.kubectl();
    kubectl.args(["get", "namespace", "kept", "-o", "name"]);
    assert_eq!(exec::text(kubectl, SOON).await.unwrap(), "namespace/kept\n");
    // Both gave up on the API server for a while, and must have found it again by themselves.
    plane.helpers_healthy().await.unwrap();
}
