//! What the status tells of single attempts: all of those that ended last, some of those that run. Nothing is decided by it.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::{Attempt, AttemptState, CmdJobStatus};

use crate::ledger::Entry;
use crate::seen::{End, EndKind, Life, PodSeen};
use crate::words;

/// How many attempts that have ended, and how many that have not, are shown.
pub const KEPT: usize = 10;

/// The reason of an attempt that was ended because its job was suspended.
pub const SUSPENDED: &str = "Suspended";
/// The reason of an attempt that was ended because fewer are wanted at a time.
pub const SCALED_DOWN: &str = "ScaledDown";

/// The time with the precision that Kubernetes stores: whole seconds, so that what is read back is what was written.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc)).unwrap_or(time)
}

/// An attempt that has not ended. `stopping`: why the operator ends it, if it does.
pub fn open(pod: &PodSeen, stopping: Option<&str>) -> Attempt {
    let started_at = match &pod.life {
        Life::Running(since) => *since,
        Life::Pending(_) | Life::Lost(_) | Life::Ended(_) => None,
    };
    let state = match &pod.life {
        _ if stopping.is_some() => AttemptState::Stopping,
        // What is lost did run as far as anybody knows.
        Life::Running(_) | Life::Lost(_) => AttemptState::Running,
        Life::Pending(_) | Life::Ended(_) => AttemptState::Pending,
    };
    Attempt {
        index: pod.index.cast_signed(),
        attempt: pod.attempt.cast_signed(),
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        node: pod.node.to_string(),
        state,
        exit_code: None,
        signal: None,
        reason: stopping.map(str::to_owned),
        message: None,
        started_at: started_at.map(|time| Time(whole_seconds(time))),
        finished_at: None,
    }
}

/// An attempt that has ended and is counted now.
pub fn ended(pod: &PodSeen, end: &End, entry: Entry, stopping: Option<&str>, now: Timestamp) -> Attempt {
    let state = match (end.kind, entry) {
        (_, Entry::Nothing) if stopping.is_some() => AttemptState::Stopped,
        (EndKind::Succeeded, Entry::Success | Entry::Nothing) => AttemptState::Succeeded,
        (EndKind::Unknown, _) => AttemptState::Unknown,
        (EndKind::Refused, _) => AttemptState::Refused,
        // With 0 too, if it was ended because the job fails.
        (EndKind::Succeeded | EndKind::Failed, _) => AttemptState::Failed,
    };
    // The operator's own reason, why it ended the process, says more than the node's.
    let reason = stopping.map(str::to_owned).or_else(|| end.reason.clone());
    Attempt {
        state,
        exit_code: end.exit_code,
        signal: end.signal.map(words::signal),
        reason: reason.filter(|_| state != AttemptState::Succeeded),
        message: end.message.clone(),
        started_at: end.started_at.map(|time| Time(whole_seconds(time))),
        // A node whose clock is ahead must not make the pause before the next attempt longer.
        finished_at: Some(Time(whole_seconds(end.finished_at.unwrap_or(now).min(now)))),
        ..open(pod, stopping)
    }
}

/// The attempts to show, by index and attempt: the last [`KEPT`] that have ended, of the recorded ones and of those that are
/// counted now, and the first [`KEPT`] that are open.
pub fn shown(recorded: &CmdJobStatus, counted: Vec<Attempt>, open: Vec<Attempt>) -> Vec<Attempt> {
    let is_same = |a: &Attempt, b: &Attempt| (a.index, a.attempt) == (b.index, b.attempt);
    let before = recorded.attempts.iter().filter(|attempt| attempt.state.is_final()).cloned();
    let mut ended: Vec<Attempt> = before.filter(|old| !counted.iter().any(|new| is_same(old, new))).collect();
    ended.extend(counted);
    ended.sort_by_key(|attempt| (attempt.finished_at.clone(), attempt.index, attempt.attempt));
    let mut shown = ended.split_off(ended.len().saturating_sub(KEPT));
    shown.extend(open.into_iter().take(KEPT));
    shown.sort_by_key(|attempt| (attempt.index, attempt.attempt));
    shown
}
