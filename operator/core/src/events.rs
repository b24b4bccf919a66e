//! What is told of a CmdJob in Events, which `kubectl describe` shows: the words are batch/v1 Job's where a Job has such an event.
//!
//! An Event is told of what has changed, by whoever has changed it and when the API server has taken it: a status that is
//! written, a pod that is made. Both happen once, whoever looks again and again, so nothing is told twice.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::{CmdJobStatus, ConditionType, Reason, State};

use crate::{pod, status};

/// The longest text of an Event, in bytes: `noteLengthLimit` of the API server's validation.
pub const NOTE_MAX: usize = 1024;

/// Something to tell of a CmdJob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What has happened, as one word.
    pub reason: String,
    /// What was done then, as one word.
    pub action: Action,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// The same as a sentence; at most [`NOTE_MAX`] bytes.
    pub note: String,
    /// The pod that it is about.
    pub pod: Option<PodNamed>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNamed {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What the operator was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Making a pod.
    CreatePod,
    /// Deleting a pod.
    DeletePod,
    /// Writing a status.
    Report,
}

impl From<Action> for &'static str {
    fn from(action: Action) -> Self {
        match action {
            Action::CreatePod => "CreatePod",
            Action::DeletePod => "DeletePod",
            Action::Report => "Report",
        }
    }
}

impl Event {
    fn of_pod(reason: &str, action: Action, note: String, pod: PodNamed) -> Self {
        Self { reason: reason.to_owned(), action, is_warning: false, note: cut(note), pod: Some(pod) }
    }

    fn of_job(reason: &str, is_warning: bool, note: &str) -> Self {
        let (reason, note) = (reason.to_owned(), cut(note.to_owned()));
        Self { reason, action: Action::Report, is_warning, note, pod: None }
    }

    /// That a pod has been made.
    pub fn created(made: &Pod) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let named = PodNamed { name: text(&made.metadata.name), uid: text(&made.metadata.uid) };
        let node = made.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let confined = pod::confined(made).map(|how| format!(", {how}")).unwrap_or_default();
        let note = format!("Created pod: {} on {node}{confined}", named.name);
        Self::of_pod("SuccessfulCreate", Action::CreatePod, note, named)
    }

    /// That a pod has been deleted.
    pub fn deleted(name: &str, uid: &str) -> Self {
        let named = PodNamed { name: name.to_owned(), uid: uid.to_owned() };
        Self::of_pod("SuccessfulDelete", Action::DeletePod, format!("Deleted pod: {name}"), named)
    }
}

/// What there is to tell when a status has been written over another.
pub fn of_change(before: &CmdJobStatus, after: &CmdJobStatus) -> Vec<Event> {
    let turned = |kind, to| {
        let is = |status| status::find(status, kind).map(|condition| condition.status == "True");
        is(after) == Some(to) && is(before).unwrap_or(false) != to
    };
    let mut events = Vec::new();
    if turned(ConditionType::Suspended, true) {
        events.push(Event::of_job("Suspended", false, "Job suspended"));
    }
    if turned(ConditionType::Suspended, false) {
        events.push(Event::of_job("Resumed", false, "Job resumed"));
    }
    let reason = after.reason.as_deref().unwrap_or_default();
    let message = after.message.as_deref().unwrap_or_default();
    let is_new = (before.state, before.reason.as_deref()) != (after.state, after.reason.as_deref());
    match after.state {
        Some(State::Complete) if status::finished_at(before).is_none() => {
            events.push(Event::of_job("Completed", false, &format!("Job completed: {message}")));
        }
        Some(State::Failed) if status::finished_at(before).is_none() => {
            events.push(Event::of_job(reason, true, message))
        }
        // Another text is about another mistake.
        Some(State::Invalid) if is_new || before.message != after.message => {
            events.push(Event::of_job(reason, true, message));
        }
        _ if is_new => events.extend(hindrance(reason).map(|reason| Event::of_job(reason, true, message))),
        _ => {}
    }
    events
}

/// Under which word a hindrance is told that goes away by somebody's doing. The others (its turn has not come, a pause, another
/// job) are the usual course of things; ten thousand jobs that queue tell of them in their status.
fn hindrance(reason: &str) -> Option<&str> {
    match reason.parse().ok()? {
        Reason::NodeMissing
        | Reason::NodeNotReady
        | Reason::NodeCordoned
        | Reason::NoNodes
        | Reason::NoNodeFits
        | Reason::DependencyCycle
        | Reason::NodeUnreachable => Some(reason),
        // Job's word.
        Reason::PodRefused | Reason::NameTaken => Some("FailedCreate"),
        Reason::BackOff
        | Reason::Recording
        | Reason::Dependency
        | Reason::NoRoom
        | Reason::NoParallelism
        | Reason::PodPending
        | Reason::ProcessRunning
        | Reason::Suspending
        | Reason::Deleting
        | Reason::JobSuspended
        | Reason::JobResumed
        | Reason::CompletionsReached
        | Reason::SuccessPolicy
        | Reason::BackoffLimitExceeded
        | Reason::DeadlineExceeded
        | Reason::PodFailurePolicy
        | Reason::FailedIndexes
        | Reason::MaxFailedIndexesExceeded
        | Reason::DependencyNeverSatisfied
        | Reason::UnknownEnd
        | Reason::Invalid => None,
    }
}

/// At most [`NOTE_MAX`] bytes of a text.
fn cut(mut text: String) -> String {
    const MORE: &str = "…";
    if text.len() > NOTE_MAX {
        let most = NOTE_MAX.saturating_sub(MORE.len());
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str(MORE);
    }
    text
}

/// How many Events one object may have: [`BURST`] at once, and another one every [`REFILL`]. From client-go's
/// `EventSourceObjectSpamFilter`, but that those of pods leave [`KEPT`] for what becomes of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    left: u32,
    /// Up to when it has been refilled, by a clock that nobody can set.
    filled: Duration,
}

/// How many Events of one object are told at once.
pub const BURST: u32 = 25;
/// How long it takes until there may be another one.
pub const REFILL: Duration = Duration::from_mins(5);
/// How many are kept from those of pods.
pub const KEPT: u32 = 5;

impl Allowance {
    /// That of an object of which nothing has been told.
    pub fn new(now: Duration) -> Self {
        Self { left: BURST, filled: now }
    }

    /// Whether the event may be told; then it counts.
    pub fn take(&mut self, event: &Event, now: Duration) -> bool {
        while self.left < BURST && now.saturating_sub(self.filled) >= REFILL {
            self.left = self.left.saturating_add(1);
            self.filled = self.filled.saturating_add(REFILL);
        }
        if self.left == BURST {
            self.filled = now;
        }
        let kept = if event.pod.is_some() { KEPT } else { 0 };
        let may = self.left > kept;
        if may {
            self.left = self.left.saturating_sub(1);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;

    fn status(state: State, reason: Reason, conditions: &[(&str, &str)]) -> CmdJobStatus {
        let condition = |(kind, status): &(&str, &str)| Condition {
            type_: (*kind).to_owned(),
            status: (*status).to_owned(),
            reason: String::new(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        CmdJobStatus {
            state: Some(state),
            reason: Some(reason.to_string()),
            message: Some("why".to_owned()),
            conditions: conditions.iter().map(condition).collect(),
            ..CmdJobStatus::default()
        }
    }

    #[test]
    fn a_change_is_told_and_what_stays_is_not() {
        let new = CmdJobStatus::default();
        let pending = status(State::Pending, Reason::PodPending, &[]);
        let running = status(State::Running, Reason::ProcessRunning, &[]);
        let unheard = status(State::Running, Reason::NodeUnreachable, &[]);
        let complete = status(State::Complete, Reason::CompletionsReached, &[("Complete", "True")]);
        let failed = status(State::Failed, Reason::BackoffLimitExceeded, &[("Failed", "True")]);
        let missing = status(State::Waiting, Reason::NodeMissing, &[]);
        let queued = status(State::Waiting, Reason::NoRoom, &[]);
        let refused = status(State::Waiting, Reason::PodRefused, &[]);
        let suspended = status(State::Suspended, Reason::JobSuspended, &[("Suspended", "True")]);
        let resumed = status(State::Pending, Reason::PodPending, &[("Suspended", "False")]);
        let invalid = status(State::Invalid, Reason::Invalid, &[]);
        let other = CmdJobStatus { message: Some("something else".to_owned()), ..invalid.clone() };
        for (before, after, expected) in [
            (&new, &pending, vec![]),
            (&pending, &running, vec![]),
            (&running, &complete, vec!["Completed: Job completed: why"]),
            (&running, &failed, vec!["Warning BackoffLimitExceeded: why"]),
            (&running, &unheard, vec!["Warning NodeUnreachable: why"]),
            (&unheard, &running, vec![]),
            (&new, &missing, vec!["Warning NodeMissing: why"]),
            (&new, &queued, vec![]),
            (&queued, &missing, vec!["Warning NodeMissing: why"]),
            (&new, &refused, vec!["Warning FailedCreate: why"]),
            (&new, &suspended, vec!["Suspended: Job suspended"]),
            (&running, &suspended, vec!["Suspended: Job suspended"]),
            (&suspended, &resumed, vec!["Resumed: Job resumed"]),
            (&new, &invalid, vec!["Warning Invalid: why"]),
            (&invalid, &other, vec!["Warning Invalid: something else"]),
        ] {
            let told = |before, after| -> Vec<String> {
                let text = |event: &Event| {
                    let warning = if event.is_warning { "Warning " } else { "" };
                    format!("{warning}{}: {}", event.reason, event.note)
                };
                of_change(before, after).iter().map(text).collect()
            };
            assert_eq!(told(before, after), expected, "{before:?} {after:?}");
            assert!(told(after, after).is_empty(), "{after:?}");
        }
    }

    #[test]
    fn texts_are_as_long_as_the_api_server_takes() {
        for (text, length) in [("x".repeat(1024), 1024), ("x".repeat(1025), 1024), ("ü".repeat(600), 1023)] {
            let event = Event::of_job("Invalid", true, &text);
            assert_eq!(event.note.len(), length);
        }
    }

    #[test]
    fn of_many_pods_only_some_are_told_and_of_the_job_all() {
        let of_pod = Event::deleted("p", "u");
        let of_job = Event::of_job("Completed", false, "");
        let at = Duration::from_secs(100);
        let mut allowance = Allowance::new(at);
        let told = |allowance: &mut Allowance, event, now| (0..100).filter(|_| allowance.take(event, now)).count();
        assert_eq!(told(&mut allowance, &of_pod, at), 20);
        assert_eq!(told(&mut allowance, &of_job, at + REFILL * 2 - Duration::from_nanos(1)), 6);
        assert_eq!(told(&mut allowance, &of_pod, at + REFILL * 9), 3);
        assert_eq!(told(&mut allowance, &of_job, at + REFILL * 1000), 25);
    }
}
