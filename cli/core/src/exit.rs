//! Exit codes. They do not change: docs/reference/cli.md has the table.

use vk_cmd_crds::{Attempt, AttemptState, CmdJob, State};

use crate::plain;

/// Something could not be done.
pub const FAILED: u8 = 1;
/// The command line is wrong, and nothing was asked for. clap's own.
pub const USAGE: u8 = 2;
/// `--timeout` has passed: timeout(1)'s code.
pub const TIMED_OUT: u8 = 124;
/// Of `run` and `wait`, which return the command's own code otherwise: it is the plugin that has failed, or the job has ended without
/// a code. docker's and podman's code for that.
pub const NO_CODE: u8 = 125;
/// Ctrl-C: 128+SIGINT, as shells have it.
pub const INTERRUPTED: u8 = 130;
/// A shell's code of a program that writes to a pipe that nobody reads: 128+SIGPIPE.
pub const BROKEN_PIPE: u8 = 141;

/// All of the plugin's own, for the documentation.
pub const TABLE: [(u8, &str); 7] = [
    (0, "it is done; of `run -f`, `run --wait` and `wait`: the job is complete"),
    (
        FAILED,
        "it could not be done, and standard error says why. Of `run -f`, `run --wait` and `wait` it is the command's own",
    ),
    (USAGE, "the command line makes no sense, but of `run` and `wait`"),
    (TIMED_OUT, "`--timeout` has passed; whatever runs goes on"),
    (
        NO_CODE,
        "of `run` and `wait`: the plugin has failed, the command line included; or the job has ended without a code: it is Invalid, was \
         deleted, never ran, or nobody knows how it ended",
    ),
    (INTERRUPTED, "Ctrl-C or TERM"),
    (BROKEN_PIPE, "nobody reads what it writes"),
];
/// What shells add to the number of a signal.
const SIGNAL: i32 = 128;

/// How a job ended, as the exit code of whoever has waited for it. None: it has not.
///
/// 0 if it is complete. Else the highest code of the attempts that have failed, as `sbatch --wait` has it; [`NO_CODE`] if there is none.
#[must_use]
pub fn of(job: &CmdJob) -> Option<u8> {
    let status = job.status.as_ref()?;
    match status.state? {
        State::Complete => Some(0),
        State::Failed => {
            let failed = status.attempts.iter().filter(|attempt| attempt.state == AttemptState::Failed);
            let worst = failed.filter_map(of_attempt).chain(status.exit_code.and_then(of_code)).max();
            Some(worst.filter(|code| *code != 0).unwrap_or(NO_CODE))
        }
        State::Invalid => Some(NO_CODE),
        State::Waiting | State::Pending | State::Running | State::Terminating | State::Suspended => None,
    }
}

/// Of several jobs: the highest.
#[must_use]
pub fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    codes.into_iter().max().unwrap_or_default()
}

/// What to say beside a code that is not the command's own.
#[must_use]
pub fn words(job: &CmdJob) -> Option<String> {
    let code = of(job)?;
    (code != 0).then(|| format!("{} has failed: {}", plain::name(job), plain::reason(job)))
}

/// Of one attempt: its code, or 128+n if signal n has killed it.
#[must_use]
pub fn of_attempt(attempt: &Attempt) -> Option<u8> {
    attempt.exit_code.and_then(of_code).or_else(|| {
        let number = number(attempt.signal.as_deref()?)?;
        of_code(SIGNAL.checked_add(number)?)
    })
}

fn of_code(code: i32) -> Option<u8> {
    u8::try_from(code).ok()
}

/// The number of a signal on Linux, by its name; the numbers of x86 and ARM.
fn number(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let name = name.strip_prefix("SIG")?;
    let known = NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at).ok());
    known.map(|at| at.saturating_add(1)).or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::plain::tests::job;

    fn ended(status: &Value) -> Option<u8> {
        of(&job("a", &json!({}), status))
    }

    fn attempt(index: i32, state: &str, code: Option<i32>, signal: Option<&str>) -> Value {
        json!({
            "index": index, "attempt": 0, "pod": "p", "podUid": "u", "node": "vk-a", "state": state,
            "exitCode": code, "signal": signal,
        })
    }

    #[test]
    fn a_job_that_has_not_ended_has_no_code() {
        assert_eq!(ended(&json!(null)), None);
        for state in ["Waiting", "Pending", "Running", "Terminating", "Suspended"] {
            assert_eq!(ended(&json!({"state": state, "exitCode": 3})), None, "{state}");
        }
    }

    #[test]
    fn one_that_failed_without_a_code_is_not_taken_for_one_with() {
        assert_eq!(ended(&json!({"state": "Invalid"})), Some(NO_CODE));
        assert_eq!(ended(&json!({"state": "Failed"})), Some(NO_CODE));
        // It heeded TERM with 0, and its deadline had passed.
        assert_eq!(ended(&json!({"state": "Failed", "exitCode": 0})), Some(NO_CODE));
        let unknown = attempt(0, "Unknown", None, None);
        assert_eq!(ended(&json!({"state": "Failed", "attempts": [unknown]})), Some(NO_CODE));
    }

    #[test]
    fn of_an_array_the_highest_counts() {
        let attempts = [
            attempt(0, "Failed", Some(3), None),
            attempt(1, "Failed", Some(7), None),
            attempt(2, "Succeeded", Some(0), None),
        ];
        assert_eq!(ended(&json!({"state": "Failed", "exitCode": 0, "attempts": attempts})), Some(7));
        assert_eq!(worst([0, 3, 2]), 3);
        assert_eq!(worst([]), 0);
    }

    #[test]
    fn signals_are_128_and_their_number() {
        for (name, code) in [("SIGKILL", 137), ("SIGTERM", 143), ("SIGINT", 130), ("SIGSYS", 159), ("SIG34", 162)] {
            let attempts = [attempt(0, "Failed", None, Some(name))];
            assert_eq!(ended(&json!({"state": "Failed", "attempts": attempts})), Some(code), "{name}");
        }
        assert_eq!((number("KILL"), number("SIGNONE")), (None, None));
    }

    proptest! {
        #[test]
        fn every_code_comes_back(code in 0_i32..=255) {
            let state = if code == 0 { "Complete" } else { "Failed" };
            let attempts = [attempt(0, if code == 0 { "Succeeded" } else { "Failed" }, Some(code), None)];
            let by_attempt = ended(&json!({"state": state, "attempts": attempts}));
            prop_assert_eq!(by_attempt.map(i32::from), Some(code));
            prop_assert_eq!(ended(&json!({"state": state, "exitCode": code})).map(i32::from), Some(code));
        }
    }
}
