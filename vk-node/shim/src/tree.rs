//! All processes that descend from the task's main one, to the last.
//!
//! The shim is their subreaper: a process whose parent ends becomes the shim's child, whatever session or group it went
//! to. So the shim's descendants are the task's processes, all of them, and when the shim has no child, none is left.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use rustix::process::Signal;
use vk_record::process::{self, Sent, Stat};
use vk_task::StopSignal;

use crate::signals;

/// How soon a tree that was killed is looked at again, at first and at last.
pub(crate) const KILL_PAUSE: Duration = Duration::from_millis(2);
pub(crate) const KILL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often the tree is looked at for processes that were born while the others were frozen.
const FREEZE_PASSES: u32 = 16;

/// Sends those that are `wanted` the signal to end, and `SIGCONT`, for a process that is stopped cannot end.
pub(crate) fn terminate(signal: StopSignal, wanted: impl Fn(&Stat) -> bool) -> io::Result<()> {
    for stat in members()?.iter().filter(|s| wanted(s)) {
        process::send_by(stat, |to| signals::send(to, i32::from(signal.signal().0)), is_member)?;
        tell(stat, Signal::CONT)?;
    }
    Ok(())
}

/// Sends these signals to those that are `wanted`.
pub(crate) fn tell_those(signals: &[Signal], wanted: impl Fn(&Stat) -> bool) -> io::Result<()> {
    for stat in members()?.iter().filter(|s| wanted(s)) {
        for signal in signals {
            tell(stat, *signal)?;
        }
    }
    Ok(())
}

/// Sends `SIGKILL` to all, frozen before, so that none can outrun it by forking. Gives those that there were.
pub(crate) fn kill() -> io::Result<Vec<(Stat, Sent)>> {
    kill_those(|_| true)
}

/// The same, for those that are `wanted`.
pub(crate) fn kill_those(wanted: impl Fn(&Stat) -> bool) -> io::Result<Vec<(Stat, Sent)>> {
    let mut frozen = BTreeSet::new();
    let mut failure = None;
    for _ in 0..FREEZE_PASSES {
        let is_fresh = |s: &Stat| wanted(s) && !frozen.contains(&(s.pid, s.start_ticks));
        let fresh: Vec<Stat> = members()?.into_iter().filter(is_fresh).collect();
        if fresh.is_empty() {
            break;
        }
        for stat in fresh {
            // One that cannot be frozen may still be killed.
            let _ = tell(&stat, Signal::STOP);
            frozen.insert((stat.pid, stat.start_ticks));
        }
    }
    let mut killed = Vec::new();
    for stat in members()?.into_iter().filter(|s| wanted(s)) {
        // That one cannot be told is no reason to spare the others.
        match tell(&stat, Signal::KILL) {
            Ok(sent) => killed.push((stat, sent)),
            Err(e) => failure = Some(e),
        }
    }
    failure.map_or(Ok(killed), Err)
}

/// This process's children that have ended and have not been waited for.
pub(crate) fn ended_children() -> Vec<Stat> {
    let all = process::all().unwrap_or_default();
    all.into_values().filter(|s| s.zombie && s.parent == own_pid()).collect()
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
pub(crate) fn is_member(stat: &Stat) -> bool {
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
