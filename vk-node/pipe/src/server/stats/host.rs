//! What the host uses, with all that runs on it.

use std::fs;

use jiff::Timestamp;
use vk_record::Dir;
use vk_task::{Disk, HostUsage, Usage};

use super::super::allowance;
use super::group::field;
use super::process::kilobytes;

const NANOS: u64 = 1_000_000_000;

/// What the host uses and has; the disk is that of `records`.
pub(super) fn usage(records: &Dir) -> HostUsage {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, memory, faults) = (read("/proc/stat"), read("/proc/meminfo"), read("/proc/vmstat"));
    let loadavg = read("/proc/loadavg");
    let bytes = |name: &str| kilobytes(&memory, name).unwrap_or_default().saturating_mul(1024);
    let available = bytes("MemAvailable");
    let used = bytes("MemTotal").saturating_sub(bytes("MemFree"));
    let number = |path: &str| read(path).trim().parse::<u64>().ok();
    let most = [number("/proc/sys/kernel/pid_max"), number("/proc/sys/kernel/threads-max")];
    HostUsage {
        usage: Usage {
            at: Timestamp::now(),
            cpu_nanos: cpu_ticks(&stat).saturating_mul(NANOS / rustix::param::clock_ticks_per_second().max(1)),
            // As the kubelet takes it from the root cgroup.
            memory_working_set_bytes: used.saturating_sub(bytes("Inactive(file)")),
            memory_rss_bytes: bytes("AnonPages"),
            memory_usage_bytes: used,
            page_faults: field(&faults, "pgfault").unwrap_or_default(),
            major_page_faults: field(&faults, "pgmajfault").unwrap_or_default(),
        },
        memory_available_bytes: allowance::now().memory_left_bytes.map_or(available, |left| left.min(available)),
        booted_at: booted_at(&stat),
        processes: processes(&loadavg).unwrap_or_default(),
        max_processes: most.into_iter().flatten().min().unwrap_or_default(),
        disk: disk(records),
    }
}

/// The time that all processors have worked, in clock ticks: see proc_stat(5).
fn cpu_ticks(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user and nice.
    fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum()
}

fn booted_at(stat: &str) -> Timestamp {
    let seconds = field(stat, "btime").and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// The second number of the fourth field: see proc_loadavg(5).
fn processes(loadavg: &str) -> Option<u64> {
    loadavg.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn disk(records: &Dir) -> Disk {
    let Ok(found) = rustix::fs::statvfs(records.path()) else {
        return Disk { capacity_bytes: 0, available_bytes: 0, inodes: 0, inodes_free: 0 };
    };
    Disk {
        capacity_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        inodes_free: found.f_favail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_do_not_work() {
        let stat = "cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 9 9 9 9\nbtime 1700000000\n";
        assert_eq!(cpu_ticks(stat), 63);
        assert_eq!(booted_at(stat).as_second(), 1_700_000_000);
        assert_eq!((cpu_ticks(""), booted_at("")), (0, Timestamp::UNIX_EPOCH));
        assert_eq!(processes("0.1 0.2 0.3 2/345 6789\n"), Some(345));
        assert_eq!(processes("garbage"), None);
    }

    #[test]
    fn this_host_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let found = usage(&Dir::open_or_create(dir.path()).unwrap());
        assert!(found.usage.cpu_nanos > 0 && found.usage.memory_working_set_bytes > 0, "{found:?}");
        assert!(found.usage.memory_usage_bytes >= found.usage.memory_working_set_bytes, "{found:?}");
        assert!(found.processes > 0 && found.max_processes >= found.processes, "{found:?}");
        assert!(found.disk.capacity_bytes > 0 && found.booted_at < Timestamp::now(), "{found:?}");
    }
}
