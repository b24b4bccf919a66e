//! A program that is run beside the task's main one, for somebody who waits for it.
//!
//! ```text
//!   Started ──its end──▶ Ended: told to the caller; what it has left in the background is the task's
//!      │ the caller hangs up
//!      ▼
//!   HangUp: SIGHUP to its session ──its end, or a moment later──▶ SIGKILL to what is left of its session
//! ```

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus};
use vk_record::chain;
use vk_record::process::Stat;
use vk_task::{ApiError, End, ErrorReason};

use crate::command::Command;
use crate::end::end_of;
use crate::error::complain;
use crate::gate::{self, Failure, Report};
use crate::mounts::{self, Sight};
use crate::stdio::Theirs;
use crate::tree;

/// How long a program whose caller has hung up may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A program that somebody waits for.
#[derive(Debug)]
pub(crate) struct Exec {
    /// Its process, which has not been waited for, and leads a session.
    pub(crate) pid: Pid,
    command: Command,
    report: Report,
}

impl Exec {
    /// Starts it, with the environment, the working directory and the mounts of `main`, which is this process if it has not
    /// ended.
    pub(crate) fn start(
        main: &Command,
        process: Option<Pid>,
        argv: Vec<String>,
        stdin: bool,
        terminal: bool,
        environment_of: Option<i32>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, ApiError> {
        let stdio = stdio(stdin, terminal, descriptors)?;
        let environment = environment_of.map(environment).transpose()?;
        let sight = match (&main.sight, process) {
            (Sight::Host, _) => Sight::Host,
            (Sight::Own(_) | Sight::Of(_), Some(process)) => mounts::of(process),
            (Sight::Own(_) | Sight::Of(_), None) => return Err(ended()),
        };
        let command = main.beside(argv, environment, sight).map_err(|e| invalid(e.to_string()))?;
        let (pid, report) = gate::start_beside(&command, stdio)
            .map_err(|e| ApiError { reason: ErrorReason::Internal, message: chain(&e) })?;
        Ok(Self { pid, command, report })
    }

    /// How it ended.
    pub(crate) fn end(mut self, status: WaitStatus) -> End {
        match self.report.read(&self.command) {
            Some(Err(Failure { kind, message })) => End::NotStarted { failure: kind, message },
            Some(Ok(())) | None => end_of(status),
        }
    }

    /// Its caller has hung up.
    pub(crate) fn hang_up(self) -> HangUp {
        let hang_up = HangUp { leader: self.pid, kill_at: Instant::now() + GRACE };
        // As when a session ends; a process that is stopped could not hear it.
        let told = tree::tell_those(&[Signal::HUP, Signal::CONT], |stat| hang_up.is_its(stat));
        complain("tell a program that its caller has hung up", told);
        hang_up
    }
}

/// A program whose caller has hung up, until its session has been killed.
///
/// The session's number is that of the program's process, and can be given to nobody else before the shim has waited
/// for that one. So until then, and no longer, it is proven which processes of the task are the program's.
#[derive(Debug)]
pub(crate) struct HangUp {
    leader: Pid,
    /// When what is left is killed, if the program is still there.
    pub(crate) kill_at: Instant,
}

impl HangUp {
    /// Whether it is this program's process.
    pub(crate) fn is_of(&self, pid: Pid) -> bool {
        self.leader == pid
    }

    /// Kills what is left, before the program has been waited for.
    pub(crate) fn kill(&self) {
        let killed = tree::kill_those(|stat| self.is_its(stat)).map(drop);
        complain("kill what is left of a program whose caller has hung up", killed);
    }

    fn is_its(&self, stat: &Stat) -> bool {
        stat.session == self.leader.as_raw_nonzero().get()
    }
}

fn stdio(stdin: bool, terminal: bool, descriptors: Vec<OwnedFd>) -> Result<Theirs, ApiError> {
    let mut fds = descriptors.into_iter();
    let stdio = match (terminal, stdin, fds.next(), fds.next(), fds.next()) {
        (true, _, Some(terminal), None, _) => Theirs::Terminal(terminal),
        (false, true, Some(stdin), Some(stdout), Some(stderr)) => Theirs::Apart { stdin: Some(stdin), stdout, stderr },
        (false, false, Some(stdout), Some(stderr), None) => Theirs::Apart { stdin: None, stdout, stderr },
        _ => return Err(invalid("not the descriptors that the request speaks of have come with it".to_owned())),
    };
    Ok(stdio)
}

/// The environment that a process of the task was started with.
fn environment(pid: i32) -> Result<Vec<CString>, ApiError> {
    let gone = || ApiError {
        reason: ErrorReason::Conflict,
        message: format!("process {pid}, whose environment the program was to have, is none of the task's"),
    };
    let seen = Stat::of(pid).filter(tree::is_member).ok_or_else(gone)?;
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).map_err(|_| gone())?;
    // Still the same one, after it was read.
    if Stat::of(pid).is_none_or(|now| now.start_ticks != seen.start_ticks) {
        return Err(gone());
    }
    let entries = bytes.split(|b| *b == 0).filter(|entry| !entry.is_empty());
    Ok(entries.filter_map(|entry| CString::new(entry).ok()).collect())
}

fn ended() -> ApiError {
    let message = "the task's main process has ended, and its mounts with it".to_owned();
    ApiError { reason: ErrorReason::Conflict, message }
}

fn invalid(message: String) -> ApiError {
    ApiError { reason: ErrorReason::Invalid, message }
}
