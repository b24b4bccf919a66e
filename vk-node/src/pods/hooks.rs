//! The hooks of containers: each is done by a task of its own, which leaves in the memory how it went and has the pod looked
//! at again. All of it may be lost: a hook that is not known to have been done is done again, as Kubernetes allows.

use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tracing::{info, warn};
use vk_node_core::admit::{AdmittedContainer, HookKind, PodKey};
use vk_node_core::events;
use vk_node_core::facts::{Hook, HookFacts};
use vk_task::{DirName, TaskId};

use super::Context;
use crate::probes::{Means, Outcome, hook};

/// How soon a hook is done again whose way broke.
const AGAIN: Duration = Duration::from_secs(1);

/// Begins a hook of a run.
pub(super) fn begin(pod: &Pod, container: &AdmittedContainer, restart: u32, kind: HookKind, context: &Arc<Context>) {
    let key = PodKey::of(pod);
    let (Some(action), Ok(task), Ok(directory)) = (
        container.hooks.get(kind).cloned(),
        TaskId::for_container(&key.uid, &container.name, restart),
        DirName::new(key.uid.clone()),
    ) else {
        return;
    };
    let since = Timestamp::now();
    let (context, pod, container) = (context.clone(), pod.clone(), container.clone());
    remember(&context, &key, &container.name, restart, kind, Hook::Running { since });
    info!(pod = pod.name_any(), %task, ?kind, "doing a hook");
    tokio::spawn(async move {
        let means = Means { pipe: &context.pipe, address: &context.node.address, pod: &directory, task: &task };
        let hook = match hook(&action, &means).await {
            Outcome::Done => Hook::Done { since },
            Outcome::Failed(message) => {
                warn!(pod = pod.name_any(), %task, ?kind, "a hook failed: {message}");
                context.events.pod(&pod, events::of_failed_hook(&container, kind));
                Hook::Failed { since, message }
            }
            Outcome::Interrupted(why) => {
                warn!(pod = pod.name_any(), %task, ?kind, "a hook was interrupted: {why}; doing it again");
                tokio::time::sleep(AGAIN).await;
                Hook::Unknown
            }
        };
        remember(&context, &key, &container.name, restart, kind, hook);
        // The receiver lives as long as the controller.
        let _ = context.wake.clone().send(key).await;
    });
}

fn remember(context: &Context, key: &PodKey, container: &str, restart: u32, kind: HookKind, hook: Hook) {
    context.memory.change(&key.uid, |entry| {
        let facts = entry.hooks.entry(container.to_owned()).or_default();
        if facts.restart < restart {
            *facts = HookFacts { restart, ..HookFacts::default() };
        }
        // What came of an earlier run's hook is of no use any more.
        if facts.restart == restart {
            facts.set(kind, hook);
        }
    });
}
