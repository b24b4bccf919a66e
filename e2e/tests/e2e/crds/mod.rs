//! The API server's own checks of CmdJobs: what it refuses and how it says so, what it fills in, what it explains; and that it
//! says the same of native Jobs where a field is Job's.

mod api;
mod changes;
mod given;
mod native;
mod objects;
mod of_job;
mod rows;

use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use vk_cmd_crds::labels;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::{SOON, chart, control_plane, namespace};
use crate::ground::GLANCE;

/// CmdJobs as the API server sees them, not as our types do.
async fn objects(place: &str) -> Api<DynamicObject> {
    chart().await;
    let plane = control_plane().await;
    namespace(plane, place).await;
    let kind = GroupVersionKind::gvk(labels::GROUP, labels::VERSION, "CmdJob");
    Api::namespaced_with(plane.client().await.unwrap(), place, &ApiResource::from_gvk(&kind))
}

fn object(name: &str, spec: Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {"name": name}, "spec": spec
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn kubectl_knows_the_kind() {
    objects("kinds").await;
    let says = async |arguments: &[&str]| {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(arguments);
        // kubectl breaks lines as it likes.
        exec::text(kubectl, SOON).await.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // What there is to explain is published some moments after the kind itself.
    let explains = async || {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(["explain", "cmdjobs"]);
        exec::text(kubectl, SOON).await
    };
    wait::until("the API server to explain CmdJobs", SOON, GLANCE, async || {
        Ok(explains().await.map_or_else(|error| Probe::not_yet(error.to_string()), Probe::Ready))
    })
    .await
    .unwrap();
    let explained = says(&["explain", "cmdj.spec.backoffLimit"]).await;
    assert!(explained.contains("a command on a host is never run twice unasked"), "{explained}");
    let explained = says(&["explain", "cmdjob.status.state"]).await;
    assert!(explained.contains("Waiting") && explained.contains("Terminating"), "{explained}");

    let api = objects("columns").await;
    api.create(
        &PostParams::default(),
        &object("job", json!({"target": {"node": "vk-a"}, "script": "echo hello", "suspend": true})),
    )
    .await
    .unwrap();
    let table = says(&["-n", "columns", "get", "cmdjobs"]).await;
    assert!(table.starts_with("NAME STATUS NODE EXIT AGE job "), "{table}");
    let wide = says(&["-n", "columns", "get", "cmdj", "-o", "wide"]).await;
    assert!(wide.contains("DURATION") && wide.contains("REASON") && wide.contains("MESSAGE"), "{wide}");
    assert!(says(&["-n", "columns", "get", "all"]).await.contains("cmdjob.vk-cmd.io/job"));
}
