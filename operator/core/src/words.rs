//! How things are called in messages.

use vk_cmd_crds::{Attempt, AttemptState};

/// The name of a signal by its number on Linux (signal(7); the numbers are those of x86 and ARM).
pub(crate) fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        other => return format!("SIG{other}"),
    };
    name.to_owned()
}

/// How an attempt ended, as a clause: "attempt 0 on vk-x ended with exit code 5".
pub(crate) fn ending(attempt: &Attempt) -> String {
    let Attempt { attempt: number, node, .. } = attempt;
    let how = match (attempt.state, attempt.exit_code, attempt.signal.as_deref()) {
        (AttemptState::Unknown, _, _) => "ended in a way that nobody knows".to_owned(),
        (_, Some(code), Some(signal)) => format!("was killed by {signal} (exit code {code})"),
        (_, Some(code), None) => format!("ended with exit code {code}"),
        (_, None, Some(signal)) => format!("was killed by {signal}"),
        (AttemptState::Stopped, None, None) => "was ended".to_owned(),
        (_, None, None) => "failed".to_owned(),
    };
    let why = match (attempt.reason.as_deref(), attempt.message.as_deref()) {
        (Some(reason), Some(message)) => format!(" ({reason}: {message})"),
        (Some(word), None) | (None, Some(word)) => format!(" ({word})"),
        (None, None) => String::new(),
    };
    format!("attempt {number} on {node} {how}{why}")
}
