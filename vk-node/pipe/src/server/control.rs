//! The pipe's side of a task's control socket: see [`vk_task::control`].

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use vk_record::control::{self, Received};
use vk_record::{RecordError, chain};
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::{ApiError, ErrorReason, TaskId, TaskState};

use super::Pipe;
use super::refusal::no_task;

/// How long a shim may take to answer. It does little else, but it may wait for a disk.
const ANSWER: Duration = Duration::from_secs(20);
/// How soon a shim that too many others wait for is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A connection to a task's shim.
#[derive(Debug)]
pub(super) struct Control {
    socket: AsyncFd<OwnedFd>,
}

impl Control {
    /// Connects to the shim of a task that runs.
    pub(super) async fn connect(pipe: &Arc<Pipe>, id: &TaskId) -> Result<Self, ApiError> {
        check_running(pipe, id)?;
        match tokio::time::timeout(ANSWER, try_connect(pipe, id)).await {
            Ok(Ok(control)) => Ok(control),
            Ok(Err(e)) => {
                // It may have ended just now.
                check_running(pipe, id)?;
                let message =
                    format!("the process that watches over task {id} (its shim) does not listen: {}", chain(&e));
                Err(ApiError { reason: ErrorReason::Internal, message })
            }
            Err(_) => Err(silent()),
        }
    }

    /// Asks for something, and waits for the first answer.
    pub(super) async fn ask(
        &self,
        request: &ControlRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(ControlAnswer, Vec<OwnedFd>), ApiError> {
        let packet = control::packet(request).map_err(|e| ApiError {
            reason: ErrorReason::Invalid,
            message: format!("the request cannot be passed on to the task: {e}: shorten the command, or use a file"),
        })?;
        let asked = async {
            let sent = self.socket.async_io(Interest::WRITABLE, |s| control::send(s, &packet, descriptors)).await;
            match (sent, self.next().await) {
                // It may have said why before it closed.
                (Err(e), Err(answer)) if answer.reason == ErrorReason::Internal => Err(broken(&e)),
                (_, answer) => answer,
            }
        };
        tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Asks for something that is done at once.
    pub(super) async fn request(&self, request: &ControlRequest) -> Result<(), ApiError> {
        match self.ask(request, &[]).await? {
            (ControlAnswer::Done, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Waits for the next answer, however long it takes. Cancel-safe: an answer is taken as a whole, or stays.
    pub(super) async fn next(&self) -> Result<(ControlAnswer, Vec<OwnedFd>), ApiError> {
        let received = self.socket.async_io(Interest::READABLE, |socket| match control::receive(socket) {
            Ok(Received::Nothing) => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        });
        match received.await.map_err(|e| broken(&e))? {
            Received::Packet(ControlAnswer::Refused { error }, _) => Err(error),
            Received::Packet(answer, descriptors) => Ok((answer, descriptors)),
            Received::Garbage(why) => Err(broken(&io::Error::other(why))),
            Received::Closed | Received::Nothing => Err(broken(&io::ErrorKind::ConnectionReset.into())),
        }
    }
}

/// That the task runs; a refusal otherwise.
pub(super) fn check_running(pipe: &Pipe, id: &TaskId) -> Result<(), ApiError> {
    let refusal = |reason, message| Err(ApiError { reason, message });
    match pipe.table.get(id).map(|view| view.state) {
        Some(TaskState::Running { .. }) => Ok(()),
        None => Err(no_task(id)),
        Some(TaskState::Accepted { .. }) => {
            refusal(ErrorReason::Conflict, format!("task {id} has not been started yet: try again in a moment"))
        }
        Some(TaskState::Ended { .. } | TaskState::Unknown { .. }) => {
            refusal(ErrorReason::Conflict, format!("task {id} has ended"))
        }
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected(answer: &ControlAnswer) -> ApiError {
    ApiError {
        reason: ErrorReason::Internal,
        message: format!("the shim answered something else than was asked: {answer:?}"),
    }
}

async fn try_connect(pipe: &Arc<Pipe>, id: &TaskId) -> Result<Control, RecordError> {
    loop {
        let (here, name) = (Arc::clone(pipe), id.clone());
        let connected = pipe.blocking.run(move || {
            let dir = here.tasks.open_dir(name.as_str())?;
            Ok::<_, RecordError>((control::connect(&dir), dir.path().join(vk_record::names::CONTROL)))
        });
        let (connected, path) = connected.await?;
        match connected.and_then(register) {
            Ok(socket) => return Ok(Control { socket }),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(RETRY).await,
            Err(source) => return Err(RecordError::Io { action: "connect to", path, source }),
        }
    }
}

#[allow(unsafe_code)]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same for as long as it is owned, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

fn silent() -> ApiError {
    let message =
        format!("the process that watches over the task (its shim) has not answered within {} s", ANSWER.as_secs());
    ApiError { reason: ErrorReason::Internal, message }
}

fn broken(e: &io::Error) -> ApiError {
    let message = format!(
        "the connection to the process that watches over the task (its shim) broke off; the task may have ended just \
         now: {}",
        chain(e)
    );
    ApiError { reason: ErrorReason::Internal, message }
}
