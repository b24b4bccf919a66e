//! How long to wait after something went wrong.

use std::time::Duration;

use jiff::SignedDuration;

/// The pause after the first failed attempt, and the longest one. From batch/v1 Job's documentation ("Pod backoff failure
/// policy"): 10 s, 20 s, 40 s …, capped at six minutes there once, at ten minutes today.
const ATTEMPT_FIRST: SignedDuration = SignedDuration::from_secs(10);
const ATTEMPT_MAX: SignedDuration = SignedDuration::from_mins(10);

/// The pause after a node has refused an attempt for lack of room, and the longest one. Nothing has been run, so this is no
/// failure's pause: within a second it is known what is in use there.
const REFUSAL_FIRST: SignedDuration = SignedDuration::from_secs(1);
const REFUSAL_MAX: SignedDuration = SignedDuration::from_mins(1);

/// The pause after a pilot has failed, and the longest one: a site that refuses everything is asked twice an hour.
const PILOT_FIRST: SignedDuration = SignedDuration::from_secs(10);
const PILOT_MAX: SignedDuration = SignedDuration::from_mins(30);

/// The pause after the first failed reconcile of an object, and the longest one.
const RECONCILE_FIRST: Duration = Duration::from_millis(200);
const RECONCILE_MAX: Duration = Duration::from_secs(60);

/// The pause between the end of the `failures`-th failed attempt and the start of the next one.
pub fn after_attempt(failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(16);
    ATTEMPT_FIRST.saturating_mul(1_i32 << doublings).min(ATTEMPT_MAX)
}

/// The pause after an attempt has been refused for the `refusals`-th time in a row.
pub fn after_refusal(refusals: u32) -> SignedDuration {
    let doublings = refusals.saturating_sub(1).min(16);
    REFUSAL_FIRST.saturating_mul(1_i32 << doublings).min(REFUSAL_MAX)
}

/// The pause after the `failures`-th pilot in a row has failed.
pub fn after_pilot(failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(16);
    PILOT_FIRST.saturating_mul(1_i32 << doublings).min(PILOT_MAX)
}

/// The pause after the `failures`-th failed reconcile of one object in a row.
pub fn after_reconcile(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    RECONCILE_FIRST.saturating_mul(1_u32 << doublings).min(RECONCILE_MAX)
}

/// The pause after the first broken watch, and the longest one. Shorter than client-go's 30 s: what ended while the API
/// server was away shall be reported soon after it is back.
const WATCH_FIRST: Duration = Duration::from_millis(200);
const WATCH_MAX: Duration = Duration::from_secs(5);

/// The pause after a watch has failed `failures` times in a row.
pub fn after_watch(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    WATCH_FIRST.saturating_mul(1_u32 << doublings).min(WATCH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_attempts_are_those_of_job() {
        let seconds: Vec<i64> = (1..=9).map(|n| after_attempt(n).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(after_attempt(u32::MAX).as_secs(), 600);
    }

    #[test]
    fn pauses_after_refusals_grow_to_a_minute() {
        let seconds: Vec<i64> = (1..=8).map(|n| after_refusal(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after_refusal(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn pauses_between_reconciles_grow_to_a_minute() {
        assert_eq!(after_reconcile(1), Duration::from_millis(200));
        assert_eq!(after_reconcile(5), Duration::from_millis(3200));
        assert_eq!(after_reconcile(u32::MAX), Duration::from_secs(60));
    }
}
