//! What is to be started now, and the back-off before a container is run again.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::init::Progress;
use super::{Decision, Step};
use crate::admit::Role;
use crate::facts::Retry;
use crate::look::{Look, Seen};
use crate::runs::Outcome;

/// The first wait before a container is run again; it doubles each time. The kubelet's figures.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait before a container is run again.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(300);
/// A run that lasted longer starts the back-off anew.
const RESETS_BACKOFF: SignedDuration = SignedDuration::from_secs(600);

/// How long a container waits before it is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackOff {
    /// How long.
    wait: SignedDuration,
    /// Until when.
    pub(crate) until: Timestamp,
}

impl BackOff {
    /// The wait after the last run of a container, if that is over: none after the first and after one that lasted, then
    /// 10 s, 20 s and so on.
    ///
    /// As the kubelet's, which forgets it all when it is restarted, it counts in memory from the last run that lasted. What
    /// is forgotten here makes the wait longer, not shorter: then all runs count.
    pub(crate) fn after(seen: Seen<'_>) -> Option<Self> {
        let (run, outcome) = (seen.latest()?, seen.outcome()?);
        let nth = match seen.back_off_from() {
            Some(from) if run.restart >= from => run.restart.saturating_sub(from).saturating_add(1),
            Some(_) | None => run.restart,
        };
        let wait = match nth {
            0 => SignedDuration::ZERO,
            _ if has_lasted(seen, outcome) => SignedDuration::ZERO,
            n => (0..n.min(6)).skip(1).fold(FIRST_BACKOFF, |wait, _| wait * 2).min(LONGEST_BACKOFF),
        };
        let until = seen.ended_after(outcome).0.saturating_add(wait).unwrap_or(Timestamp::MAX);
        Some(Self { wait, until })
    }
}

fn has_lasted(seen: Seen<'_>, outcome: &Outcome) -> bool {
    seen.ended_after(outcome).1 > RESETS_BACKOFF
}

/// As Go writes a duration: `10s`, `1m20s`, `5m0s`.
impl fmt::Display for BackOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.wait.as_secs() / 60, self.wait.as_secs() % 60);
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{seconds}s")
    }
}

/// Starts all that is to run and does not, each when its time has come.
pub(super) fn what_is_due(look: &Look<'_>, progress: &Progress, decision: &mut Decision) {
    // As in the kubelet, which starts one container after the other and stays with each until its postStart is done.
    let mut somebody_is_in_post_start = false;
    for seen in look.all() {
        let is_ephemeral = seen.container.role == Role::Ephemeral;
        if seen.is_active() {
            somebody_is_in_post_start |= seen.is_in_post_start();
        } else if is_wanted(seen, progress) && (is_ephemeral || !somebody_is_in_post_start) {
            somebody_is_in_post_start |= start(look, seen, decision) && seen.container.hooks.post_start.is_some();
        }
    }
}

/// Whether a container that does not run is to.
fn is_wanted(seen: Seen<'_>, progress: &Progress) -> bool {
    match seen.container.role {
        Role::Init | Role::Sidecar => progress.wants(seen.index),
        Role::Main => matches!(progress, Progress::Initialised(_)) && !seen.is_done(),
        Role::Ephemeral => seen.latest().is_none(),
    }
}

/// Starts a container if its time has come, and tells whether it has.
fn start(look: &Look<'_>, seen: Seen<'_>, decision: &mut Decision) -> bool {
    let now = look.facts.now;
    let (restart, due) = match seen.latest() {
        None => (seen.history.next_restart, now),
        Some(run) => (run.restart.saturating_add(1), BackOff::after(seen).map_or(now, |back_off| back_off.until)),
    };
    let due = match look.facts.troubles.get(&seen.container.name).map(|trouble| trouble.retry) {
        Some(Retry::At(at)) => due.max(look.facts.present(at)),
        Some(Retry::Never) => return false,
        None => due,
    };
    if due <= now {
        let anew = seen.outcome().is_some_and(|outcome| has_lasted(seen, outcome));
        decision.steps.push(Step::Start { container: seen.index, restart, anew });
    } else {
        decision.again(due);
    }
    due <= now
}
