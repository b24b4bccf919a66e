//! When to look again though nothing is heard.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::view::{SILENCE, Use, View};
use super::{Memory, NodeOfPilot, Step};
use crate::place::NodeState;

/// After something was to be done: whether it was, is heard most often, but nobody hears that it was not.
const AFTER_STEPS: Duration = Duration::from_secs(1);

/// How long until what is decided may be another though nothing happens; none: it stays as it is.
pub(super) fn after(view: &View<'_>, memory: &Memory, steps: &[Step]) -> Option<Duration> {
    if !steps.is_empty() {
        return Some(AFTER_STEPS);
    }
    let facts = view.facts;
    let by_clock = facts.nodes.iter().flat_map(|node| changes_at(node, facts.wishes.margin)).chain(view.failures.until);
    let by_clock = by_clock.map(|at| at.duration_since(facts.now)).filter(SignedDuration::is_positive).min();
    let by_clock = by_clock.and_then(|wait| Duration::try_from(wait).ok());
    // What somebody has said is done at once.
    let patience = view.said().is_none().then(|| Duration::try_from(facts.launcher.idle).unwrap_or_default());
    let by_patience = patience.and_then(|patience| {
        let kept =
            view.live().flat_map(|pilot| &pilot.nodes).filter(|(_, how)| matches!(how, Use::Serving | Use::Shut));
        let idle = kept.filter_map(|(node, _)| memory.idle(node.name, facts.uptime));
        let since = idle.chain(memory.too_many_for(facts.uptime));
        since.filter_map(|since| patience.checked_sub(since)).filter(|left| !left.is_zero()).min()
    });
    by_clock.into_iter().chain(by_patience).min()
}

/// When a node counts for something else though it says nothing: near its end, and when it has been silent for too long.
fn changes_at(node: &NodeOfPilot<'_>, margin: SignedDuration) -> impl Iterator<Item = Timestamp> {
    let closes = node.seen.ends.and_then(|ends| ends.checked_sub(margin).ok());
    let since = match node.seen.state {
        NodeState::NotReady { since, .. } => since,
        NodeState::Ready | NodeState::Cordoned | NodeState::Tainted(_) => None,
    };
    closes.into_iter().chain(since.and_then(|since| since.checked_add(SILENCE).ok()))
}
