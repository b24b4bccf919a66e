//! Doing the steps that were decided on.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};
use vk_node_core::admit::AdmittedContainer;
use vk_node_core::command::{self, Given};
use vk_node_core::events;
use vk_node_core::facts::Retry;
use vk_node_core::life::{FAILED_KILL_POD, OUR_CONDITIONS, Step, is_our_condition};
use vk_node_core::trouble::{self, Problem};
use vk_pipe::client::ClientError;
use vk_task::{ErrorReason, StopSignal, TaskId, TaskView};

use super::memory::Remembered;
use super::{CallError, Context, Unreadable, call, hooks};
use crate::given::NotPrepared;

/// Why a step was not done. It will be decided on again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActError {
    #[error("cannot write the pod's status")]
    Publish(#[source] CallError),
    #[error("cannot remove the pod object")]
    Remove(#[source] CallError),
    #[error("cannot read the node's own object")]
    OwnNode(#[source] CallError),
    #[error("cannot list the node's pods")]
    List(#[source] CallError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    NotPrepared(#[from] NotPrepared),
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

/// Does the steps in order.
pub(super) async fn all(
    steps: Vec<Step>,
    pod: &Pod,
    remembered: &Remembered,
    context: &Arc<Context>,
) -> Result<Did, ActError> {
    for step in steps {
        match step {
            Step::Start { container, restart, anew } => {
                if start(container, restart, pod, remembered, context).await? == Did::CutShort {
                    return Ok(Did::CutShort);
                }
                if let Some(container) = remembered.container(container).filter(|_| anew) {
                    context.memory.change(&pod.uid().unwrap_or_default(), |entry| {
                        entry.back_off_from.insert(container.name.clone(), restart);
                    });
                }
            }
            Step::RunHook { container, restart, hook } => {
                if let Some(container) = remembered.container(container) {
                    hooks::begin(pod, container, restart, hook, context);
                }
            }
            Step::Stop { id, request } => {
                info!(pod = pod.name_any(), task = %id, reason = request.reason, kill_at = %request.kill_at, "stopping");
                context.mirror.learn(context.pipe.stop(&id, &request).await?);
                context.events.pod(pod, events::of_stop(&id, &request.reason));
            }
            Step::Warn { id, signal } => warn_of_the_end(&id, signal, pod, context).await?,
            Step::Publish(status) => publish(&status, pod, remembered, context).await?,
            Step::Remove => remove(pod, context).await?,
            Step::Forget(id) => forget(&id, context).await?,
            Step::Reported(id) => reported(&id, context).await?,
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
    let Ok(admitted) = &remembered.admitted else { return Ok(Did::All) };
    let Some(container) = remembered.container(container) else { return Ok(Did::All) };
    let uid = pod.uid().unwrap_or_default();
    let namespace = pod.namespace().unwrap_or_default();
    let prepared = context.provisions.prepare(pod, admitted, container).await?;
    let started = match prepared {
        Ok(given) => try_start(pod, container, restart, &given, context).await?,
        Err(problem) => Err(problem),
    };
    let problem = match started {
        Ok(task) => {
            info!(pod = pod.name_any(), namespace, task = %task.id, "started");
            context.mirror.learn(task);
            context.memory.change(&uid, |entry| {
                entry.troubles.remove(&container.name);
            });
            return Ok(Did::All);
        }
        Err(problem) => problem,
    };
    // The next decision publishes it, and tries again later if that makes sense.
    let trouble = trouble::of(problem, container, &context.node, Timestamp::now());
    if trouble.retry == Retry::Never {
        warn!(pod = pod.name_any(), namespace, reason = trouble.reason, "cannot be started: {}", trouble.message);
    }
    context.memory.change(&uid, |entry| {
        entry.troubles.insert(container.name.clone(), trouble);
    });
    Ok(Did::CutShort)
}

/// Has the pipe start a run of the container; gives its task, or why there is none.
async fn try_start(
    pod: &Pod,
    container: &AdmittedContainer,
    restart: u32,
    given: &Given,
    context: &Context,
) -> Result<Result<TaskView, Problem>, ActError> {
    let spec = match command::build(pod, container, restart, given, &context.node) {
        Ok(spec) => spec,
        Err(error) => return Ok(Err(Problem::Config(error))),
    };
    let id = match TaskId::for_container(&pod.uid().unwrap_or_default(), &container.name, restart) {
        Ok(id) => id,
        Err(error) => return Ok(Err(Problem::Id(error))),
    };
    match context.pipe.start(&id, &spec).await {
        Ok(task) => Ok(Ok(task)),
        Err(ClientError::Refused(refusal)) => Ok(Err(Problem::Pipe(refusal))),
        Err(error) => Err(error.into()),
    }
}

/// Sends the signal that warns a task. One that has ended meanwhile needs none.
async fn warn_of_the_end(id: &TaskId, signal: StopSignal, pod: &Pod, context: &Context) -> Result<(), ActError> {
    let Some(end) = context.end.facts() else { return Ok(()) };
    match context.pipe.signal(id, signal.signal()).await {
        Ok(()) => {
            info!(pod = pod.name_any(), task = %id, %signal, "warned: the node ends");
            context.events.pod(pod, events::of_warning(id, signal, &end.message));
        }
        Err(ClientError::Refused(refusal)) => {
            info!(pod = pod.name_any(), task = %id, "cannot be warned of the node's end: {refusal}");
        }
        Err(error) => return Err(error.into()),
    }
    context.memory.change(&pod.uid().unwrap_or_default(), |entry| {
        entry.warned.insert(id.clone(), end.at_boot);
    });
    Ok(())
}

async fn publish(status: &PodStatus, pod: &Pod, remembered: &Remembered, context: &Context) -> Result<(), ActError> {
    if status.reason.as_deref() == Some(FAILED_KILL_POD) {
        warn!(pod = pod.name_any(), "{}", status.message.as_deref().unwrap_or_default());
    }
    let new = status;
    // The UID makes the write fail rather than reach a pod that has taken over the name.
    let mut patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    if let Some(status) = patch.get_mut("status") {
        take_back(status);
        if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            // Those of others are theirs: they may have changed by now.
            let text = |c: &Value, field: &str| c.get(field).and_then(Value::as_str).map(str::to_owned);
            conditions
                .retain(|c| text(c, "type").is_some_and(|kind| is_our_condition(&kind, text(c, "reason").as_deref())));
            conditions.iter_mut().for_each(take_back);
            // And one of ours that is there only while it holds is removed by its name.
            let was_there = |kind: &&&str| pod.status.as_ref().is_some_and(|before| has(before, kind));
            let gone = OUR_CONDITIONS.iter().filter(was_there).filter(|kind| !has(new, kind));
            conditions.extend(gone.map(|kind| json!({"type": kind, "$patch": "delete"})));
        }
    }
    let api = pods(pod, context);
    let name = pod.name_any();
    let answer = call(api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch))).await;
    context.status_writes.count(answer.is_ok());
    match answer {
        Ok(written) => {
            let phase = |status: &PodStatus| status.phase.clone().unwrap_or_default();
            if phase(status) == "Running" && pod.status.as_ref().is_none_or(|before| phase(before) == "Pending") {
                context.durations.started(remembered.seen.elapsed());
            }
            for note in events::of_change(&pod.status.clone().unwrap_or_default(), status) {
                context.events.pod(pod, note);
            }
            context.memory.wrote(written);
            Ok(())
        }
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(ActError::Publish(error)),
    }
}

fn has(status: &PodStatus, condition: &str) -> bool {
    status.conditions.iter().flatten().any(|there| there.type_ == condition)
}

/// What is left out of a patch stays as it is: what no longer holds must be taken back by name.
fn take_back(said: &mut Value) {
    if let Some(said) = said.as_object_mut() {
        for field in ["reason", "message"] {
            said.entry(field).or_insert(Value::Null);
        }
    }
}

async fn remove(pod: &Pod, context: &Context) -> Result<(), ActError> {
    // What it has on the host goes before the object, as with the kubelet: nobody would know of it afterwards. If this ends
    // in between, both are done again.
    context.provisions.remove(&pod.uid().unwrap_or_default()).await?;
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
        Err(ClientError::Refused(refusal)) if refusal.reason == ErrorReason::NotFound => {
            context.mirror.remove(id);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Tells the pipe that the end of a task is where it belongs.
async fn reported(id: &TaskId, context: &Context) -> Result<(), ActError> {
    match context.pipe.reported(id).await {
        Ok(()) => Ok(()),
        // Its records are gone already.
        Err(ClientError::Refused(refusal)) if refusal.reason == ErrorReason::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The pod of this UID is no more: its name is free, or another has it.
fn is_gone(error: &CallError) -> bool {
    matches!(error.code(), Some(404 | 409))
}

fn pods(pod: &Pod, context: &Context) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default())
}
