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
//!      ├────────────┴──▶ stopping ──▶ all tasks final ──▶ status published ──▶ gone
//!      │
//!      │ one of its containers cannot be started, for good (the site's policy denies it, say):
//!      └──▶ nothing more is started ──▶ all tasks final ──▶ Failed
//! ```
//!
//! Lines that the pod's processes have written to the FIFO are tasks of the pod without being runs of a container. They
//! have no say in the pod's phase, and may go on after the last container has ended. They are ended with the containers
//! when the pod is deleted or past its deadline, and the object does not go before they are final. (The API server removes
//! a pod of a terminal phase by itself as soon as it is deleted: what is left then is ended as any task without a pod.)
//!
//! The pipe keeps the records of a task until it is told that its end has been told of. It is told once the API server
//! has that end; what it collects then is still known from the published status.
//!
//! Two rules stand above all others. A run that may have been started is never started again: what was published and
//! is no longer recorded counts as *unknown*. And the pod object is removed only when nothing of it runs.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use vk_task::{Origin, StopRequest, TaskId, TaskView};

use crate::admit::{AdmittedPod, Refusal};
use crate::facts::{Deletion, Facts, Retry, Trouble};
use crate::runs::{History, ID_SCHEME, Run, RunState, histories, is_done};
use crate::status::{self, DEADLINE_EXCEEDED};

pub use crate::status::FAILED_KILL_POD;

/// The first wait before a container is run again; it doubles each time. The kubelet's figures.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait before a container is run again.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(300);
/// A run that lasted so long starts the back-off anew.
const RESETS_BACKOFF: SignedDuration = SignedDuration::from_secs(600);

/// Why the tasks of a deleted pod are ended, for people.
const POD_DELETED: &str = "the pod was deleted";

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
    /// Tell the pipe that the API server has the end of this task: its records may be collected.
    Reported(TaskId),
}

/// What to do now, and when to look again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// When time alone changes the decision.
    pub again_at: Option<Timestamp>,
}

/// What is to become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course<'a> {
    /// It runs, or has come to its end by itself.
    Runs,
    /// Nothing more of it is started, and what runs is left to run: a container cannot be started, for good. That is no
    /// reason to kill the others.
    CannotStart(&'a Trouble),
    /// Its processes are to be ended.
    Deleted { grace: SignedDuration },
    /// Its processes are to be ended.
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
    if let Deletion::Asked { grace } = facts.deletion {
        stop_all(facts, grace, POD_DELETED, &mut decision);
    }
    // A version of this node that knew more fields may have started something: it is left to end.
    if nothing_runs(facts) {
        if !is_terminal(facts.published) {
            publish(status::refused(refusal, facts), facts, &mut decision);
        }
        if facts.deletion != Deletion::NotAsked {
            decision.steps.push(Step::Remove);
        }
    }
    decision
}

fn run(pod: &AdmittedPod, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    let histories = histories(pod, facts);
    let started_at = started_at(facts, &histories);
    let deadline = pod.deadline_seconds.and_then(|s| Some(started_at? + SignedDuration::from_secs(i64::from(s))));
    let is_terminal = is_terminal(facts.published);
    let course = course(pod, facts, &histories, deadline);

    match course {
        Course::Deleted { grace } => stop_all(facts, grace, POD_DELETED, &mut decision),
        Course::PastDeadline { grace } => stop_all(facts, grace, DEADLINE_EXCEEDED, &mut decision),
        Course::Runs | Course::CannotStart(_) if is_terminal => {}
        Course::Runs => start_due(pod, facts, &histories, &mut decision),
        Course::CannotStart(_) => {}
    }
    if matches!(course, Course::Runs | Course::CannotStart(_)) && !is_terminal && !all_done(pod, &histories) {
        decision.again_at = earlier(decision.again_at, deadline);
    }

    let nothing_runs = nothing_runs(facts);
    if !is_terminal {
        let verdict = match course {
            Course::Runs if all_done(pod, &histories) => status::Verdict::ByItself,
            Course::Runs => status::Verdict::Living,
            Course::CannotStart(trouble) if nothing_runs => status::Verdict::CannotStart(trouble),
            Course::Deleted { .. } if nothing_runs => status::Verdict::ByItself,
            Course::PastDeadline { .. } if nothing_runs => status::Verdict::PastDeadline,
            Course::CannotStart(_) | Course::Deleted { .. } | Course::PastDeadline { .. } => status::Verdict::Stopping,
        };
        if let Some(status) = status::of(pod, facts, &histories, verdict) {
            publish(status, facts, &mut decision);
        }
    }
    if matches!(course, Course::Deleted { .. }) && nothing_runs {
        decision.steps.push(Step::Remove);
    } else {
        clear_up(&histories, facts, &mut decision);
    }
    decision
}

/// What is to become of the pod.
fn course<'a>(pod: &AdmittedPod, facts: &Facts<'a>, histories: &[History], deadline: Option<Timestamp>) -> Course<'a> {
    if let Deletion::Asked { grace } = facts.deletion {
        // The API server gives a pod of a terminal phase no grace, whatever was asked: it thinks that nothing runs. What
        // does is a line of the FIFO.
        let grace = if is_terminal(facts.published) { grace.max(pod.grace) } else { grace };
        return Course::Deleted { grace };
    }
    let was_stopped = facts.tasks.iter().any(|t| t.stop.as_ref().is_some_and(|s| s.reason == DEADLINE_EXCEEDED));
    let is_late = deadline.is_some_and(|at| facts.now >= at) && !all_done(pod, histories);
    if was_stopped || is_late {
        return Course::PastDeadline { grace: pod.grace };
    }
    facts.troubles.values().find(|trouble| trouble.retry == Retry::Never).map_or(Course::Runs, Course::CannotStart)
}

/// Whether no process of the pod can be left, be it a container's or that of a line that it wrote to the FIFO.
fn nothing_runs(facts: &Facts<'_>) -> bool {
    facts.tasks.iter().all(|task| task.state.is_final())
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
        let due = match facts.troubles.get(name).map(|trouble| trouble.retry) {
            Some(Retry::At(at)) => due.max(at),
            Some(Retry::Never) => continue,
            None => due,
        };
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

/// Lets go of records. The last run and the one before it are kept, for `kubectl logs` and `kubectl logs --previous`;
/// how long so is for the pipe to decide once it knows that their ends have been told of.
fn clear_up(histories: &[History], facts: &Facts<'_>, decision: &mut Decision) {
    for task in facts.tasks.iter().filter(|t| t.state.is_final()) {
        if histories.iter().any(|h| h.outdated.contains(&task.id)) {
            decision.steps.push(Step::Forget(task.id.clone()));
        } else if !task.reported && is_told(task, facts.published) {
            decision.steps.push(Step::Reported(task.id.clone()));
        }
    }
}

/// Whether the API server has the end of `task`, which is final.
fn is_told(task: &TaskView, published: &PodStatus) -> bool {
    match &task.origin {
        // A pod's status has no place for it, and whoever wrote the line cannot wait for it.
        Origin::Fifo { .. } => true,
        // Nothing is added to a terminal status.
        Origin::Pod(_) if is_terminal(published) => true,
        Origin::Pod(_) => {
            let states = published.container_statuses.iter().flatten().flat_map(|c| [&c.state, &c.last_state]);
            states.flatten().filter_map(|state| state.terminated.as_ref()).any(|terminated| {
                let id = terminated.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME));
                id == Some(task.id.as_str())
            })
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
