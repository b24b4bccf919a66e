//! The signal that a task is asked to end with: core/v1 `stopSignal`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Signal;

/// The signal that a task's processes are sent when it is to end, before `SIGKILL`. By its name in core/v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSignal(u8);

/// A word that is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal of Linux: write one of signal(7), SIGINT or SIGRTMIN+3 say")]
pub struct InvalidStopSignal(pub String);

/// The first and the last signal that the C library leaves to programs.
const REAL_TIME: (u8, u8) = (34, 64);
/// Other names, as signal(7) has them.
const ALIASES: [(&str, &str); 3] = [("SIGCLD", "SIGCHLD"), ("SIGIOT", "SIGABRT"), ("SIGPOLL", "SIGIO")];

impl StopSignal {
    /// `SIGTERM`.
    pub const TERM: Self = Self(15);

    /// The signal.
    #[must_use]
    pub fn signal(self) -> Signal {
        Signal(self.0)
    }

    /// Whether no process can do anything about it: `SIGKILL`.
    #[must_use]
    pub fn is_kill(self) -> bool {
        self.0 == 9
    }

    /// Whether a process that gets it can do something about it, pass it on for instance: all but `SIGKILL` and `SIGSTOP`.
    #[must_use]
    pub fn can_be_caught(self) -> bool {
        !matches!(self.0, 9 | 19)
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::TERM
    }
}

impl FromStr for StopSignal {
    type Err = InvalidStopSignal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, name)| name);
        let all = (1..=31).chain(REAL_TIME.0..=REAL_TIME.1).map(Self);
        all.into_iter().find(|signal| signal.to_string() == name).ok_or_else(|| InvalidStopSignal(text.to_owned()))
    }
}

/// As core/v1 writes it, which counts from `SIGRTMIN` to the middle, and then back from `SIGRTMAX`.
impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n == REAL_TIME.0 => f.write_str("SIGRTMIN"),
            n if n == REAL_TIME.1 => f.write_str("SIGRTMAX"),
            n @ 35..=49 => write!(f, "SIGRTMIN+{}", n - REAL_TIME.0),
            n @ 50..=63 => write!(f, "SIGRTMAX-{}", REAL_TIME.1 - n),
            n => write!(f, "{}", Signal(n)),
        }
    }
}

impl TryFrom<String> for StopSignal {
    type Error = InvalidStopSignal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<u8> {
        text.parse::<StopSignal>().ok().map(|signal| signal.signal().0)
    }

    #[test]
    fn all_of_core_v1_are_known() {
        for (text, n) in [
            ("SIGHUP", 1),
            ("SIGIOT", 6),
            ("SIGABRT", 6),
            ("SIGKILL", 9),
            ("SIGTERM", 15),
            ("SIGCLD", 17),
            ("SIGPOLL", 29),
            ("SIGSYS", 31),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+15", 49),
            ("SIGRTMAX-14", 50),
            ("SIGRTMAX-1", 63),
            ("SIGRTMAX", 64),
        ] {
            assert_eq!(number(text), Some(n), "{text}");
        }
        for text in ["", "TERM", "15", "signal 32", "SIGRTMIN+0", "SIGRTMIN+16", "SIGRTMAX-15", "SIGEMT"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn it_stands_on_disk_as_it_is_written_in_a_pod() {
        let signal: StopSignal = serde_json::from_str("\"SIGRTMIN+3\"").unwrap();
        assert_eq!(serde_json::to_string(&signal).unwrap(), "\"SIGRTMIN+3\"");
        assert!(serde_json::from_str::<StopSignal>("\"SIGNAL\"").is_err());
    }
}
