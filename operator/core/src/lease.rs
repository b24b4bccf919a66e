//! Which of several operators acts: the one that holds the Lease.
//!
//! ```text
//!              nobody holds it, or its holder has not renewed it for its duration
//!   Standby ───────────────────────────────────────────────────────────────────────► Leader ──┐
//!      ▲                                                                             │   ▲    │ renewed every retry period
//!      │ the write was refused: another was faster                                   │   └────┘
//!      └─────────────────────────────────────────────────────────────────────────────┤
//!                                     held by another, or not renewed until the deadline: Lost (the process ends)
//! ```
//!
//! A lease is over when *this* process has seen it unchanged for its duration: the clocks of other machines are not asked. The
//! holder gives up at the renew deadline after its last renewal, well before anybody takes the lease. From client-go's
//! `leaderelection`, with controller-runtime's times and the names that kube-controller-manager's flags have for them.

use std::time::Duration;

/// Who takes part looks every few seconds, whatever the API server does, for each request has a time limit. When there was no
/// look for so long, it hangs, and shall be started anew.
pub const STUCK: Duration = Duration::from_secs(30);

/// The times of an election, which fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    lease: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// The least time for the holder to end after its deadline, before another may act.
const GAP: Duration = Duration::from_secs(1);
/// The longest lease: for so long nobody acts after a crash.
const LONGEST: Duration = Duration::from_secs(3600);
/// The shortest pause between two looks: the API server has more to do.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// The longest pause between two looks: well before [`STUCK`].
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// The longest that one request about the lease may take.
const LONGEST_CALL: Duration = Duration::from_secs(3);

/// What is wrong with the times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesProblem {
    /// The Lease object says it in whole seconds.
    #[error("the lease duration is {0:?}: use whole seconds from 2 s to an hour")]
    Lease(Duration),
    /// The one that held the lease would act beside the one that holds it.
    #[error(
        "the renew deadline is {renew_deadline:?}: it must be at least {GAP:?} before the end of the lease ({lease:?})"
    )]
    Deadline {
        /// The deadline.
        renew_deadline: Duration,
        /// The lease's duration.
        lease: Duration,
    },
    /// A look now and then is not enough (client-go wants the same), or there are too many.
    #[error(
        "the retry period is {retry:?}: it must be from {SHORTEST_RETRY:?} to {LONGEST_RETRY:?}, and fit into the renew deadline \
         ({renew_deadline:?}) twice"
    )]
    Retry {
        /// The period.
        retry: Duration,
        /// The deadline.
        renew_deadline: Duration,
    },
}

/// All that is wrong with the times of an election.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TimesError(pub Vec<TimesProblem>);

impl Default for Times {
    /// Those of controller-runtime and kube-controller-manager.
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew_deadline: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

impl Times {
    /// Times of one's own.
    ///
    /// # Errors
    /// With all that does not fit together.
    pub fn new(lease: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimesError> {
        let is_lease = lease.subsec_nanos() == 0 && (Duration::from_secs(2)..=LONGEST).contains(&lease);
        let is_deadline = renew_deadline.checked_add(GAP).is_some_and(|least| least <= lease);
        let is_retry = (SHORTEST_RETRY..=LONGEST_RETRY).contains(&retry)
            && retry.checked_mul(2).is_some_and(|twice| twice <= renew_deadline);
        let problems: Vec<TimesProblem> = [
            (!is_lease).then_some(TimesProblem::Lease(lease)),
            (!is_deadline).then_some(TimesProblem::Deadline { renew_deadline, lease }),
            (!is_retry).then_some(TimesProblem::Retry { retry, renew_deadline }),
        ]
        .into_iter()
        .flatten()
        .collect();
        if problems.is_empty() { Ok(Self { lease, renew_deadline, retry }) } else { Err(TimesError(problems)) }
    }

    /// How long a lease lasts without a renewal.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// After so long without a renewal its holder acts no more.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How often it is renewed, and looked at by those who do not hold it.
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// The longest that one request about it may take: several fit into the renew deadline.
    pub fn call(&self) -> Duration {
        LONGEST_CALL.min(self.renew_deadline / 3)
    }
}

/// The lease, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who holds it; none: it was given back.
    pub by: Option<String>,
    /// How long it lasts without a renewal.
    pub duration: Duration,
    /// When this process first saw it as it is, by a clock that nobody can set.
    pub unchanged_since: Duration,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who this is. Each process has another name, also one that is started anew on the same host.
    pub me: &'a str,
    /// The lease; none: there is none.
    pub lease: Option<&'a Held>,
    /// When the last renewal by this process was begun that went well, if it leads.
    pub renewed: Option<Duration>,
    /// Now, by the same clock.
    pub now: Duration,
    /// How long things take.
    pub times: Times,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the lease, as its holder.
    Create,
    /// Become its holder.
    Take,
    /// Say that it is still held.
    Renew,
    /// Look again after so long.
    Wait(Duration),
    /// Act no more.
    Lost,
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Step {
    let Facts { me, lease, renewed, now, times } = *facts;
    let is_mine = lease.is_some_and(|lease| lease.by.as_deref() == Some(me));
    if let Some(renewed) = renewed {
        let is_late = now.saturating_sub(renewed) >= times.renew_deadline;
        return match lease {
            Some(lease) if lease.by.is_some() && !is_mine => Step::Lost,
            _ if is_late => Step::Lost,
            Some(_) => Step::Renew,
            None => Step::Create,
        };
    }
    match lease {
        None => Step::Create,
        Some(lease) => {
            let over = lease.unchanged_since.saturating_add(lease.duration);
            let is_free = lease.by.is_none() || is_mine || over <= now;
            if is_free { Step::Take } else { Step::Wait(times.retry.min(over.saturating_sub(now))) }
        }
    }
}

/// Whether one that takes part hangs, which has last looked so long ago.
pub fn is_stuck(since_last_look: Duration) -> bool {
    since_last_look > STUCK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn held(by: Option<&str>, unchanged_since: u64) -> Held {
        Held { by: by.map(str::to_owned), duration: seconds(15), unchanged_since: seconds(unchanged_since) }
    }

    #[test]
    fn times_that_do_not_fit_together_are_refused_with_all_that_is_wrong() {
        let times = |lease, renew_deadline, retry| {
            Times::new(
                Duration::from_millis(lease),
                Duration::from_millis(renew_deadline),
                Duration::from_millis(retry),
            )
        };
        assert_eq!(times(15_000, 10_000, 2_000), Ok(Times::default()));
        for fits in [(2_000, 1_000, 500), (3_000, 2_000, 100), (3_600_000, 10_000, 5_000)] {
            assert!(times(fits.0, fits.1, fits.2).is_ok(), "{fits:?}");
        }
        for (wrong, words) in [
            ((1_000, 0, 100), "whole seconds from 2 s"),
            ((2_500, 1_000, 500), "whole seconds"),
            ((3_601_000, 1_000, 500), "an hour"),
            ((15_000, 14_001, 2_000), "1s before the end of the lease (15s)"),
            ((15_000, 10_000, 5_001), "into the renew deadline (10s) twice"),
            ((15_000, 10_000, 99), "from 100ms to 10s"),
            ((60_000, 50_000, 10_001), "from 100ms to 10s"),
        ] {
            let error = times(wrong.0, wrong.1, wrong.2).unwrap_err().to_string();
            assert!(error.contains(words), "{wrong:?}: {error}");
        }
        assert_eq!(times(0, 0, 0).unwrap_err().0.len(), 3);
        assert!(Times::new(Duration::MAX, Duration::MAX, Duration::MAX).is_err());
    }

    #[test]
    fn who_has_not_looked_for_long_hangs() {
        for (since, expected) in [(0, false), (8, false), (30, false), (31, true)] {
            assert_eq!(is_stuck(seconds(since)), expected, "{since}");
        }
    }

    #[test]
    fn the_lease_is_taken_when_it_is_free_and_left_when_it_is_late() {
        for (lease, renewed, now, expected) in [
            (None, None, 0, Step::Create),
            (Some(held(None, 0)), None, 0, Step::Take),
            (Some(held(Some("me"), 0)), None, 0, Step::Take),
            (Some(held(Some("other"), 0)), None, 0, Step::Wait(seconds(2))),
            (Some(held(Some("other"), 0)), None, 14, Step::Wait(seconds(1))),
            (Some(held(Some("other"), 0)), None, 15, Step::Take),
            (Some(held(Some("me"), 0)), Some(0), 9, Step::Renew),
            (Some(held(Some("me"), 0)), Some(0), 10, Step::Lost),
            (Some(held(Some("other"), 0)), Some(0), 1, Step::Lost),
            (Some(held(None, 0)), Some(0), 1, Step::Renew),
            (None, Some(0), 1, Step::Create),
            (None, Some(0), 10, Step::Lost),
        ] {
            let renewed = renewed.map(seconds);
            let times = Times::default();
            let facts = Facts { me: "me", lease: lease.as_ref(), renewed, now: seconds(now), times };
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }

    /// One of several operators, with what it has read.
    #[derive(Debug, Default)]
    struct Operator {
        seen: Option<(u32, Held)>,
        renewed: Option<Duration>,
        ended: bool,
    }

    proptest! {
        /// Whatever reads and writes fail, however late each looks, and though one of them has other times: never do two act
        /// at the same time.
        #[test]
        fn one_acts_at_a_time(events in prop::collection::vec((0..3_usize, 0..4_000_u64, any::<bool>(), 0..3_u8), 1..200)) {
            let names = ["a", "b", "c"];
            let times = [Times::default(), Times::default(), Times::new(seconds(3), seconds(2), seconds(1)).unwrap()];
            let mut operators = [Operator::default(), Operator::default(), Operator::default()];
            // The version of the stored lease, its holder, and its duration.
            let mut stored: Option<(u32, Option<String>, Duration)> = None;
            let mut now = Duration::ZERO;
            for (who, pause, reads, writes) in events {
                now += Duration::from_millis(pause);
                // Each acts only until its deadline, whether or not it looks.
                let acts = |(operator, times): &(&Operator, &Times)| {
                    !operator.ended && operator.renewed.is_some_and(|renewed| now < renewed + times.renew_deadline)
                };
                prop_assert!(operators.iter().zip(&times).filter(acts).count() <= 1, "{operators:?} at {now:?}");
                let operator = &mut operators[who];
                if operator.ended {
                    *operator = Operator::default();
                }
                if reads {
                    match &stored {
                        Some((version, by, duration)) if operator.seen.as_ref().is_none_or(|(seen, _)| seen != version) => {
                            let held = Held { by: by.clone(), duration: *duration, unchanged_since: now };
                            operator.seen = Some((*version, held));
                        }
                        Some(_) => {}
                        None => operator.seen = None,
                    }
                }
                let lease = operator.seen.as_ref().map(|(_, held)| held);
                let step = decide(&Facts { me: names[who], lease, renewed: operator.renewed, now, times: times[who] });
                match step {
                    Step::Create | Step::Take | Step::Renew => {
                        let seen = operator.seen.as_ref().map(|(version, _)| *version);
                        // By the version that was read: the API server refuses the rest.
                        if writes > 0 && stored.as_ref().map(|(version, ..)| *version) == seen {
                            let version = seen.unwrap_or_default() + 1;
                            let (by, duration) = (Some(names[who].to_owned()), times[who].lease);
                            stored = Some((version, by.clone(), duration));
                            // Sometimes the answer is lost.
                            if writes > 1 {
                                operator.seen = Some((version, Held { by, duration, unchanged_since: now }));
                                operator.renewed = Some(now);
                            }
                        }
                    }
                    Step::Lost => operator.ended = true,
                    Step::Wait(_) => {}
                }
            }
        }
    }
}
