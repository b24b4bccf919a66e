//! What of the host this process and all that it starts may use, where something above it says so: a batch system's cgroup,
//! a container's, one of systemd's.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::{mounts, own_path};

/// The limits that hold for this process: the least of its group's and of those of all groups above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Memory in bytes.
    pub(super) memory_bytes: Option<u64>,
    /// Of that, what is not used yet.
    pub(super) memory_left_bytes: Option<u64>,
    /// Processors, rounded up.
    pub(super) cpus: Option<u32>,
}

/// The limits of this process.
pub(super) fn now() -> Allowance {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let text = |path: &str| read(Path::new(path)).unwrap_or_default();
    find(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"), read)
}

/// See cgroups(7) and the kernel's `admin-guide/cgroup-v2` and `cgroup-v1/memory`.
fn find(cgroups: &str, mountinfo: &str, read: impl Fn(&Path) -> Option<String>) -> Allowance {
    let number = |directory: &Path, file: &str| read(&directory.join(file))?.trim().parse::<u64>().ok();
    let mut allowance = Allowance::default();
    for directory in unified(cgroups, mountinfo) {
        if let Some(limit) = number(&directory, "memory.max") {
            allowance.memory(limit, number(&directory, "memory.current"));
        }
        let quota = read(&directory.join("cpu.max")).and_then(|text| {
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
        });
        if let Some((quota, period)) = quota {
            allowance.cpu(quota, period);
        }
    }
    for directory in separate(cgroups, mountinfo, "memory") {
        if let Some(limit) = number(&directory, "memory.limit_in_bytes") {
            allowance.memory(limit, number(&directory, "memory.usage_in_bytes"));
        }
    }
    for directory in separate(cgroups, mountinfo, "cpu") {
        let (quota, period) = (number(&directory, "cpu.cfs_quota_us"), number(&directory, "cpu.cfs_period_us"));
        if let (Some(quota), Some(period)) = (quota, period) {
            allowance.cpu(quota, period);
        }
    }
    allowance
}

impl Allowance {
    fn memory(&mut self, limit: u64, used: Option<u64>) {
        let least = |a: Option<u64>, b: u64| Some(a.map_or(b, |a| a.min(b)));
        self.memory_bytes = least(self.memory_bytes, limit);
        if let Some(used) = used {
            self.memory_left_bytes = least(self.memory_left_bytes, limit.saturating_sub(used));
        }
    }

    fn cpu(&mut self, quota: u64, period: u64) {
        if period > 0 {
            let cpus = u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX).max(1);
            self.cpus = Some(self.cpus.map_or(cpus, |least| least.min(cpus)));
        }
    }
}

/// The directories of the process's group of version 2, and of those above it.
fn unified(cgroups: &str, mountinfo: &str) -> Vec<PathBuf> {
    let Some(group) = own_path(cgroups) else { return Vec::new() };
    let found = mounts(mountinfo).into_iter().find_map(|mount| Some((mount.directory_of(&group)?, mount.at)));
    found.map(|(directory, top)| upwards(&directory, &top)).unwrap_or_default()
}

/// The directories of the process's group of version 1 that this controller has, and of those above it.
fn separate(cgroups: &str, mountinfo: &str, controller: &str) -> Vec<PathBuf> {
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let group = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?)).filter(|(controllers, _)| has(controllers)).map(|(_, group)| group)
    });
    let Some(group) = group else { return Vec::new() };
    let found = mountinfo.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        if kind.next() != Some("cgroup") || !kind.nth(1).is_some_and(has) {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        Some(upwards(&Path::new(at).join(below), Path::new(at)))
    });
    found.unwrap_or_default()
}

fn upwards(directory: &Path, top: &Path) -> Vec<PathBuf> {
    directory.ancestors().take_while(|path| path.starts_with(top)).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn found(cgroups: &str, mountinfo: &str, files: &[(&str, &str)]) -> Allowance {
        let files: HashMap<&str, &str> = files.iter().copied().collect();
        find(cgroups, mountinfo, |path| files.get(path.to_str()?).map(|text| (*text).to_owned()))
    }

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_least_of_all_groups_above_holds() {
        let allowance = found(
            "0::/slurm/job_7/step_0\n",
            UNIFIED,
            &[
                ("/sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n"),
                ("/sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "max 100000\n"),
                ("/sys/fs/cgroup/slurm/job_7/memory.max", "1000\n"),
                ("/sys/fs/cgroup/slurm/job_7/memory.current", "300\n"),
                ("/sys/fs/cgroup/slurm/job_7/cpu.max", "250000 100000\n"),
                ("/sys/fs/cgroup/slurm/memory.max", "2000\n"),
                ("/sys/fs/cgroup/slurm/memory.current", "1900\n"),
            ],
        );
        let expected = Allowance { memory_bytes: Some(1000), memory_left_bytes: Some(100), cpus: Some(3) };
        assert_eq!(allowance, expected);
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let mounts = "26 25 0:21 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      27 25 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let allowance = found(
            "4:memory:/batch/7\n5:cpu,cpuacct:/batch/7\n",
            mounts,
            &[
                ("/sys/fs/cgroup/memory/batch/7/memory.limit_in_bytes", "9223372036854771712\n"),
                ("/sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "4096\n"),
                ("/sys/fs/cgroup/memory/batch/memory.usage_in_bytes", "5000\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/batch/7/cpu.cfs_quota_us", "-1\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/batch/7/cpu.cfs_period_us", "100000\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_quota_us", "50000\n"),
                ("/sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let expected = Allowance { memory_bytes: Some(4096), memory_left_bytes: Some(0), cpus: Some(1) };
        assert_eq!(allowance, expected);
    }

    #[test]
    fn where_nothing_is_said_nothing_is_limited() {
        assert_eq!(found("", "", &[]), Allowance::default());
        assert_eq!(found("0::/a\n", UNIFIED, &[("/sys/fs/cgroup/a/cpu.max", "1 0")]), Allowance::default());
        let _ = now();
    }
}
