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
use vk_record::lingering::Left;
use vk_record::process::{self, Sent, Stat};
use vk_task::{Lingering, RUN_VARIABLE};

/// How long they may take to be gone before they are told of (and killed again).
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
/// So many times in a row nothing must be found: a process that is just becoming another program shows no environment
/// for that moment.
const QUIET_LOOKS: u32 = 4;

/// What came of it.
#[derive(Debug)]
pub(super) enum Cleared {
    /// None is left; what happened, for people.
    Gone(String),
    /// These do not end, though they were killed.
    Left(Vec<Lingering>),
}

/// Kills them all.
pub(super) fn clear_away(start: &Start) -> io::Result<Cleared> {
    if process::boot_id()? != start.process.boot_id {
        return Ok(Cleared::Gone("the host was started anew while it ran".to_owned()));
    }
    let mark = format!("{RUN_VARIABLE}={}", start.run);
    let until = Instant::now() + PATIENCE;
    let mut killed = BTreeSet::new();
    let mut quiet_looks = 0;
    while quiet_looks < QUIET_LOOKS {
        let members = members(&mark, start)?;
        quiet_looks = if members.is_empty() { quiet_looks + 1 } else { 0 };
        let mut left = Vec::new();
        for stat in &members {
            // One that cannot even be asked for at this moment is met again.
            let sent = process::send(stat, Signal::KILL, |_| true).unwrap_or(Sent::Gone);
            if sent == Sent::Yes {
                killed.insert(stat.pid);
            }
            left.push((stat, sent));
        }
        if !left.is_empty() && Instant::now() > until {
            let own = rustix::process::geteuid().as_raw();
            let left = left.into_iter().filter_map(|(stat, sent)| Some(Left::of(stat, sent)?.explain(own)));
            return Ok(Cleared::Left(left.collect()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Cleared::Gone(match killed.len() {
        0 => {
            "the process that watched over it (the shim) ended without a word, and the task's processes with it".into()
        }
        n => format!(
            "the process that watched over it (the shim) ended without a word; {n} of the task's processes were still \
             there and have been killed"
        ),
    }))
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
