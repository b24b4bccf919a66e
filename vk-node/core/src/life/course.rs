//! What is to become of a pod.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use vk_task::{TaskState, TaskView};

use super::init::Progress;
use crate::admit::Role;
use crate::ending::{EndFacts, TERMINATED, WALLTIME_EXCEEDED, Whose};
use crate::evict::EVICTED;
use crate::facts::{Deletion, Facts, Retry, Trouble};
use crate::look::{Look, Seen};
use crate::runs::all_published;
use crate::status::{DEADLINE_EXCEEDED, Verdict, is_given_up, is_told};

/// What is to become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course<'a> {
    /// It runs.
    Runs,
    /// Its main containers have ended for good, or an init container has failed for good: what is left is ended.
    Over {
        /// Until when it is not told of: it is not known before whether that was the end of the node.
        open_until: Option<Timestamp>,
    },
    /// Nothing more of it is started, and what runs is left to run: a container cannot be started, for good. That is no
    /// reason to kill the others.
    CannotStart(&'a Trouble),
    /// Its processes are to be ended.
    Deleted { grace: SignedDuration },
    /// Its processes are to be ended.
    PastDeadline,
    /// Its processes are to be ended at once: it used more of the node than it may.
    Evicted { why: &'a str },
    /// Its processes are to be ended: the node ends.
    NodeEnds {
        /// The pod's reason.
        reason: &'static str,
        /// For people.
        why: &'a str,
    },
    /// Its processes are to be ended: somebody else has said of it that it is over.
    Ended,
}

pub(super) fn of<'a>(look: &Look<'a>, progress: &Progress, deadline: Option<Timestamp>) -> Course<'a> {
    let (pod, facts) = (look.pod, look.facts);
    if let Deletion::Asked { grace } = facts.deletion {
        // The API server gives a pod of a terminal phase no grace, whatever was asked: it thinks that nothing runs. What
        // does is a line of the FIFO.
        let grace = if is_terminal(facts.published) { grace.max(pod.grace) } else { grace };
        return Course::Deleted { grace };
    }
    // This node says so only when no container runs any more: it was somebody else. As in the kubelet, the word is as good.
    if is_terminal(facts.published) && look.all().any(|seen| seen.is_active()) {
        return Course::Ended;
    }
    let told_to_go = || facts.tasks.iter().find_map(|task| evicted_for(&task.stop.as_ref()?.reason));
    if let Some(why) = facts.evicted.or_else(told_to_go) {
        return Course::Evicted { why };
    }
    let is_over = matches!(progress, Progress::Failed) || look.mains_are_done();
    let was_stopped = facts.tasks.iter().any(|t| t.stop.as_ref().is_some_and(|s| s.reason == DEADLINE_EXCEEDED));
    let is_late = deadline.is_some_and(|at| facts.now >= at) && !is_over;
    if was_stopped || is_late {
        return Course::PastDeadline;
    }
    let ended_with = || facts.tasks.iter().find_map(|task| ended_with_node(&task.stop.as_ref()?.reason));
    let ends_now = || ends_with_node(look).filter(|_| !is_over);
    if let Some((reason, why)) = ended_with().or_else(|| ends_now().map(|end| (end.cause.pod_reason(), &*end.message)))
    {
        return Course::NodeEnds { reason, why };
    }
    if is_over {
        return match whose_end(look) {
            Whose::Own => Course::Over { open_until: None },
            Whose::Open { until } => Course::Over { open_until: Some(until) },
            Whose::Node(came) => Course::NodeEnds { reason: came.reason, why: &came.message },
        };
    }
    // An ephemeral container has no say in it.
    let counts = |name: &str| look.all().any(|s| s.container.name == name && s.container.role != Role::Ephemeral);
    let hopeless = facts.troubles.iter().find(|(name, trouble)| trouble.retry == Retry::Never && counts(name));
    hopeless.map_or(Course::Runs, |(_, trouble)| Course::CannotStart(trouble))
}

/// Whose doing it is that a pod is over: that of the node's end if all that made it fail is, or, where nothing has failed, what
/// ended last.
fn whose_end<'a>(look: &Look<'a>) -> Whose<'a> {
    let counts = |seen: &Seen<'_>| matches!(seen.container.role, Role::Init | Role::Main);
    let ends = || look.all().filter(counts).filter_map(|seen| Some((seen.outcome()?.is_success(), whose(look, seen))));
    let failed =
        ends().filter(|(is_success, _)| !is_success).map(|(_, whose)| whose).reduce(|one, other| match (one, other) {
            (Whose::Own, _) | (_, Whose::Own) => Whose::Own,
            (Whose::Open { until }, Whose::Open { until: later }) => Whose::Open { until: until.max(later) },
            (open @ Whose::Open { .. }, Whose::Node(_)) | (Whose::Node(_), open @ Whose::Open { .. }) => open,
            (node @ Whose::Node(_), Whose::Node(_)) => node,
        });
    let by_node = || ends().map(|(_, whose)| whose).find(|whose| matches!(whose, Whose::Node(_)));
    failed.or_else(by_node).unwrap_or(Whose::Own)
}

/// Whose doing the end of a container's last run is. What we have asked to end, what went past a limit and what nobody saw end has
/// been decided about.
fn whose<'a>(look: &Look<'a>, seen: Seen<'_>) -> Whose<'a> {
    let facts = look.facts;
    let record = seen.latest().and_then(|run| facts.tasks.iter().find(|task| task.id.as_str() == run.id));
    match record {
        Some(TaskView { state: TaskState::Ended { end, finished_at, exceeded: None, .. }, stop: None, .. }) => {
            facts.job_term.whose(end, facts.present(*finished_at), facts.now)
        }
        Some(_) | None => Whose::Own,
    }
}

/// The end of the node, if what runs of the pod is to be ended for it now.
pub(super) fn ends_with_node<'a>(look: &Look<'a>) -> Option<&'a EndFacts> {
    look.facts.end.filter(|end| look.facts.now >= end.term_at(look.pod.grace))
}

/// What of it the pod's status is to tell.
pub(super) fn verdict<'a>(course: &Course<'a>, look: &Look<'_>, nothing_runs: bool) -> Verdict<'a> {
    match course {
        Course::Runs => Verdict::Living,
        Course::Over { .. } if !look.all().any(|seen| seen.is_active()) => Verdict::ByItself,
        Course::CannotStart(trouble) if nothing_runs => Verdict::CannotStart(trouble),
        Course::Deleted { .. } if nothing_runs => Verdict::ByItself,
        Course::PastDeadline if nothing_runs => Verdict::PastDeadline,
        Course::Evicted { why } if nothing_runs => Verdict::Evicted(why),
        Course::NodeEnds { reason, why } if nothing_runs => Verdict::NodeEnds { reason, why },
        Course::Over { .. }
        | Course::CannotStart(_)
        | Course::Deleted { .. }
        | Course::PastDeadline
        | Course::Evicted { .. }
        | Course::NodeEnds { .. }
        | Course::Ended => Verdict::Stopping,
    }
}

/// Why a request ended a task of a pod that is evicted: what is found there after a restart of the node.
pub(super) fn eviction(why: &str) -> String {
    format!("{EVICTED}: {why}")
}

fn ended_with_node(request: &str) -> Option<(&'static str, &str)> {
    let words = [WALLTIME_EXCEEDED, TERMINATED].into_iter();
    words.filter_map(|word| Some((word, request.strip_prefix(word)?.strip_prefix(": ")?))).next()
}

fn evicted_for(reason: &str) -> Option<&str> {
    reason.strip_prefix(EVICTED)?.strip_prefix(": ")
}

/// Whether the status of a pod that is over still says that a container runs, and none does: somebody else has ended it. Or that
/// it was given up while this node was gone, and nobody has said yet what has become of it: whoever counts it waits for that.
pub(super) fn is_outdated(look: &Look<'_>) -> bool {
    let published = look.facts.published;
    let says_running = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    is_terminal(published)
        && (all_published(published).any(says_running) || is_given_up(published) && !is_told(published))
        && !look.all().any(|seen| seen.is_active())
}

/// Whether what runs of the pod runs for the sake of others of which none does.
pub(super) fn only_company_runs(look: &Look<'_>) -> bool {
    !look.all().any(|seen| seen.is_active() && matches!(seen.container.role, Role::Init | Role::Main))
}

/// When the pod's deadline is: counted from when it was first acknowledged here.
pub(super) fn deadline(look: &Look<'_>) -> Option<Timestamp> {
    let seconds = look.pod.deadline_seconds?;
    let published = look.facts.published.start_time.as_ref().map(|t| t.0);
    let started_at = published.or_else(|| look.histories.iter().filter_map(|h| h.first_at).min())?;
    Some(look.facts.present(started_at) + SignedDuration::from_secs(i64::from(seconds)))
}

/// Whether no process of the pod can be left, be it a container's or that of a line that it wrote to the FIFO.
pub(super) fn nothing_runs(facts: &Facts<'_>) -> bool {
    facts.tasks.iter().all(|task| task.state.is_final())
}

pub(super) fn is_terminal(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}
