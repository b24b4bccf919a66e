//! TERM that a batch system sends to all processes of a job at the same time. What ends by it is ended with its node, and not by itself.
//!
//! ```text
//!                    the batch system: TERM to all processes of the job
//!                       │                               │
//!                       ▼                               ▼
//!   a task ends by it, or for it            the node is told to end
//!                       │                               │
//!                       ▼ its end is held back          │ a moment later, or before it
//!                  for `HELD` at most ◀─────────────────┤
//!                       │                               │
//!                       ▼ nobody tells the node         ▼
//!               ended by itself                 ended with its node: its pod has DisruptionTarget
//! ```
//!
//! Held back is what has failed, and only if TERM may have made it fail: it was ended by that very signal, or has exited by itself
//! with a code, as a program does that catches it. KILL is no reason: those who send it to all send it to the node too, and one that
//! is sent to a task alone (for its memory, say) is that task's own end. A success is told at once; one that ended when the node
//! was being told, and is not told yet, is the leave that a program takes when it is told to, and not the end of its work.
//!
//! What the pipe has recorded stays as it is, with the signal; only what is made of it for the pod is decided here, from times. So
//! a node that is started again decides the same, as long as it knows when it was told: see [`super::Stay`].

use jiff::{SignedDuration, Timestamp};
use vk_task::{End, Signal};

/// How long an end is held back. A batch system signals the processes of a job one after the other, in milliseconds; this is for
/// those of a machine that has other things to do.
const HELD: SignedDuration = SignedDuration::from_secs(2);
/// What ended so shortly before the node heard of TERM, and has ended well, ended at the same time.
const TOGETHER: SignedDuration = SignedDuration::from_millis(100);
/// `SIGTERM`, whose number is the same everywhere.
const TERM: Signal = Signal(15);

/// What is known of the TERM that comes to all processes of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobTerm {
    /// Whether it may come: TERM ends the node, and its tasks with it.
    pub is_shared: bool,
    /// It came.
    pub came: Option<Came>,
}

/// TERM has come to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// When.
    pub at: Timestamp,
    /// What ended later than this has nothing to do with it: the node had been started anew. None: it is still being ended.
    pub until: Option<Timestamp>,
    /// The `reason` of the pods that end by it.
    pub reason: &'static str,
    /// Why they do, for people.
    pub message: String,
}

/// Whose doing the end of a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Its own, or that of somebody who meant this task.
    Own,
    /// That is not known before this time.
    Open {
        /// When it is its own.
        until: Timestamp,
    },
    /// The end of the node.
    Node(&'a Came),
}

impl JobTerm {
    /// Whose doing it is that a task ended like this, at that time, which this node has not asked to end. Both times are the clock's
    /// that runs now.
    #[must_use]
    pub fn whose(&self, end: &End, finished_at: Timestamp, now: Timestamp) -> Whose<'_> {
        let is_success = *end == End::Exited { code: 0 };
        let may_be = match end {
            End::Exited { .. } => true,
            End::Signaled { signal, .. } => *signal == TERM,
            End::NotStarted { .. } => false,
        };
        if !may_be {
            return Whose::Own;
        }
        if let Some(came) = &self.came {
            let from = came.at.saturating_sub(if is_success { TOGETHER } else { HELD }).unwrap_or(Timestamp::MIN);
            if finished_at >= from && came.until.is_none_or(|until| finished_at <= until) {
                return Whose::Node(came);
            }
            // It does not come twice.
            if came.until.is_none() {
                return Whose::Own;
            }
        }
        let until = finished_at.saturating_add(HELD).unwrap_or(Timestamp::MAX);
        if self.is_shared && !is_success && now < until { Whose::Open { until } } else { Whose::Own }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ending::TERMINATED;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn term(came: Option<(i64, Option<i64>)>) -> JobTerm {
        let came = came.map(|(came, until)| Came {
            at: at(came),
            until: until.map(at),
            reason: TERMINATED,
            message: "m".into(),
        });
        JobTerm { is_shared: true, came }
    }

    const BY_TERM: End = End::Signaled { signal: TERM, core_dumped: false };

    #[test]
    fn what_ends_by_term_is_held_back_for_a_moment_and_then_its_own() {
        let nobody = term(None);
        let open = Whose::Open { until: at(12_000) };
        for (end, now, expected) in [
            (BY_TERM, 10_000, open),
            (BY_TERM, 11_999, open),
            (BY_TERM, 12_000, Whose::Own),
            (End::Exited { code: 143 }, 10_000, open),
            (End::Exited { code: 1 }, 10_000, open),
            (End::Exited { code: 0 }, 10_000, Whose::Own),
            (End::Signaled { signal: Signal(9), core_dumped: false }, 10_000, Whose::Own),
            (End::Signaled { signal: Signal(11), core_dumped: true }, 10_000, Whose::Own),
            (End::NotStarted { failure: vk_task::StartFailure::NotFound, message: String::new() }, 10_000, Whose::Own),
        ] {
            assert_eq!(nobody.whose(&end, at(10_000), at(now)), expected, "{end:?} at {now}");
            let elsewhere = JobTerm::default();
            assert_eq!(elsewhere.whose(&end, at(10_000), at(now)), Whose::Own, "TERM does not end this node");
        }
    }

    #[test]
    fn what_ended_when_the_node_was_told_to_is_the_nodes_end() {
        let told = term(Some((10_000, None)));
        let of = |end: &End, finished: i64| told.whose(end, at(finished), at(60_000)) != Whose::Own;
        for (end, times) in [
            (BY_TERM, [(7_999, false), (8_000, true), (10_000, true), (13_000, true)]),
            (End::Exited { code: 3 }, [(7_999, false), (8_000, true), (10_000, true), (13_000, true)]),
            (End::Exited { code: 0 }, [(8_000, false), (9_899, false), (9_900, true), (13_000, true)]),
        ] {
            for (finished, expected) in times {
                assert_eq!(of(&end, finished), expected, "{end:?} at {finished}");
            }
        }
    }

    #[test]
    fn what_a_node_was_told_before_it_was_started_anew_holds_for_what_ended_by_then() {
        let before = term(Some((10_000, Some(40_000))));
        let whose = |finished: i64, now: i64| before.whose(&BY_TERM, at(finished), at(now));
        assert!(matches!(whose(9_000, 50_000), Whose::Node(_)));
        assert!(matches!(whose(40_000, 50_000), Whose::Node(_)));
        assert_eq!(whose(40_001, 40_002), Whose::Open { until: at(42_001) }, "it may come once more");
        assert_eq!(whose(40_001, 50_000), Whose::Own);
    }

    proptest! {
        /// Nothing is open for ever, and what has become known does not change with time alone.
        #[test]
        fn it_becomes_known_and_stays(
            code in proptest::option::of(0_u8..4), finished in 0_i64..20_000, now in 0_i64..40_000, later in 0_i64..40_000,
            came in proptest::option::of((0_i64..20_000, proptest::option::of(0_i64..20_000))), is_shared: bool,
        ) {
            let term = JobTerm { is_shared, ..term(came) };
            let end = code.map_or(BY_TERM, |code| End::Exited { code });
            let (first, second) = (now.min(later), now.max(later));
            let (first, second) = (term.whose(&end, at(finished), at(first)), term.whose(&end, at(finished), at(second)));
            match first {
                Whose::Open { until } => {
                    let is_nodes = matches!(second, Whose::Node(_));
                    prop_assert!(until <= at(finished + 2_000) && !is_nodes, "{:?}", second);
                }
                Whose::Own | Whose::Node(_) => prop_assert_eq!(first, second),
            }
        }
    }
}
