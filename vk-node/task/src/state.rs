//! What is known of a task.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::LimitKind;

/// Where a task is in its life: see the diagram at the top of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TaskState {
    /// The intent is on disk; the program has not been started.
    Accepted {
        /// When the intent was written.
        at: Timestamp,
    },
    /// The program has been started and its end has not been seen.
    Running {
        /// The main process on its host.
        pid: i32,
        /// When the gate was opened.
        started_at: Timestamp,
    },
    /// The end is on disk.
    Ended {
        /// When the gate was opened; for a program that could not be started, when that was found.
        started_at: Timestamp,
        /// When the end was seen.
        finished_at: Timestamp,
        /// How it ended.
        end: End,
        /// The limit that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exceeded: Option<LimitKind>,
    },
    /// It was started, it no longer runs, and nobody saw how it ended.
    Unknown {
        /// When the gate was opened.
        started_at: Timestamp,
        /// When the loss was noticed.
        noticed_at: Timestamp,
        /// What is known of how that came about, for people.
        message: String,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum End {
    /// The main process exited.
    Exited {
        /// Its exit code, 0 to 255.
        code: u8,
    },
    /// A signal ended the main process.
    Signaled {
        /// The signal.
        signal: Signal,
        /// Whether the kernel wrote a core.
        core_dumped: bool,
    },
    /// The program could not be executed at all.
    NotStarted {
        /// What kind of failure it was.
        failure: StartFailure,
        /// What the kernel said, with the path it said it of.
        message: String,
    },
}

/// Why a program was not executed. The exit codes are the shell's: see "Exit Status for Commands" in POSIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartFailure {
    /// There is no such program.
    NotFound,
    /// There is one, and it cannot be executed: no permission, a wrong format.
    NotExecutable,
    /// The working directory cannot be entered.
    WorkingDirectory,
    /// It was asked to stop before it was started, and so never was.
    Stopped,
    /// Something else: no memory, too many processes, an argument list too long.
    Other,
}

/// A signal's number, on Linux: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub u8);

impl StartFailure {
    /// The exit code that a shell would give.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NotFound => 127,
            // As if `SIGTERM` had ended it, which is what the stop would have sent.
            Self::Stopped => 143,
            Self::NotExecutable | Self::WorkingDirectory | Self::Other => 126,
        }
    }
}

impl End {
    /// The exit code as a shell and Kubernetes give it: 128 + n for signal n, 127 and 126 for what could not start.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exited { code } => i32::from(*code),
            Self::Signaled { signal, .. } => 128 + i32::from(signal.0),
            Self::NotStarted { failure, .. } => i32::from(failure.exit_code()),
        }
    }
}

impl TaskState {
    /// Whether nothing of this task can change any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Running { .. } => false,
            Self::Ended { .. } | Self::Unknown { .. } => true,
        }
    }
}

/// The signals with numbers that are the same on every Linux that Rust runs on but MIPS and SPARC, by number from 1.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        match NAMES.get(usize::from(n).wrapping_sub(1)) {
            Some(name) => f.write_str(name),
            None if (34..=64).contains(&n) => write!(f, "SIGRTMIN+{}", n - 34),
            None => write!(f, "signal {n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let killed = End::Signaled { signal: Signal(9), core_dumped: false };
        assert_eq!(killed.exit_code(), 137);
        assert_eq!(End::Exited { code: 255 }.exit_code(), 255);
        let missing = End::NotStarted { failure: StartFailure::NotFound, message: String::new() };
        assert_eq!(missing.exit_code(), 127);
    }

    #[test]
    fn signals_have_their_names() {
        let names: Vec<_> = [1, 9, 15, 31, 34, 64, 0].map(|n| Signal(n).to_string()).into();
        assert_eq!(names, ["SIGHUP", "SIGKILL", "SIGTERM", "SIGSYS", "SIGRTMIN+0", "SIGRTMIN+30", "signal 0"]);
    }

    #[test]
    fn states_read_well_on_disk() {
        let state = TaskState::Ended {
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            end: End::Signaled { signal: Signal(15), core_dumped: false },
            exceeded: None,
        };
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains(r#""how":"signaled","signal":15"#), "{text}");
        assert_eq!(serde_json::from_str::<TaskState>(&text).unwrap(), state);
    }
}
