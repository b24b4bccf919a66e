//! The start of a task's program: a child that waits at a gate, and what it does when the gate opens.
//!
//! ```text
//!   shim                                   child
//!   fork ────────────────────────────────▶ dies with the shim (PDEATHSIG), new session, waits at the gate
//!   start.json durable
//!   open the gate: a byte ───────────────▶ its own mounts, fresh signals, input, outputs, working directory, execve
//!   (or die: the gate closes ────────────▶ leaves without having done anything)
//!   report: closed by exec, or ◀────────── what failed
//! ```

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use vk_record::points::{Point, reach};
use vk_task::StartFailure;

use crate::command::Command;
use crate::fork::{Forked, fork};
use crate::limits::Part;
use crate::mounts::Sight;
use crate::stdio::Theirs;
use crate::{ShimError, signals};

/// How long a program that somebody holds open for writing is tried again: the pipe has just written the script, and a
/// process that it forks at that moment holds the descriptor until its own exec.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The longest report: a pipe takes so much in one piece (`PIPE_BUF` of POSIX).
const REPORT_BYTES: usize = 512;

/// A child at the gate.
#[derive(Debug)]
pub(crate) struct Gated {
    /// The child.
    pub(crate) pid: Pid,
    /// Whether it was born into its cgroup.
    pub(crate) entered: bool,
    gate: File,
    report: Report,
}

/// The child's report, which is all that is left of the gate once it is open.
#[derive(Debug)]
pub(crate) struct Report {
    pipe: File,
}

/// At which step the child failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Prepare,
    Enter,
    Exec,
    /// What failed is told in words.
    Mount,
    Confine(Part),
}

impl Stage {
    /// The number that the child tells it by.
    fn number(self) -> i32 {
        match self {
            Self::Prepare => 0,
            Self::Enter => 1,
            Self::Exec => 2,
            Self::Mount => 3,
            Self::Confine(Part(part)) => 256 + i32::from(part),
        }
    }

    fn of_number(number: i32) -> Self {
        match (number, u8::try_from(number.saturating_sub(256))) {
            (0, _) => Self::Prepare,
            (1, _) => Self::Enter,
            (3, _) => Self::Mount,
            (_, Ok(part)) => Self::Confine(Part(part)),
            (_, Err(_)) => Self::Exec,
        }
    }
}

/// Why the program was not executed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: StartFailure,
    pub(crate) message: String,
}

impl Gated {
    /// Forks the child, which is to have `stdio`. `command` must be complete: the child takes it from the memory that it
    /// inherits.
    pub(crate) fn fork(command: &Command, stdio: Theirs) -> Result<Self, ShimError> {
        let (child_gate, gate) = pipe()?;
        let (report, child_report) = report_pipe()?;
        let shim = rustix::process::getpid();
        match fork(command)? {
            Forked::Parent { child, entered } => Ok(Self { pid: child, entered, gate: gate.into(), report }),
            Forked::Child { .. } => {
                // Its copy of the gate's other end would keep the gate open after the shim's death.
                drop((gate, report));
                begin(shim);
                let mut byte = [0];
                if !matches!(File::from(child_gate).read(&mut byte), Ok(1)) {
                    leave(0);
                }
                execute(shim, command, &stdio, child_report)
            }
        }
    }

    /// Opens the gate; gives back the child's report.
    pub(crate) fn open(mut self) -> Report {
        // It fails only if the child has ended, killed by somebody. How is seen by waiting for it, and that is its end.
        let _ = self.gate.write_all(b"!");
        self.report
    }

    /// Closes the gate: the child leaves without having done anything.
    pub(crate) fn close(self) {
        drop(self.gate);
        // It only has to read the end of a pipe and leave; nothing that it waits for can keep it.
        let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
    }
}

impl Report {
    /// What the child has said: nothing yet (`None`), that the program runs, or why it does not.
    pub(crate) fn read(&mut self, command: &Command) -> Option<Result<(), Failure>> {
        let mut bytes = [0; REPORT_BYTES];
        match self.pipe.read(&mut bytes) {
            Ok(0) => Some(Ok(())),
            Ok(n) => Some(Err(Failure::new(bytes.get(..n).unwrap_or_default(), command))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            // A report that cannot be read is none: the wait for the child tells the rest.
            Err(_) => Some(Ok(())),
        }
    }

    /// The descriptor to wait at.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Starts a program beside the main one, without a gate: nothing is on record of it.
pub(crate) fn start_beside(command: &Command, stdio: Theirs) -> Result<(Pid, Report), ShimError> {
    let (report, child_report) = report_pipe()?;
    let shim = rustix::process::getpid();
    match fork(command)? {
        Forked::Parent { child, .. } => Ok((child, report)),
        Forked::Child { entered } => {
            begin(shim);
            if let (false, Some(group)) = (entered, &command.confinement.group) {
                // If not, it is still one of the shim's descendants.
                let _ = group.add(0);
            }
            execute(shim, command, &stdio, child_report)
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ShimError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(ShimError::system("make a pipe"))
}

fn report_pipe() -> Result<(Report, OwnedFd), ShimError> {
    let (report, child_report) = pipe()?;
    rustix::io::ioctl_fionbio(&report, true).map_err(ShimError::system("keep a pipe from blocking"))?;
    Ok((Report { pipe: report.into() }, child_report))
}

/// The beginning of a child's life: it dies with the shim, and leads a session of its own.
fn begin(shim: Pid) {
    die_with(shim);
    let _ = rustix::process::setsid();
}

fn die_with(shim: Pid) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The shim may have died before that was in force.
    if rustix::process::getppid() != Some(shim) {
        leave(0);
    }
}

/// The child becomes the program, or says why it does not.
fn execute(shim: Pid, command: &Command, stdio: &Theirs, report: OwnedFd) -> ! {
    reach(Point::Exec);
    let (stage, errno, words) = match take_sight(shim, command) {
        Err(words) => (Stage::Mount, Errno::IO, words),
        Ok(()) => {
            let (stage, errno) = become_the_program(command, stdio);
            (stage, errno, String::new())
        }
    };
    let (stage, errno) = (stage.number().to_le_bytes(), errno.raw_os_error().to_le_bytes());
    let mut bytes = [stage, errno].concat();
    bytes.extend(words.bytes().take(REPORT_BYTES - bytes.len()));
    // So few bytes go into a pipe in one piece.
    let _ = File::from(report).write_all(&bytes);
    leave(127)
}

/// Sees to it that the program sees what it is to see of the host's files.
fn take_sight(shim: Pid, command: &Command) -> Result<(), String> {
    if command.sight == Sight::Host {
        return Ok(());
    }
    command.sight.take_on()?;
    // A kernel may take a change of credentials, as the way into a user namespace is one, for a reason to forget it.
    die_with(shim);
    Ok(())
}

/// Returns only when it failed.
fn become_the_program(command: &Command, stdio: &Theirs) -> (Stage, Errno) {
    if let Err(e) = stdio.take_on() {
        return (Stage::Prepare, e);
    }
    if let Err(e) = rustix::process::chdir(command.dir.as_c_str()) {
        return (Stage::Enter, e);
    }
    signals::reset();
    if let Err((part, e)) = command.confinement.apply() {
        return (Stage::Confine(part), e);
    }
    let mut failure = Errno::NOENT;
    for file in &command.files {
        match exec(file, command) {
            // As execvp(3): the next directory may have it; one that may not be executed is remembered.
            Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::TIMEDOUT | Errno::STALE => {}
            Errno::ACCESS => failure = Errno::ACCESS,
            other => return (Stage::Exec, other),
        }
    }
    (Stage::Exec, failure)
}

/// Returns only when it failed, with the reason.
fn exec(file: &CStr, command: &Command) -> Errno {
    for _ in 0..BUSY_TRIES {
        let Err(e) = nix::unistd::execve(file, &command.argv, &command.env);
        if e != nix::errno::Errno::ETXTBSY {
            return Errno::from_raw_os_error(e as i32);
        }
        std::thread::sleep(BUSY_PAUSE);
    }
    Errno::TXTBSY
}

/// Leaves without running anything that this process has set up for its own end.
#[allow(unsafe_code)]
fn leave(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { nix::libc::_exit(code) }
}

impl Failure {
    fn new(bytes: &[u8], command: &Command) -> Self {
        let (head, words) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
        let (stage, errno) = head.split_at_checked(4).unwrap_or((head, &[]));
        let number = |b: &[u8]| b.try_into().map(i32::from_le_bytes).unwrap_or_default();
        let stage = Stage::of_number(number(stage));
        let error = io::Error::from_raw_os_error(number(errno));
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
        match stage {
            Stage::Prepare => Self {
                kind: StartFailure::Other,
                message: format!("cannot give {:?} its standard input and outputs: {error}", command.name),
            },
            Stage::Enter => Self {
                kind: StartFailure::WorkingDirectory,
                message: format!("cannot enter the working directory {}: {error}", command.dir.to_string_lossy()),
            },
            Stage::Mount => Self {
                kind: StartFailure::Other,
                message: format!("{} was not started: {}", command.name, String::from_utf8_lossy(words)),
            },
            Stage::Confine(part) => Self {
                kind: StartFailure::Other,
                message: format!("{} was not started: {}: {error}", command.name, command.confinement.describe(part)),
            },
            Stage::Exec => Self::of_exec(errno, &error, command),
        }
    }

    fn of_exec(errno: Errno, error: &io::Error, command: &Command) -> Self {
        let name = &command.name;
        // What is in its mounts cannot be looked at from here.
        let is_seen = command.sight == Sight::Host;
        match (errno, command.files.as_slice()) {
            (Errno::NOENT, [file]) if is_seen => {
                // The kernel says the same of a file that is not there and of a script whose interpreter is not.
                let message = match interpreter(file) {
                    Some(interpreter) => {
                        format!("cannot execute {name}: the program that is to run it, {interpreter}, does not exist")
                    }
                    None if rustix::fs::stat(file.as_c_str()).is_ok() => {
                        format!("cannot execute {name}: the loader that it needs does not exist on this host")
                    }
                    None => format!("cannot execute {name}: {error}"),
                };
                Self { kind: StartFailure::NotFound, message }
            }
            (Errno::NOENT, [_]) => Self {
                kind: StartFailure::NotFound,
                message: format!("cannot execute {name}: it, or what is to run it, does not exist: {error}"),
            },
            (Errno::NOENT, _) => Self {
                kind: StartFailure::NotFound,
                message: format!("cannot execute {name}: there is no such program in PATH"),
            },
            (Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG, _) => {
                Self { kind: StartFailure::NotFound, message: format!("cannot execute {name}: {error}") }
            }
            (Errno::NOEXEC, _) => Self {
                kind: StartFailure::NotExecutable,
                message: format!(
                    "cannot execute {name}: {error}: it is neither a program of this machine's kind nor a script that \
                     begins with #! and its interpreter"
                ),
            },
            (Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::TXTBSY | Errno::LIBBAD | Errno::INVAL, _) => {
                Self { kind: StartFailure::NotExecutable, message: format!("cannot execute {name}: {error}") }
            }
            _ => Self { kind: StartFailure::Other, message: format!("cannot execute {name}: {error}") },
        }
    }
}

/// The interpreter of the script `file`, if it is one.
fn interpreter(file: &CStr) -> Option<String> {
    let fd = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()?;
    // The kernel looks at the first 256 bytes.
    let mut head = Vec::new();
    File::from(fd).take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    let word = text.split_ascii_whitespace().next()?;
    Some(word.to_owned())
}
