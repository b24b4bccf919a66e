//! Whether the last pilots have failed, and how long none is submitted then.

use jiff::Timestamp;

use super::pilot::{Life, PilotSeen};
use crate::backoff;

/// From so many failures in a row on it is told as a condition of the fleet. One or two happen.
pub(super) const MANY: u32 = 3;

/// The failures in a row up to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// How many.
    pub(super) count: u32,
    /// Until when no pilot is submitted because of them.
    pub(super) until: Option<Timestamp>,
    /// What the last one said.
    pub(super) words: Option<String>,
}

impl Failures {
    /// Those of the pilots of this launcher: a launcher that was changed begins anew. A pilot that has brought a node, or has ended as
    /// it should, ends the row, also when it is forgotten (`good`); one that waits says nothing yet.
    pub(super) fn of(
        pilots: &[PilotSeen],
        digest: &str,
        good: Option<u64>,
        has_node: impl Fn(&PilotSeen) -> bool,
    ) -> Self {
        let is_in_row = |pilot: &&PilotSeen| pilot.digest == digest && good.is_none_or(|good| good < pilot.number);
        let mut newest_first: Vec<&PilotSeen> = pilots.iter().filter(is_in_row).collect();
        newest_first.sort_by_key(|pilot| std::cmp::Reverse(pilot.number));
        let mut this = Self::default();
        for pilot in newest_first {
            match pilot.life {
                Life::Ended => break,
                Life::Failed(at) => {
                    this.count = this.count.saturating_add(1);
                    this.until = this.until.max(Some(at));
                    this.words = this.words.or_else(|| pilot.message.clone());
                }
                Life::Waiting | Life::Submitted | Life::Leaving if has_node(pilot) => break,
                Life::Waiting | Life::Submitted | Life::Leaving => {}
            }
        }
        this.until = this.until.and_then(|at| at.checked_add(backoff::after_pilot(this.count)).ok());
        this
    }

    /// Whether none is submitted now.
    pub(super) fn pauses(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}
