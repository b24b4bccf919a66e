//! The attempts of a job: what is recorded in its status, brought up to date by what is seen. Attempts are only added, and
//! an end that was recorded once is never changed.
//!
//! ```text
//!            ┌──────────────────────────► Succeeded
//!            │            ┌─────────────► Failed     (its pod's disappearance included)
//!  Pending ──┼─► Running ─┼─────────────► Unknown
//!     │      │      │     │
//!     └──────┴──────┴─► Stopping ───────► Stopped    (suspended) | Failed (deadline) | Succeeded (it was quicker)
//! ```

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::{Attempt, AttemptState, CmdJobStatus, NodeName};

use crate::pod::INDEX;
use crate::seen::{End, EndKind, Life, PodSeen, Seen, Sight};
use crate::words;

/// How many attempts that have ended are kept in the status.
pub const KEPT: usize = 10;

/// The reason of an attempt whose pod was deleted by somebody else before its end was known.
pub const POD_DELETED: &str = "PodDeleted";
/// The reason of an attempt that was ended because its job was suspended.
pub const SUSPENDED: &str = "Suspended";

/// The number of the attempt after the recorded ones.
pub fn next_number(recorded: &CmdJobStatus) -> u32 {
    recorded.attempts.iter().filter_map(|a| u32::try_from(a.attempt).ok()).max().map_or(0, |n| n.saturating_add(1))
}

/// The attempts as they are now, oldest first: the recorded ones brought up to date, and the one pod that may exist without
/// a record, because the operator was stopped between making it and writing that down.
pub fn current(recorded: &CmdJobStatus, seen: &Seen, target: &NodeName, now: Timestamp) -> Vec<Attempt> {
    let sight_of = |attempt: &Attempt| u32::try_from(attempt.attempt).ok().and_then(|number| seen.pods.get(&number));
    let mut attempts: Vec<Attempt> =
        recorded.attempts.iter().map(|attempt| advance(attempt.clone(), sight_of(attempt), now)).collect();
    let next = next_number(recorded);
    if let Some(Sight::Ours(pod)) = seen.pods.get(&next) {
        attempts.push(made(next, pod, target, now));
    }
    attempts.sort_by_key(|attempt| (attempt.index, attempt.attempt));
    attempts
}

/// A new attempt, whose pod was made just now or was found without a record.
pub fn made(number: u32, pod: &PodSeen, target: &NodeName, now: Timestamp) -> Attempt {
    let attempt = Attempt {
        index: INDEX.cast_signed(),
        attempt: number.cast_signed(),
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        node: target.to_string(),
        state: AttemptState::Pending,
        exit_code: None,
        signal: None,
        reason: None,
        message: None,
        started_at: None,
        finished_at: None,
    };
    advance(attempt, Some(&Sight::Ours(pod.clone())), now)
}

/// Marks an attempt as being ended by the operator. Its pod is deleted only after this has been written down.
pub fn stop(attempt: &mut Attempt, why: &str) {
    if matches!(attempt.state, AttemptState::Pending | AttemptState::Running) {
        attempt.state = AttemptState::Stopping;
        attempt.reason = Some(why.to_owned());
    }
}

/// The time with the precision that Kubernetes stores: whole seconds, so that what is read back is what was written.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc)).unwrap_or(time)
}

fn advance(attempt: Attempt, sight: Option<&Sight>, now: Timestamp) -> Attempt {
    if attempt.state.is_final() {
        return attempt;
    }
    match sight {
        // Not seen, and not proven gone: nothing is known.
        None => attempt,
        Some(Sight::Ours(pod)) if pod.uid == attempt.pod_uid => living(attempt, &pod.life, now),
        // The name is taken by another pod, so the recorded one is gone. `unproven` has made sure that this is not from a
        // cache that is behind.
        Some(Sight::Ours(_) | Sight::Foreign | Sight::Gone) => vanished(attempt, now),
    }
}

fn living(mut attempt: Attempt, life: &Life, now: Timestamp) -> Attempt {
    match life {
        Life::Pending(_) => attempt,
        Life::Running(since) => {
            if attempt.state == AttemptState::Pending {
                attempt.state = AttemptState::Running;
            }
            attempt.started_at = attempt.started_at.or_else(|| since.map(|t| Time(whole_seconds(t))));
            attempt
        }
        Life::Ended(end) => ended(attempt, end, now),
    }
}

fn ended(mut attempt: Attempt, end: &End, now: Timestamp) -> Attempt {
    let stopped_for_suspension = is_stopping(&attempt, SUSPENDED);
    attempt.state = match end.kind {
        EndKind::Succeeded => AttemptState::Succeeded,
        // It was ended on purpose: what it made of that does not matter.
        EndKind::Failed | EndKind::Unknown if stopped_for_suspension => AttemptState::Stopped,
        EndKind::Unknown if attempt.state == AttemptState::Stopping => AttemptState::Failed,
        EndKind::Failed => AttemptState::Failed,
        EndKind::Unknown => AttemptState::Unknown,
    };
    attempt.exit_code = end.exit_code;
    attempt.signal = end.signal.map(words::signal);
    attempt.reason = match attempt.reason {
        _ if attempt.state == AttemptState::Succeeded => None,
        // The operator's own reason, why it ended the process, says more than the node's.
        Some(own) => Some(own),
        None => end.reason.clone(),
    };
    attempt.message = end.message.clone();
    attempt.started_at = end.started_at.map(|t| Time(whole_seconds(t))).or(attempt.started_at);
    // A node whose clock is ahead must not make the pause before the next attempt longer.
    attempt.finished_at = Some(Time(whole_seconds(end.finished_at.unwrap_or(now).min(now))));
    attempt
}

fn vanished(mut attempt: Attempt, now: Timestamp) -> Attempt {
    if is_stopping(&attempt, SUSPENDED) {
        attempt.state = AttemptState::Stopped;
    } else {
        if attempt.state != AttemptState::Stopping {
            attempt.reason = Some(POD_DELETED.to_owned());
            attempt.message = Some("its pod was deleted before it was known how it ended".to_owned());
        }
        attempt.state = AttemptState::Failed;
    }
    attempt.finished_at = Some(Time(whole_seconds(now)));
    attempt
}

fn is_stopping(attempt: &Attempt, why: &str) -> bool {
    attempt.state == AttemptState::Stopping && attempt.reason.as_deref() == Some(why)
}

/// Whether an attempt counts against the back-off limit.
pub fn is_failure(attempt: &Attempt) -> bool {
    matches!(attempt.state, AttemptState::Failed | AttemptState::Unknown)
}

/// How many attempts have failed, with those that are no longer listed.
pub fn failures(recorded: &CmdJobStatus, current: &[Attempt]) -> u32 {
    let count =
        |attempts: &[Attempt]| u32::try_from(attempts.iter().filter(|a| is_failure(a)).count()).unwrap_or(u32::MAX);
    let unlisted = u32::try_from(recorded.failed).unwrap_or(0).saturating_sub(count(&recorded.attempts));
    unlisted.saturating_add(count(current))
}

/// The attempts to write down: those that have not ended, and the last [`KEPT`] that have.
pub fn kept(attempts: &[Attempt]) -> Vec<Attempt> {
    let ended = attempts.iter().filter(|a| a.state.is_final()).count();
    let mut surplus = ended.saturating_sub(KEPT);
    attempts
        .iter()
        .filter(|attempt| {
            let drop = attempt.state.is_final() && surplus > 0;
            if drop {
                surplus = surplus.saturating_sub(1);
            }
            !drop
        })
        .cloned()
        .collect()
}
