//! What the shim does next, decided from what it has seen. Pure.
//!
//! ```text
//!               main ended, leftovers are killed                 no child left
//!   Running ────────────────────────────────────▶ Killing ──────────────────────▶ Finished
//!     │  │  main ended, leftovers are awaited        ▲ ▲                            ▲
//!     │  └───────────────▶ Awaiting ─────────────────┼─┼────────────────────────────┤
//!     │ stop, or              │ the same             │ │                            │
//!     │ wall time over        │                      │ │ grace over                 │
//!     ▼                       ▼                      │ │                            │
//!  Stopping (told to end, the whole tree) ───────────┼─┴────────────────────────────┘
//!                                                    │
//!  all of them: too much memory, output, too many processes
//! ```

use std::time::Duration;

use vk_task::{Leftovers, LimitKind, Limits};

/// Between `SIGTERM` and `SIGKILL` of a task whose wall time is over.
const WALL_GRACE: Duration = Duration::from_secs(Limits::GRACE_SECONDS);

/// What has been seen of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The main process has ended.
    pub(crate) main_ended: bool,
    /// There is a process left, the main one or another.
    pub(crate) children_left: bool,
    /// The task is to end, and be killed at this time, by the clock of the boot: a request names it by the wall clock, and
    /// it is told when the request is read.
    pub(crate) kill_at: Option<Duration>,
    /// Its processes have been told to end: by `SIGTERM`, or the signal that was asked for.
    pub(crate) terminated: bool,
    /// When its wall time is over, by the clock of the boot.
    pub(crate) wall_over: Option<Duration>,
    /// The limit that it is ended for. The first one stands.
    pub(crate) exceeded: Option<LimitKind>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for something to happen, so long at most.
    Wait(Option<Duration>),
    /// Take down that this limit ends the task.
    Exceed(LimitKind),
    /// Tell the whole tree to end, once.
    Terminate,
    /// Send `SIGKILL` to the whole tree, and look again soon.
    Kill,
    /// The whole tree is gone.
    Finish,
}

/// Decides. `now` is since the host was started, its sleep included (`CLOCK_BOOTTIME`): nobody can set this clock, and wall
/// time goes on while a host sleeps.
pub(crate) fn next(leftovers: Leftovers, seen: &Seen, now: Duration) -> Step {
    if !seen.children_left {
        return Step::Finish;
    }
    // Once the whole tree has been told to end, all of it has the grace, whichever process ends first.
    if seen.main_ended && leftovers == Leftovers::Kill && !seen.terminated {
        return Step::Kill;
    }
    if matches!(seen.exceeded, Some(LimitKind::Memory | LimitKind::Processes | LimitKind::Output)) {
        return Step::Kill;
    }
    let until_wall = seen.wall_over.map(|over| over.saturating_sub(now));
    let until_wall_kill = seen.wall_over.map(|over| over.saturating_add(WALL_GRACE).saturating_sub(now));
    let until_stop_kill = seen.kill_at.map(|at| at.saturating_sub(now));
    let is_over = until_wall.is_some_and(|left| left.is_zero());
    // A task that was told to stop before its wall time was over ends for that, unless it is the wall time that has it
    // killed in the end.
    let wall_ends_it = match seen.terminated {
        false => is_over && until_stop_kill.is_none_or(|left| !left.is_zero()),
        true => {
            until_wall_kill.is_some_and(|left| left.is_zero()) && until_stop_kill.is_some_and(|left| !left.is_zero())
        }
    };
    if wall_ends_it && seen.exceeded.is_none() {
        return Step::Exceed(LimitKind::WallTime);
    }
    let until_kill = [until_stop_kill, until_wall_kill.filter(|_| is_over)].into_iter().flatten().min();
    match until_kill {
        None => Step::Wait(until_wall),
        Some(left) if left.is_zero() => Step::Kill,
        Some(_) if !seen.terminated => Step::Terminate,
        // A wall time that is not over yet may have it killed before the stop does.
        Some(left) => Step::Wait([Some(left), until_wall.filter(|left| !left.is_zero())].into_iter().flatten().min()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const RUNNING: Seen = Seen {
        main_ended: false,
        children_left: true,
        kill_at: None,
        terminated: false,
        wall_over: None,
        exceeded: None,
    };

    #[test]
    fn a_running_task_is_left_alone() {
        for leftovers in [Leftovers::Kill, Leftovers::Await] {
            assert_eq!(next(leftovers, &RUNNING, s(5)), Step::Wait(None));
        }
    }

    #[test]
    fn leftovers_are_killed_or_awaited() {
        let seen = Seen { main_ended: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &seen, s(5)), Step::Kill);
        assert_eq!(next(Leftovers::Await, &seen, s(5)), Step::Wait(None));
        let gone = Seen { children_left: false, ..seen };
        assert_eq!(next(Leftovers::Kill, &gone, s(5)), Step::Finish);
        assert_eq!(next(Leftovers::Await, &gone, s(5)), Step::Finish);
    }

    #[test]
    fn a_stop_is_term_then_kill() {
        for main_ended in [false, true] {
            let asked = Seen { kill_at: Some(s(10)), main_ended, ..RUNNING };
            assert_eq!(next(Leftovers::Await, &asked, s(5)), Step::Terminate);
            let told = Seen { terminated: true, ..asked };
            assert_eq!(next(Leftovers::Await, &told, s(9)), Step::Wait(Some(s(1))));
            assert_eq!(next(Leftovers::Await, &told, s(10)), Step::Kill);
        }
    }

    #[test]
    fn the_grace_is_the_whole_trees() {
        let told = Seen { kill_at: Some(s(10)), main_ended: true, terminated: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &told, s(9)), Step::Wait(Some(s(1))));
        assert_eq!(next(Leftovers::Kill, &told, s(10)), Step::Kill);
    }

    #[test]
    fn without_grace_there_is_no_term() {
        let asked = Seen { kill_at: Some(s(5)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &asked, s(5)), Step::Kill);
    }

    #[test]
    fn what_takes_too_much_is_killed_at_once() {
        for kind in [LimitKind::Memory, LimitKind::Processes, LimitKind::Output] {
            for leftovers in [Leftovers::Kill, Leftovers::Await] {
                let seen = Seen { exceeded: Some(kind), ..RUNNING };
                assert_eq!(next(leftovers, &seen, s(5)), Step::Kill);
                let told = Seen { terminated: true, kill_at: Some(s(10)), ..seen };
                assert_eq!(next(leftovers, &told, s(5)), Step::Kill);
            }
        }
    }

    #[test]
    fn when_its_wall_time_is_over_it_is_told_and_then_killed() {
        for leftovers in [Leftovers::Kill, Leftovers::Await] {
            let running = Seen { wall_over: Some(s(10)), ..RUNNING };
            assert_eq!(next(leftovers, &running, s(4)), Step::Wait(Some(s(6))));
            assert_eq!(next(leftovers, &running, s(10)), Step::Exceed(LimitKind::WallTime));
            let over = Seen { exceeded: Some(LimitKind::WallTime), ..running };
            assert_eq!(next(leftovers, &over, s(10)), Step::Terminate);
            let told = Seen { terminated: true, ..over };
            assert_eq!(next(leftovers, &told, s(11)), Step::Wait(Some(WALL_GRACE - s(1))));
            assert_eq!(next(leftovers, &told, s(10 + 30)), Step::Kill);
        }
    }

    #[test]
    fn of_a_stop_and_the_wall_time_the_first_counts() {
        let stopped = Seen { wall_over: Some(s(10)), kill_at: Some(s(15)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &stopped, s(5)), Step::Terminate);
        let told = Seen { terminated: true, ..stopped };
        assert_eq!(next(Leftovers::Kill, &told, s(9)), Step::Wait(Some(s(1))));
        // The stop had it told to end; that its wall time is over as well does not matter.
        assert_eq!(next(Leftovers::Kill, &told, s(11)), Step::Wait(Some(s(4))));
        assert_eq!(next(Leftovers::Kill, &told, s(15)), Step::Kill);
        // But no grace is longer than the wall time's.
        let patient = Seen { kill_at: Some(s(1000)), ..told };
        assert_eq!(next(Leftovers::Kill, &patient, s(40)), Step::Exceed(LimitKind::WallTime));
        let over = Seen { exceeded: Some(LimitKind::WallTime), ..patient };
        assert_eq!(next(Leftovers::Kill, &over, s(40)), Step::Kill);
        // A stop after the wall time can only bring the kill forward.
        let late = Seen { kill_at: Some(s(12)), ..over };
        assert_eq!(next(Leftovers::Kill, &late, s(11)), Step::Wait(Some(s(1))));
        assert_eq!(next(Leftovers::Kill, &late, s(12)), Step::Kill);
    }
}
