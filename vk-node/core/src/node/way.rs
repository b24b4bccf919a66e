//! Whether the API server reaches the node, as far as the node can tell, and when that is told.
//!
//! ```text
//!   begins ──▶ stands ◀──────────────────────────────┐
//!                 │ breaks                           │ stands again: told at once
//!                 ▼                                  │
//!            broken, not told yet ── GRACE later ──▶ told, with why ── another why, EVERY later at the soonest ──▶ told
//! ```
//!
//! What breaks and is back in a moment, as when a relay is started again, is not told: each word is a write to the API server.

use std::fmt;
use std::time::Duration;

/// How long the way in must be broken before that is told.
const GRACE: Duration = Duration::from_secs(20);
/// How long one reason stands before another is told.
const EVERY: Duration = Duration::from_secs(300);

/// How a node's way in stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WayIn {
    /// The node listens itself. Whether the API server gets there it cannot tell.
    #[default]
    Own,
    /// It is made for the first time.
    Begins(By),
    /// It stands.
    Stands(By),
    /// It does not.
    Broken {
        /// What it is.
        by: By,
        /// What is wrong.
        fault: Fault,
        /// Why, and what to do, for people.
        why: String,
    },
}

/// By what a node is reached that does not listen itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A relay that the node dials.
    Relay,
    /// A port of the far end of a tunnel.
    Tunnel,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "the relay",
            Self::Tunnel => "the tunnel",
        })
    }
}

/// What can be wrong with a way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No relay lets the node in.
    NoRelay,
    /// The far end of the tunnel does not listen for the node.
    PortRefused,
    /// It listens, and not where the API server comes to.
    ListensElsewhere,
}

impl WayIn {
    /// The condition's status.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Own | Self::Stands(_) => "True",
            Self::Begins(_) => "Unknown",
            Self::Broken { .. } => "False",
        }
    }

    /// In one word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Own => "NodeListens",
            Self::Begins(By::Relay) => "RelayNotReachedYet",
            Self::Begins(By::Tunnel) => "TunnelNotUpYet",
            Self::Stands(By::Relay) => "RelayConnected",
            Self::Stands(By::Tunnel) => "TunnelListens",
            Self::Broken { fault: Fault::NoRelay, .. } => "NoRelay",
            Self::Broken { fault: Fault::PortRefused, .. } => "TunnelPortRefused",
            Self::Broken { fault: Fault::ListensElsewhere, .. } => "TunnelListensElsewhere",
        }
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Own => {
                "the node listens at its own address; whether the API server gets there, it cannot tell".to_owned()
            }
            Self::Begins(by) => format!("the node does not know yet whether it is reached by {by}"),
            Self::Stands(by) => format!("the API server reaches the node by {by}"),
            Self::Broken { by, why, .. } => {
                format!(
                    "kubectl logs, exec, attach, port-forward and top do not reach the node, pods run all the same: not by {by}: {why}"
                )
            }
        }
    }

    fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// What is told of it. Times count from any moment, by a clock that never jumps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    told: WayIn,
    told_at: Duration,
    broken_since: Option<Duration>,
}

impl Patience {
    /// Tells how it stands at first.
    #[must_use]
    pub fn new(way: WayIn) -> Self {
        Self { told: way, ..Self::default() }
    }

    /// What is to be told at `now`, when it stands so.
    pub fn look(&mut self, way: &WayIn, now: Duration) -> &WayIn {
        self.broken_since = way.is_broken().then(|| self.broken_since.unwrap_or(now));
        let is_to_be_told = match self.broken_since {
            None => true,
            Some(_) if self.told.is_broken() => now.saturating_sub(self.told_at) >= EVERY,
            Some(since) => now.saturating_sub(since) >= GRACE,
        };
        if is_to_be_told && self.told != *way {
            self.told = way.clone();
            self.told_at = now;
        }
        &self.told
    }

    /// When it is to be looked at again though nothing happens; none: not before something does.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Duration> {
        self.broken_since.filter(|_| !self.told.is_broken()).map(|since| since + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broken(why: &str) -> WayIn {
        WayIn::Broken { by: By::Relay, fault: Fault::NoRelay, why: why.to_owned() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_back_in_a_moment_is_not_told_and_what_is_not_is() {
        let stands = WayIn::Stands(By::Relay);
        let mut patience = Patience::new(WayIn::Begins(By::Relay));
        for (way, second, told, wakes) in [
            (WayIn::Begins(By::Relay), 0, WayIn::Begins(By::Relay), None),
            (stands.clone(), 1, stands.clone(), None),
            (broken("a"), 10, stands.clone(), Some(30)),
            (broken("b"), 29, stands.clone(), Some(30)),
            (stands.clone(), 29, stands.clone(), None),
            (broken("a"), 40, stands.clone(), Some(60)),
            (broken("b"), 60, broken("b"), None),
            (broken("c"), 61, broken("b"), None),
            (broken("d"), 360, broken("d"), None),
            (stands.clone(), 361, stands, None),
        ] {
            assert_eq!(patience.look(&way, at(second)), &told, "{second}");
            assert_eq!(patience.wakes_at(), wakes.map(at), "{second}");
        }
        // One that never stood.
        let mut patience = Patience::new(WayIn::Begins(By::Tunnel));
        assert_eq!(patience.look(&broken("a"), at(5)), &WayIn::Begins(By::Tunnel));
        assert_eq!(patience.look(&broken("a"), at(25)), &broken("a"));
    }

    #[test]
    fn people_are_told_what_does_not_work_and_why() {
        let told = broken("it cannot be reached: connection refused").message();
        for words in ["kubectl logs", "pods run", "the relay", "connection refused"] {
            assert!(told.contains(words), "{told}");
        }
    }

    proptest! {
        /// However it flaps, and whatever the reasons, little is told.
        #[test]
        fn flapping_is_not_a_storm(steps in prop::collection::vec((any::<bool>(), 0_u8..4, 1_u64..60), 1..200)) {
            let mut patience = Patience::new(WayIn::Stands(By::Relay));
            let (mut now, mut words) = (0, 0);
            let mut last = WayIn::Stands(By::Relay);
            for (stands, why, wait) in steps {
                let way = if stands { WayIn::Stands(By::Relay) } else { broken(&why.to_string()) };
                let told = patience.look(&way, at(now)).clone();
                words += u64::from(told != last);
                // It is never told to stand when it does not, but for a moment.
                prop_assert!(stands != told.is_broken() || (!stands && patience.wakes_at().is_some()));
                last = told;
                now += wait;
            }
            prop_assert!(words <= 2 + 2 * now / GRACE.as_secs(), "{words} in {now} s");
        }
    }
}
