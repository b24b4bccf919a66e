//! The phase of a pod: the kubelet's `getPhase`, and what is published does not go backwards.

use super::Verdict;
use crate::admit::Role;
use crate::life::Progress;
use crate::look::{Look, Seen};
use crate::runs::Outcome;

/// The phase. Sidecars and ephemeral containers have no say in how a pod ended.
pub(super) fn of(look: &Look<'_>, progress: &Progress, verdict: Verdict<'_>) -> &'static str {
    let succeeded = |seen: Seen<'_>| seen.outcome().is_some_and(Outcome::is_success);
    match verdict {
        Verdict::Ended if look.facts.published.phase.as_deref() == Some("Succeeded") => "Succeeded",
        Verdict::PastDeadline
        | Verdict::CannotStart(_)
        | Verdict::Evicted(_)
        | Verdict::NodeEnds { .. }
        | Verdict::Ended => "Failed",
        Verdict::ByItself if *progress != Progress::Failed && look.with(Role::Main).all(succeeded) => "Succeeded",
        Verdict::ByItself => "Failed",
        Verdict::Living | Verdict::Stopping if is_running(look) => "Running",
        Verdict::Living | Verdict::Stopping => "Pending",
    }
}

/// Whether every main container has been started at least once.
fn is_running(look: &Look<'_>) -> bool {
    look.facts.published.phase.as_deref() == Some("Running") || look.with(Role::Main).all(|seen| seen.has_begun())
}
