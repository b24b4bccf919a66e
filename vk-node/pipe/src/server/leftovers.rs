//! What is left of a task whose shim is gone: its main process had `SIGKILL` from the kernel, but others may run on.
//!
//! They have lost the shim, so their line of parents proves nothing any more. What does is the mark of this one start in
//! the environment that they were started with; and they prove it for their children. A process that was started with
//! an environment of its own making, and whose parents have all ended, cannot be told from any other of the user's, and
//! is left alone: no kill without proof.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vk_record::Start;
use vk_record::process::{self, Sent, Stat};
use vk_task::RUN_VARIABLE;

/// How long they may take to be gone before this counts as a failure (and is tried again).
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// So many times in a row nothing must be found: a process that is just becoming another program shows no environment
/// for that moment.
const QUIET_LOOKS: u32 = 4;

/// Kills them all; says what happened, for people.
pub(super) fn clear_away(start: &Start) -> io::Result<String> {
    if process::boot_id()? != start.process.boot_id {
        return Ok("the host was started anew while it ran".to_owned());
    }
    let mark = format!("{RUN_VARIABLE}={}", start.run);
    let until = Instant::now() + PATIENCE;
    let mut killed = BTreeSet::new();
    let mut quiet_looks = 0;
    while quiet_looks < QUIET_LOOKS {
        let left = members(&mark, start)?;
        quiet_looks = if left.is_empty() { quiet_looks + 1 } else { 0 };
        for stat in &left {
            if process::send(stat, Signal::KILL, |_| true)? == Sent::Yes {
                killed.insert(stat.pid);
            }
        }
        if !left.is_empty() && Instant::now() > until {
            let pids: Vec<String> = left.iter().map(|s| s.pid.to_string()).collect();
            let message = format!("these do not end, though they were killed: {}", pids.join(", "));
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(match killed.len() {
        0 => {
            "the process that watched over it (the shim) ended without a word, and the task's processes with it".into()
        }
        n => format!(
            "the process that watched over it (the shim) ended without a word; {n} of the task's processes were still \
             there and have been killed"
        ),
    })
}

/// The processes that are proven to be the task's.
fn members(mark: &str, start: &Start) -> io::Result<Vec<Stat>> {
    let all = process::all()?;
    let is_main = |s: &Stat| s.pid == start.process.pid && s.start_ticks == start.process.start_ticks;
    let proven: BTreeSet<i32> = all
        .values()
        .filter(|s| !s.zombie && (is_main(s) || process::has_variable(s.pid, mark)))
        .map(|s| s.pid)
        .collect();
    let mut found: Vec<Stat> = all.values().filter(|s| proven.contains(&s.pid)).copied().collect();
    found.extend(process::descendants(&all, &proven));
    Ok(found)
}
