//! One probe of one run: when it is made, and what its answers come to.
//!
//! ```text
//!              first()                    told(): an error says nothing
//!   run seen ─────────▶ waiting ──due──▶ probing ───────────────────────────▶ waiting
//!                          ▲                │
//!                          │                │ success or failure, counted while the same comes again
//!                          │                ▼
//!                          │      ┌──── in a row < threshold? ────┐
//!                          │ yes  │                               │ no
//!                          ├──────┘                               ▼
//!                          │                              verdict is told
//!                          │  readiness, liveness success         │
//!                          └──────────────────────────────────────┤
//!                                                                 │ liveness failure, startup
//!                                                                 ▼
//!                                                        over, until the next run
//! ```
//!
//! As in the kubelet's worker. Two things are said in its terms and done in ours:
//! - Its ticker runs from before the container starts, so a startup or liveness probe is first made about one period
//!   after the start. Here that is exact: `failureThreshold` × `periodSeconds` is what a program has to come up in.
//!   It makes a readiness probe as soon as it sees that the container has started, and so does this.
//! - A verdict that has not been reached is [`Unknown`](crate::facts::Probe::Unknown), for life and status to read:
//!   alive, not yet ready; and after a restart of the node what was published of this run still holds.

use std::time::Duration;

use super::{Kind, ProbeSpec};
use crate::facts::Probe;

/// What one probe gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It succeeded.
    Success,
    /// It succeeded, and something about it is worth telling.
    Warning {
        /// What, for people.
        message: String,
    },
    /// It failed.
    Failure {
        /// Why, for people.
        message: String,
    },
    /// It could not be made. That says nothing about the container.
    Error {
        /// Why, for people.
        message: String,
    },
}

/// Counts the answers of one probe of one run.
#[derive(Clone, Debug)]
pub struct Machine {
    kind: Kind,
    spec: ProbeSpec,
    /// The last answer, and how often it has come in a row.
    row: Option<(bool, u32)>,
}

/// What comes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The verdict, where a threshold has been reached.
    pub verdict: Option<Probe>,
    /// How long to wait before the next probe; `None` where there is none in this run.
    pub next: Option<Duration>,
}

impl Machine {
    /// Nothing has been said yet.
    #[must_use]
    pub fn new(kind: Kind, spec: ProbeSpec) -> Self {
        Self { kind, spec, row: None }
    }

    /// What is asked.
    #[must_use]
    pub fn spec(&self) -> &ProbeSpec {
        &self.spec
    }

    /// How long to wait before the first probe, for a run that started so long ago. `resumed` for one that this node
    /// found running when it was started itself, with a random number of 0 to 1: all such probes would be made at once
    /// otherwise, and so they are spread over their period.
    #[must_use]
    pub fn first(&self, age: Duration, resumed: Option<f64>) -> Duration {
        let Self { kind, spec, row: _ } = self;
        let earliest = spec.initial_delay.saturating_sub(age);
        if let Some(random) = resumed.filter(|random| (0.0..=1.0).contains(random)) {
            return earliest.max(spec.period.mul_f64(random));
        }
        match kind {
            Kind::Readiness => earliest,
            Kind::Startup | Kind::Liveness => {
                let period = spec.period.as_nanos().max(1);
                let ticks = spec.initial_delay.max(age).as_nanos().div_ceil(period).max(1);
                let at = Duration::from_nanos(u64::try_from(ticks * period).unwrap_or(u64::MAX));
                at.saturating_sub(age)
            }
        }
    }

    /// Counts an answer to a probe that took so long.
    pub fn told(&mut self, answer: &Answer, took: Duration) -> Told {
        let next = Some(self.spec.period.saturating_sub(took));
        let succeeded = match answer {
            Answer::Success | Answer::Warning { .. } => true,
            Answer::Failure { .. } => false,
            Answer::Error { .. } => return Told { verdict: None, next },
        };
        let in_row = match self.row {
            Some((last, n)) if last == succeeded => n.saturating_add(1),
            _ => 1,
        };
        self.row = Some((succeeded, in_row));
        let threshold = if succeeded { self.spec.success_threshold } else { self.spec.failure_threshold };
        if in_row < threshold.get() {
            return Told { verdict: None, next };
        }
        let verdict = match answer {
            Answer::Failure { message } => Probe::Failure { message: message.clone() },
            Answer::Success | Answer::Warning { .. } | Answer::Error { .. } => Probe::Success,
        };
        let is_over = match self.kind {
            Kind::Startup => true,
            Kind::Liveness => !succeeded,
            Kind::Readiness => false,
        };
        Told { verdict: Some(verdict), next: next.filter(|_| !is_over) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::probe::Handler;

    fn machine(kind: Kind, (delay, period): (u64, u64), (success, failure): (u32, u32)) -> Machine {
        let spec = ProbeSpec {
            handler: Handler::Tcp { host: None, port: 1 },
            initial_delay: Duration::from_secs(delay),
            period: Duration::from_secs(period),
            timeout: Duration::from_secs(1),
            success_threshold: NonZeroU32::new(success).unwrap(),
            failure_threshold: NonZeroU32::new(failure).unwrap(),
            grace: None,
        };
        Machine::new(kind, spec)
    }

    fn answer(n: u8) -> Answer {
        match n {
            0 => Answer::Success,
            1 => Answer::Failure { message: "no".into() },
            2 => Answer::Warning { message: "hm".into() },
            _ => Answer::Error { message: "?".into() },
        }
    }

    #[test]
    fn the_first_probe_is_when_the_kubelets_ticker_would_make_it() {
        let first = |kind, times, age| machine(kind, times, (1, 3)).first(Duration::from_secs(age), None).as_secs();
        for (times, age, others, readiness) in [
            ((0, 10), 0, 10, 0),
            ((5, 10), 0, 10, 5),
            ((15, 10), 0, 20, 15),
            ((15, 10), 12, 8, 3),
            ((0, 10), 23, 7, 0),
            ((20, 10), 0, 20, 20),
        ] {
            assert_eq!(first(Kind::Liveness, times, age), others, "{times:?} {age}");
            assert_eq!(first(Kind::Startup, times, age), others, "{times:?} {age}");
            assert_eq!(first(Kind::Readiness, times, age), readiness, "{times:?} {age}");
        }
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        let mut readiness = machine(Kind::Readiness, (0, 10), (2, 2));
        let verdicts = [0, 1, 0, 0, 1, 3, 1, 1].map(|n| readiness.told(&answer(n), Duration::ZERO).verdict);
        let failure = Some(Probe::Failure { message: "no".into() });
        let success = Some(Probe::Success);
        assert_eq!(verdicts, [None, None, None, success, None, None, failure.clone(), failure]);
    }

    #[test]
    fn the_next_probe_is_a_period_after_the_last_began() {
        let mut liveness = machine(Kind::Liveness, (0, 10), (1, 3));
        let mut next = |seconds| liveness.told(&answer(0), Duration::from_secs(seconds)).next.unwrap().as_secs();
        assert_eq!([next(0), next(3), next(10), next(25)], [10, 7, 0, 0]);
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Startup), Just(Kind::Liveness), Just(Kind::Readiness)]
    }

    proptest! {
        /// A verdict has its threshold of answers behind it, none of them another; errors change nothing; and a run that
        /// has come up, or is to be ended, is not probed for that any more.
        #[test]
        fn a_verdict_is_never_hasty(
            kind in kinds(),
            thresholds in (1..4_u32, 1..4_u32),
            answers in prop::collection::vec(0..4_u8, 0..40),
        ) {
            let mut machine = machine(kind, (0, 10), thresholds);
            let mut without_errors = machine.clone();
            let mut said: Vec<bool> = vec![];
            for n in answers {
                let told = machine.told(&answer(n), Duration::ZERO);
                if n == 3 {
                    prop_assert_eq!(told, Told { verdict: None, next: Some(Duration::from_secs(10)) });
                    continue;
                }
                prop_assert_eq!(&without_errors.told(&answer(n), Duration::ZERO), &told);
                said.push(n != 1);
                let last = |count: u32, what: bool| {
                    let count = usize::try_from(count).unwrap();
                    said.len() >= count && said.iter().rev().take(count).all(|s| *s == what)
                };
                let expected = (last(thresholds.0, true), last(thresholds.1, false));
                let actual = (
                    told.verdict == Some(Probe::Success),
                    matches!(told.verdict, Some(Probe::Failure { .. })),
                );
                prop_assert_eq!(actual, expected);
                let ends = match kind {
                    Kind::Startup => told.verdict.is_some(),
                    Kind::Liveness => matches!(told.verdict, Some(Probe::Failure { .. })),
                    Kind::Readiness => false,
                };
                prop_assert_eq!(told.next.is_none(), ends);
                if ends {
                    break;
                }
            }
        }

        /// Never before the initial delay is over, and at most a period after that.
        #[test]
        fn the_first_probe_waits_for_the_initial_delay(
            kind in kinds(),
            times in (0..100_u64, 1..100_u64),
            age in 0..1000_u64,
            random in prop::option::of(-0.5..1.5_f64),
        ) {
            let first = machine(kind, times, (1, 1)).first(Duration::from_secs(age), random);
            let due = Duration::from_secs(times.0.saturating_sub(age));
            prop_assert!(first >= due);
            prop_assert!(first <= due + Duration::from_secs(times.1));
        }
    }
}
