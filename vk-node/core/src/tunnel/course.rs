//! When a connection is begun, when it is given up, and when it is begun again.
//!
//! ```text
//!                  ┌──────────────────────── ended ────────────────────────┐
//!                  ▼                                                       │
//!            ┌─ Waiting ── its time has come ──▶ Connecting ── answers ──▶ Up
//!            │     ▲                                 │                     │ its socket is gone
//!            │     │                                 │ takes too long      │
//!            │     └──────── ended ─────────── Ending ◀────────────────────┘
//!            │                                   │ and does not: killed
//!            └─ a person shares a connection ──▶ Up
//! ```
//!
//! Each wait is twice as long as the one before, up to a longest, and there is always a next try. What held for a while begins
//! anew at the shortest. Where only a person can help, waits are longer: servers shut out who keeps knocking.

use std::time::Duration;

use super::argv::Asking;
use super::words::{Heard, Trouble};

/// How long a connection may take to come up where nobody is asked, and where somebody is.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(300);
/// How long ssh may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(2);
/// What has held for so long was good: the next wait is the shortest again.
const GOOD: Duration = Duration::from_secs(10);
/// The first and the longest wait.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The same where a person must do something.
const WAITS_FOR_PEOPLE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Where it stands. Times count from any moment, by a clock that never jumps.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No ssh of ours runs; one is to be started then.
    Waiting { until: Duration },
    /// One runs, and takes no orders yet.
    Connecting { since: Duration },
    /// It takes orders.
    Up { since: Duration },
    /// It was told to end.
    Ending { since: Duration, was_up: Option<Duration>, killed: bool },
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing but that time has passed.
    Time,
    /// ssh has said this.
    Line(String),
    /// ssh takes orders.
    Answers,
    /// The socket by which it does is gone.
    SocketGone,
    /// It ended, in these words; with a random number from 0 to 1 for the wait that follows.
    Ended {
        /// `exit status: 255`.
        how: String,
        /// So that many nodes that have lost the same server do not come back at the same moment.
        random: f64,
    },
    /// A person has a connection open that can be shared.
    Shared,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start ssh.
    Start,
    /// Order what the connection is to carry.
    Order,
    /// Tell ssh to end.
    Terminate,
    /// End it by force.
    Kill,
    /// Tell people why there is no connection, if that is news, and when the next try is.
    Tell {
        /// Why.
        trouble: Trouble,
        /// In so long.
        again_in: Duration,
        /// It was told before, and is the same still.
        is_known: bool,
    },
}

/// The course of all connections, one after the other.
#[derive(Clone, Debug)]
pub struct Course {
    state: State,
    asking: Asking,
    heard: Heard,
    /// How often in a row it was of no use.
    failures: u32,
    told: Option<Trouble>,
}

impl Course {
    /// Begins at once.
    #[must_use]
    pub fn new(asking: Asking) -> Self {
        let state = State::Waiting { until: Duration::ZERO };
        Self { state, asking, heard: Heard::default(), failures: 0, told: None }
    }

    /// Whether the connection takes orders.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether there is an ssh that may take orders soon.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// Whether it waits for something that only a person can do.
    #[must_use]
    pub fn waits_for_a_person(&self) -> bool {
        matches!(self.state, State::Waiting { .. }) && self.told.as_ref().is_some_and(Trouble::needs_a_person)
    }

    /// When [`Seen::Time`] is next to be told; none while nothing depends on it.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting { until } => Some(*until),
            State::Connecting { since } => Some(*since + self.patience()),
            State::Up { .. } | State::Ending { killed: true, .. } => None,
            State::Ending { since, .. } => Some(*since + GRACE),
        }
    }

    fn patience(&self) -> Duration {
        match self.asking {
            Asking::Nobody => PATIENCE,
            Asking::Somebody => PATIENCE_WITH_PEOPLE,
        }
    }

    /// Takes in what has happened by `now`.
    pub fn on(&mut self, seen: Seen, now: Duration) -> Option<Step> {
        match (self.state.clone(), seen) {
            (State::Waiting { until }, Seen::Time) if now >= until => {
                self.state = State::Connecting { since: now };
                self.heard = Heard::default();
                Some(Step::Start)
            }
            (State::Connecting { .. }, Seen::Answers) => {
                self.state = State::Up { since: now };
                // What was said on the way there, a refused key before the right one say, has led to nothing.
                self.heard = Heard::default();
                self.told = None;
                Some(Step::Order)
            }
            (State::Waiting { .. }, Seen::Shared) => {
                self.state = State::Up { since: now };
                self.heard = Heard::default();
                self.told = None;
                Some(Step::Order)
            }
            (State::Connecting { since }, Seen::Time) if now >= since + self.patience() => {
                self.heard.found(Trouble::Slow);
                self.state = State::Ending { since: now, was_up: None, killed: false };
                Some(Step::Terminate)
            }
            (State::Up { since: up }, Seen::SocketGone) => {
                self.heard.found(Trouble::SocketGone);
                self.state = State::Ending { since: now, was_up: Some(up), killed: false };
                Some(Step::Terminate)
            }
            (State::Ending { since, was_up, killed: false }, Seen::Time) if now >= since + GRACE => {
                self.state = State::Ending { since, was_up, killed: true };
                Some(Step::Kill)
            }
            (State::Connecting { .. } | State::Up { .. } | State::Ending { .. }, Seen::Line(line)) => {
                self.heard.line(&line);
                None
            }
            (State::Connecting { .. }, Seen::Ended { how, random }) => Some(self.ended(&how, random, None, now)),
            (State::Up { since }, Seen::Ended { how, random }) => Some(self.ended(&how, random, Some(since), now)),
            (State::Ending { was_up, .. }, Seen::Ended { how, random }) => Some(self.ended(&how, random, was_up, now)),
            // What is told late, of what is over, and what is told early.
            (
                State::Waiting { .. } | State::Connecting { .. } | State::Up { .. } | State::Ending { .. },
                Seen::Time | Seen::Line(_) | Seen::Answers | Seen::SocketGone | Seen::Ended { .. } | Seen::Shared,
            ) => None,
        }
    }

    fn ended(&mut self, how: &str, random: f64, up_since: Option<Duration>, now: Duration) -> Step {
        let trouble = std::mem::take(&mut self.heard).why(how);
        if up_since.is_some_and(|since| now.saturating_sub(since) >= GOOD) {
            self.failures = 0;
        }
        let again_in = pause(&trouble, self.failures, random);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: now + again_in };
        let is_known = self.told.replace(trouble.clone()).as_ref() == Some(&trouble);
        Step::Tell { trouble, again_in, is_known }
    }
}

/// How long to wait after so many failures before this one; `random` is from 0 to 1.
fn pause(trouble: &Trouble, failures: u32, random: f64) -> Duration {
    let (first, longest) = if trouble.needs_a_person() { WAITS_FOR_PEOPLE } else { WAITS };
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.5 };
    doubled.min(longest).mul_f64(0.75 + random / 2.0)
}
