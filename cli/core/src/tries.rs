//! Asking again and again: how long to pause before the next time, and when there was enough of it.

use std::time::{Duration, Instant};

/// The shortest pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What is said for so long is the last word.
const LAST_WORD: Duration = Duration::from_secs(30);

/// What was tried in vain, one time after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    in_vain: u32,
    since: Option<Instant>,
}

impl Tries {
    /// It was in vain once more.
    pub fn fail(&mut self, now: Instant) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// It was not in vain: what was before counts no more.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// How often it was in vain.
    #[must_use]
    pub fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Whether it has been in vain for half a minute, which is for good.
    #[must_use]
    pub fn are_over(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= LAST_WORD)
    }

    /// How long to pause now: each time twice as long as before, up to five seconds.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.in_vain.saturating_sub(1));
        PAUSES.0.saturating_mul(doubled).min(PAUSES.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_half_a_minute_is_enough() {
        let (begin, mut now) = (Instant::now(), Instant::now());
        let mut tries = Tries::default();
        let mut pauses = Vec::new();
        while !tries.are_over(now) {
            tries.fail(now);
            pauses.push(tries.pause().as_millis());
            now += tries.pause();
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000]);
        assert!(now - begin < LAST_WORD + PAUSES.1, "{:?}", now - begin);
        assert!((0..100).all(|_| {
            tries.fail(now);
            tries.pause() <= PAUSES.1
        }));
        tries.succeed();
        assert_eq!((tries.in_vain(), tries.pause(), tries.are_over(now)), (0, PAUSES.0, false));
    }
}
