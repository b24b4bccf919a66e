//! What the shim does next, decided from what it has seen. Pure.
//!
//! ```text
//!               main ended, leftovers are killed                 no child left
//!   Running ────────────────────────────────────▶ Killing ──────────────────────▶ Finished
//!     │  │  main ended, leftovers are awaited         ▲                              ▲
//!     │  └───────────────▶ Awaiting ──────────────────┼──────────────────────────────┤
//!     │ stop                  │ stop                  │ grace over                   │
//!     ▼                       ▼                       │                              │
//!  Stopping (TERM sent to the whole tree) ────────────┴──────────────────────────────┘
//! ```

use jiff::Timestamp;
use vk_task::{Leftovers, LimitKind};

/// What has been seen of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The main process has ended.
    pub(crate) main_ended: bool,
    /// There is a process left, the main one or another.
    pub(crate) children_left: bool,
    /// The task is to end, and be killed at this time.
    pub(crate) kill_at: Option<Timestamp>,
    /// `SIGTERM` has been sent.
    pub(crate) terminated: bool,
    /// The limit that the task is past. But for its wall time, which comes with a `kill_at` of its own, the tree is
    /// killed at once for it.
    pub(crate) exceeded: Option<LimitKind>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for something to happen, until this time at most.
    Wait(Option<Timestamp>),
    /// Send `SIGTERM` to the whole tree, once.
    Terminate,
    /// Send `SIGKILL` to the whole tree, and look again soon.
    Kill,
    /// The whole tree is gone.
    Finish,
}

/// Decides.
pub(crate) fn next(leftovers: Leftovers, seen: &Seen, now: Timestamp) -> Step {
    if !seen.children_left {
        return Step::Finish;
    }
    if seen.exceeded.is_some_and(|limit| limit != LimitKind::WallTime) {
        return Step::Kill;
    }
    // Once the whole tree has been told to end, all of it has the grace, whichever process ends first.
    if seen.main_ended && leftovers == Leftovers::Kill && !seen.terminated {
        return Step::Kill;
    }
    match seen.kill_at {
        None => Step::Wait(None),
        Some(at) if at <= now => Step::Kill,
        Some(_) if !seen.terminated => Step::Terminate,
        Some(at) => Step::Wait(Some(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const RUNNING: Seen =
        Seen { main_ended: false, children_left: true, kill_at: None, terminated: false, exceeded: None };

    #[test]
    fn a_running_task_is_left_alone() {
        for leftovers in [Leftovers::Kill, Leftovers::Await] {
            assert_eq!(next(leftovers, &RUNNING, at(5)), Step::Wait(None));
        }
    }

    #[test]
    fn leftovers_are_killed_or_awaited() {
        let seen = Seen { main_ended: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &seen, at(5)), Step::Kill);
        assert_eq!(next(Leftovers::Await, &seen, at(5)), Step::Wait(None));
        let gone = Seen { children_left: false, ..seen };
        assert_eq!(next(Leftovers::Kill, &gone, at(5)), Step::Finish);
        assert_eq!(next(Leftovers::Await, &gone, at(5)), Step::Finish);
    }

    #[test]
    fn a_stop_is_term_then_kill() {
        for main_ended in [false, true] {
            let asked = Seen { kill_at: Some(at(10)), main_ended, ..RUNNING };
            assert_eq!(next(Leftovers::Await, &asked, at(5)), Step::Terminate);
            let told = Seen { terminated: true, ..asked };
            assert_eq!(next(Leftovers::Await, &told, at(9)), Step::Wait(Some(at(10))));
            assert_eq!(next(Leftovers::Await, &told, at(10)), Step::Kill);
        }
    }

    #[test]
    fn the_grace_is_the_whole_trees() {
        let told = Seen { kill_at: Some(at(10)), main_ended: true, terminated: true, ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &told, at(9)), Step::Wait(Some(at(10))));
        assert_eq!(next(Leftovers::Kill, &told, at(10)), Step::Kill);
    }

    #[test]
    fn without_grace_there_is_no_term() {
        let asked = Seen { kill_at: Some(at(5)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &asked, at(5)), Step::Kill);
    }

    #[test]
    fn past_a_limit_there_is_no_grace_but_for_the_wall_time() {
        for limit in [LimitKind::Memory, LimitKind::Processes, LimitKind::Output] {
            let past = Seen { exceeded: Some(limit), kill_at: Some(at(10)), terminated: true, ..RUNNING };
            assert_eq!(next(Leftovers::Await, &past, at(5)), Step::Kill);
            assert_eq!(next(Leftovers::Await, &Seen { children_left: false, ..past }, at(5)), Step::Finish);
        }
        let late = Seen { exceeded: Some(LimitKind::WallTime), kill_at: Some(at(10)), ..RUNNING };
        assert_eq!(next(Leftovers::Kill, &late, at(5)), Step::Terminate);
        assert_eq!(next(Leftovers::Kill, &Seen { terminated: true, ..late }, at(10)), Step::Kill);
    }
}
