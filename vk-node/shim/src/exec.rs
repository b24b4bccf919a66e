//! A program that is run beside the task's main one, for somebody who waits for it.
//!
//! ```text
//!   Started ──its end──▶ Ended: told to the caller; what it has left in the background is the task's
//!      │ the caller hangs up
//!      ▼
//!   SIGHUP to its session ──a moment──▶ SIGKILL to what is left of it
//! ```
//!
//! Only processes of the program's own session are touched, and only while it is proven whose session it is: see
//! [`HangUp`].

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus};
use vk_record::chain;
use vk_record::process::Stat;
use vk_task::{ApiError, End, ErrorReason};

use crate::command::Command;
use crate::error::say;
use crate::gate::{self, Failure, Report};
use crate::run::end_of;
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
    /// Starts it, with the environment and the working directory of `main`.
    pub(crate) fn start(
        main: &Command,
        argv: Vec<String>,
        stdin: bool,
        terminal: bool,
        environment_of: Option<i32>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, ApiError> {
        let stdio = stdio(stdin, terminal, descriptors)?;
        let environment = environment_of.map(environment).transpose()?;
        let command = main.beside(argv, environment).map_err(|e| invalid(e.to_string()))?;
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
        let mut hang_up = HangUp {
            leader: self.pid,
            leader_ended: false,
            members: BTreeSet::new(),
            kill_at: Some(Instant::now() + GRACE),
        };
        hang_up.tell();
        hang_up
    }
}

/// A program whose caller has hung up.
///
/// The number of a session is that of the process that began it, and is given to nobody else while that process has not
/// been waited for, or a process is left in the session. So all processes of the task in session `leader` are of this
/// one as long as either holds: the leader has not been waited for, or one that was in it before then still is.
#[derive(Debug)]
pub(crate) struct HangUp {
    leader: Pid,
    leader_ended: bool,
    /// Those that were in the session before the leader was waited for: number and time of start.
    members: BTreeSet<(i32, u64)>,
    /// `None` once they have been killed.
    kill_at: Option<Instant>,
}

impl HangUp {
    /// When what is left is killed.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }

    /// A child of the shim has been waited for.
    pub(crate) fn ended(&mut self, pid: Pid) {
        self.leader_ended |= pid == self.leader;
    }

    /// Does what the time has come for; says whether there is nothing left to do.
    pub(crate) fn is_done(&mut self, now: Instant) -> bool {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            let proof = self.proof();
            if let Err(e) = tree::kill_those(|stat| proof.holds(stat)) {
                say(format_args!("cannot kill what is left of a program whose caller has hung up: {e}"));
            }
        }
        self.kill_at.is_none()
    }

    /// Says goodbye, as the end of a session does.
    fn tell(&mut self) {
        let leader = self.leader.as_raw_nonzero().get();
        let told = tree::tell_those(&[Signal::HUP, Signal::CONT], |stat| stat.session == leader);
        match told {
            Ok(members) => self.members = members.iter().map(|s| (s.pid, s.start_ticks)).collect(),
            Err(e) => say(format_args!("cannot tell a program that its caller has hung up: {e}")),
        }
    }

    fn proof(&self) -> Proof {
        let session = self.leader.as_raw_nonzero().get();
        let still =
            |(pid, ticks): &(i32, u64)| Stat::of(*pid).is_some_and(|s| s.start_ticks == *ticks && s.session == session);
        Proof { session: (!self.leader_ended || self.members.iter().any(still)).then_some(session) }
    }
}

/// Which processes are of the program's session, if that can be known.
struct Proof {
    session: Option<i32>,
}

impl Proof {
    fn holds(&self, stat: &Stat) -> bool {
        self.session == Some(stat.session)
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

fn invalid(message: String) -> ApiError {
    ApiError { reason: ErrorReason::Invalid, message }
}
