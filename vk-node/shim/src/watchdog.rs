//! Looks from time to time at what a task's whole tree takes of memory and processes, where the kernel does not hold it
//! to its limits by a cgroup.
//!
//! What counts as memory is what a cgroup would charge and could not take back: anonymous memory and shared memory. Files
//! that are mapped do not count, their pages can be dropped. A page that several processes share counts once: a server
//! that loads 10 GB and forks eight workers takes 10 GB.
//!
//! The kernel adds up each process's pages all the time (`/proc/PID/status`), but counts a shared one for each. So that
//! sum is never too low, and costs next to nothing. Only when it is past the limit are the exact shares asked for
//! (`/proc/PID/smaps_rollup`), for which the kernel goes through the page tables: some milliseconds for each GB.

use std::time::{Duration, Instant};

use vk_record::cgroup::Holds;
use vk_record::process::{self, Resident};
use vk_task::{LimitKind, Limits};

/// Between two looks, far from the limit and near it.
const FAR: Duration = Duration::from_secs(1);
const NEAR: Duration = Duration::from_millis(100);
/// Processes are looked at more often: a fork bomb doubles every millisecond.
const FAR_PROCESSES: Duration = Duration::from_millis(250);
/// A look may take so much of one processor at most: a twentieth.
const COST_FACTOR: u32 = 20;

/// What the tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    memory_bytes: u64,
    processes: u64,
}

/// What the tree may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    memory_bytes: Option<u64>,
    processes: Option<u64>,
}

/// Looks.
#[derive(Debug)]
pub(crate) struct Watchdog {
    allowance: Allowance,
    last: Usage,
    /// When it is to look again, by the clock of the boot.
    due: Duration,
}

impl Watchdog {
    /// Over a task with these limits, of which a cgroup `holds` some, from `now` on; `None` when there is nothing to look
    /// at.
    pub(crate) fn new(limits: &Limits, holds: Holds, now: Duration) -> Option<Self> {
        let allowance = Allowance {
            memory_bytes: limits.memory_bytes.filter(|_| !holds.memory),
            processes: limits.processes.filter(|_| !holds.processes),
        };
        let watches = allowance.memory_bytes.is_some() || allowance.processes.is_some();
        watches.then(|| Self { allowance, last: Usage::default(), due: now + NEAR })
    }

    /// How long it has nothing to do.
    pub(crate) fn idle(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// Looks, if it is time; says which limit the tree is past.
    pub(crate) fn look(&mut self, now: Duration) -> Option<LimitKind> {
        if now < self.due {
            return None;
        }
        let begin = Instant::now();
        let usage = measure(self.allowance);
        self.due = now + pause(self.allowance, self.last, usage, begin.elapsed());
        self.last = usage;
        judge(self.allowance, usage)
    }
}

/// What the descendants of this process take.
fn measure(allowance: Allowance) -> Usage {
    let tree: Vec<(i32, Resident)> = process::tree_of(std::process::id().cast_signed())
        .into_iter()
        .filter_map(|pid| Some((pid, Resident::of(pid)?)))
        .collect();
    let most: u64 = tree.iter().map(|(_, resident)| resident.bytes).sum();
    let memory_bytes = match allowance.memory_bytes {
        // What no share can be had of (a program that runs as somebody else) counts as a whole.
        Some(limit) if most > limit => {
            tree.iter().map(|(pid, resident)| process::share_of(*pid).unwrap_or(u64::MAX).min(resident.bytes)).sum()
        }
        _ => most,
    };
    Usage { memory_bytes, processes: tree.iter().map(|(_, resident)| resident.threads).sum() }
}

/// Which limit is passed.
fn judge(allowance: Allowance, usage: Usage) -> Option<LimitKind> {
    let past = |limit: Option<u64>, taken| limit.is_some_and(|limit| taken > limit);
    if past(allowance.memory_bytes, usage.memory_bytes) {
        return Some(LimitKind::Memory);
    }
    past(allowance.processes, usage.processes).then_some(LimitKind::Processes)
}

/// How long until the next look, from what the tree took the last time and takes now, and what this look cost.
fn pause(allowance: Allowance, before: Usage, now: Usage, cost: Duration) -> Duration {
    let memory = allowance.memory_bytes.map(|limit| approach(limit, before.memory_bytes, now.memory_bytes, FAR));
    let processes = allowance.processes.map(|limit| approach(limit, before.processes, now.processes, FAR_PROCESSES));
    let wanted = [memory, processes].into_iter().flatten().min().unwrap_or(FAR);
    wanted.max(cost * COST_FACTOR)
}

/// From `far`, while less than half of the limit is taken, down to [`NEAR`], where all of it is; and [`NEAR`] when the
/// tree would be past it after growing twice more as it has just grown.
fn approach(limit: u64, before: u64, now: u64, far: Duration) -> Duration {
    let left = limit.saturating_sub(now);
    if now.saturating_sub(before).saturating_mul(2) >= left {
        return NEAR;
    }
    // In thousandths of half the limit; the sizes are far below where the product would not fit.
    let thousandths = u32::try_from(left.saturating_mul(2000).checked_div(limit).unwrap_or_default()).unwrap_or(1000);
    (far * thousandths.min(1000) / 1000).max(NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Allowance = Allowance { memory_bytes: Some(1000), processes: Some(10) };

    fn usage(memory_bytes: u64, processes: u64) -> Usage {
        Usage { memory_bytes, processes }
    }

    #[test]
    fn a_limit_may_be_reached_but_not_passed() {
        assert_eq!(judge(BOTH, usage(1000, 10)), None);
        assert_eq!(judge(BOTH, usage(1001, 10)), Some(LimitKind::Memory));
        assert_eq!(judge(BOTH, usage(1000, 11)), Some(LimitKind::Processes));
        let none = Allowance { memory_bytes: None, processes: None };
        assert_eq!(judge(none, usage(u64::MAX, u64::MAX)), None);
    }

    #[test]
    fn it_looks_the_oftener_the_nearer_the_limit_is() {
        let memory = Allowance { processes: None, ..BOTH };
        let steady = |taken| pause(memory, usage(taken, 1), usage(taken, 1), Duration::ZERO);
        assert_eq!(steady(0), FAR);
        assert_eq!(steady(500), FAR);
        assert_eq!(steady(750), FAR / 2);
        assert_eq!(steady(999), NEAR);
        assert_eq!(steady(1000), NEAR);
        assert_eq!(steady(u64::MAX), NEAR);
        let all: Vec<Duration> = (0..1000).map(steady).collect();
        assert!(all.is_sorted_by(|a, b| a >= b));
        // A tree that grows fast is near, however far it still is.
        assert_eq!(pause(memory, usage(100, 1), usage(400, 1), Duration::ZERO), NEAR);
        assert_eq!(pause(BOTH, usage(0, 1), usage(0, 1), Duration::ZERO), FAR_PROCESSES);
    }

    #[test]
    fn looking_is_never_dear() {
        let cost = Duration::from_millis(200);
        assert_eq!(pause(BOTH, usage(999, 9), usage(999, 9), cost), Duration::from_secs(4));
    }

    #[test]
    fn nothing_to_watch_is_no_watchdog() {
        let limits = Limits { memory_bytes: Some(1), processes: Some(1), ..Limits::default() };
        let (none, memory) = (Holds::default(), Holds { memory: true, ..Holds::default() });
        assert!(Watchdog::new(&Limits::default(), none, Duration::ZERO).is_none());
        assert!(Watchdog::new(&limits, Holds { processes: true, ..memory }, Duration::ZERO).is_none());
        assert!(Watchdog::new(&limits, memory, Duration::ZERO).is_some());
    }

    #[test]
    fn limits_of_nothing_and_of_everything_do_no_harm() {
        for limit in [0, 1, u64::MAX] {
            for now in [0, 1, u64::MAX] {
                let pause = approach(limit, 0, now, FAR);
                assert!((NEAR..=FAR).contains(&pause), "{limit} {now} {pause:?}");
            }
        }
    }
}
