//! `/pods`, what the node is to run, and `/runningpods/`, what it runs.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_runtime::reflector::ObjectRef;
use vk_task::{TaskState, TaskView};

use super::Context;
use super::found::Refused;
use crate::pods::Unreadable;

pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/pods", get(pods))
        .route("/pods/", get(pods))
        .route("/runningpods", get(running))
        .route("/runningpods/", get(running))
}

async fn pods(State(context): State<Context>) -> Result<impl IntoResponse, Refused> {
    let pods: Result<Vec<Pod>, Unreadable> = context.pods.state().iter().map(|pod| pod.read()).collect();
    Ok(list(pods?))
}

/// As the kubelet has them from its container runtime: names, and the containers that run.
async fn running(State(context): State<Context>) -> impl IntoResponse {
    let with_tasks = context.mirror.pods_of(&context.node.name).into_iter();
    list(
        with_tasks
            .filter_map(|key| {
                let containers: Vec<Container> =
                    context.mirror.of_pod(&key.uid).iter().filter_map(|task| container(&context, task)).collect();
                let metadata = ObjectMeta {
                    name: Some(key.name),
                    namespace: Some(key.namespace),
                    uid: Some(key.uid),
                    ..ObjectMeta::default()
                };
                let spec = PodSpec { containers, ..PodSpec::default() };
                let runs = !spec.containers.is_empty();
                runs.then(|| Pod { metadata, spec: Some(spec), status: Some(PodStatus::default()) })
            })
            .collect(),
    )
}

/// A container that runs, with its image as the pod says it.
fn container(context: &Context, task: &TaskView) -> Option<Container> {
    let run = task.origin.run().filter(|_| matches!(task.state, TaskState::Running { .. }))?;
    let pod = context.pods.get(&ObjectRef::new(&run.pod).within(&run.namespace)).and_then(|pod| pod.read().ok());
    let spec = pod.as_ref().and_then(|pod| pod.spec.as_ref());
    let all = spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let image = all.into_iter().find(|known| known.name == run.container).and_then(|known| known.image.clone());
    Some(Container { name: run.container.clone(), image, ..Container::default() })
}

fn list(items: Vec<Pod>) -> Json<serde_json::Value> {
    Json(serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}
