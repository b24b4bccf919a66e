//! What the host is short of. A shortage is told of for a while after it was last seen: conditions that come and go with
//! every look would make the scheduler come and go too. The kubelet does the same (`evictionPressureTransitionPeriod`).

use std::time::Duration;

use vk_task::{Disk, HostUsage};

use crate::config::Pressure;

/// What the host is short of, as far as it was seen. Times are of a clock that never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortages {
    /// Memory.
    pub memory: Shortage,
    /// Room, or files, on the file system of the records.
    pub disk: Shortage,
    /// Processes.
    pub processes: Shortage,
}

/// Whether there is enough of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortage {
    /// Nobody has told yet.
    #[default]
    Unknown,
    /// There is.
    Enough,
    /// There was too little when it was last looked at, or not long before.
    Short {
        /// When it was last seen to be too little.
        seen: Duration,
    },
}

impl Shortages {
    /// After a look at `now`. `memory_bytes` is all the memory there is.
    #[must_use]
    pub fn after(self, usage: &HostUsage, memory_bytes: u64, pressure: &Pressure, now: Duration) -> Self {
        let Disk { capacity_bytes, available_bytes, inodes, inodes_free } = usage.disk;
        let is_full = available_bytes < pressure.disk.of(capacity_bytes)
            // A file system without such a limit says that it has none of them.
            || (inodes > 0 && inodes_free < pressure.inodes.of(inodes));
        let processes_left = usage.max_processes.saturating_sub(usage.processes);
        let is_crowded = processes_left < pressure.processes.of(usage.max_processes);
        let is_short = usage.memory_available_bytes < pressure.memory.of(memory_bytes);
        let next = |before: Shortage, is_known: bool, is_short| {
            if is_known { before.after(is_short, pressure.transition_period, now) } else { before }
        };
        Self {
            memory: next(self.memory, memory_bytes > 0, is_short),
            disk: next(self.disk, capacity_bytes > 0, is_full),
            processes: next(self.processes, usage.max_processes > 0, is_crowded),
        }
    }
}

impl Shortage {
    fn after(self, is_short: bool, period: Duration, now: Duration) -> Self {
        match self {
            _ if is_short => Self::Short { seen: now },
            Self::Short { seen } if now.saturating_sub(seen) < period => self,
            Self::Short { .. } | Self::Enough | Self::Unknown => Self::Enough,
        }
    }
}
