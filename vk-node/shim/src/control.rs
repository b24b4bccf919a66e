//! The control socket: what the pipe asks for while the task runs. What is asked is in [`vk_task::control`].
//!
//! ```text
//!   connect ──▶ Idle ──signal, resize──▶ Idle
//!                │ ├──eager──▶ Eager ──resize──▶ Eager
//!                │ ├──input──▶ Input            │ each ends when the connection does:
//!                │ └──exec───▶ Exec             │   input: perhaps the task's input with it
//!                ▼               ▼              │   exec: the program is ended
//!              closed         closed ◀──────────┘
//! ```
//!
//! Whatever comes over a connection, and whatever becomes of it, the task is not touched by it in any other way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitStatus};
use vk_record::Dir;
use vk_record::control::{self, Received};
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::{ApiError, ErrorReason, Signal};

use crate::command::Command;
use crate::error::say;
use crate::exec::{Exec, HangUp};
use crate::signals;
use crate::stdio::Input;

/// How many connections there may be.
const MAX_CONNECTIONS: usize = 64;
/// How long nobody is accepted after the kernel could not: it is out of something.
const DEAF: Duration = Duration::from_secs(1);
/// How many requests of one connection are answered before the task has its turn again.
const REQUESTS_PER_TURN: usize = 8;

/// The control socket, and those who have connected to it.
#[derive(Debug)]
pub(crate) struct Control {
    /// `None` if it could not be made: then there are no streams into this task.
    listener: Option<OwnedFd>,
    /// Nobody is accepted before this time.
    deaf_until: Option<Instant>,
    connections: Vec<Connection>,
    input: Input,
    /// Programs whose callers have hung up, until they are killed.
    hang_ups: Vec<HangUp>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    role: Role,
}

/// What a connection is for.
#[derive(Debug)]
enum Role {
    /// Nothing yet.
    Idle,
    /// The beginnings of lines are written at once.
    Eager,
    /// Its other side writes to the task's input.
    Input,
    /// Its other side waits for the end of a program.
    Exec(Box<Exec>),
}

/// What the requests are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    /// What the main program was started with.
    pub(crate) command: &'a Command,
    /// The main process, while it is there.
    pub(crate) main: Option<BorrowedFd<'a>>,
    /// The same, by its number.
    pub(crate) process: Option<Pid>,
    /// The task is about to end: nothing new is begun in it.
    pub(crate) ending: bool,
}

impl Control {
    /// Listens for the task in `dir`. That it cannot is no reason not to run the task.
    pub(crate) fn new(dir: &Dir, input: Input) -> Self {
        let listener = control::listen(dir)
            .map_err(|e| say(format_args!("there will be no exec, attach or signal for this task: {e}")))
            .ok();
        Self { listener, deaf_until: None, connections: Vec::new(), input, hang_ups: Vec::new() }
    }

    /// The descriptors to wait at.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.listener.iter().filter(|_| self.deaf_until.is_none());
        listener.chain(self.connections.iter().map(|c| &c.socket)).map(AsFd::as_fd)
    }

    /// How long until [`Self::turn`] has something to do though nothing has come.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let next = self.hang_ups.iter().map(|h| h.kill_at).chain(self.deaf_until).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Whether that is now.
    pub(crate) fn is_due(&self) -> bool {
        self.pause().is_some_and(|pause| pause.is_zero())
    }

    /// Whether somebody looks on at the task's output.
    pub(crate) fn is_eager(&self) -> bool {
        self.connections.iter().any(|c| matches!(c.role, Role::Eager))
    }

    /// Takes what has come.
    pub(crate) fn turn(&mut self, task: Task<'_>) {
        self.serve_all(task);
        self.accept(task);
        let now = Instant::now();
        self.kill_those_left(|h| h.kill_at <= now);
    }

    /// A child of the shim has ended, and has not been waited for.
    pub(crate) fn ending(&mut self, pid: Pid) {
        self.kill_those_left(|h| h.is_of(pid));
    }

    /// A child of the shim has ended, and has been waited for.
    pub(crate) fn ended(&mut self, pid: Pid, status: WaitStatus) {
        let is_its = |c: &Connection| matches!(&c.role, Role::Exec(exec) if exec.pid == pid);
        let Some(at) = self.connections.iter().position(is_its) else { return };
        let connection = self.connections.swap_remove(at);
        if let Role::Exec(exec) = connection.role {
            // If the other side is gone, nobody wants to know any more.
            let _ = answer(&connection.socket, &ControlAnswer::Ended { end: exec.end(status) }, &[]);
        }
    }

    fn kill_those_left(&mut self, due: impl Fn(&HangUp) -> bool) {
        self.hang_ups.retain(|hang_up| {
            let due = due(hang_up);
            if due {
                hang_up.kill();
            }
            !due
        });
    }

    fn serve_all(&mut self, task: Task<'_>) {
        for connection in std::mem::take(&mut self.connections) {
            self.serve(connection, task);
        }
    }

    fn serve(&mut self, mut connection: Connection, task: Task<'_>) {
        match connection.turn(&mut self.input, task) {
            Open::Yes => self.connections.push(connection),
            Open::No => self.close(connection.role),
        }
    }

    fn accept(&mut self, task: Task<'_>) {
        if self.deaf_until.is_some_and(|until| until > Instant::now()) {
            return;
        }
        self.deaf_until = None;
        for _ in 0..MAX_CONNECTIONS {
            let Some(listener) = &self.listener else { return };
            match control::accept(listener) {
                Ok(socket) => {
                    // Some may have closed before this one came, and so have made room for it.
                    if self.connections.len() >= MAX_CONNECTIONS {
                        self.serve_all(task);
                    }
                    if self.connections.len() < MAX_CONNECTIONS {
                        self.serve(Connection { socket, role: Role::Idle }, task);
                    } else {
                        let message = format!("{MAX_CONNECTIONS} streams into this task are open: close one of them");
                        let _ = answer(&socket, &refused(ErrorReason::Conflict, message), &[]);
                    }
                }
                // Turned away, or gone before it was its turn.
                Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ConnectionAborted) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.deaf_until = Some(Instant::now() + DEAF);
                    return;
                }
            }
        }
    }

    fn close(&mut self, role: Role) {
        match role {
            Role::Idle | Role::Eager => {}
            Role::Input => self.input.done(),
            Role::Exec(exec) => self.hang_ups.push(exec.hang_up()),
        }
    }
}

/// Whether a connection is.
enum Open {
    Yes,
    No,
}

impl Connection {
    fn turn(&mut self, input: &mut Input, task: Task<'_>) -> Open {
        for _ in 0..REQUESTS_PER_TURN {
            let result = match control::receive(&self.socket) {
                Ok(Received::Nothing) => return Open::Yes,
                Ok(Received::Closed) | Err(_) => return Open::No,
                Ok(Received::Garbage(why)) => {
                    let message = format!("the request to the shim makes no sense: {why}");
                    Err(ApiError { reason: ErrorReason::Invalid, message })
                }
                Ok(Received::Packet(request, descriptors)) => self.serve(request, descriptors, input, task),
            };
            let sent = match result {
                Ok(()) => Ok(()),
                Err(error) => answer(&self.socket, &ControlAnswer::Refused { error }, &[]),
            };
            if sent.is_err() {
                return Open::No;
            }
        }
        Open::Yes
    }

    fn serve(
        &mut self,
        request: ControlRequest,
        descriptors: Vec<OwnedFd>,
        input: &mut Input,
        task: Task<'_>,
    ) -> Result<(), ApiError> {
        match (request, &self.role) {
            (ControlRequest::Signal { signal }, _) => {
                send_signal(signal, task)?;
                self.answer(&ControlAnswer::Done, &[])
            }
            (ControlRequest::Resize { size }, _) => {
                input.resize(size)?;
                self.answer(&ControlAnswer::Done, &[])
            }
            (ControlRequest::Eager, Role::Idle) => {
                self.role = Role::Eager;
                self.answer(&ControlAnswer::Done, &[])
            }
            (ControlRequest::Input, Role::Idle) => {
                let (descriptor, terminal) = input.hand_out()?;
                // First the role: if the answer is lost, so is the connection, and whoever asked has done with it.
                self.role = Role::Input;
                self.answer(&ControlAnswer::Input { terminal }, &[descriptor])
            }
            (ControlRequest::Exec { argv, stdin, terminal, environment_of }, Role::Idle) => {
                if task.ending {
                    return Err(conflict("the task is about to end"));
                }
                let exec = Exec::start(task.command, task.process, argv, stdin, terminal, environment_of, descriptors)?;
                self.role = Role::Exec(Box::new(exec));
                self.answer(&ControlAnswer::Started, &[])
            }
            (ControlRequest::Eager | ControlRequest::Input | ControlRequest::Exec { .. }, _) => {
                Err(conflict("this connection is for something else already"))
            }
        }
    }

    fn answer(&self, message: &ControlAnswer, descriptors: &[BorrowedFd<'_>]) -> Result<(), ApiError> {
        // What cannot be sent will be found out when the refusal cannot be sent either.
        answer(&self.socket, message, descriptors)
            .map_err(|e| ApiError { reason: ErrorReason::Internal, message: format!("cannot answer: {e}") })
    }
}

fn send_signal(signal: Signal, task: Task<'_>) -> Result<(), ApiError> {
    let number = i32::from(signal.0);
    if !(1..=nix::libc::SIGRTMAX()).contains(&number) {
        return Err(ApiError { reason: ErrorReason::Invalid, message: format!("{signal} is none: 1 to 64 are") });
    }
    let main = task.main.ok_or_else(|| conflict("the task's main process has ended"))?;
    signals::send(main, number).map_err(|e| ApiError {
        reason: if e.raw_os_error() == Some(nix::libc::ESRCH) { ErrorReason::Conflict } else { ErrorReason::Internal },
        message: format!("the task's main process cannot be sent {signal}: {e}"),
    })
}

fn answer(socket: &OwnedFd, message: &ControlAnswer, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let packet = control::packet(message).map_err(io::Error::other)?;
    control::send(socket, &packet, descriptors)
}

fn conflict(message: &str) -> ApiError {
    ApiError { reason: ErrorReason::Conflict, message: message.to_owned() }
}

fn refused(reason: ErrorReason, message: String) -> ControlAnswer {
    ControlAnswer::Refused { error: ApiError { reason, message } }
}
