//! When a node is short of something.

use std::time::Duration;

use vk_yaml::{Node, Reader};

/// When a node is short of something: the Node's conditions say so and the scheduler places no more pods there. Nothing
/// is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Memory that must be available, in bytes.
    pub memory: Threshold,
    /// Room that must be available on the file system of the records, in bytes.
    pub disk: Threshold,
    /// Files that it must be possible to make there.
    pub inodes: Threshold,
    /// Processes that it must be possible to start.
    pub processes: Threshold,
    /// How long a shortage is told of after it was last seen.
    pub transition_period: Duration,
}

impl Default for Pressure {
    /// The kubelet's figures for memory and the period. For the disk a share of it would say little: it is often a file
    /// system of many users and petabytes.
    fn default() -> Self {
        Self {
            memory: Threshold::Amount(100 << 20),
            disk: Threshold::Amount(1 << 30),
            inodes: Threshold::Amount(1000),
            processes: Threshold::Amount(100),
            transition_period: Duration::from_secs(300),
        }
    }
}

/// The least that must be available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// So much.
    Amount(u64),
    /// A share of all there is, in percent.
    Percent(u8),
}

impl Threshold {
    /// The least that must be available of `all`.
    #[must_use]
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Percent(percent) => u64::try_from(u128::from(all) * u128::from(percent) / 100).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Amount(amount) => write!(f, "{amount}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// One layer of a [`Pressure`]. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PressureSettings {
    /// See [`Pressure::memory`].
    pub memory: Option<Threshold>,
    /// See [`Pressure::disk`].
    pub disk: Option<Threshold>,
    /// See [`Pressure::inodes`].
    pub inodes: Option<Threshold>,
    /// See [`Pressure::processes`].
    pub processes: Option<Threshold>,
    /// See [`Pressure::transition_period`].
    pub transition_period: Option<Duration>,
}

/// The keys of the file, in the order of the fields.
pub(super) const KEYS: [&str; 5] =
    ["memory.available", "nodefs.available", "nodefs.inodesFree", "pid.available", "transitionPeriod"];

impl PressureSettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            memory: self.memory.or(lower.memory),
            disk: self.disk.or(lower.disk),
            inodes: self.inodes.or(lower.inodes),
            processes: self.processes.or(lower.processes),
            transition_period: self.transition_period.or(lower.transition_period),
        }
    }

    /// With the defaults for what is left out.
    pub(super) fn finish(self) -> Pressure {
        let default = Pressure::default();
        Pressure {
            memory: self.memory.unwrap_or(default.memory),
            disk: self.disk.unwrap_or(default.disk),
            inodes: self.inodes.unwrap_or(default.inodes),
            processes: self.processes.unwrap_or(default.processes),
            transition_period: self.transition_period.unwrap_or(default.transition_period),
        }
    }

    /// Reads the key `pressure` of the file.
    pub(super) fn read(reader: &mut Reader, node: &Node<'_>) -> Self {
        let Some(map) = reader.map(node, &KEYS) else { return Self::default() };
        let [memory, disk, inodes, processes, period] = KEYS;
        let mut least = |key: &str| map.get(key).and_then(|node| threshold(reader, &node));
        Self {
            memory: least(memory),
            disk: least(disk),
            inodes: least(inodes),
            processes: least(processes),
            transition_period: map.get(period).and_then(|node| reader.duration(&node)),
        }
    }
}

/// `100Mi`, `5%`, `100`.
fn threshold(reader: &mut Reader, node: &Node<'_>) -> Option<Threshold> {
    let Some(percent) = node.as_str().and_then(|text| text.strip_suffix('%')) else {
        return reader.bytes(node).map(Threshold::Amount);
    };
    let share = percent.parse().ok().filter(|percent| *percent <= 100);
    if share.is_none() {
        reader.at(node, format!("{percent}% is no share: write 0% to 100%, in whole numbers"));
    }
    share.map(Threshold::Percent)
}
