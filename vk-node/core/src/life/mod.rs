//! The life of a pod on this node: from what is wanted, what is seen and what time it is, to what is to be done next.
//!
//! One container:
//!
//! ```text
//!                 start                gate open                postStart done,
//!   ┌─────────┐ ─────────▶ ┌──────────┐ ────────▶ ┌─────────┐   startup probe succeeds   ┌─────────┐ readiness ┌───────┐
//!   │ waiting │            │ starting │           │ running │ ─────────────────────────▶ │ started │ ◀───────▶ │ ready │
//!   └─────────┘ ◀──────┐   └──────────┘           └─────────┘                            └─────────┘   probe   └───────┘
//!      ▲ due after     │        │ could not start      │            ┌──────────────────────────┘                   │
//!      │ the back-off  │        │                      │ to be ended: a probe or postStart failed, the pod stops   │
//!      │               │        │                      ├──▶ its turn ──▶ preStop ──▶ TERM ──▶ KILL at the grace's end
//!      │               │        ▼                      ▼ its whole tree is gone
//!      │               │   ┌──────────────────────────────┐   it is not to be run again   ┌──────┐
//!      └───────────────┴───│ ended (exit, signal, unknown)│ ────────────────────────────▶ │ done │
//!        to be run again   └──────────────────────────────┘                               └──────┘
//! ```
//!
//! The containers of a pod, as in the kubelet (`computePodActions`): `init` decides who comes next.
//!
//! ```text
//!   init ──▶ init ──▶ sidecar ──▶ init ──▶ main, main, … all at once ──▶ all mains done ──▶ sidecars end, the last first
//!    each to its     │ once it has                                        │
//!    success         │ started: runs on, and is run again when it ends    │  one failed for good: Failed, the rest ends
//!                    └────────────────────────────────────────────────────┘
//!   ephemeral: at any time, once; it has no say in anything, and ends with the pod
//! ```
//!
//! The pod:
//!
//! ```text
//!   Pending ──▶ Running ──▶ its mains are done ──▶ the rest ends ──▶ Succeeded | Failed ──(deleted by somebody)──▶ gone
//!      │            │
//!      │ deleted    │ deleted, or past its deadline: preStop, TERM, grace, KILL; the object goes last
//!      ├────────────┴──▶ stopping ──▶ all tasks final ──▶ status published ──▶ gone
//!      │
//!      │ it uses more room than it may: TERM, 2 s, KILL ──▶ all tasks final ──▶ Failed, Evicted
//!      │ the node ends: the warning signal, then TERM, grace, KILL ──▶ all tasks final ──▶ Failed, WalltimeExceeded
//!      │ its mains ended by the TERM of a batch system, which went to all processes of the job ──▶ Failed, Terminated
//!      │ somebody else writes Succeeded or Failed: as if it were over ──▶ all containers final ──▶ told as what they are
//!      │
//!      │ one of its containers cannot be started, for good (the site's policy denies it, say):
//!      └──▶ nothing more is started ──▶ all tasks final ──▶ Failed
//! ```
//!
//! Lines that the pod's processes have written to the FIFO are tasks of the pod without being runs of a container. They
//! have no say in the pod's phase, and may go on after the last container has ended. They are ended with the containers
//! when the pod is deleted or past its deadline, or the node ends, and the object does not go before they are final. (The API server removes
//! a pod of a terminal phase by itself as soon as it is deleted: what is left then is ended as any task without a pod.)
//!
//! The pipe keeps the records of a task until it is told that its end has been told of. It is told once the API server
//! has that end; what it collects then is still known from the published status.
//!
//! Two rules stand above all others. A run that may have been started is never started again: what was published and
//! is no longer recorded counts as *unknown*. And the pod object is removed only when nothing of it runs.

mod course;
mod init;
mod records;
mod start;
mod stop;
mod warn;

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use vk_task::{Origin, StopRequest, StopSignal, TaskId};

use self::course::Course;
use self::stop::Ending;
use crate::admit::{AdmittedPod, HookKind, Refusal};
use crate::ending::EndFacts;
use crate::facts::{Deletion, Facts};
use crate::look::Look;
use crate::runs::RunState;
use crate::status::{self, DEADLINE_EXCEEDED, Verdict};

pub(crate) use self::init::Progress;
pub(crate) use self::start::BackOff;
pub use crate::status::{FAILED_KILL_POD, OUR_CONDITIONS, is_ours as is_our_condition};

/// Why the tasks of a deleted pod are ended, for people.
const POD_DELETED: &str = "the pod was deleted";
/// Why what is left of a pod is ended when its main containers are done, for people.
const POD_IS_OVER: &str = "the pod's main containers have ended";
/// Why the containers of a pod are ended that somebody else says is over, for people.
const POD_HAS_ENDED: &str = "the pod's phase says that it has ended";
/// What a pod that is evicted is given: the kubelet's `immediateEvictionGracePeriodSeconds`.
const EVICTION_GRACE: SignedDuration = SignedDuration::from_secs(1);
/// How long a status is held back that a start is about to change.
const ABOUT_TO_START: SignedDuration = SignedDuration::from_secs(1);

/// Something to be done. Steps are done in order, and the first that fails ends the round.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Have the pipe start a run of a container.
    Start {
        /// The index of the container in the admitted pod.
        container: usize,
        /// The number of the run.
        restart: u32,
        /// Whether it follows a run that lasted, so that the back-off begins anew: see [`Facts::back_off_from`].
        anew: bool,
    },
    /// Begin a hook of a run. How it goes is told by the facts of later decisions.
    RunHook {
        /// The index of the container in the admitted pod.
        container: usize,
        /// The number of the run.
        restart: u32,
        /// Which hook.
        hook: HookKind,
    },
    /// Have the pipe end a task.
    Stop {
        /// The task.
        id: TaskId,
        /// How.
        request: StopRequest,
    },
    /// Warn a task of the end of the node.
    Warn {
        /// The task.
        id: TaskId,
        /// The signal for its main process.
        signal: StopSignal,
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
    /// Whether the pod is being ended: see [`Facts::stopping_since`].
    pub is_stopping: bool,
    /// Whether nothing of the pod will run any more, so that others can have its room. It is to be free before the steps are
    /// done: who sees the pod's end may bind the next one at once.
    pub is_over: bool,
}

impl Decision {
    /// Looks again at this time, if not before.
    fn again(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |before| before.min(at)));
    }
}

/// Decides what is to be done about one pod now.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    let decision = match facts.admitted {
        Ok(pod) => run(pod, facts),
        Err(refusal) => refuse(refusal, facts),
    };
    let says_so = |step: &Step| match step {
        Step::Publish(status) => course::is_terminal(status),
        Step::Remove => true,
        Step::Start { .. }
        | Step::RunHook { .. }
        | Step::Stop { .. }
        | Step::Warn { .. }
        | Step::Forget(_)
        | Step::Reported(_) => false,
    };
    let is_terminal = course::is_terminal(facts.published) || decision.steps.iter().any(says_so);
    Decision { is_over: is_terminal && !runs_a_container(facts), ..decision }
}

fn refuse(refusal: &Refusal, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    if let Deletion::Asked { grace } = facts.deletion {
        decision.is_stopping = true;
        let ending = Ending { kill_at: stop::kill_at(facts, grace), reason: POD_DELETED };
        stop::plainly(facts, &ending, &mut decision);
    }
    if facts.deletion == Deletion::NotAsked && course::is_terminal(facts.published) && runs_a_container(facts) {
        decision.is_stopping = true;
        let grace = stop::kill_at(facts, SignedDuration::ZERO);
        stop::plainly(facts, &Ending { kill_at: grace, reason: POD_HAS_ENDED }, &mut decision);
    }
    // A version of this node that knew more fields may have started something: it is left to end.
    if course::nothing_runs(facts) {
        let is_unsaid = status::is_given_up(facts.published) && !status::is_told(facts.published);
        if !course::is_terminal(facts.published) || is_unsaid {
            decision.steps.push(Step::Publish(Box::new(status::refused(refusal, facts))));
        }
        if facts.deletion != Deletion::NotAsked {
            decision.steps.push(Step::Remove);
        }
    }
    decision
}

fn runs_a_container(facts: &Facts<'_>) -> bool {
    facts.tasks.iter().any(|task| matches!(task.origin, Origin::Pod(_)) && !task.state.is_final())
}

fn run(pod: &AdmittedPod, facts: &Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    let look = Look::new(pod, facts);
    let progress = init::progress(&look);
    let deadline = course::deadline(&look);
    let is_terminal = course::is_terminal(facts.published);
    let course = course::of(&look, &progress, deadline);

    let mut end = |grace, reason, with_lines| {
        decision.is_stopping = true;
        let ending = Ending { kill_at: stop::kill_at(facts, grace), reason };
        stop::all(&look, &ending, with_lines, &mut decision);
    };
    match &course {
        Course::Deleted { grace } => end(*grace, POD_DELETED, true),
        Course::PastDeadline => end(pod.grace, DEADLINE_EXCEEDED, true),
        Course::Ended => end(pod.grace, POD_HAS_ENDED, false),
        Course::NodeEnds { reason, why } if !is_terminal => end(pod.grace, &EndFacts::request(reason, why), true),
        Course::Evicted { why } if !is_terminal => end(EVICTION_GRACE, &course::eviction(why), true),
        // What is left of it are lines of the FIFO.
        _ if is_terminal => match facts.end.filter(|_| !course::nothing_runs(facts)) {
            Some(node) if course::ends_with_node(&look).is_some() => {
                end(pod.grace, &EndFacts::request(node.cause.pod_reason(), &node.message), true);
            }
            Some(node) => decision.again(node.term_at(pod.grace)),
            None => {}
        },
        Course::Over { .. } => end(pod.grace, POD_IS_OVER, false),
        Course::CannotStart(_) if course::only_company_runs(&look) => end(pod.grace, POD_IS_OVER, false),
        Course::CannotStart(_) => stop::attend(&look, &mut decision),
        // It is over: see above.
        Course::Evicted { .. } | Course::NodeEnds { .. } => {}
        Course::Runs => {
            stop::attend(&look, &mut decision);
            start::what_is_due(&look, &progress, &mut decision);
        }
    }
    if !is_terminal && matches!(course, Course::Runs | Course::CannotStart(_)) {
        if let Some(deadline) = deadline {
            decision.again(deadline);
        }
        warn::of_the_end(&look, &mut decision);
    }

    let nothing_runs = course::nothing_runs(facts);
    if !is_terminal {
        let verdict = course::verdict(&course, &look, nothing_runs);
        if let Some(status) = status::of(&look, &progress, verdict).filter(|status| status != facts.published) {
            let open_until = if let Course::Over { open_until } = course { open_until } else { None };
            let later = open_until.or_else(|| settles_at(&look, verdict, &decision));
            match later.filter(|until| *until > facts.now) {
                Some(until) => decision.again(until),
                None => decision.steps.push(Step::Publish(Box::new(status))),
            }
        }
    }
    if course::is_outdated(&look)
        && let Some(status) = status::of(&look, &progress, Verdict::Ended).filter(|status| status != facts.published)
    {
        decision.steps.push(Step::Publish(Box::new(status)));
    }
    if matches!(course, Course::Deleted { .. }) && nothing_runs {
        decision.steps.push(Step::Remove);
    } else {
        records::clear_up(&look, &mut decision);
    }
    decision
}

/// When a status is worth writing that a start is about to change: a write for what is so for a millisecond is one that
/// nobody can use. Trouble is told at once.
fn settles_at(look: &Look<'_>, verdict: Verdict<'_>, decision: &Decision) -> Option<Timestamp> {
    if verdict != Verdict::Living || !look.facts.troubles.is_empty() {
        return None;
    }
    let asked = decision.steps.iter().any(|step| matches!(step, Step::Start { .. })).then_some(look.facts.now);
    let starting = look.all().filter_map(|seen| match seen.latest()?.state {
        RunState::Starting { since } => Some(look.facts.present(since)),
        RunState::Running { .. } | RunState::Over(_) => None,
    });
    starting.chain(asked).max().map(|since| since + ABOUT_TO_START)
}
