//! One look at one pod: gather the facts, decide, do the steps in order.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube_runtime::controller::Action;
use tracing::debug;
use vk_node_core::life::{self, Decision, Deletion, Facts};

use super::Context;
use super::act::{self, ActError};

/// The first and the longest wait after a round that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How soon a start is tried again that failed for something that may be mended from outside.
const TROUBLE_RETRY: Duration = Duration::from_secs(5);

/// Looks at one pod.
pub(super) async fn reconcile(pod: Arc<Pod>, context: Arc<Context>) -> Result<Action, ActError> {
    // Without the pipe nothing is known of the tasks. When it is back, everything is looked at.
    if !context.mirror.is_live() {
        return Ok(Action::await_change());
    }
    let (remembered, pod) = context.memory.recall(&pod);
    let uid = pod.uid().unwrap_or_default();
    let tasks = context.mirror.of_pod(&uid);
    let published = pod.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let Decision { steps, again_at } = life::decide(&Facts {
        admitted: remembered.admitted.as_ref(),
        deletion: deletion(&pod),
        published: &published,
        tasks: &tasks,
        troubles: &remembered.troubles,
        node: &context.node,
        now,
    });
    debug!(pod = pod.name_any(), ?steps, "decided");
    for step in steps {
        act::act(step, &pod, &remembered, &context).await?;
    }
    let mut has_trouble = false;
    context.memory.change(&uid, |entry| {
        entry.failures = 0;
        has_trouble = !entry.troubles.is_empty();
    });
    let due = again_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Ok(match due.into_iter().chain(has_trouble.then_some(TROUBLE_RETRY)).min() {
        Some(wait) => Action::requeue(wait),
        None => Action::await_change(),
    })
}

/// After a failed round: again, a little later each time, for as long as it takes.
pub(super) fn on_error(pod: Arc<Pod>, _error: &ActError, context: Arc<Context>) -> Action {
    let mut failures = 0;
    context.memory.change(&pod.uid().unwrap_or_default(), |entry| {
        failures = entry.failures;
        entry.failures = entry.failures.saturating_add(1);
    });
    Action::requeue(RETRY.0.saturating_mul(1 << failures.min(10)).min(RETRY.1))
}

fn deletion(pod: &Pod) -> Deletion {
    match pod.metadata.deletion_timestamp {
        Some(_) => Deletion::Asked {
            grace: SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default().max(0)),
        },
        None => Deletion::NotAsked,
    }
}
