//! Which of several relays a node dials.
//!
//! ```text
//!   one that follows from its name ──▶ stays with it, also when it has only lost it
//!        ▲                                 │ could not get in there, or was sent away
//!        └── the next one, and round ◀─────┘
//! ```
//!
//! So nodes are spread over relays without any of them knowing of the others, a node that starts again has the port that it had, and
//! a relay that is gone costs one try. Nobody goes back by himself: that would cut what is open.

use crate::fnv;
use crate::protocol::Leave;
use crate::redial::Ended;

/// Which relay is dialled, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    count: usize,
    at: usize,
}

impl Choice {
    /// Where the node of this name begins, of so many relays.
    #[must_use]
    pub fn new(node: &str, count: usize) -> Self {
        let count = count.max(1);
        let at = u64::try_from(count).ok().and_then(|count| usize::try_from(fnv(node) % count).ok());
        Self { count, at: at.unwrap_or_default() }
    }

    /// The one that is dialled next.
    #[must_use]
    pub fn current(self) -> usize {
        self.at
    }

    /// A connection to it has ended so, or has not come to be.
    pub fn after(&mut self, ended: Ended) {
        let is_of_no_use = match ended {
            Ended::Failed { .. } | Ended::Told { why: Leave::Stopping, .. } => true,
            Ended::Lost | Ended::NewCertificate | Ended::Told { why: Leave::Replaced, .. } => false,
        };
        if is_of_no_use {
            self.at = (self.at + 1) % self.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_node_goes_round_and_stays_where_it_gets_in() {
        let mut choice = Choice::new("vk-a", 3);
        let first = choice.current();
        let ends = [
            (Ended::Lost, 0),
            (Ended::NewCertificate, 0),
            (Ended::Told { why: Leave::Replaced, within_seconds: 0 }, 0),
            (Ended::Failed { in_a_row: 1 }, 1),
            (Ended::Lost, 1),
            (Ended::Told { why: Leave::Stopping, within_seconds: 12 }, 2),
            (Ended::Failed { in_a_row: 2 }, 3),
        ];
        for (ended, steps) in ends {
            choice.after(ended);
            assert_eq!(choice.current(), (first + steps) % 3, "{ended:?}");
        }
        let mut only = Choice::new("vk-a", 1);
        only.after(Ended::Failed { in_a_row: 1 });
        assert_eq!((only.current(), Choice::new("vk-a", 0).current()), (0, 0));
    }

    #[test]
    fn nodes_are_spread_over_relays() {
        let mut counts = BTreeMap::new();
        for n in 0..1000 {
            *counts.entry(Choice::new(&format!("vk-perlmutter-{n}"), 3).current()).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| (200..500).contains(count)), "{counts:?}");
    }
}
