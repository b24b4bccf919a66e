//! Which process is which: what `/proc` says, and signals that reach the process that was meant and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from every other that ever had its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
    /// The boot that the ticks count from: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What `/proc/PID/stat` says of a process, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub pid: i32,
    /// Whether it has ended and only waits for its parent to look.
    pub zombie: bool,
    /// Its parent.
    pub parent: i32,
    /// Its session: the number of the process that began it.
    pub session: i32,
    /// When it was started.
    pub start_ticks: u64,
}

impl Stat {
    /// Of the process `pid`; `None` when there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        // Bytes, for a process may give itself any name.
        Self::parse(&read_short(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads the text of `/proc/PID/stat`: see proc_pid_stat(5). The second field is the name in parentheses, which may
    /// itself hold spaces and parentheses.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = memchr::memchr(b'(', text)?;
        let close = memchr::memrchr(b')', text)?;
        let pid = std::str::from_utf8(text.get(..open)?).ok()?.trim().parse().ok()?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        // Field 3, the state, is the first after the name.
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(15)?.parse().ok()?;
        Some(Stat { pid, zombie: matches!(state, "Z" | "X"), parent, session, start_ticks })
    }
}

/// The kernel's id of this boot.
///
/// # Errors
/// When `/proc` is not there.
pub fn boot_id() -> io::Result<String> {
    read_word("/proc/sys/kernel/random/boot_id")
}

/// A mark that was never given before and never will be again.
///
/// # Errors
/// When `/proc` is not there.
pub fn new_mark() -> io::Result<String> {
    read_word("/proc/sys/kernel/random/uuid")
}

fn read_word(path: &str) -> io::Result<String> {
    let text = String::from_utf8(read_short(path)?).map_err(io::Error::other)?;
    Ok(text.trim().to_owned())
}

/// Reads a file of the kernel's that is short. They do not say how long they are, and [`fs::read`] then feels its way.
fn read_short(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1 << 10);
    fs::File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All processes there are, as they were while this looked.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn all() -> io::Result<BTreeMap<i32, Stat>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if let Some(stat) = Stat::of(pid) {
            found.insert(pid, stat);
        }
    }
    Ok(found)
}

/// Out of `all`, the living whose line of parents leads to one of `roots`; of the roots themselves, none.
#[must_use]
pub fn descendants(all: &BTreeMap<i32, Stat>, roots: &BTreeSet<i32>) -> Vec<Stat> {
    let mut children: BTreeMap<i32, Vec<&Stat>> = BTreeMap::new();
    for stat in all.values() {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut seen = roots.clone();
    let mut open: Vec<i32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                open.push(child.pid);
                if !child.zombie {
                    found.push(**child);
                }
            }
        }
    }
    found
}

/// The descendants of the process `root`, by the kernel's own lists of children: for one tree that is much cheaper than
/// [`all`]. Whoever is born or changes its parent at that moment may be missing.
#[must_use]
pub fn tree_of(root: i32) -> Vec<i32> {
    let Some(children) = children_of(root) else {
        // A kernel without these lists (CONFIG_PROC_CHILDREN).
        let all = all().unwrap_or_default();
        return descendants(&all, &[root].into()).into_iter().map(|s| s.pid).collect();
    };
    let mut found = BTreeSet::from([root]);
    let mut open = children;
    let mut tree = Vec::new();
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            tree.push(pid);
            open.extend(children_of(pid).unwrap_or_default());
        }
    }
    tree
}

/// The children of all threads of a process; `None` when there is no such list.
fn children_of(pid: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    let mut has_list = false;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        if let Ok(text) = fs::read_to_string(thread.path().join("children")) {
            has_list = true;
            found.extend(text.split_ascii_whitespace().filter_map(|n| n.parse::<i32>().ok()));
        }
    }
    has_list.then_some(found)
}

/// What one process takes, as `/proc/PID/status` has it: see proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Resident anonymous and shared memory, in bytes. What it shares with others counts here in full.
    pub bytes: u64,
    /// Its threads, at least 1: as the kernel's `pids` controller counts, for which one that is not yet waited for is one.
    pub threads: u64,
}

impl Resident {
    /// Of the process `pid`; `None` when there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(parse_status(&fs::read(format!("/proc/{pid}/status")).ok()?))
    }
}

fn parse_status(text: &[u8]) -> Resident {
    let number = |name| field(text, name).unwrap_or_default();
    // A kernel before 4.5 has only the sum, with mapped files in it.
    let bytes = match field(text, "RssAnon") {
        Some(anonymous) => anonymous.saturating_add(number("RssShmem")),
        None => number("VmRSS"),
    };
    Resident { bytes: bytes.saturating_mul(1024), threads: number("Threads").max(1) }
}

/// Its share of the anonymous and shared memory that it uses, in bytes: of a page that `n` processes use, an `n`th part.
/// `None` when it is gone, or another user's.
#[must_use]
pub fn share_of(pid: i32) -> Option<u64> {
    parse_rollup(&fs::read(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_rollup(text: &[u8]) -> Option<u64> {
    let kilobytes = match field(text, "Pss_Anon") {
        Some(anonymous) => anonymous.saturating_add(field(text, "Pss_Shmem").unwrap_or_default()),
        // A kernel before 5.4 has only the sum, with mapped files in it.
        None => field(text, "Pss")?,
    };
    Some(kilobytes.saturating_mul(1024))
}

/// What stands in the line `name:`.
pub(crate) fn line<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = text.split(|b| *b == b'\n');
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
}

/// The number in it.
fn field(text: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(line(text, name)?).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The process that was meant has it.
    Yes,
    /// That process is gone.
    Gone,
    /// The kernel forbids it: the process has become another user's.
    Forbidden,
}

/// Sends `signal` to the process that was seen as `seen` and, at the moment of sending, for which `still` holds; to no
/// other, though its number may have been given away in between.
///
/// # Errors
/// When the kernel fails for a reason that has nothing to do with this process.
pub fn send(seen: &Stat, signal: Signal, still: impl Fn(&Stat) -> bool) -> io::Result<Sent> {
    send_by(seen, |process| Ok(rustix::process::pidfd_send_signal(process, signal)?), still)
}

/// The same, where it is `by` that sends what is to be sent.
///
/// # Errors
/// As [`send`].
pub fn send_by(
    seen: &Stat,
    by: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    still: impl Fn(&Stat) -> bool,
) -> io::Result<Sent> {
    let Some(pid) = Pid::from_raw(seen.pid) else { return Ok(Sent::Gone) };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(Sent::Gone),
        Err(e) => return Err(e.into()),
    };
    // The descriptor is of whoever had the number when it was opened. If that is not whom `Stat::of` now describes,
    // it has ended in between, and the signal below finds nobody.
    match Stat::of(seen.pid) {
        Some(now) if now.start_ticks == seen.start_ticks && still(&now) => {}
        _ => return Ok(Sent::Gone),
    }
    match by(pidfd.as_fd()) {
        Ok(()) => Ok(Sent::Yes),
        Err(e) => match Errno::from_io_error(&e) {
            Some(Errno::SRCH) => Ok(Sent::Gone),
            Some(Errno::PERM) => Ok(Sent::Forbidden),
            _ => Err(e),
        },
    }
}

/// Whether the environment that process `pid` was started with holds `variable` (`NAME=value`).
#[must_use]
pub fn has_variable(pid: i32, variable: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|b| *b == 0).any(|entry| entry == variable.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_fool_the_parser() {
        let text = b"42 (a) Z 1 (b)) S 7 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(
            Stat::parse(text),
            Some(Stat { pid: 42, zombie: false, parent: 7, session: 41, start_ticks: 987_654 })
        );
        for garbage in [&b""[..], b"1", b"1 (", b"1 (x)", b"1 (x) S", b"x (x) S 1 2 3", b")("] {
            assert_eq!(Stat::parse(garbage), None);
        }
    }

    #[test]
    fn this_process_is_found_under_its_parent() {
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        let all = all().unwrap();
        assert_eq!(all[&me.pid].start_ticks, me.start_ticks);
        assert!(descendants(&all, &[me.parent].into()).iter().any(|s| s.pid == me.pid));
    }

    #[test]
    fn a_tree_is_found_from_its_root() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
        let pid = child.id().cast_signed();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while tree_of(pid).len() != 1 {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
        let tree = tree_of(std::process::id().cast_signed());
        assert!(tree.contains(&pid) && tree.contains(&tree_of(pid)[0]));
        for stat in tree_of(pid).into_iter().chain([pid]).filter_map(Stat::of) {
            send(&stat, Signal::KILL, |_| true).unwrap();
        }
        child.wait().unwrap();
        assert_eq!(tree_of(pid), Vec::<i32>::new());
    }

    #[test]
    fn what_a_process_takes_is_read() {
        let me = Resident::of(std::process::id().cast_signed()).unwrap();
        assert!(me.bytes > 4096 && me.threads > 1, "{me:?}");
        assert!(share_of(std::process::id().cast_signed()).unwrap() <= me.bytes * 2);
        let status = b"Name:\tRssAnon: 9\nRssAnon:\t 10 kB\nRssFile:\t 100 kB\nRssShmem:\t 5 kB\nThreads:\t3\n";
        assert_eq!(parse_status(status), Resident { bytes: 15 << 10, threads: 3 });
        assert_eq!(parse_status(b"VmRSS: 7 kB\n"), Resident { bytes: 7 << 10, threads: 1 });
        // One that has ended and is not waited for.
        assert_eq!(parse_status(b"Name:\tx\nState:\tZ (zombie)\n"), Resident { bytes: 0, threads: 1 });
        assert_eq!(
            parse_rollup(b"1-2 ---p [rollup]\nRss: 9 kB\nPss: 8 kB\nPss_Anon: 2 kB\nPss_Shmem: 1 kB\n"),
            Some(3 << 10)
        );
        assert_eq!(parse_rollup(b"Pss: 8 kB\n"), Some(8 << 10));
        for garbage in [&b""[..], b"Pss", b"Pss:", b"Pss: \xff", b"Pss: -1 kB"] {
            assert_eq!(parse_rollup(garbage), None);
        }
    }

    #[test]
    fn a_process_that_is_gone_or_another_gets_no_signal() {
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        let other = Stat { start_ticks: me.start_ticks + 1, ..me };
        assert_eq!(send(&other, Signal::KILL, |_| true).unwrap(), Sent::Gone);
        assert_eq!(send(&me, Signal::KILL, |_| false).unwrap(), Sent::Gone);
    }
}
