//! Which of several operators acts: the one that holds the Lease.
//!
//! ```text
//!              nobody holds it, or its holder has not renewed it for its duration
//!   Standby ───────────────────────────────────────────────────────────────────────► Leader ──┐
//!      ▲                                                                             │   ▲    │ renewed every RETRY
//!      │ the write was refused: another was faster                                   │   └────┘
//!      └─────────────────────────────────────────────────────────────────────────────┤
//!                                     held by another, or not renewed for RENEW_DEADLINE: Lost (the process ends)
//! ```
//!
//! A lease is over when *this* process has seen it unchanged for its duration: the clocks of other machines are not asked. The
//! holder gives up [`RENEW_DEADLINE`] after its last renewal, well before anybody takes the lease. From client-go's
//! `leaderelection`, with controller-runtime's times.

use std::time::Duration;

/// How long a lease lasts without a renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// After so long without a renewal its holder acts no more.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, and looked at by those who do not hold it.
pub const RETRY: Duration = Duration::from_secs(2);
/// Who takes part looks every few seconds, whatever the API server does, for each request has a time limit. When there was no
/// look for so long, it hangs, and shall be started anew.
pub const STUCK: Duration = Duration::from_secs(30);

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
    let Facts { me, lease, renewed, now } = *facts;
    let is_mine = lease.is_some_and(|lease| lease.by.as_deref() == Some(me));
    if let Some(renewed) = renewed {
        let is_late = now.saturating_sub(renewed) >= RENEW_DEADLINE;
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
            if is_free { Step::Take } else { Step::Wait(RETRY.min(over.saturating_sub(now))) }
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
        Held { by: by.map(str::to_owned), duration: DURATION, unchanged_since: seconds(unchanged_since) }
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
            (Some(held(Some("other"), 0)), None, 0, Step::Wait(RETRY)),
            (Some(held(Some("other"), 0)), None, 14, Step::Wait(seconds(1))),
            (Some(held(Some("other"), 0)), None, 15, Step::Take),
            (Some(held(Some("me"), 0)), Some(0), 9, Step::Renew),
            (Some(held(Some("me"), 0)), Some(0), 10, Step::Lost),
            (Some(held(Some("other"), 0)), Some(0), 1, Step::Lost),
            (Some(held(None, 0)), Some(0), 1, Step::Renew),
            (None, Some(0), 1, Step::Create),
            (None, Some(0), 10, Step::Lost),
        ] {
            let facts = Facts { me: "me", lease: lease.as_ref(), renewed: renewed.map(seconds), now: seconds(now) };
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
        /// Whatever reads and writes fail, however late each looks: never do two act at the same time.
        #[test]
        fn one_acts_at_a_time(events in prop::collection::vec((0..3_usize, 0..4_000_u64, any::<bool>(), 0..3_u8), 1..200)) {
            let names = ["a", "b", "c"];
            let mut operators = [Operator::default(), Operator::default(), Operator::default()];
            // The version of the stored lease, and its holder.
            let mut stored: Option<(u32, Option<String>)> = None;
            let mut now = Duration::ZERO;
            for (who, pause, reads, writes) in events {
                now += Duration::from_millis(pause);
                // Each acts only until its deadline, whether or not it looks.
                let acts = |operator: &Operator| {
                    !operator.ended && operator.renewed.is_some_and(|renewed| now < renewed + RENEW_DEADLINE)
                };
                prop_assert!(operators.iter().filter(|operator| acts(operator)).count() <= 1, "{operators:?} at {now:?}");
                let operator = &mut operators[who];
                if operator.ended {
                    *operator = Operator::default();
                }
                if reads {
                    match &stored {
                        Some((version, by)) if operator.seen.as_ref().is_none_or(|(seen, _)| seen != version) => {
                            let held = Held { by: by.clone(), duration: DURATION, unchanged_since: now };
                            operator.seen = Some((*version, held));
                        }
                        Some(_) => {}
                        None => operator.seen = None,
                    }
                }
                let lease = operator.seen.as_ref().map(|(_, held)| held);
                let step = decide(&Facts { me: names[who], lease, renewed: operator.renewed, now });
                match step {
                    Step::Create | Step::Take | Step::Renew => {
                        let seen = operator.seen.as_ref().map(|(version, _)| *version);
                        // By the version that was read: the API server refuses the rest.
                        if writes > 0 && stored.as_ref().map(|(version, _)| *version) == seen {
                            let version = seen.unwrap_or_default() + 1;
                            stored = Some((version, Some(names[who].to_owned())));
                            let by = Some(names[who].to_owned());
                            // Sometimes the answer is lost.
                            if writes > 1 {
                                operator.seen = Some((version, Held { by, duration: DURATION, unchanged_since: now }));
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
