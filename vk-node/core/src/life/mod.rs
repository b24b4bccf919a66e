//! The life of a pod on this node: from what is wanted, what is seen and what time it is, to what is to be done next.
//!
//! One container:
//!
//! ```text
//!                 start                gate open
//!   ┌─────────┐ ─────────▶ ┌──────────┐ ────────▶ ┌─────────┐
//!   │ waiting │            │ starting │           │ running │
//!   └─────────┘ ◀──────┐   └──────────┘           └─────────┘
//!      ▲ due after     │        │ could not start      │ its whole tree is gone
//!      │ the back-off  │        ▼                      ▼
//!      │               │   ┌──────────────────────────────┐   restartPolicy says no,   ┌──────┐
//!      └───────────────┴───│ ended (exit, signal, unknown)│ ──────────────────────────▶│ done │
//!        restartPolicy     └──────────────────────────────┘   or the pod is stopping   └──────┘
//!        says yes
//! ```
//!
//! The pod:
//!
//! ```text
//!   Pending ──▶ Running ──▶ Succeeded | Failed ──(deleted by somebody)──▶ gone
//!      │            │
//!      │ deleted    │ deleted, or past its deadline: TERM, grace, KILL; the object goes last
//!      └────────────┴──▶ stopping ──▶ all tasks final ──▶ status published ──▶ gone
//! ```
//!
//! Two rules stand above all others. A run that may have been started is never started again: what was published and
//! is no longer recorded counts as *unknown*. And the pod object is removed only when nothing of it runs.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use vk_task::{StopRequest, TaskId};

use crate::admit::{AdmittedPod, Refusal};
use crate::facts::{Deletion, Facts};
use crate::runs::{History, Run, RunState, histories, is_done};
use crate::status::{self, DEADLINE_EXCEEDED};

/// The first wait before a container is run again; it doubles each time. The kubelet's figures.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait before a container is run again.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(300);
/// A run that lasted so long starts the back-off anew.
const RESETS_BACKOFF: SignedDuration = SignedDuration::from_secs(600);

/// Something to be done. Steps are done in order, and the first that fails ends the round.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Have the pipe start a run of a container.
    Start {
        /// The index of the container in the admitted pod.
        container: usize,
        /// The number of the run.
        restart: u32,
    },
    /// Have the pipe end a task.
    Stop {
        /// The task.
        id: TaskId,
        /// How.
        request: StopRequest,
    },
    /// Write the pod's status.
    Publish(Box<PodStatus>),
    /// Remove the pod object: nothing of it runs any more.
    Remove,
    /// Remove the records of a run that nobody asks for any more.
    Forget(TaskId),
}

/// What to do now, and when to look again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// When time alone changes the decision.
    pub again_at: Option<Timestamp>,
}

/// Why the processes of a pod are being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    Deleted { grace: SignedDuration },
    PastDeadline { grace: SignedDuration },
}

/// Decides what is to be done about one pod now.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    match facts.admitted {
        Ok(pod) => run(pod, facts),
        Err(refusal) => refuse(refusal, facts),
    }
}

fn refuse(refusal: &Refusal, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    publish(status::refused(refusal, facts), facts, &mut decision);
    if facts.deletion != Deletion::NotAsked {
        decision.steps.push(Step::Remove);
    }
    decision
}

fn run(pod: &AdmittedPod, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    let histories = histories(pod, facts);
    let started_at = started_at(facts, &histories);
    let deadline = pod.deadline_seconds.and_then(|s| Some(started_at? + SignedDuration::from_secs(i64::from(s))));
    let is_terminal = is_terminal(facts.published);
    let stopping = stopping(pod, facts, &histories, deadline);

    match stopping {
        Stopping::Deleted { grace } => stop_all(facts, grace, "the pod was deleted", &mut decision),
        Stopping::PastDeadline { grace } => stop_all(facts, grace, DEADLINE_EXCEEDED, &mut decision),
        Stopping::No if !is_terminal => {
            start_due(pod, facts, &histories, &mut decision);
            decision.again_at = earlier(decision.again_at, deadline.filter(|_| !all_done(pod, &histories)));
        }
        Stopping::No => {}
    }

    let nothing_runs = histories.iter().all(|h| h.latest.as_ref().is_none_or(|run| !run.state.is_active()));
    if !is_terminal {
        let ended_as = match stopping {
            Stopping::No if all_done(pod, &histories) => status::Verdict::ByItself,
            Stopping::Deleted { .. } if nothing_runs => status::Verdict::ByItself,
            Stopping::PastDeadline { .. } if nothing_runs => status::Verdict::PastDeadline,
            Stopping::No => status::Verdict::Living,
            Stopping::Deleted { .. } | Stopping::PastDeadline { .. } => status::Verdict::Stopping,
        };
        if let Some(status) = status::of(pod, facts, &histories, ended_as) {
            publish(status, facts, &mut decision);
        }
    }
    if matches!(stopping, Stopping::Deleted { .. }) && nothing_runs {
        decision.steps.push(Step::Remove);
    } else {
        forget_old(&histories, facts, &mut decision);
    }
    decision
}

/// Why the pod's processes are to be ended, if they are.
fn stopping(pod: &AdmittedPod, facts: &Facts<'_>, histories: &[History], deadline: Option<Timestamp>) -> Stopping {
    if let Deletion::Asked { grace } = facts.deletion {
        return Stopping::Deleted { grace };
    }
    let was_stopped = facts.tasks.iter().any(|t| t.stop.as_ref().is_some_and(|s| s.reason == DEADLINE_EXCEEDED));
    let is_late = deadline.is_some_and(|at| facts.now >= at) && !all_done(pod, histories);
    if was_stopped || is_late {
        return Stopping::PastDeadline { grace: pod.grace };
    }
    Stopping::No
}

/// When the pod was first acknowledged here: what was published, or else its first run.
fn started_at(facts: &Facts<'_>, histories: &[History]) -> Option<Timestamp> {
    let published = facts.published.start_time.as_ref().map(|t| t.0);
    published.or_else(|| histories.iter().filter_map(|h| h.first_at).min())
}

fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Whether every container has ended for good by itself.
fn all_done(pod: &AdmittedPod, histories: &[History]) -> bool {
    histories.iter().all(|h| h.latest.as_ref().is_some_and(|run| is_done(pod.restart_policy, run)))
}

fn stop_all(facts: &Facts<'_>, grace: SignedDuration, reason: &str, decision: &mut Decision) {
    let kill_at = facts.now + grace;
    for task in facts.tasks.iter().filter(|task| !task.state.is_final()) {
        // A request that is there already is repeated only to bring the kill forward.
        if task.stop.as_ref().is_none_or(|stop| kill_at < stop.kill_at) {
            let request = StopRequest { kill_at, reason: reason.to_owned() };
            decision.steps.push(Step::Stop { id: task.id.clone(), request });
        }
    }
}

fn start_due(pod: &AdmittedPod, facts: &Facts<'_>, histories: &[History], decision: &mut Decision) {
    for (container, history) in histories.iter().enumerate() {
        let (restart, due) = match &history.latest {
            None => (history.next_restart, facts.now),
            Some(run) if run.state.is_active() || is_done(pod.restart_policy, run) => continue,
            Some(run) => (run.restart.saturating_add(1), due(run)),
        };
        let name = pod.containers.get(container).map(|container| container.name.as_str()).unwrap_or_default();
        let due = facts.troubles.get(name).map_or(due, |trouble| due.max(trouble.retry_at));
        if due <= facts.now {
            decision.steps.push(Step::Start { container, restart });
        } else {
            decision.again_at = earlier(decision.again_at, Some(due));
        }
    }
}

/// When a container is to be run again after `run`: at once after the first, then after 10 s, 20 s and so on.
fn due(run: &Run) -> Timestamp {
    let RunState::Over(outcome) = &run.state else { return Timestamp::MAX };
    let lasted = outcome.finished_at.duration_since(outcome.started_at);
    let wait = match run.restart {
        0 => SignedDuration::ZERO,
        _ if lasted >= RESETS_BACKOFF => SignedDuration::ZERO,
        n => (0..n.min(6)).skip(1).fold(FIRST_BACKOFF, |wait, _| wait * 2).min(LONGEST_BACKOFF),
    };
    outcome.finished_at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// The last run and the one before it are kept, for `kubectl logs` and `kubectl logs --previous`.
fn forget_old(histories: &[History], facts: &Facts<'_>, decision: &mut Decision) {
    for task in facts.tasks.iter().filter(|t| t.state.is_final()) {
        if histories.iter().any(|h| h.outdated.contains(&task.id)) {
            decision.steps.push(Step::Forget(task.id.clone()));
        }
    }
}

fn publish(status: PodStatus, facts: &Facts<'_>, decision: &mut Decision) {
    if status != *facts.published {
        decision.steps.push(Step::Publish(Box::new(status)));
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
