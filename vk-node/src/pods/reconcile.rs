//! One look at one pod: gather the facts, decide, do the steps in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube_runtime::controller::Action;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;
use vk_node_core::facts::{Deletion, Facts};
use vk_node_core::life::{self, Decision};
use vk_record::clock::Now;
use vk_task::TaskView;

use super::act::{self, ActError, Did};
use super::memory::Remembered;
use super::{Context, KeptPod};

/// The first and the longest wait after a round that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Looks at one pod, in a task of its own. The controller polls all looks that are under way whenever one of them gets on:
/// hundreds at once would cost the square of their number, were they more than handles. What the controller drops is ended.
pub(super) async fn reconcile(pod: Arc<KeptPod>, context: Arc<Context>) -> Result<Action, ActError> {
    match AbortOnDropHandle::new(tokio::spawn(look(pod, context))).await {
        Ok(looked) => looked,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down.
            Err(_) => Ok(Action::await_change()),
        },
    }
}

/// Looks at one pod.
async fn look(kept: Arc<KeptPod>, context: Arc<Context>) -> Result<Action, ActError> {
    let told = kept.read()?;
    let is_meant = context.is_meant(&told).await.map_err(ActError::OwnNode)?;
    // Each round that is cut short has learnt why something cannot be done now, and the next one knows it.
    let begun = Instant::now();
    loop {
        // Without the pipe nothing is known of the tasks. When it is back, everything is looked at.
        if !context.mirror.is_live() {
            return Ok(Action::await_change());
        }
        // If it is gone by now, what may be left of it is a matter of the orphans.
        let Some((remembered, pod)) = context.recall(&told, is_meant)? else { return Ok(Action::await_change()) };
        if let Ok(admitted) = &remembered.admitted {
            context.provisions.keep((&kept, &told), admitted);
        }
        let clock = context.clock.now();
        let now = clock.wall;
        let uid = pod.uid().unwrap_or_default();
        let tasks = context.mirror.of_pod(&uid);
        context.look_at_probes(&pod, &remembered, &tasks);
        let Decision { steps, again_at, is_stopping, is_over } =
            decide(&pod, &uid, &tasks, &remembered, &context, &clock);
        context.memory.change(&uid, |entry| {
            entry.stopping_since = is_stopping.then(|| entry.stopping_since.unwrap_or(now));
        });
        if is_over {
            context.memory.free_room_of(&uid);
        }
        debug!(pod = pod.name_any(), ?steps, "decided");
        if act::all(steps, &pod, &remembered, &context).await? == Did::All {
            context.memory.change(&uid, |entry| entry.failures = 0);
            context.durations.looked(remembered.looks == 1, begun.elapsed());
            let wait = again_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
            return Ok(wait.map_or_else(Action::await_change, Action::requeue));
        }
    }
}

/// Gathers the facts about a pod and decides.
fn decide(
    pod: &Pod,
    uid: &str,
    tasks: &[TaskView],
    remembered: &Remembered,
    context: &Context,
    clock: &Now,
) -> Decision {
    life::decide(&Facts {
        admitted: remembered.admitted.as_ref(),
        deletion: deletion(pod),
        published: &pod.status.clone().unwrap_or_default(),
        tasks,
        troubles: &remembered.troubles,
        hooks: &remembered.hooks,
        back_off_from: &remembered.back_off_from,
        evicted: remembered.evicted.as_deref(),
        end: context.end.facts().as_ref(),
        job_term: &context.end.job_term(),
        warned: &remembered.warned,
        stopping_since: remembered.stopping_since,
        probed: &context.prober.told(uid),
        node: &context.node,
        now: clock.wall,
        steps: &clock.steps,
    })
}

/// After a failed round: again, a little later each time, for as long as it takes.
pub(super) fn on_error(pod: Arc<KeptPod>, _error: &ActError, context: Arc<Context>) -> Action {
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
