//! A wall clock that is stepped, and how long ago something was all the same. Pure.
//!
//! Times are recorded by the wall clock, for people and for Kubernetes; how long ago they were decides whether something is
//! ended or run again. Somebody may set that clock in between. `CLOCK_BOOTTIME` nobody can set, but it says nothing to
//! others and begins anew with each boot. So both are read together, and where the wall clock has moved against the other,
//! that is a *step* (a clock that is slewed moves both of them):
//!
//! ```text
//!   wall  │              ╱ after the step: another scale
//!         │             ╱
//!         │    ╱┄┄┄┄┄┄┄┄  at this step the scale changes
//!         │   ╱
//!         │  ╱ recorded here …
//!         └──────────────────▶ since boot
//! ```
//!
//! [`Steps::present`] turns a recorded time into what the clock that runs now would have shown then. All that compares times
//! with `now` compares those.
//!
//! A clock that is set back shows some times twice. One of those is taken for the later of the two: what follows from an
//! age (a deadline, the end of a back-off) then comes as late as by the wall clock alone, and never too early.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Less than this is no step: reading two clocks takes time.
const LEAST: SignedDuration = SignedDuration::from_millis(500);
/// By so much a recorded time may lie outside a scale and belong to it: statuses hold whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// So many scales are kept; the oldest go.
const MOST: usize = 64;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// The time since the host was started, its sleep included.
    pub boot: SignedDuration,
}

/// The steps of the wall clock since the host was started, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// The oldest first. The first one counts for all time before it too.
    scales: Vec<Scale>,
    /// The last reading, since boot.
    last: SignedDuration,
}

/// How the wall clock ran between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Scale {
    /// From when on, since boot.
    since: SignedDuration,
    /// What it would have shown when the host was started.
    zero: Timestamp,
}

impl Reading {
    fn zero(&self) -> Timestamp {
        self.wall.saturating_sub(self.boot).unwrap_or(Timestamp::MIN)
    }
}

impl Steps {
    /// Takes in a reading. Gives by how much the wall clock was stepped since the one before, if it was: the step is taken to
    /// have come right after that one, for what was recorded since then may be by the new scale.
    pub fn note(&mut self, reading: Reading) -> Option<SignedDuration> {
        let last = std::mem::replace(&mut self.last, reading.boot);
        let zero = reading.zero();
        let Some(before) = self.scales.last().copied() else {
            self.scales.push(Scale { since: reading.boot, zero });
            return None;
        };
        let step = zero.duration_since(before.zero);
        if step.abs() < LEAST {
            return None;
        }
        if self.scales.len() >= MOST {
            self.scales.remove(0);
        }
        self.scales.push(Scale { since: last, zero });
        Some(step)
    }

    /// The last step: when it was, since boot, and by how much.
    #[must_use]
    pub fn latest(&self) -> Option<(SignedDuration, SignedDuration)> {
        match self.scales.as_slice() {
            [.., before, last] => Some((last.since, last.zero.duration_since(before.zero))),
            [] | [_] => None,
        }
    }

    /// Takes the next step, if there has been one, to have come after this time since boot.
    pub fn looked_at(&mut self, boot: SignedDuration) {
        self.last = self.last.max(boot);
    }

    /// What the clock that runs now shows, has shown or will show at a time since boot. For the same time it is the same until
    /// the clock is set. None before the first reading.
    #[must_use]
    pub fn wall(&self, boot: SignedDuration) -> Option<Timestamp> {
        self.scales.last().and_then(|scale| scale.zero.checked_add(boot).ok())
    }

    /// What the clock that runs now would have shown at the moment when `recorded` was recorded. Without a step, the same.
    #[must_use]
    pub fn present(&self, recorded: Timestamp) -> Timestamp {
        let ([_, _, ..], Some(now)) = (self.scales.as_slice(), self.scales.last()) else { return recorded };
        let mut until = self.last;
        let mut nearest: Option<(SignedDuration, SignedDuration)> = None;
        for (index, scale) in self.scales.iter().enumerate().rev() {
            let boot = recorded.duration_since(scale.zero);
            let early = if index == 0 { SignedDuration::ZERO } else { scale.since.saturating_sub(boot) };
            let outside = early.max(boot.saturating_sub(until)).max(SignedDuration::ZERO);
            if outside <= SLACK {
                nearest = Some((outside, boot));
                break;
            }
            if nearest.is_none_or(|(least, _)| outside < least) {
                nearest = Some((outside, boot));
            }
            until = scale.since;
        }
        nearest.and_then(|(_, boot)| now.zero.saturating_add(boot).ok()).unwrap_or(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    /// A host whose clocks are read every five seconds.
    struct Host {
        steps: Steps,
        boot: i64,
        /// The wall clock less the time since boot.
        zero: i64,
    }

    impl Host {
        fn new() -> Self {
            let mut this = Self { steps: Steps::default(), boot: 1000, zero: 1_000_000 };
            this.read();
            this
        }

        fn wall(&self) -> Timestamp {
            Timestamp::from_second(self.zero + self.boot).unwrap()
        }

        fn read(&mut self) -> Option<SignedDuration> {
            self.steps.note(Reading { wall: self.wall(), boot: SignedDuration::from_secs(self.boot) })
        }

        fn pass(&mut self, seconds: i64) {
            for _ in 0..seconds {
                self.boot += 1;
                if self.boot % 5 == 0 {
                    self.read();
                }
            }
        }

        /// How long ago that was, in seconds, by what is known now.
        fn age(&mut self, recorded: Timestamp) -> i64 {
            self.read();
            self.wall().duration_since(self.steps.present(recorded)).as_secs()
        }
    }

    #[test]
    fn without_a_step_a_time_is_what_it_is() {
        let mut host = Host::new();
        let recorded = host.wall();
        host.pass(100);
        assert_eq!((host.age(recorded), host.steps.scales.len()), (100, 1));
        let ahead = host.wall() + SignedDuration::from_secs(30);
        assert_eq!(host.steps.present(ahead), ahead);
    }

    #[test]
    fn a_step_changes_no_age() {
        for step in [2 * DAY, -2 * DAY, 3600, -3600] {
            let mut host = Host::new();
            host.pass(3);
            let before = host.wall();
            host.pass(7);
            let ahead = host.wall() + SignedDuration::from_secs(30);
            host.zero += step;
            host.pass(1);
            // Recorded by the new scale before the step was seen.
            let unseen = host.wall();
            host.pass(99);
            let after = host.wall();
            host.pass(50);
            assert_eq!(host.age(before), 157, "{step}");
            assert_eq!(host.age(unseen), 149, "{step}");
            assert_eq!(host.age(after), 50, "{step}");
            assert_eq!(host.age(ahead), 120, "{step}");
            // There and back again.
            host.zero -= step;
            host.pass(10);
            assert_eq!((host.age(before), host.age(after)), (167, 60), "{step}");
        }
    }

    #[test]
    fn a_time_since_boot_is_what_the_clock_shows_then() {
        let mut host = Host::new();
        assert_eq!(Steps::default().wall(SignedDuration::ZERO), None);
        let then = SignedDuration::from_secs(host.boot + 100);
        let at = host.steps.wall(then).unwrap();
        assert_eq!(at, host.wall() + SignedDuration::from_secs(100));
        host.pass(60);
        assert_eq!(host.steps.wall(then), Some(at));
        host.zero -= 2 * DAY;
        host.pass(10);
        assert_eq!(host.steps.wall(then), Some(host.wall() + SignedDuration::from_secs(30)));
    }

    #[test]
    fn whole_seconds_right_after_a_step_are_of_the_new_scale() {
        let mut host = Host::new();
        host.pass(60);
        host.read();
        host.zero -= 2 * DAY;
        let truncated = host.wall() - SignedDuration::from_secs(1);
        host.pass(10);
        assert_eq!(host.age(truncated), 11);
    }

    #[test]
    fn of_two_moments_that_a_time_may_have_been_the_later_counts() {
        let mut host = Host::new();
        host.pass(60);
        let recorded = host.wall();
        host.pass(60);
        host.zero -= 100;
        host.pass(60);
        // 120 s, in truth. By the clock alone it is as here.
        assert_eq!(host.age(recorded), 20);
    }

    #[test]
    fn many_steps_take_no_more_room() {
        let mut host = Host::new();
        for n in 0..1000 {
            host.zero += if n % 2 == 0 { 60 } else { -60 };
            host.pass(5);
        }
        assert_eq!(host.steps.scales.len(), MOST);
        let text = serde_json::to_string(&host.steps).unwrap();
        assert_eq!(serde_json::from_str::<Steps>(&text).unwrap(), host.steps);
    }

    #[test]
    fn what_is_read_and_not_stepped_is_no_step() {
        let mut steps = Steps::default();
        for n in 0..100 {
            let jitter = SignedDuration::from_millis(n % 7 * 50);
            let reading = Reading {
                wall: Timestamp::from_second(5000 + n).unwrap() + jitter,
                boot: SignedDuration::from_secs(n),
            };
            assert_eq!(steps.note(reading), None);
        }
    }
}
