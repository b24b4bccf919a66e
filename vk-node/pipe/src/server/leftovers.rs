//! What is left of a task whose shim is gone: its main process had `SIGKILL` from the kernel, but others may run on.
//!
//! They have lost the shim, so their line of parents proves nothing any more. What does is the mark of this one start in
//! the environment that they were started with; and they prove it for their children. A process that was started with
//! an environment of its own making, and whose parents have all ended, cannot be told from any other of the user's, and
//! is left alone: no kill without proof. Where the task has a cgroup of its own, that is the proof, and there is no such
//! process.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tracing::warn;
use vk_record::Start;
use vk_record::cgroup::Group;
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
    let group = start.cgroup.as_deref().and_then(|path| Group::of_run(path, &start.run));
    let mark = format!("{RUN_VARIABLE}={}", start.run);
    let until = Instant::now() + PATIENCE;
    let mut killed = BTreeSet::new();
    let mut quiet_looks = 0;
    while quiet_looks < QUIET_LOOKS {
        let members = members(&mark, start, group.as_ref())?;
        let grouped = group.as_ref().map(Group::processes).unwrap_or_default();
        if let Some(group) = group.as_ref().filter(|_| !grouped.is_empty()) {
            // In one step, where the kernel can. What comes of it shows below.
            let _ = group.kill();
        }
        quiet_looks = if members.is_empty() { quiet_looks + 1 } else { 0 };
        let mut left = Vec::new();
        for stat in &members {
            // One that cannot even be asked for at this moment is met again.
            let sent = process::send(stat, Signal::KILL, |_| true).unwrap_or(Sent::Gone);
            if sent == Sent::Yes || grouped.contains(&stat.pid) {
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
    if let Some(Err(e)) = group.map(|group| group.remove()) {
        warn!("an empty cgroup is left: {e}");
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
fn members(mark: &str, start: &Start, group: Option<&Group>) -> io::Result<Vec<Stat>> {
    let all = process::all()?;
    let grouped: BTreeSet<i32> = group.map(Group::processes).unwrap_or_default().into_iter().collect();
    let is_main = |s: &Stat| s.pid == start.process.pid && s.start_ticks == start.process.start_ticks;
    let is_proven = |s: &Stat| is_main(s) || grouped.contains(&s.pid) || process::has_variable(s.pid, mark);
    let proven: BTreeSet<i32> = all.values().filter(|s| !s.zombie && is_proven(s)).map(|s| s.pid).collect();
    let mut found: Vec<Stat> = all.values().filter(|s| proven.contains(&s.pid)).copied().collect();
    found.extend(process::descendants(&all, &proven));
    Ok(found)
}
