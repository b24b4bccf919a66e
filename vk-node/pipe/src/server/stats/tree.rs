//! What the processes of a task use that has no cgroup: those that descend from its shim, which is their subreaper.
//!
//! - **Processors**: what the living have used and what they have waited for; and what the shim has waited for, which are
//!   all others of the task that have ended, but for those whose parent did not care to wait.
//! - **Memory**: the working set is anonymous and shared memory. A cgroup charges the same, and what it could take back
//!   under pressure, pages of files, is not part of a working set there either. A page that several processes share counts
//!   once, as far as that can be known in time: see [`Shares`].

use std::time::{Duration, Instant};

use vk_record::process::share_of;

use super::process::{Resident, Table, Used};
use super::{Grown, Memory, Taken};

const NANOS: u64 = 1_000_000_000;
/// Where less than this is shared at most, it is not asked for.
const WORTH_ASKING: u64 = 64 << 20;
/// How long the kernel may be asked for shares in one look.
const ASKING: Duration = Duration::from_millis(200);

/// Finds out who shares memory with whom. For that the kernel goes through page tables: some milliseconds for each GB. So
/// it is asked only in trees where it matters, and for so long in each look; what is not asked counts in full.
#[derive(Debug, Default)]
pub(super) struct Shares {
    asked: Duration,
}

impl Shares {
    /// Anonymous and shared memory of a process, of a page that `n` processes use an `n`th part.
    fn of(&mut self, pid: i32, resident: &Resident) -> u64 {
        let in_full = resident.anonymous.saturating_add(resident.shared);
        if self.asked >= ASKING {
            return in_full;
        }
        let begin = Instant::now();
        let share = share_of(pid);
        self.asked += begin.elapsed();
        share.map_or(in_full, |share| share.min(in_full))
    }
}

/// What the task of this shim takes.
pub(super) fn taken(table: &Table, shim: i32, shares: &mut Shares) -> Taken {
    let tree = table.below(shim);
    let reaped = table.get(shim).map(|shim| shim.reaped).unwrap_or_default();
    let used = tree.iter().fold(reaped, |sum, process| sum.plus(process.own).plus(process.reaped));
    let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
    let processes = u64::try_from(pids.len()).unwrap_or(u64::MAX);
    Taken { grown: grown(used), memory: memory(&pids, shares), processes }
}

fn grown(used: Used) -> Grown {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Grown {
        cpu_nanos: used.cpu_ticks.saturating_mul(NANOS / per_second),
        page_faults: used.faults,
        major_page_faults: used.major_faults,
    }
}

/// The memory of these processes.
pub(super) fn memory(pids: &[i32], shares: &mut Shares) -> Memory {
    let all: Vec<(i32, Resident)> = pids.iter().map(|pid| (*pid, Resident::of(*pid))).collect();
    let in_full = |resident: &Resident| resident.anonymous.saturating_add(resident.shared);
    let sum: u64 = all.iter().map(|(_, resident)| in_full(resident)).sum();
    let largest = all.iter().map(|(_, resident)| in_full(resident)).max().unwrap_or_default();
    let file: u64 = all.iter().map(|(_, r)| r.all.saturating_sub(in_full(r))).sum();
    let anonymous: u64 = all.iter().map(|(_, resident)| resident.anonymous).sum();
    let working_set = if sum - largest < WORTH_ASKING {
        sum
    } else {
        all.iter().map(|(pid, resident)| shares.of(*pid, resident)).sum()
    };
    Memory { working_set, anonymous: anonymous.min(working_set), usage: working_set.saturating_add(file) }
}

#[cfg(test)]
mod tests {
    use super::super::process::Process;
    use super::*;

    #[test]
    fn what_has_ended_counts_by_who_waited_for_it() {
        let used = |cpu_ticks| Used { cpu_ticks, faults: cpu_ticks * 10, major_faults: 1 };
        let process =
            |pid, parent, own, reaped| Process { pid, parent, start_ticks: 0, own: used(own), reaped: used(reaped) };
        // The shim's own time is not the task's.
        let shim = process(10, 1, 1000, 1);
        let table =
            Table::of([shim, process(11, 10, 2, 4), process(12, 11, 8, 16), process(20, 1, 500, 500)].into_iter());
        let taken = taken(&table, 10, &mut Shares::default());
        let second = rustix::param::clock_ticks_per_second();
        assert_eq!(taken.grown.cpu_nanos, 31 * NANOS / second);
        assert_eq!((taken.grown.page_faults, taken.grown.major_page_faults, taken.processes), (310, 5, 2));
    }

    #[test]
    fn memory_is_measured() {
        let me = std::process::id().cast_signed();
        let memory = memory(&[me], &mut Shares::default());
        assert!(memory.working_set > 0 && memory.usage >= memory.working_set, "{memory:?}");
        assert!(memory.anonymous > 0 && memory.anonymous <= memory.working_set, "{memory:?}");
        assert_eq!(super::memory(&[], &mut Shares::default()), Memory::default());
    }

    #[test]
    fn shares_are_asked_for_no_longer_than_they_may() {
        let me = std::process::id().cast_signed();
        let much = Resident { all: u64::MAX, anonymous: 1 << 40, shared: 0 };
        assert!(Shares::default().of(me, &much) < 1 << 40);
        assert_eq!(Shares { asked: ASKING }.of(me, &much), 1 << 40);
    }
}
