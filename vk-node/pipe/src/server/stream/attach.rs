//! `attach`: the task's own input and output, from now on.
//!
//! The output is read from the log, so any number of callers may attach, none of them slows the task or another down,
//! and none misses anything for being slow: what the log throws away before it was read is told of.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::io::Interest;
use vk_record::cri;
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::stream::{Channel, StreamEnd};
use vk_task::{ApiError, ErrorReason, TaskId, TaskState};
use vk_words::counted;

use super::Over;
use super::caller::{FromCaller, ToCaller};
use super::descriptor::Descriptor;
use super::input::{Input, Keys, Size};
use crate::frames;
use crate::server::Pipe;
use crate::server::control::{self, Control};
use crate::server::logs::{self, Output};
use crate::server::refusal::failure;

/// What is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// Takes part until the task has ended.
pub(super) async fn run(
    pipe: &Arc<Pipe>,
    id: &TaskId,
    wanted: Wanted,
    from: &mut FromCaller,
    to: &ToCaller,
) -> Result<StreamEnd, Over> {
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(Over::invalid("neither standard input nor an output is wanted: ask for one of them"));
    }
    let looking = Arc::new(Control::connect(pipe, id).await?);
    // The place in the log before the input, so that the answer to what is typed is not missed. What was written before
    // but had no newline may be in it, for it goes to the log only now.
    looking.request(&ControlRequest::Eager).await?;
    let output = logs::output_from_now(Arc::clone(pipe), id.clone())
        .await
        .map_err(|e| failure("the task's log cannot be followed", &e))?
        .ok_or_else(|| gone(id))?;
    let keys = if wanted.stdin { Some(input(pipe, id).await?) } else { None };
    let input = Input { keys, size: Size::Task(looking) };
    let work = async {
        show(output, &wanted, to).await?;
        for (channel, shown) in [(Channel::Stdout, wanted.stdout), (Channel::Stderr, wanted.stderr)] {
            if shown {
                to.send(frames::close(channel)).await?;
            }
        }
        end(pipe, id)
    };
    tokio::select! {
        // Cancel-safe, as are the others: when one of them is done so is the stream.
        done = work => done,
        over = input.take_from(from) => Err(over),
        () = to.hung_up() => Err(Over::HungUp),
    }
}

/// The task's input, from its shim.
async fn input(pipe: &Arc<Pipe>, id: &TaskId) -> Result<Keys, Over> {
    let control = Control::connect(pipe, id).await?;
    let (answer, descriptors) = control.ask(&ControlRequest::Input, &[]).await?;
    match (answer, descriptors.into_iter().next()) {
        (ControlAnswer::Input { terminal: _ }, Some(fd)) => {
            let descriptor = Descriptor::new(fd, Interest::WRITABLE)
                .map_err(|e| Over::failed(ErrorReason::Internal, format!("the task's input cannot be used: {e}")))?;
            Ok(Keys::Task { descriptor, _lent: control })
        }
        (other, _) => Err(control::unexpected(&other).into()),
    }
}

/// Passes on what the task writes, until it has ended.
async fn show(
    output: impl Stream<Item = std::io::Result<Vec<Output>>>,
    wanted: &Wanted,
    to: &ToCaller,
) -> Result<(), Over> {
    tokio::pin!(output);
    while let Some(pieces) = output.next().await {
        let pieces = pieces.map_err(|e| {
            Over::failed(ErrorReason::Internal, format!("the task's log cannot be read any further: {e}"))
        })?;
        for (channel, bytes) in pieces.into_iter().filter_map(|piece| shown(piece, wanted)) {
            for frame in frames::pieces(channel, bytes.into()) {
                to.send(frame).await?;
            }
        }
    }
    Ok(())
}

/// On which channel a piece of the output goes out, if it is wanted.
fn shown(piece: Output, wanted: &Wanted) -> Option<(Channel, Vec<u8>)> {
    match piece {
        Output::Bytes(cri::Stream::Stdout, bytes) => wanted.stdout.then_some((Channel::Stdout, bytes)),
        Output::Bytes(cri::Stream::Stderr, bytes) => wanted.stderr.then_some((Channel::Stderr, bytes)),
        Output::Missing(bytes) => {
            let channel = if wanted.stderr { Channel::Stderr } else { Channel::Stdout };
            let what = counted(bytes, "byte of output is", "bytes of output are");
            let note = format!("\nvk-cmd: {what} missing here: you were too slow for the log\n");
            (wanted.stdout || wanted.stderr).then(|| (channel, note.into_bytes()))
        }
    }
}

fn end(pipe: &Pipe, id: &TaskId) -> Result<StreamEnd, Over> {
    match pipe.table.get(id).map(|view| view.state) {
        Some(TaskState::Ended { end, .. }) => Ok(StreamEnd::Ended { end }),
        Some(TaskState::Unknown { message, .. }) => {
            Err(Over::failed(ErrorReason::Internal, format!("nobody has seen how task {id} ended: {message}")))
        }
        None => Err(gone(id).into()),
        Some(TaskState::Accepted { .. } | TaskState::Running { .. }) => {
            Err(Over::failed(ErrorReason::Internal, format!("the log of task {id} has ended before the task")))
        }
    }
}

fn gone(id: &TaskId) -> ApiError {
    ApiError { reason: ErrorReason::NotFound, message: format!("there is no task {id} here any more") }
}
