//! All processes that descend from the task's main one, to the last.
//!
//! The shim is their subreaper: a process whose parent ends becomes the shim's child, whatever session or group it went
//! to. So the shim's descendants are the task's processes, all of them, and when the shim has no child, none is left.

use std::collections::BTreeSet;
use std::io;

use rustix::process::Signal;
use vk_record::process::{self, Sent, Stat};

/// How often the tree is looked at for processes that were born while the others were frozen.
const FREEZE_PASSES: u32 = 16;

/// Sends `SIGTERM` to all, and `SIGCONT`, for a process that is stopped cannot end.
pub(crate) fn terminate() -> io::Result<()> {
    for stat in members()? {
        tell(&stat, Signal::TERM)?;
        tell(&stat, Signal::CONT)?;
    }
    Ok(())
}

/// Sends `SIGKILL` to all, frozen before, so that none can outrun it by forking.
pub(crate) fn kill() -> io::Result<()> {
    let mut frozen = BTreeSet::new();
    for _ in 0..FREEZE_PASSES {
        let fresh: Vec<Stat> = members()?.into_iter().filter(|s| !frozen.contains(&(s.pid, s.start_ticks))).collect();
        if fresh.is_empty() {
            break;
        }
        for stat in fresh {
            tell(&stat, Signal::STOP)?;
            frozen.insert((stat.pid, stat.start_ticks));
        }
    }
    for stat in members()? {
        tell(&stat, Signal::KILL)?;
    }
    Ok(())
}

fn members() -> io::Result<Vec<Stat>> {
    Ok(process::descendants(&process::all()?, &[own_pid()].into()))
}

/// Sends a signal to a process that is still one of ours.
fn tell(stat: &Stat, signal: Signal) -> io::Result<Sent> {
    process::send(stat, signal, is_member)
}

/// Whether the line of parents of `stat` leads to this process. A parent that ends while this looks hands its children
/// to the shim itself, so the line is then found to be broken, and the process is met again the next time.
fn is_member(stat: &Stat) -> bool {
    let mut parent = stat.parent;
    // No line is longer than there are processes; the bound is against a line that changes under our eyes.
    for _ in 0..10_000 {
        if parent == own_pid() {
            return true;
        }
        match Stat::of(parent) {
            Some(next) if next.parent > 0 => parent = next.parent,
            _ => return false,
        }
    }
    false
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}
