//! What a CmdJob's status says.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vk_cmd_crds::{Attempt, AttemptState, CmdJobStatus, ConditionType, Reason, State};

use crate::attempts::{self, KEPT, whole_seconds};
use crate::plan::{Leave, Plan, Tally, Verdict};
use crate::seen::PodSeen;
use crate::validate::{Completions, Invalid, ValidJob};
use crate::words;

/// What has become of one of a plan's starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The pod is there, made now or before.
    Made(Box<PodSeen>),
    /// No node can take it now.
    NotPlaced(Reason, Arc<str>),
    /// A pod of that name is there and belongs to somebody else.
    NameTaken(String),
    /// The API server does not take it now (quota, policy, admission); what it said.
    Refused(String),
    /// The API server will never take it as it is; what it said.
    Rejected(String),
}

/// One state of a job in full: what `kubectl get` prints, and the conditions to go with it.
struct Say {
    state: State,
    reason: Reason,
    message: String,
}

/// The status after a plan was carried out, with what became of its starts.
pub fn status(
    job: &ValidJob<'_>,
    recorded: &CmdJobStatus,
    plan: &Plan,
    outcomes: &[Outcome],
    now: Timestamp,
) -> CmdJobStatus {
    if let Some(status) = finished(recorded, job.object.generation) {
        return status;
    }
    let made: Vec<&PodSeen> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Made(pod) = outcome { Some(&**pod) } else { None })
        .collect();
    let shown = with(&plan.attempts, &made);
    let tally =
        Tally { active: plan.tally.active.saturating_add(u32::try_from(made.len()).unwrap_or(u32::MAX)), ..plan.tally };
    let say = say(job, plan, outcomes, &shown, tally);
    let now = Time(whole_seconds(now));
    let finished = matches!(say.state, State::Complete | State::Failed);
    let ended = last_ended(&shown);
    let mut status = CmdJobStatus {
        observed_generation: job.object.generation,
        state: Some(say.state),
        reason: Some(say.reason.to_string()),
        exit_code: ended.and_then(|attempt| attempt.exit_code),
        conditions: conditions(recorded, &plan.verdict, &say, job.object.generation, &now),
        active: count(tally.active),
        ready: count(tally.ready),
        terminating: count(tally.terminating),
        start_time: plan.start_time.map(Time),
        completion_time: (say.state == State::Complete).then(|| now.clone()),
        duration: finished.then(|| ended.and_then(duration)).flatten(),
        attempts: shown,
        nodes: plan.nodes.clone(),
        message: Some(say.message),
        ..CmdJobStatus::default()
    };
    plan.counted.write(job, &mut status);
    status
}

/// The shown attempts, with those whose pods have been made just now, as far as there is room for them.
fn with(shown: &[Attempt], made: &[&PodSeen]) -> Vec<Attempt> {
    let open = shown.iter().filter(|attempt| !attempt.state.is_final()).count();
    let mut all = shown.to_vec();
    all.extend(made.iter().take(KEPT.saturating_sub(open)).map(|pod| attempts::open(pod, None)));
    all.sort_by_key(|attempt| (attempt.index, attempt.attempt));
    all
}

fn last_ended(attempts: &[Attempt]) -> Option<&Attempt> {
    let says_something = |a: &&Attempt| !matches!(a.state, AttemptState::Stopped | AttemptState::Refused);
    let ended = attempts.iter().filter(|a| a.state.is_final()).filter(says_something);
    ended.max_by_key(|attempt| (attempt.finished_at.clone(), attempt.index, attempt.attempt))
}

/// The status of a CmdJob that is finished; none, if it is not. It is so by its condition: over what it says for people, an operator may have
/// written that could not read it.
pub fn finished(recorded: &CmdJobStatus, generation: Option<i64>) -> Option<CmdJobStatus> {
    let (state, condition) = end(recorded)?;
    Some(CmdJobStatus {
        observed_generation: generation,
        state: Some(state),
        reason: Some(condition.reason.clone()),
        message: Some(condition.message.clone()),
        active: 0,
        ready: 0,
        terminating: 0,
        ..recorded.clone()
    })
}

/// The status of a CmdJob that is not finished, cannot be acted on as it is, and is being deleted. What has ended of it is not counted any
/// more: for what that would mean is for its spec to say.
pub fn leaving(recorded: &CmdJobStatus, generation: Option<i64>, leave: &Leave, now: Timestamp) -> CmdJobStatus {
    let verdict = Verdict::Terminating(Reason::Deleting, words::DELETING.to_owned());
    let say = terminating(Reason::Deleting, words::DELETING, leave.unheard.as_deref());
    let now = Time(whole_seconds(now));
    CmdJobStatus {
        observed_generation: generation,
        state: Some(say.state),
        reason: Some(say.reason.to_string()),
        conditions: conditions(recorded, &verdict, &say, generation, &now),
        active: count(leave.tally.active),
        ready: count(leave.tally.ready),
        terminating: count(leave.tally.terminating),
        message: Some(say.message),
        ..recorded.clone()
    }
}

/// The status of a CmdJob that cannot be acted on as it is.
pub fn invalid(recorded: &CmdJobStatus, generation: Option<i64>, problems: &Invalid, now: Timestamp) -> CmdJobStatus {
    let say = Say { state: State::Invalid, reason: Reason::Invalid, message: problems.to_string() };
    let wanted = vec![(ConditionType::Stalled, true)];
    CmdJobStatus {
        observed_generation: generation,
        state: Some(say.state),
        reason: Some(say.reason.to_string()),
        conditions: merge(recorded, wanted, (&say, None), generation, &Time(whole_seconds(now))),
        message: Some(say.message),
        ..recorded.clone()
    }
}

/// A number as it stands in a status.
fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// When the job finished, if it has.
pub fn finished_at(recorded: &CmdJobStatus) -> Option<Timestamp> {
    end(recorded).map(|(_, condition)| condition.last_transition_time.0)
}

/// How the job finished, if it has.
fn end(recorded: &CmdJobStatus) -> Option<(State, &Condition)> {
    [(State::Complete, ConditionType::Complete), (State::Failed, ConditionType::Failed)]
        .into_iter()
        .filter_map(|(state, kind)| Some((state, find(recorded, kind)?)))
        .find(|(_, condition)| condition.status == "True")
}

/// A condition by its type.
pub fn find(recorded: &CmdJobStatus, kind: ConditionType) -> Option<&Condition> {
    let name: &'static str = kind.into();
    recorded.conditions.iter().find(|condition| condition.type_ == name)
}

fn say(job: &ValidJob<'_>, plan: &Plan, outcomes: &[Outcome], shown: &[Attempt], tally: Tally) -> Say {
    let of = |state, reason, message: &str| Say { state, reason, message: message.to_owned() };
    match &plan.verdict {
        Verdict::Waiting(reason, message) => of(State::Waiting, *reason, message),
        Verdict::Active => active(job, plan, outcomes, shown, tally),
        Verdict::Terminating(reason, message)
        | Verdict::Failing(reason, message)
        | Verdict::Succeeding(reason, message) => terminating(*reason, message, plan.unheard.as_deref()),
        Verdict::Suspended => {
            of(State::Suspended, Reason::JobSuspended, "spec.suspend is true; set it to false to start the job")
        }
        Verdict::Complete(reason, message) => of(State::Complete, *reason, message),
        Verdict::Failed(reason, message) => of(State::Failed, *reason, message),
        // `status` has returned before.
        Verdict::Finished => of(State::Complete, Reason::CompletionsReached, ""),
    }
}

/// Processes are being ended, for this reason.
fn terminating(reason: Reason, message: &str, unheard: Option<&str>) -> Say {
    Say { state: State::Terminating, reason, message: words::ended(message, unheard) }
}

/// Pods are there, or should be.
fn active(job: &ValidJob<'_>, plan: &Plan, outcomes: &[Outcome], shown: &[Attempt], tally: Tally) -> Say {
    let missing = outcomes.iter().find_map(not_made);
    if tally.active == 0 && tally.terminating == 0 {
        return missing.unwrap_or_else(|| Say {
            state: State::Waiting,
            reason: Reason::Recording,
            message: "what has ended is being written down".to_owned(),
        });
    }
    let running = shown.iter().find(|attempt| attempt.state == AttemptState::Running);
    let (state, reason) = match running {
        Some(_) => (State::Running, Reason::ProcessRunning),
        None => (State::Pending, Reason::PodPending),
    };
    let fact = match (running, shown.iter().find(|attempt| !attempt.state.is_final())) {
        _ if job.completions != Completions::Of(1) => progress(plan, tally),
        (Some(Attempt { node, .. }), _) => format!("the process runs on {node}"),
        (None, Some(Attempt { pod, node, .. })) => {
            format!("pod {pod} is made; {node} has not started its process yet")
        }
        (None, None) => progress(plan, tally),
    };
    if let Some(unheard) = &plan.unheard {
        return Say { state, reason: Reason::NodeUnreachable, message: unheard.clone() };
    }
    let more = plan.obstacle.clone().or_else(|| missing.map(|say| say.message));
    let message = more.map_or_else(|| fact.clone(), |more| format!("{fact}: {more}"));
    Say { state, reason, message }
}

/// How far a job of several attempts is.
fn progress(plan: &Plan, tally: Tally) -> String {
    let counted = &plan.counted;
    let parts = [
        (counted.succeeded, "succeeded"),
        (tally.active, "active"),
        (tally.terminating, "being ended"),
        (counted.failures, "failed"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    parts.join(", ")
}

/// Why a pod is not there.
fn not_made(outcome: &Outcome) -> Option<Say> {
    Some(match outcome {
        Outcome::Made(_) => return None,
        Outcome::NotPlaced(reason, why) => {
            Say { state: State::Waiting, reason: *reason, message: why.as_ref().to_owned() }
        }
        Outcome::NameTaken(name) => Say {
            state: State::Waiting,
            reason: Reason::NameTaken,
            message: format!(
                "a pod {name} exists that does not belong to this CmdJob: delete it (kubectl delete pod {name})"
            ),
        },
        Outcome::Refused(why) => Say {
            state: State::Waiting,
            reason: Reason::PodRefused,
            message: format!("the API server refuses the pod and is asked again: {why}"),
        },
        Outcome::Rejected(why) => Say {
            state: State::Invalid,
            reason: Reason::Invalid,
            message: format!("no valid pod can be made from this CmdJob: {why}"),
        },
    })
}

/// How long an attempt ran, e.g. "1h 5m 3s".
fn duration(attempt: &Attempt) -> Option<String> {
    let (start, end) = (attempt.started_at.as_ref()?.0, attempt.finished_at.as_ref()?.0);
    let length = end.duration_since(start);
    (!length.is_negative()).then(|| format!("{length:#}"))
}

/// The conditions of a state. Of kstatus's two, each is there only while it is true.
fn conditions(
    recorded: &CmdJobStatus,
    verdict: &Verdict,
    say: &Say,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let mut wanted = match say.state {
        State::Complete => vec![(ConditionType::Complete, true)],
        State::Failed => vec![(ConditionType::Failed, true), (ConditionType::Stalled, true)],
        State::Suspended => vec![(ConditionType::Suspended, true)],
        State::Invalid => vec![(ConditionType::Stalled, true)],
        State::Waiting | State::Pending | State::Running | State::Terminating => {
            vec![(ConditionType::Reconciling, true)]
        }
    };
    // As in Job: what was decided stays beside what has come of it.
    match verdict {
        Verdict::Failing(..) | Verdict::Failed(..) => wanted.push((ConditionType::FailureTarget, true)),
        Verdict::Succeeding(..) | Verdict::Complete(..) => wanted.push((ConditionType::SuccessCriteriaMet, true)),
        Verdict::Finished | Verdict::Waiting(..) | Verdict::Active | Verdict::Terminating(..) | Verdict::Suspended => {}
    }
    // As in Job: once suspended, the condition stays and turns false.
    if say.state != State::Suspended && find(recorded, ConditionType::Suspended).is_some() {
        wanted.push((ConditionType::Suspended, false));
    }
    merge(recorded, wanted, (say, verdict.decided()), generation, now)
}

/// Builds conditions. One that keeps its status keeps the time of its last transition, and if it is about something else
/// than the state at hand (`Suspended=False` of a running job, say), its reason and message, too.
fn merge(
    recorded: &CmdJobStatus,
    wanted: Vec<(ConditionType, bool)>,
    (say, decided): (&Say, Option<(Reason, &str)>),
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let build = |(kind, yes): (ConditionType, bool)| {
        let before = find(recorded, kind).filter(|condition| (condition.status == "True") == yes);
        let (reason, message) = match (kind, yes) {
            (ConditionType::Suspended, false) => (Reason::JobResumed, "spec.suspend is false"),
            (ConditionType::FailureTarget | ConditionType::SuccessCriteriaMet, _) => {
                decided.unwrap_or((say.reason, &*say.message))
            }
            _ => (say.reason, &*say.message),
        };
        Condition {
            type_: kind.to_string(),
            status: if yes { "True" } else { "False" }.to_owned(),
            reason: reason.to_string(),
            message: message.to_owned(),
            last_transition_time: before.map_or_else(|| now.clone(), |b| b.last_transition_time.clone()),
            observed_generation: generation,
        }
    };
    wanted.into_iter().map(build).collect()
}
