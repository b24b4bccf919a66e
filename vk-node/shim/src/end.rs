//! How a task ended, and that it gets on record.

use std::time::Duration;

use rustix::process::WaitStatus;
use vk_record::{Exit, RecordError, TaskDir, chain};
use vk_task::{End, Signal, StopRequest};

use crate::error::say;
use crate::relay::Relay;

/// How soon an end that could not be written down is written again, at first and at last.
const RECORD_PAUSE: Duration = Duration::from_millis(50);
const RECORD_PAUSE_MAX: Duration = Duration::from_secs(5);
/// What the kernel says of a process that has ended.
pub(crate) fn end_of(status: WaitStatus) -> End {
    // WCOREDUMP of wait(2).
    const CORE_DUMPED: i32 = 0x80;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Exited { code: u8::try_from(code & 0xff).unwrap_or(u8::MAX) },
        (None, Some(signal)) => End::Signaled {
            signal: Signal(u8::try_from(signal).unwrap_or(u8::MAX)),
            core_dumped: status.as_raw() & CORE_DUMPED != 0,
        },
        // wait(2) without WUNTRACED and WCONTINUED reports nothing else.
        (None, None) => End::Exited { code: u8::MAX },
    }
}

/// What is said of a task that was asked to stop before it was started.
pub(crate) fn stopped_message(stop: &StopRequest) -> String {
    format!("it was stopped before it was started: {}", stop.reason)
}

/// Writes the end down. A full disk is waited out: the end is known nowhere else. What is missing in the log, the log is
/// told before.
pub(crate) fn record_end(task: &TaskDir, exit: &Exit, mut relay: Option<Relay>) {
    let mut pause = RECORD_PAUSE;
    loop {
        if let Some(relay) = &mut relay {
            relay.flush_pending();
        }
        match task.write_exit(exit) {
            Ok(()) | Err(RecordError::Exists { .. }) => return,
            Err(e) => say(format_args!("the task's end is not written down yet: {}", chain(&e))),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(RECORD_PAUSE_MAX);
    }
}
