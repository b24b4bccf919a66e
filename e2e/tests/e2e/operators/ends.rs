//! How a job of each kind ends, whatever is killed meanwhile: a pure function of what was seen of it.

#![expect(clippy::wildcard_enum_match_arm, reason = "there are forty kinds, and few of them are special")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use vk_cmd_crds::{AttemptState, CmdJobStatus, Reason, State};

use super::kinds::Kind;

/// An attempt of a job: its index and its number there.
pub(super) type Attempt = (u32, u32);

/// What was seen of a job in the end.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What it says; nothing, if it is gone.
    pub(super) status: Option<CmdJobStatus>,
    /// The attempts of which a process has begun, each with its node.
    pub(super) begun: BTreeMap<Attempt, String>,
    /// The attempts of which a process has come to the end of its script, and only its exit code was to follow.
    pub(super) ended: BTreeSet<Attempt>,
}

/// An end that a job may come to.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// What it says; nothing, if it is gone.
    said: Option<(State, Reason)>,
    succeeded: RangeInclusive<i32>,
    failed: RangeInclusive<i32>,
    completed_indexes: &'static str,
    failed_indexes: &'static str,
    begun: RangeInclusive<usize>,
    ended: RangeInclusive<usize>,
}

impl End {
    fn new(state: State, reason: Reason) -> Self {
        Self { said: Some((state, reason)), ..Self::gone() }
    }

    fn gone() -> Self {
        Self {
            said: None,
            succeeded: 0..=0,
            failed: 0..=0,
            completed_indexes: "",
            failed_indexes: "",
            begun: 0..=0,
            ended: 0..=0,
        }
    }

    /// So many have succeeded, and so many failed.
    fn counts(self, succeeded: RangeInclusive<i32>, failed: RangeInclusive<i32>) -> Self {
        Self { succeeded, failed, ..self }
    }

    /// These indexes have succeeded, and these have failed.
    fn indexes(self, completed_indexes: &'static str, failed_indexes: &'static str) -> Self {
        Self { completed_indexes, failed_indexes, ..self }
    }

    /// So many processes have begun, and so many have come to the end of their script.
    fn runs(self, begun: RangeInclusive<usize>, ended: RangeInclusive<usize>) -> Self {
        Self { begun, ended, ..self }
    }

    /// Whether this is what was seen.
    fn is(&self, seen: &Seen) -> bool {
        let status = seen.status.clone().unwrap_or_default();
        let said = self.said.map(|(state, reason)| (Some(state), Some(<&str>::from(reason))));
        said == seen.status.as_ref().map(|status| (status.state, status.reason.as_deref()))
            && self.succeeded.contains(&status.succeeded)
            && self.failed.contains(&status.failed)
            && status.completed_indexes.unwrap_or_default() == self.completed_indexes
            && status.failed_indexes.unwrap_or_default() == self.failed_indexes
            && self.begun.contains(&seen.begun.len())
            && self.ended.contains(&seen.ended.len())
    }
}

/// The ends that a job of this kind may come to. There are several only where it depends on when something was done by hand.
pub(super) fn ends(kind: Kind) -> Vec<End> {
    let complete = |n: i32| End::new(State::Complete, Reason::CompletionsReached).counts(n..=n, 0..=0);
    let failed = |reason: Reason, n: i32| End::new(State::Failed, reason).counts(0..=0, n..=n);
    let once = || complete(1).runs(1..=1, 1..=1);
    vec![match kind {
        Kind::Succeeds
        | Kind::Resumed
        | Kind::AfterComplete
        | Kind::AfterFailed
        | Kind::AfterFinished
        | Kind::Selector => once(),
        Kind::Fails | Kind::Killed => failed(Reason::BackoffLimitExceeded, 1).runs(1..=1, 0..=0),
        Kind::Retried | Kind::UnknownRetried => complete(1).counts(1..=1, 1..=1).runs(2..=2, 1..=1),
        Kind::UsesUp => failed(Reason::BackoffLimitExceeded, 2).runs(2..=2, 0..=0),
        Kind::Several => complete(3).runs(3..=3, 3..=3),
        Kind::Fleet => complete(4).runs(4..=4, 4..=4),
        Kind::Queue => complete(1).counts(1..=2, 0..=0).runs(1..=2, 1..=2),
        Kind::Indexed => complete(4).indexes("0-3", "").runs(4..=4, 4..=4),
        // Those that were ended for it are run again.
        Kind::Narrowed => complete(4).indexes("0-3", "").runs(4..=7, 4..=7),
        Kind::IndexFails => {
            failed(Reason::FailedIndexes, 1).counts(3..=3, 1..=1).indexes("0,1,3", "2").runs(4..=4, 3..=3)
        }
        Kind::IndexRetried => {
            failed(Reason::FailedIndexes, 3).counts(2..=2, 3..=3).indexes("0,1", "2").runs(5..=5, 2..=2)
        }
        Kind::MaxFailedIndexes => failed(Reason::MaxFailedIndexesExceeded, 1).indexes("", "0").runs(1..=1, 0..=0),
        Kind::FailJob => failed(Reason::PodFailurePolicy, 1).runs(1..=1, 0..=0),
        Kind::Ignored => complete(1).runs(2..=2, 1..=1),
        Kind::FailIndex => failed(Reason::FailedIndexes, 1).counts(2..=2, 1..=1).indexes("0,2", "1").runs(3..=3, 2..=2),
        Kind::SuccessPolicy => {
            End::new(State::Complete, Reason::SuccessPolicy).counts(1..=1, 0..=0).indexes("0", "").runs(1..=3, 1..=1)
        }
        // What was ended is run again, though it may have been at the end of its script.
        Kind::Paused => complete(1).runs(1..=2, 1..=2),
        Kind::PausedIndexes => complete(3).indexes("0-2", "").runs(3..=5, 3..=5),
        Kind::Suspended => End::new(State::Suspended, Reason::JobSuspended).runs(0..=1, 0..=0),
        Kind::Ttl => End::gone().runs(1..=1, 1..=1),
        Kind::TtlFailed => End::gone().runs(1..=1, 0..=0),
        Kind::AfterNever => failed(Reason::DependencyNeverSatisfied, 0),
        Kind::EveryNode => complete(3).indexes("0-2", "").runs(3..=3, 3..=3),
        Kind::EveryNodeFails => {
            failed(Reason::FailedIndexes, 1).counts(2..=2, 1..=1).indexes("0,2", "1").runs(3..=3, 2..=2)
        }
        Kind::DeletedBackground | Kind::DeletedForeground | Kind::DeletedOrphan => End::gone().runs(0..=1, 0..=1),
        Kind::DeletedSuspended => End::gone(),
        Kind::Deadline => failed(Reason::DeadlineExceeded, 0).counts(0..=0, 0..=1).runs(0..=1, 0..=0),
        Kind::DeadlineWaiting => failed(Reason::DeadlineExceeded, 0),
        Kind::Unknown => failed(Reason::UnknownEnd, 1).runs(1..=1, 0..=0),
        Kind::PodDeleted | Kind::PodDeletedAtOnce => {
            let lost = failed(Reason::BackoffLimitExceeded, 1).runs(0..=1, 0..=1);
            return vec![once(), lost];
        }
        // The second attempt is left alone.
        Kind::PodDeletedRetried => {
            let again = complete(1).counts(1..=1, 1..=1).runs(1..=2, 1..=2);
            return vec![once(), again];
        }
        Kind::PodDeletedOfIndexes => complete(3).counts(3..=3, 0..=2).indexes("0-2", "").runs(3..=5, 3..=5),
    }]
}

/// Whether a job of this kind is gone in the end.
pub(super) fn goes(kind: Kind) -> bool {
    ends(kind).iter().all(|end| end.said.is_none())
}

/// Whether what was seen of a job of this kind is as it must be; else what is not.
pub(super) fn check(kind: Kind, seen: &Seen) -> Result<(), String> {
    let ends = ends(kind);
    if !ends.iter().any(|end| end.is(seen)) {
        return Err(format!("it should have come to one of {ends:#?}"));
    }
    if let Some(stray) = seen.ended.iter().find(|attempt| !seen.begun.contains_key(attempt)) {
        return Err(format!("{stray:?} has ended without a beginning"));
    }
    places(kind, seen)?;
    seen.status.as_ref().map_or(Ok(()), |status| laws(status, seen))
}

/// Where they ran.
fn places(kind: Kind, seen: &Seen) -> Result<(), String> {
    let nodes: BTreeSet<&str> = seen.begun.values().map(String::as_str).collect();
    let is_right = match kind {
        Kind::EveryNode | Kind::EveryNodeFails => nodes.len() == 3,
        Kind::Selector => nodes.iter().all(|node| node.ends_with("-1")),
        // What was left to itself is not ended.
        Kind::DeletedOrphan => return same("processes that came to their end", seen.begun.len(), seen.ended.len()),
        _ => true,
    };
    if is_right { Ok(()) } else { Err(format!("it ran on {nodes:?}")) }
}

/// What is so of every job that has come to rest.
fn laws(status: &CmdJobStatus, seen: &Seen) -> Result<(), String> {
    same("active, ready, terminating", (status.active, status.ready, status.terminating), (0, 0, 0))?;
    let is = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind).is_some_and(|c| c.status == "True");
    let state = |of: State| status.state == Some(of);
    for (kind, expected) in [
        ("Complete", state(State::Complete)),
        ("SuccessCriteriaMet", state(State::Complete)),
        ("Failed", state(State::Failed)),
        ("FailureTarget", state(State::Failed)),
        ("Stalled", state(State::Failed)),
        ("Suspended", state(State::Suspended)),
        ("Reconciling", false),
    ] {
        same(&format!("condition {kind}"), is(kind), expected)?;
    }
    let reasons = status.conditions.iter().filter(|c| matches!(&*c.type_, "Complete" | "Failed") && c.status == "True");
    for condition in reasons {
        same("the condition's reason", Some(&condition.reason), status.reason.as_ref())?;
    }
    same("completionTime is set", status.completion_time.is_some(), state(State::Complete))?;
    attempts(status, seen)
}

/// What is told of single attempts: no job of a load has more than are shown.
fn attempts(status: &CmdJobStatus, seen: &Seen) -> Result<(), String> {
    let mut shown = BTreeSet::new();
    for attempt in &status.attempts {
        let which = (attempt.index.cast_unsigned(), attempt.attempt.cast_unsigned());
        if !attempt.state.is_final() {
            return Err(format!("{attempt:?} is open"));
        }
        if !shown.insert(which) {
            return Err(format!("{which:?} is told of twice"));
        }
        if attempt.state == AttemptState::Succeeded && !seen.ended.contains(&which) {
            return Err(format!("{attempt:?} did not come to its end"));
        }
    }
    if let Some(hidden) = seen.begun.keys().find(|attempt| !shown.contains(attempt)) {
        return Err(format!("{hidden:?} is not told of"));
    }
    let of = |state: AttemptState| status.attempts.iter().filter(|attempt| attempt.state == state).count();
    same("attempts that have succeeded", usize::try_from(status.succeeded), Ok(of(AttemptState::Succeeded)))?;
    let failures = of(AttemptState::Failed) + of(AttemptState::Unknown);
    // A failure that a policy ignores is shown, and not counted.
    if usize::try_from(status.failed).is_ok_and(|failed| failed <= failures) {
        Ok(())
    } else {
        Err(format!("{failures} failures are shown, and {} counted", status.failed))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} and not {expected:?}")) }
}
