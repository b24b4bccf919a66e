//! What a CmdJob's status says.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vk_cmd_crds::{Attempt, AttemptState, CmdJobStatus, ConditionType, Reason, State};

use crate::attempts::{self, whole_seconds};
use crate::plan::{Plan, Verdict};
use crate::seen::PodSeen;
use crate::validate::{Invalid, ValidJob};

/// What has become of [`crate::Step::CreatePod`].
#[derive(Clone, Debug, PartialEq)]
pub enum Creation {
    /// It was not among the steps.
    NotAsked,
    /// The pod is there, made now or before.
    Made(PodSeen),
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

/// The status after a plan was carried out.
pub fn status(
    job: &ValidJob<'_>,
    recorded: &CmdJobStatus,
    plan: &Plan,
    creation: &Creation,
    now: Timestamp,
) -> CmdJobStatus {
    if plan.verdict == Verdict::Finished {
        return CmdJobStatus { observed_generation: job.generation, ..recorded.clone() };
    }
    let mut attempts = plan.attempts.clone();
    if let (Verdict::Starting(number), Creation::Made(pod)) = (&plan.verdict, creation) {
        attempts.push(attempts::made(*number, pod, &job.target, now));
    }
    let say = say(&plan.verdict, creation, &attempts);
    let now = Time(whole_seconds(now));
    let finished = matches!(say.state, State::Complete | State::Failed);
    let ended = attempts.iter().rev().find(|a| a.state.is_final() && a.state != AttemptState::Stopped);
    CmdJobStatus {
        observed_generation: job.generation,
        state: Some(say.state),
        reason: Some(say.reason.to_string()),
        exit_code: ended.and_then(|attempt| attempt.exit_code),
        conditions: conditions(recorded, &plan.verdict, &say, job.generation, &now),
        active: count(&attempts, |a| !a.state.is_final()),
        ready: count(&attempts, |a| a.state == AttemptState::Running),
        succeeded: count(&attempts, |a| a.state == AttemptState::Succeeded),
        failed: i32::try_from(attempts::failures(recorded, &attempts)).unwrap_or(i32::MAX),
        start_time: plan.start_time.map(Time),
        completion_time: (say.state == State::Complete).then(|| now.clone()),
        duration: finished.then(|| ended.and_then(duration)).flatten(),
        attempts: attempts::kept(&attempts),
        message: Some(say.message),
    }
}

/// The status of a CmdJob that cannot be acted on as it is.
pub fn invalid(recorded: &CmdJobStatus, generation: Option<i64>, problems: &Invalid, now: Timestamp) -> CmdJobStatus {
    if finished_at(recorded).is_some() {
        return recorded.clone();
    }
    let say = Say { state: State::Invalid, reason: Reason::Invalid, message: problems.to_string() };
    let wanted = vec![(ConditionType::Stalled, true)];
    CmdJobStatus {
        observed_generation: generation,
        state: Some(say.state),
        reason: Some(say.reason.to_string()),
        conditions: merge(recorded, wanted, &say, generation, &Time(whole_seconds(now))),
        message: Some(say.message),
        ..recorded.clone()
    }
}

/// When the job finished, if it has.
pub fn finished_at(recorded: &CmdJobStatus) -> Option<Timestamp> {
    [ConditionType::Complete, ConditionType::Failed]
        .into_iter()
        .filter_map(|kind| find(recorded, kind))
        .find(|condition| condition.status == "True")
        .map(|condition| condition.last_transition_time.0)
}

/// A condition by its type.
pub fn find(recorded: &CmdJobStatus, kind: ConditionType) -> Option<&Condition> {
    let name: &'static str = kind.into();
    recorded.conditions.iter().find(|condition| condition.type_ == name)
}

fn say(verdict: &Verdict, creation: &Creation, attempts: &[Attempt]) -> Say {
    let of = |state, reason, message: &str| Say { state, reason, message: message.to_owned() };
    match verdict {
        Verdict::Waiting(reason, message) => of(State::Waiting, *reason, message),
        Verdict::Starting(_) => match creation {
            Creation::Made(_) => active(attempts, None),
            Creation::NameTaken(name) => {
                let what = "exists that does not belong to this CmdJob: delete it";
                of(State::Waiting, Reason::NameTaken, &format!("a pod {name} {what} (kubectl delete pod {name})"))
            }
            Creation::Refused(why) => of(
                State::Waiting,
                Reason::PodRefused,
                &format!("the API server refuses the pod and is asked again: {why}"),
            ),
            Creation::Rejected(why) => {
                of(State::Invalid, Reason::Invalid, &format!("no valid pod can be made from this CmdJob: {why}"))
            }
            Creation::NotAsked => of(State::Waiting, Reason::Recording, "the pod is about to be made"),
        },
        Verdict::Active(obstacle) => active(attempts, obstacle.as_deref()),
        Verdict::Terminating(reason, message) | Verdict::Failing(reason, message) => {
            of(State::Terminating, *reason, message)
        }
        Verdict::Suspended => {
            of(State::Suspended, Reason::JobSuspended, "spec.suspend is true; set it to false to start the job")
        }
        Verdict::Complete(message) => of(State::Complete, Reason::CompletionsReached, message),
        Verdict::Failed(reason, message) => of(State::Failed, *reason, message),
        // `status` has returned before.
        Verdict::Finished => of(State::Complete, Reason::CompletionsReached, ""),
    }
}

fn active(attempts: &[Attempt], obstacle: Option<&str>) -> Say {
    let Some(alive) = attempts.iter().rev().find(|a| !a.state.is_final()) else {
        // The pod was there already and has ended, too: what follows from that is decided at the next look.
        let message = "the end of the last attempt is being written down".to_owned();
        return Say { state: State::Waiting, reason: Reason::Recording, message };
    };
    let Attempt { pod, node, .. } = alive;
    let (state, reason, fact) = if alive.state == AttemptState::Running {
        (State::Running, Reason::ProcessRunning, format!("the process runs on {node}"))
    } else {
        (State::Pending, Reason::PodPending, format!("pod {pod} is made; {node} has not started its process yet"))
    };
    let message = match obstacle {
        Some(obstacle) => format!("{fact}: {obstacle}"),
        None => fact,
    };
    Say { state, reason, message }
}

/// How long an attempt ran, e.g. "1h 5m 3s".
fn duration(attempt: &Attempt) -> Option<String> {
    let (start, end) = (attempt.started_at.as_ref()?.0, attempt.finished_at.as_ref()?.0);
    let length = end.duration_since(start);
    (!length.is_negative()).then(|| format!("{length:#}"))
}

fn count(attempts: &[Attempt], which: impl Fn(&Attempt) -> bool) -> i32 {
    i32::try_from(attempts.iter().filter(|attempt| which(attempt)).count()).unwrap_or(i32::MAX)
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
    let failing = matches!(verdict, Verdict::Failing(..));
    if failing || (say.state == State::Failed && find(recorded, ConditionType::FailureTarget).is_some()) {
        wanted.push((ConditionType::FailureTarget, true));
    }
    // As in Job: once suspended, the condition stays and turns false.
    if say.state != State::Suspended && find(recorded, ConditionType::Suspended).is_some() {
        wanted.push((ConditionType::Suspended, false));
    }
    merge(recorded, wanted, say, generation, now)
}

/// Builds conditions. One that keeps its status keeps the time of its last transition, and if it is about something else
/// than the state at hand (`Suspended=False` of a running job, say), its reason and message, too.
fn merge(
    recorded: &CmdJobStatus,
    wanted: Vec<(ConditionType, bool)>,
    say: &Say,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let build = |(kind, yes): (ConditionType, bool)| {
        let before = find(recorded, kind).filter(|condition| (condition.status == "True") == yes);
        let (reason, message) = match (kind, yes) {
            (ConditionType::Suspended, false) => (Reason::JobResumed, "spec.suspend is false"),
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
