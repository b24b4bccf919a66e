//! When a node dials again.
//!
//! ```text
//!   connected ── lost ────────▶ within 2 s ─▶ dials ── failed ─▶ within 2, 4, 8 … 60 s ─▶ dials …
//!       │  └──── told to leave ─▶ within what it was told
//!       └─────── replaced by somebody else ─▶ after 30 to 60 s
//! ```
//!
//! Each time at a random moment: of a thousand nodes whose relay was restarted no two come together, and none ever
//! gives up.

use std::time::Duration;

use crate::protocol::Leave;

/// The span after the first failure, and the longest.
const SPAN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The least pause: a relay that refuses at once is not asked in a busy loop.
const LEAST: Duration = Duration::from_millis(100);
/// The least pause after somebody else has taken the name, and the span after that. Two that have one name must not take
/// it from each other all the time.
const REPLACED: Duration = Duration::from_secs(30);
/// How long a connection must have stood to count as one that worked.
pub const STOOD: Duration = Duration::from_secs(10);
/// How long a node that was let in elsewhere can still be reached as before: its Node must say where it is reached now, and whoever
/// has read it before that must have dialled.
pub const HAND_OVER: Duration = Duration::from_secs(5);
/// How long a node that was told to leave holds on to its relay beyond the time within which it was to dial again, where it gets in
/// nowhere.
pub const HOLD_ON: Duration = Duration::from_secs(3);

/// How a connection ended, or that there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It stood for a while, and was lost.
    Lost,
    /// It did not come up, or did not last, so many times in a row.
    Failed {
        /// So many times, this one counted.
        in_a_row: u32,
    },
    /// The relay has said so.
    Told {
        /// Why.
        why: Leave,
        /// Within how many seconds the node is to dial again.
        within_seconds: u32,
    },
    /// The node has a new certificate, and is to show it.
    NewCertificate,
}

/// How long to wait before the node dials again; `random` is from 0 to 1.
#[must_use]
pub fn pause(ended: Ended, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    match ended {
        Ended::NewCertificate => Duration::ZERO,
        Ended::Lost => LEAST.max(SPAN.0.mul_f64(random)),
        Ended::Failed { in_a_row } => {
            let doublings = in_a_row.saturating_sub(1).min(16);
            LEAST.max(SPAN.0.saturating_mul(1 << doublings).min(SPAN.1).mul_f64(random))
        }
        Ended::Told { why: Leave::Replaced, .. } => REPLACED + REPLACED.mul_f64(random),
        Ended::Told { why: Leave::Stopping, within_seconds } => {
            LEAST.max(Duration::from_secs(within_seconds.into()).min(SPAN.1).mul_f64(random))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        let longest = |ended| pause(ended, 1.0).as_secs();
        let failed: Vec<u64> = (1..=8).map(|in_a_row| longest(Ended::Failed { in_a_row })).collect();
        assert_eq!(failed, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(longest(Ended::Lost), 2);
        assert_eq!(longest(Ended::Told { why: Leave::Stopping, within_seconds: 12 }), 12);
        assert_eq!(longest(Ended::Told { why: Leave::Stopping, within_seconds: u32::MAX }), 60);
        assert_eq!(pause(Ended::Told { why: Leave::Replaced, within_seconds: 0 }, 0.0).as_secs(), 30);
    }

    proptest! {
        /// A thousand nodes that lost their relay together come back spread over the span, not together.
        #[test]
        fn nobody_waits_longer_than_a_minute_or_not_at_all(in_a_row in 1_u32.., random in 0.0_f64..=1.0) {
            let pause = pause(Ended::Failed { in_a_row }, random);
            prop_assert!(pause >= LEAST && pause <= SPAN.1);
        }
    }
}
