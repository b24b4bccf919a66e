//! All processes, as `/proc` has them: who descends from whom, and what each has used so far.

use std::collections::HashMap;
use std::fs;

/// A process, as `/proc/PID/stat` has it: see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) start_ticks: u64,
    /// What it has used itself.
    pub(super) own: Used,
    /// What those of its children have used that have ended and that it has waited for, with theirs.
    pub(super) reaped: Used,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) cpu_ticks: u64,
    pub(super) faults: u64,
    pub(super) major_faults: u64,
}

impl Used {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            cpu_ticks: self.cpu_ticks.saturating_add(other.cpu_ticks),
            faults: self.faults.saturating_add(other.faults),
            major_faults: self.major_faults.saturating_add(other.major_faults),
        }
    }
}

impl Process {
    /// Reads the text of `/proc/PID/stat`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let open = memchr::memchr(b'(', text)?;
        // The name may itself hold spaces and parentheses.
        let close = memchr::memrchr(b')', text)?;
        let pid = std::str::from_utf8(text.get(..open)?).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        // By the numbers of the manual page, where the first field after the name is number 3.
        let field = |number: usize| fields.get(number - 3);
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        // Sums of the children may be negative in the text of a broken kernel; then they are nothing.
        let used = |faults, major, user, system| {
            Some(Used {
                cpu_ticks: number(user)?.saturating_add(number(system)?),
                faults: number(faults)?,
                major_faults: number(major)?,
            })
        };
        Some(Self {
            pid,
            parent: field(4)?.parse().ok()?,
            start_ticks: number(22)?,
            own: used(10, 12, 14, 15)?,
            reaped: used(11, 13, 16, 17).unwrap_or_default(),
        })
    }
}

/// All processes, as they were while this looked.
#[derive(Debug, Default)]
pub(super) struct Table {
    all: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    /// Looks. Parents are looked at before their children, but for few: `/proc` is listed by number. So a child that is
    /// waited for meanwhile is counted the next time, and not twice.
    pub(super) fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        // A process may go while this looks.
        Self::of(pids.filter_map(|pid| Process::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)))
    }

    pub(super) fn of(processes: impl Iterator<Item = Process>) -> Self {
        let mut table = Self::default();
        for process in processes {
            table.children.entry(process.parent).or_default().push(process.pid);
            table.all.insert(process.pid, process);
        }
        table
    }

    pub(super) fn get(&self, pid: i32) -> Option<&Process> {
        self.all.get(&pid)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Process> {
        self.all.values()
    }

    /// All that descend from `root`, without it.
    pub(super) fn below(&self, root: i32) -> Vec<&Process> {
        let mut found = Vec::new();
        let mut open = vec![root];
        // Who is whose child was read at different moments, so a circle is possible: no more than all can be found.
        while let Some(pid) = open.pop().filter(|_| found.len() <= self.all.len()) {
            for child in self.children.get(&pid).into_iter().flatten() {
                found.extend(self.get(*child));
                open.push(*child);
            }
        }
        found
    }
}

/// Whether this process is the shim of the task `id`: it is run as `<program> shim <task-directory> …`.
pub(in crate::server) fn is_shim_of(pid: i32, id: &str) -> bool {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = text.split(|b| *b == 0).skip(1);
    words.next() == Some(b"shim")
        && words.next().is_some_and(|dir| dir.rsplit(|b| *b == b'/').next() == Some(id.as_bytes()))
}

/// Resident memory of a process in bytes, as `/proc/PID/status` has it: see proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) all: u64,
    pub(super) anonymous: u64,
    /// Of shared memory and `tmpfs`.
    pub(super) shared: u64,
}

impl Resident {
    /// Of the process `pid`; nothing when there is none.
    pub(super) fn of(pid: i32) -> Self {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let bytes = |name: &str| kilobytes(text, name).map(|n| n.saturating_mul(1024));
        let all = bytes("VmRSS").unwrap_or_default();
        // A kernel before 4.5 has only the sum.
        let anonymous = bytes("RssAnon").unwrap_or(all);
        Self { all, anonymous, shared: bytes("RssShmem").unwrap_or_default() }
    }
}

/// The number in a line `name: number kB`.
pub(super) fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read() {
        let text = b"42 (a) Z 1 (b)) S 7 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        let expected = Process {
            pid: 42,
            parent: 7,
            start_ticks: 987_654,
            own: Used { cpu_ticks: 11, faults: 1, major_faults: 3 },
            reaped: Used { cpu_ticks: 15, faults: 2, major_faults: 4 },
        };
        assert_eq!(Process::parse(text), Some(expected));
        for garbage in [&b""[..], b"1", b"1 (", b"1 (x)", b"1 (x) S", b"x (x) S 1 2 3", b")(", b"\xff (x) S"] {
            assert_eq!(Process::parse(garbage), None);
        }
    }

    #[test]
    fn this_process_is_found_with_what_it_has_used() {
        let table = Table::read();
        let me = table.get(std::process::id().cast_signed()).unwrap();
        assert!(me.own.faults > 0);
        assert!(table.below(me.parent).contains(&me));
        assert!(!is_shim_of(me.pid, "x"));
        let resident = Resident::of(me.pid);
        assert!(resident.anonymous > 0 && resident.all >= resident.anonymous, "{resident:?}");
    }

    #[test]
    fn a_circle_of_parents_is_no_trap() {
        let process = |pid, parent| Process { pid, parent, ..Process::default() };
        let table = Table::of([process(1, 2), process(2, 1), process(3, 1)].into_iter());
        assert!(table.below(1).len() >= 2);
    }

    #[test]
    fn memory_is_read_by_kind() {
        let text = "Name:\tVmRSS: 9\nVmRSS:\t 115 kB\nRssAnon:\t 10 kB\nRssFile:\t 100 kB\nRssShmem:\t 5 kB\n";
        assert_eq!(Resident::parse(text), Resident { all: 115 << 10, anonymous: 10 << 10, shared: 5 << 10 });
        assert_eq!(Resident::parse("VmRSS: 7 kB\n"), Resident { all: 7 << 10, anonymous: 7 << 10, shared: 0 });
        assert_eq!(Resident::parse("State:\tZ (zombie)\n"), Resident::default());
    }
}
