//! Which pod and which run of a container a request means, and how it is told that there is none.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use serde::Deserialize;
use vk_api_client::chain;
use vk_task::{ApiError, ErrorReason, TaskState, TaskView};

use super::Context;
use crate::pods::Unreadable;

/// What a path names.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Only in the longer form of each path.
    uid: Option<String>,
    /// Not in those of port-forward.
    #[serde(default)]
    pub(super) container: String,
}

/// A refusal, in words that the API server passes on to the user.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<Unreadable> for Refused {
    fn from(error: Unreadable) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, chain(&error))
    }
}

/// The options of a container that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stdio {
    pub(super) stdin: bool,
    pub(super) terminal: bool,
}

impl Named {
    /// The pod.
    pub(super) fn pod(&self, context: &Context) -> Result<Pod, Refused> {
        let found = context.pods.get(&ObjectRef::new(&self.pod).within(&self.namespace));
        let pod = found.ok_or_else(|| Refused(StatusCode::NOT_FOUND, "pod does not exist".into()))?;
        // One of the same name may have taken its place. The kubelet looks at this for port-forward only.
        if self.uid.is_some() && self.uid != pod.uid() {
            return Err(Refused(StatusCode::NOT_FOUND, "pod not found".into()));
        }
        pod.read().map_err(Refused::from)
    }

    /// The run of the container that goes on.
    pub(super) fn running(&self, context: &Context, pod: &Pod) -> Result<TaskView, Refused> {
        let last = runs(context, pod, &self.container).pop();
        last.filter(|task| matches!(task.state, TaskState::Running { .. })).ok_or_else(|| self.no_container())
    }

    /// The kubelet's words.
    pub(super) fn no_container(&self) -> Refused {
        Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({:?})", self.container))
    }

    /// What the pod says of the container's input and terminal; `None` if it has no such container.
    pub(super) fn stdio(&self, pod: &Pod) -> Option<Stdio> {
        let spec = pod.spec.as_ref()?;
        let container = |container: &Container| Stdio {
            stdin: container.stdin == Some(true),
            terminal: container.tty == Some(true),
        };
        let ephemeral = spec.ephemeral_containers.iter().flatten().find(|known| known.name == self.container);
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .find(|known| known.name == self.container)
            .map(container)
            .or_else(|| {
                ephemeral.map(|container| Stdio {
                    stdin: container.stdin == Some(true),
                    terminal: container.tty == Some(true),
                })
            })
    }

    /// What the pod's status says of the container.
    pub(super) fn status<'a>(&self, pod: &'a Pod) -> Option<&'a ContainerStatus> {
        let status = pod.status.as_ref()?;
        let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
        all.into_iter().flatten().flatten().find(|known| known.name == self.container)
    }
}

/// The runs of a container, the last one last.
pub(super) fn runs(context: &Context, pod: &Pod, container: &str) -> Vec<TaskView> {
    let all = context.mirror.of_pod(&pod.uid().unwrap_or_default()).into_iter();
    let mut runs: Vec<(u32, TaskView)> = all.filter_map(|task| Some((task.run_of(container)?, task))).collect();
    runs.sort_by_key(|(restart, _)| *restart);
    runs.into_iter().map(|(_, task)| task).collect()
}

/// The status of an answer to a refusal by the pipe.
pub(super) fn status_of(refusal: &ApiError) -> StatusCode {
    match refusal.reason {
        ErrorReason::Denied => StatusCode::FORBIDDEN,
        ErrorReason::Invalid | ErrorReason::NotFound | ErrorReason::Conflict => StatusCode::BAD_REQUEST,
        ErrorReason::NoSpace | ErrorReason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
