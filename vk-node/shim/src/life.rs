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

use jiff::Timestamp;
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
    /// The task is to end, and be killed at this time.
    pub(crate) kill_at: Option<Timestamp>,
    /// Its processes have been told to end: by `SIGTERM`, or the signal that was asked for.
    pub(crate) terminated: bool,
    /// When its wall time is over, by [`Now::boot`].
    pub(crate) wall_over: Option<Duration>,
    /// The limit that it is ended for. The first one stands.
    pub(crate) exceeded: Option<LimitKind>,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// By the calendar, in which a request to stop names its time.
    pub(crate) calendar: Timestamp,
    /// Since the host was started, its sleep included (`CLOCK_BOOTTIME`): nobody can set this clock, and wall time goes
    /// on while a host sleeps.
    pub(crate) boot: Duration,
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

/// Decides.
pub(crate) fn next(leftovers: Leftovers, seen: &Seen, now: Now) -> Step {
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
    let until_wall = seen.wall_over.map(|over| over.saturating_sub(now.boot));
    let until_wall_kill = seen.wall_over.map(|over| over.saturating_add(WALL_GRACE).saturating_sub(now.boot));
    let until_stop_kill =
        seen.kill_at.map(|at| Duration::try_from(at.duration_since(now.calendar)).unwrap_or_default());
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The calendar's time, with the host started at its beginning.
    fn now(second: i64) -> Now {
        Now { calendar: at(second), boot: s(second.unsigned_abs()) }
    }

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
            assert_eq!(next(leftovers, &RUNNING, now(5)), Step::Wait(None));
        }
    }

    #[test]
    fn leftovers_are_killed_or_awaited() {
        let seen = Seen { main_ended: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &seen, now(5)), Step::Kill);
        assert_eq!(next(Leftovers::Await, &seen, now(5)), Step::Wait(None));
        let gone = Seen { children_left: false, ..seen };
        assert_eq!(next(Leftovers::Kill, &gone, now(5)), Step::Finish);
        assert_eq!(next(Leftovers::Await, &gone, now(5)), Step::Finish);
    }

    #[test]
    fn a_stop_is_term_then_kill() {
        for main_ended in [false, true] {
            let asked = Seen { kill_at: Some(at(10)), main_ended, ..RUNNING };
            assert_eq!(next(Leftovers::Await, &asked, now(5)), Step::Terminate);
            let told = Seen { terminated: true, ..asked };
            assert_eq!(next(Leftovers::Await, &told, now(9)), Step::Wait(Some(s(1))));
            assert_eq!(next(Leftovers::Await, &told, now(10)), Step::Kill);
        }
    }

    #[test]
    fn the_grace_is_the_whole_trees() {
        let told = Seen { kill_at: Some(at(10)), main_ended: true, terminated: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &told, now(9)), Step::Wait(Some(s(1))));
        assert_eq!(next(Leftovers::Kill, &told, now(10)), Step::Kill);
    }

    #[test]
    fn without_grace_there_is_no_term() {
        let asked = Seen { kill_at: Some(at(5)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &asked, now(5)), Step::Kill);
    }

    #[test]
    fn what_takes_too_much_is_killed_at_once() {
        for kind in [LimitKind::Memory, LimitKind::Processes, LimitKind::Output] {
            for leftovers in [Leftovers::Kill, Leftovers::Await] {
                let seen = Seen { exceeded: Some(kind), ..RUNNING };
                assert_eq!(next(leftovers, &seen, now(5)), Step::Kill);
                let told = Seen { terminated: true, kill_at: Some(at(10)), ..seen };
                assert_eq!(next(leftovers, &told, now(5)), Step::Kill);
            }
        }
    }

    #[test]
    fn when_its_wall_time_is_over_it_is_told_and_then_killed() {
        for leftovers in [Leftovers::Kill, Leftovers::Await] {
            let running = Seen { wall_over: Some(s(10)), ..RUNNING };
            assert_eq!(next(leftovers, &running, now(4)), Step::Wait(Some(s(6))));
            assert_eq!(next(leftovers, &running, now(10)), Step::Exceed(LimitKind::WallTime));
            let over = Seen { exceeded: Some(LimitKind::WallTime), ..running };
            assert_eq!(next(leftovers, &over, now(10)), Step::Terminate);
            let told = Seen { terminated: true, ..over };
            assert_eq!(next(leftovers, &told, now(11)), Step::Wait(Some(WALL_GRACE - s(1))));
            assert_eq!(next(leftovers, &told, now(10 + 30)), Step::Kill);
        }
    }

    #[test]
    fn of_a_stop_and_the_wall_time_the_first_counts() {
        let stopped = Seen { wall_over: Some(s(10)), kill_at: Some(at(15)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &stopped, now(5)), Step::Terminate);
        let told = Seen { terminated: true, ..stopped };
        assert_eq!(next(Leftovers::Kill, &told, now(9)), Step::Wait(Some(s(1))));
        // The stop had it told to end; that its wall time is over as well does not matter.
        assert_eq!(next(Leftovers::Kill, &told, now(11)), Step::Wait(Some(s(4))));
        assert_eq!(next(Leftovers::Kill, &told, now(15)), Step::Kill);
        // But no grace is longer than the wall time's.
        let patient = Seen { kill_at: Some(at(1000)), ..told };
        assert_eq!(next(Leftovers::Kill, &patient, now(40)), Step::Exceed(LimitKind::WallTime));
        let over = Seen { exceeded: Some(LimitKind::WallTime), ..patient };
        assert_eq!(next(Leftovers::Kill, &over, now(40)), Step::Kill);
        // A stop after the wall time can only bring the kill forward.
        let late = Seen { kill_at: Some(at(12)), ..over };
        assert_eq!(next(Leftovers::Kill, &late, now(11)), Step::Wait(Some(s(1))));
        assert_eq!(next(Leftovers::Kill, &late, now(12)), Step::Kill);
    }

    #[test]
    fn a_calendar_that_jumps_does_not_touch_the_wall_time() {
        let running = Seen { wall_over: Some(s(10)), ..RUNNING };
        for calendar in [-1_000_000, 0, 1_000_000] {
            let now = Now { calendar: at(calendar), boot: s(7) };
            assert_eq!(next(Leftovers::Kill, &running, now), Step::Wait(Some(s(3))));
        }
    }
}
