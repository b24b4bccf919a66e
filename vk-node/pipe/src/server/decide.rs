//! What to do about a task that no shim of ours cares for, decided from its records. Pure.
//!
//! ```text
//!   exit or unknown there ─────────────────────────────▶ Rest
//!   otherwise, a process holds the lock ───────────────▶ Watch it
//!   otherwise, start.json there ───────────────────────▶ Lose: kill what is left, write unknown.json
//!   otherwise, too many shims died before the start ───▶ GiveUp: write exit.json, "could not be started"
//!   otherwise ─────────────────────────────────────────▶ Start a shim
//! ```

use std::time::Duration;

use vk_record::{Facts, LockHolder};

/// So many shims may die before they start the task; then the task cannot be started.
const MAX_FAILURES: u32 = 6;
/// The pause after the first of them; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// When to look again where nothing tells of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, for good.
    Rest,
    /// Watch this process: it is the task's shim.
    Watch(rustix::process::Pid),
    /// Start a shim, after this pause.
    Start(Duration),
    /// Write down that it could not be started.
    GiveUp,
    /// Write down that nobody saw its end, when nothing is left of it.
    Lose,
    /// Look again after this pause.
    LookAgain(Duration),
}

/// Decides, from what the records say, who holds the task's lock, and how many shims have died before they started it.
pub(super) fn next(facts: &Facts, holder: LockHolder, failures: u32) -> Next {
    if facts.is_final() {
        return Next::Rest;
    }
    match holder {
        LockHolder::Process(pid) => Next::Watch(pid),
        LockHolder::Elsewhere => Next::LookAgain(LOOK_AGAIN),
        LockHolder::Nobody if facts.start.is_some() => Next::Lose,
        LockHolder::Nobody if failures >= MAX_FAILURES => Next::GiveUp,
        LockHolder::Nobody if failures == 0 => Next::Start(Duration::ZERO),
        LockHolder::Nobody => Next::Start(FIRST_PAUSE * 2_u32.pow((failures - 1).min(10))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use rustix::process::Pid;
    use vk_record::process::Identity;
    use vk_record::{Exit, Lost, Start, Version};
    use vk_task::End;

    const T: Timestamp = Timestamp::UNIX_EPOCH;

    fn started() -> Facts {
        let process = Identity { pid: 7, start_ticks: 1, boot_id: "b".into() };
        let start = Start { version: Version, process, run: "r".into(), started_at: T, cgroup: None };
        Facts { start: Some(start), ..Facts::default() }
    }

    #[test]
    fn what_is_final_is_left_alone_whoever_holds_the_lock() {
        let ended = Exit {
            version: Version,
            started_at: T,
            finished_at: T,
            end: End::Exited { code: 0 },
            exceeded: None,
            termination_message: None,
        };
        let lost = Lost { version: Version, started_at: T, noticed_at: T, message: String::new() };
        for facts in [Facts { exit: Some(ended), ..started() }, Facts { lost: Some(lost), ..started() }] {
            for holder in [LockHolder::Nobody, LockHolder::Elsewhere, LockHolder::Process(Pid::INIT)] {
                assert_eq!(next(&facts, holder, 0), Next::Rest);
            }
        }
    }

    #[test]
    fn nothing_is_done_while_a_shim_lives() {
        for facts in [Facts::default(), started()] {
            assert_eq!(next(&facts, LockHolder::Process(Pid::INIT), 99), Next::Watch(Pid::INIT));
            assert_eq!(next(&facts, LockHolder::Elsewhere, 99), Next::LookAgain(LOOK_AGAIN));
        }
    }

    #[test]
    fn what_was_started_is_never_started_again() {
        for failures in [0, 1, 99] {
            assert_eq!(next(&started(), LockHolder::Nobody, failures), Next::Lose);
        }
    }

    #[test]
    fn a_shim_that_dies_early_is_replaced_a_few_times() {
        let steps: Vec<_> = (0..=MAX_FAILURES).map(|n| next(&Facts::default(), LockHolder::Nobody, n)).collect();
        assert_eq!(steps[0], Next::Start(Duration::ZERO));
        assert_eq!(steps[1], Next::Start(FIRST_PAUSE));
        assert_eq!(steps[3], Next::Start(FIRST_PAUSE * 4));
        assert_eq!(steps.last(), Some(&Next::GiveUp));
    }
}
