//! What a task with a cgroup of its own uses: the kernel has added it up. See the kernel's `admin-guide/cgroup-v2`.

use std::fs;
use std::path::Path;

use super::{Grown, Memory, Taken};

/// What the group takes; where it has no controller of memory, that part is what `memory` finds. `None` when the group is
/// gone.
pub(super) fn taken(group: &Path, memory: impl FnOnce() -> Memory) -> Option<Taken> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    let cpu_nanos = field(&read("cpu.stat")?, "usage_usec")?.saturating_mul(1000);
    let processes = read("cgroup.procs")?.lines().count();
    let stat = read("memory.stat").unwrap_or_default();
    let current = read("memory.current").and_then(|text| text.trim().parse::<u64>().ok());
    let grown = Grown {
        cpu_nanos,
        page_faults: field(&stat, "pgfault").unwrap_or_default(),
        major_page_faults: field(&stat, "pgmajfault").unwrap_or_default(),
    };
    let memory = match current {
        Some(usage) => Memory {
            // As the kubelet's: what the kernel would take back first is not part of it.
            working_set: usage.saturating_sub(field(&stat, "inactive_file").unwrap_or_default()),
            anonymous: field(&stat, "anon").unwrap_or_default(),
            usage,
        },
        None => memory(),
    };
    Some(Taken { grown, memory, processes: u64::try_from(processes).unwrap_or(u64::MAX) })
}

/// The number after a name, in a file of lines `name number`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(n, _)| *n == name)?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sums_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        let found = Memory { working_set: 1, anonymous: 1, usage: 1 };
        assert_eq!(taken(dir.path(), || found), None);
        write("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n");
        write("cgroup.procs", "7\n8\n");
        let without = taken(dir.path(), || found).unwrap();
        assert_eq!((without.grown.cpu_nanos, without.processes, without.memory), (1_500_000, 2, found));
        write("memory.current", "1000\n");
        write("memory.stat", "anon 300\nfile 700\ninactive_file 600\npgfault 5\npgmajfault 2\n");
        let with = taken(dir.path(), || found).unwrap();
        assert_eq!(with.memory, Memory { working_set: 400, anonymous: 300, usage: 1000 });
        assert_eq!((with.grown.page_faults, with.grown.major_page_faults), (5, 2));
    }
}
