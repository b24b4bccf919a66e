//! Doing the steps that were decided on.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::info;
use vk_node_core::admit::{Problem, Refusal};
use vk_node_core::command::{self, ConfigError};
use vk_node_core::facts::Trouble;
use vk_node_core::life::Step;
use vk_pipe::client::ClientError;
use vk_task::TaskId;

use super::memory::Remembered;
use super::{CallError, Context, call, sources};

/// Why a step was not done. It will be decided on again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActError {
    #[error("cannot write the pod's status")]
    Publish(#[source] CallError),
    #[error("cannot remove the pod object")]
    Remove(#[source] CallError),
    #[error("cannot read what the container's environment comes from")]
    Sources(#[source] CallError),
    #[error("the pipe did not do what it was asked")]
    Pipe(#[from] ClientError),
}

/// How far the steps have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// All of them are done.
    All,
    /// Something is known now that was not when they were decided on: decide again.
    CutShort,
}

/// How soon a start is tried again that failed for something that may be mended from outside.
const TROUBLE_RETRY: SignedDuration = SignedDuration::from_secs(5);

/// Does the steps in order.
pub(super) async fn all(
    steps: Vec<Step>,
    pod: &Pod,
    remembered: &Remembered,
    context: &Context,
) -> Result<Did, ActError> {
    for step in steps {
        match step {
            Step::Start { container, restart } => {
                if start(container, restart, pod, remembered, context).await? == Did::CutShort {
                    return Ok(Did::CutShort);
                }
            }
            Step::Stop { id, request } => {
                info!(pod = pod.name_any(), task = %id, reason = request.reason, kill_at = %request.kill_at, "stopping");
                context.mirror.learn(context.pipe.stop(&id, &request).await?);
            }
            Step::Publish(status) => publish(&status, pod, context).await?,
            Step::Remove => remove(pod, context).await?,
            Step::Forget(id) => forget(&id, context).await?,
        }
    }
    Ok(Did::All)
}

async fn start(
    container: usize,
    restart: u32,
    pod: &Pod,
    remembered: &Remembered,
    context: &Context,
) -> Result<Did, ActError> {
    let Some(container) = remembered.admitted.as_ref().ok().and_then(|pod| pod.containers.get(container)) else {
        return Ok(Did::All);
    };
    let uid = pod.uid().unwrap_or_default();
    let namespace = pod.namespace().unwrap_or_default();
    let sources = sources::read(&context.client, &namespace, container).await.map_err(ActError::Sources)?;
    let built = command::build(pod, container, restart, &sources, &context.node);
    let spec = match built {
        Ok(spec) => spec,
        // No change outside can mend a command that no Linux can run: the pod has failed before it began.
        Err(ConfigError::Spec(problems)) if context.mirror.of_pod(&uid).is_empty() => {
            let problems = problems.iter().map(|problem| Problem {
                field: format!("container {}", container.name),
                message: problem.to_string(),
            });
            let refusal = Refusal(problems.collect());
            context.memory.change(&uid, |entry| entry.admitted = Err(refusal));
            return Ok(Did::CutShort);
        }
        Err(error) => {
            return Ok(trouble(&uid, &container.name, "CreateContainerConfigError", error.to_string(), context));
        }
    };
    let Ok(id) = TaskId::for_container(&uid, &container.name, restart) else {
        let message = format!("{uid:?} cannot name a task");
        return Ok(trouble(&uid, &container.name, "CreateContainerError", message, context));
    };
    match context.pipe.start(&id, &spec).await {
        Ok(task) => {
            info!(pod = pod.name_any(), namespace, task = %id, "started");
            context.mirror.learn(task);
            context.memory.change(&uid, |entry| {
                entry.troubles.remove(&container.name);
            });
            Ok(Did::All)
        }
        Err(ClientError::Refused(refusal)) => {
            Ok(trouble(&uid, &container.name, "CreateContainerError", refusal.message, context))
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps what went wrong: the next decision publishes it, and tries again later.
fn trouble(uid: &str, container: &str, reason: &str, message: String, context: &Context) -> Did {
    let trouble = Trouble { reason: reason.to_owned(), message, retry_at: Timestamp::now() + TROUBLE_RETRY };
    context.memory.change(uid, |entry| {
        entry.troubles.insert(container.to_owned(), trouble);
    });
    Did::CutShort
}

async fn publish(status: &PodStatus, pod: &Pod, context: &Context) -> Result<(), ActError> {
    // The UID makes the write fail rather than reach a pod that has taken over the name.
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let api = pods(pod, context);
    let name = pod.name_any();
    match call(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))).await {
        Ok(written) => {
            context.memory.wrote(written);
            Ok(())
        }
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(ActError::Publish(error)),
    }
}

async fn remove(pod: &Pod, context: &Context) -> Result<(), ActError> {
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match call(pods(pod, context).delete(&pod.name_any(), &parameters)).await {
        Ok(_) => {
            info!(pod = pod.name_any(), "nothing of it runs any more: removed");
            Ok(())
        }
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(ActError::Remove(error)),
    }
}

/// Removes the records of a task that has ended.
pub(super) async fn forget(id: &TaskId, context: &Context) -> Result<(), ActError> {
    match context.pipe.remove(id).await {
        Ok(()) => context.mirror.remove(id),
        Err(ClientError::Refused(refusal)) if refusal.reason == vk_task::ErrorReason::NotFound => {
            context.mirror.remove(id);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The pod of this UID is no more: its name is free, or another has it.
fn is_gone(error: &CallError) -> bool {
    matches!(error.code(), Some(404 | 409))
}

fn pods(pod: &Pod, context: &Context) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default())
}
