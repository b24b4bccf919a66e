//! Which port is whose.
//!
//! ```text
//!   unknown ── first dial ──▶ here ◀── dials again ──▶ away ── hold is over, and all ports are taken ──▶ forgotten
//! ```
//!
//! A port says to the API server which node it talks to: what it dials is in the Node object, and the certificates of all
//! nodes behind one relay are for the same address. So a port stays with its name, long after the name was last seen, and
//! nobody may choose one: a node that could would be dialled for another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vk_cmd_crds::NodeName;

use crate::fnv;

/// The version of what is kept on disk.
const VERSION: u32 = 1;

/// The ports that nodes are given, both ends counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of ports: write the first and the last, 20000-29999, from 1 on")]
pub struct NoRange(String);

impl FromStr for PortRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let range = text.split_once('-').and_then(|(first, last)| {
            Some(Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        });
        range.filter(|range| range.first > 0 && range.first <= range.last).ok_or_else(|| NoRange(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl PortRange {
    /// How many ports there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// All of them, beginning somewhere within.
    fn from(self, start: u64) -> impl Iterator<Item = u16> {
        let skip = u16::try_from(start % u64::from(self.count())).unwrap_or_default();
        let begin = self.first.saturating_add(skip);
        (begin..=self.last).chain(self.first..begin)
    }
}

/// There is no port for another node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the relay has no port left for another node: all of {range} are those of nodes that are here or were here within the \
     last {hold:#}. Give it more with --node-ports, or forget nodes sooner with --port-hold"
)]
pub struct NoPort {
    range: PortRange,
    hold: SignedDuration,
}

/// Whose a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    port: u16,
    /// Since when the node has not been here; none: it is.
    away_since: Option<Timestamp>,
}

/// Which port is whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    range: PortRange,
    hold: SignedDuration,
    seats: BTreeMap<NodeName, Seat>,
    taken: BTreeSet<u16>,
    /// Ports that could not be listened on: somebody else has them.
    unusable: BTreeSet<u16>,
}

/// A ledger as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    version: u32,
    /// The address whose ports these are. With another address they are nobody's: no Node object has that.
    address: IpAddr,
    ports: BTreeMap<String, KeptSeat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptSeat {
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    away_since: Option<Timestamp>,
}

impl Ledger {
    /// One in which nothing stands. `hold` is how long a port stays with a name that is away, whatever happens.
    #[must_use]
    pub fn new(range: PortRange, hold: SignedDuration) -> Self {
        Self { range, hold, seats: BTreeMap::new(), taken: BTreeSet::new(), unusable: BTreeSet::new() }
    }

    /// The one that was kept: nobody is here yet. What was kept of another address, or of ports that are not in the range
    /// any more, is left out.
    #[must_use]
    pub fn restored(range: PortRange, hold: SignedDuration, kept: &Kept, address: IpAddr, now: Timestamp) -> Self {
        let mut ledger = Self::new(range, hold);
        if kept.version != VERSION || kept.address != address {
            return ledger;
        }
        for (name, seat) in &kept.ports {
            let Ok(name) = NodeName::parse(name) else { continue };
            if range.contains(seat.port) && ledger.taken.insert(seat.port) {
                let away_since = Some(seat.away_since.unwrap_or(now));
                ledger.seats.insert(name, Seat { port: seat.port, away_since });
            }
        }
        ledger
    }

    /// For the disk.
    #[must_use]
    pub fn kept(&self, address: IpAddr) -> Kept {
        let seats = self.seats.iter();
        let seat = |seat: &Seat| KeptSeat { port: seat.port, away_since: seat.away_since };
        Kept { version: VERSION, address, ports: seats.map(|(name, s)| (name.as_str().to_owned(), seat(s))).collect() }
    }

    /// A node is here: its port, and whether that is news.
    ///
    /// # Errors
    /// When there is none left.
    pub fn arrive(&mut self, name: &NodeName, now: Timestamp) -> Result<(u16, bool), NoPort> {
        if let Some(seat) = self.seats.get_mut(name) {
            let is_news = seat.away_since.take().is_some();
            return Ok((seat.port, is_news));
        }
        let is_free = |port: &u16| !self.taken.contains(port) && !self.unusable.contains(port);
        // The same for the same name, so that most nodes have the same port again even where nothing was kept.
        let port = match self.range.from(fnv(name.as_str())).find(is_free) {
            Some(port) => port,
            None => self.give_up(now).ok_or(NoPort { range: self.range, hold: self.hold })?,
        };
        self.taken.insert(port);
        self.seats.insert(name.clone(), Seat { port, away_since: None });
        Ok((port, true))
    }

    /// The port of the node that has been away the longest, which is forgotten; none, if none has been away long enough.
    fn give_up(&mut self, now: Timestamp) -> Option<u16> {
        let away = self.seats.iter().filter_map(|(name, seat)| Some((seat.away_since?, name)));
        let (since, name) = away.min()?;
        if now.duration_since(since) < self.hold {
            return None;
        }
        let name = name.clone();
        self.seats.remove(&name).map(|seat| seat.port)
    }

    /// A node has gone. Its port stays its own.
    pub fn leave(&mut self, name: &NodeName, now: Timestamp) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.away_since.get_or_insert(now);
        }
    }

    /// The port of a node cannot be listened on: it is to have another.
    pub fn is_unusable(&mut self, name: &NodeName) {
        if let Some(seat) = self.seats.remove(name) {
            self.taken.remove(&seat.port);
            self.unusable.insert(seat.port);
        }
    }
}

#[cfg(test)]
mod tests;
