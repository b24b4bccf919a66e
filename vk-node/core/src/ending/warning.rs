//! The signal that warns a task of the end of its node, in the words of `sbatch --signal`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use vk_task::StopSignal;

/// How long before the end, where that is not said: Slurm's figure.
const BEFORE: Duration = Duration::from_secs(60);
/// The longest: Slurm's figure too.
const LONGEST_SECONDS: u64 = 65_535;

/// Which signal, and how long before the end: `USR1@120`, `SIGTERM`, `10@30`.
///
/// The main process of each container gets it, as the batch shell gets that of `--signal=B:…`; a `B:` in front changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The signal.
    pub signal: StopSignal,
    /// How long before the end of the node.
    pub before: Duration,
}

/// A text that is no such signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no warning signal: write a signal and how many seconds before the end it comes, as sbatch --signal takes it: \
     USR1@120 (60 s where nothing is said, {LONGEST_SECONDS} s at most)"
)]
pub struct InvalidWarning(pub String);

impl FromStr for Warning {
    type Err = InvalidWarning;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidWarning(text.to_owned());
        let trimmed = text.trim();
        let (signal, before) = match trimmed.split_once('@') {
            Some((signal, seconds)) => {
                let seconds = seconds.parse().ok().filter(|n| *n <= LONGEST_SECONDS).ok_or_else(wrong)?;
                (signal, Duration::from_secs(seconds))
            }
            None => (trimmed, BEFORE),
        };
        let signal = signal.strip_prefix("B:").unwrap_or(signal);
        let name = match signal.parse::<u8>() {
            Ok(number) => vk_task::Signal(number).to_string(),
            Err(_) if signal.starts_with("SIG") => signal.to_owned(),
            Err(_) => format!("SIG{signal}"),
        };
        let signal = name.parse::<StopSignal>().ok().filter(|signal| signal.can_be_caught()).ok_or_else(wrong)?;
        Ok(Self { signal, before })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.signal, self.before.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_sbatch_reads_it() {
        for (text, expected) in [
            ("USR1@120", "SIGUSR1@120"),
            ("SIGUSR1", "SIGUSR1@60"),
            ("10@30", "SIGUSR1@30"),
            ("B:USR2@5", "SIGUSR2@5"),
            ("15", "SIGTERM@60"),
            (" INT@0 ", "SIGINT@0"),
            ("SIGRTMIN+3@9", "SIGRTMIN+3@9"),
        ] {
            let warning: Warning = text.parse().unwrap();
            assert_eq!(warning.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(warning), "{text}");
        }
        for text in ["", "@5", "USR1@", "USR1@-1", "USR1@65536", "KILL", "9@5", "STOP", "R:USR1", "0", "99", "USR3@1"] {
            assert!(text.parse::<Warning>().is_err(), "{text}");
        }
    }
}
