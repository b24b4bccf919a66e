//! Processes known by an entry of their environment: those that outlive their parent by design (shims and what they run), so that
//! no process id of theirs is known to us.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// KILL takes this long at most, unless the kernel holds the process.
const LIMIT: Duration = Duration::from_secs(5);

/// Ends, with KILL, every process whose environment has one of the entries (`NAME=value`), until none is left.
///
/// The entries must be such that only we hand them out.
pub fn kill_by_environment(entries: &[Vec<u8>]) -> Result<()> {
    let started = Instant::now();
    loop {
        let found = list_by_environment(entries)?;
        if found.is_empty() {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            bail!("the processes {found:?} do not end on KILL");
        }
        for pid in found {
            kill_if_marked(pid, entries);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose environment has one of the entries, as they were given it at exec; zombies and ourselves left out.
pub fn list_by_environment(entries: &[Vec<u8>]) -> Result<Vec<i32>> {
    let names = std::fs::read_dir("/proc").context("cannot list /proc")?;
    let pids = names.filter_map(|name| name.ok()?.file_name().to_str()?.parse::<i32>().ok());
    Ok(pids.filter(|pid| is_marked(*pid, entries)).collect())
}

/// A zombie's environment reads as empty.
fn is_marked(pid: i32, entries: &[Vec<u8>]) -> bool {
    let other = u32::try_from(pid).is_ok_and(|pid| pid != std::process::id());
    let environment = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    other && environment().split(|byte| *byte == 0).any(|one| entries.iter().any(|entry| entry == one))
}

/// Looks again once the process is held by a pidfd, so that a number given to another process meanwhile cannot hit that.
fn kill_if_marked(pid: i32, entries: &[Vec<u8>]) {
    let Some(process) = Pid::from_raw(pid) else { return };
    let Ok(held) = pidfd_open(process, PidfdFlags::empty()) else { return };
    if is_marked(pid, entries) {
        let _ = pidfd_send_signal(&held, Signal::KILL);
    }
}
