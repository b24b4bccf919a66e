//! What a program's standard input and outputs are.
//!
//! ```text
//!   null, no terminal:  /dev/null ──▶ 0   1 ──pipe──▶ log   2 ──pipe──▶ log
//!   open or once:       whoever attaches ──pipe──▶ 0, its writing end held here between them; 1 and 2 as above
//!   terminal:           whoever attaches ──▶ ours ◀──terminal──▶ theirs: 0, 1, 2; what ours shows goes to the log
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use vk_record::terminal::{self, Terminal};
use vk_task::stream::TerminalSize;
use vk_task::{ApiError, ErrorReason, Stdin, Stdio};

/// The program's side.
#[derive(Debug)]
pub(crate) enum Theirs {
    /// Each is something of its own.
    Apart {
        /// `None`: at its end from the beginning.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// All three are this terminal.
    Terminal(OwnedFd),
}

/// The shim's side.
#[derive(Debug)]
pub(crate) struct Ours {
    /// The reading end of standard output, or the terminal; it does not block.
    pub(crate) stdout: OwnedFd,
    /// The reading end of standard error, which does not block.
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) input: Input,
}

/// What is there for those who attach.
#[derive(Debug)]
pub(crate) enum Input {
    /// Nothing.
    Null,
    /// The writing end of a pipe; `None` once the program has been told that there is no more.
    Pipe { end: Option<OwnedFd>, stdin: Stdin },
    /// A terminal.
    Terminal {
        ours: OwnedFd,
        /// Held so that a program may close all that it has of its terminal and open it again.
        _theirs: OwnedFd,
        stdin: Stdin,
        /// There will be no more input.
        ended: bool,
    },
}

/// Why there is no input or no terminal to be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    /// A pipe.
    #[error("cannot make a pipe for its input or output")]
    Pipe(#[source] io::Error),
    /// A terminal.
    #[error("cannot make a terminal for it: this host needs /dev/ptmx with a free one, or the task no terminal")]
    Terminal(#[source] io::Error),
}

/// Makes both sides.
pub(crate) fn make(wanted: Stdio) -> Result<(Theirs, Ours), StdioError> {
    let stdin = wanted.stdin;
    if wanted.terminal {
        let made = || {
            let Terminal { ours, theirs } = Terminal::new()?;
            Ok((ours.try_clone()?, theirs.try_clone()?, ours, theirs))
        };
        let (shown, held, ours, theirs) = made().map_err(StdioError::Terminal)?;
        let input = Input::Terminal { ours, _theirs: held, stdin, ended: false };
        return Ok((Theirs::Terminal(theirs), Ours { stdout: shown, stderr: None, input }));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| StdioError::Pipe(e.into()));
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    for end in [&stdout, &stderr] {
        rustix::io::ioctl_fionbio(end, true).map_err(|e| StdioError::Pipe(e.into()))?;
    }
    let (their_stdin, input) = match stdin {
        Stdin::Null => (None, Input::Null),
        Stdin::Open | Stdin::Once => {
            let (theirs, end) = pipe()?;
            (Some(theirs), Input::Pipe { end: Some(end), stdin })
        }
    };
    let theirs = Theirs::Apart { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr };
    Ok((theirs, Ours { stdout, stderr: Some(stderr), input }))
}

impl Theirs {
    /// Makes them this process's own. A terminal becomes that of its session, which it must lead.
    pub(crate) fn take_on(&self) -> Result<(), Errno> {
        let null;
        let (stdin, stdout, stderr) = match self {
            Self::Terminal(terminal) => {
                rustix::process::ioctl_tiocsctty(terminal)?;
                (terminal, terminal, terminal)
            }
            Self::Apart { stdin: Some(stdin), stdout, stderr } => (stdin, stdout, stderr),
            Self::Apart { stdin: None, stdout, stderr } => {
                null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
                (&null, stdout, stderr)
            }
        };
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(stdout)?;
        rustix::stdio::dup2_stderr(stderr)
    }
}

impl Input {
    /// What somebody who attaches may write to, and whether it is a terminal.
    pub(crate) fn hand_out(&self) -> Result<(BorrowedFd<'_>, bool), ApiError> {
        let refusal = |message: &str| Err(ApiError { reason: ErrorReason::Conflict, message: message.to_owned() });
        match self {
            Self::Null | Self::Terminal { stdin: Stdin::Null, .. } => {
                refusal("the task was started without a standard input: ask for one (`stdin: true`) in its container")
            }
            Self::Pipe { end: None, .. } | Self::Terminal { ended: true, .. } => refusal(
                "the task's standard input has come to its end: it was there for the first who attached (`stdinOnce`)",
            ),
            Self::Pipe { end: Some(end), .. } => Ok((end.as_fd(), false)),
            Self::Terminal { ours, .. } => Ok((ours.as_fd(), true)),
        }
    }

    /// Somebody to whom it was handed out has done with it.
    pub(crate) fn done(&mut self) {
        match self {
            Self::Pipe { end, stdin: Stdin::Once } => *end = None,
            Self::Terminal { ours, stdin: Stdin::Once, ended, .. } if !*ended => {
                *ended = true;
                if let Some(key) = terminal::end_of_input(&*ours) {
                    // A terminal whose input is full is one that nobody reads from.
                    let _ = rustix::io::write(&*ours, &[key]);
                }
            }
            Self::Null | Self::Pipe { .. } | Self::Terminal { .. } => {}
        }
    }

    /// Gives the terminal this size.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), ApiError> {
        match self {
            Self::Null | Self::Pipe { .. } => {
                Err(ApiError { reason: ErrorReason::Conflict, message: "the task has no terminal".to_owned() })
            }
            Self::Terminal { ours, .. } => terminal::resize(ours, size).map_err(|e| ApiError {
                reason: ErrorReason::Internal,
                message: format!("the task's terminal cannot be given its size: {e}"),
            }),
        }
    }
}
