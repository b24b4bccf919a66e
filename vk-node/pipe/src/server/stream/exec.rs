//! `exec`: a program beside the task's own.
//!
//! ```text
//!   caller ──stdin──▶ pipe ──▶ program ──▶ pipe ──stdout──▶ caller
//!                                 │ ends
//!   caller ◀──Status── the rest of its output ◀── shim
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use axum::body::Bytes;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;
use vk_record::terminal::Terminal;
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::stream::{Channel, Frame, StreamEnd};
use vk_task::{ApiError, End, ErrorReason, TaskId};

use super::Over;
use super::caller::{FromCaller, ToCaller};
use super::descriptor::Descriptor;
use super::input::{Input, Keys, Size};
use super::via;
use crate::frames;
use crate::server::Pipe;
use crate::server::control::{self, Control};

/// How much is read and sent at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// What is left of the output when the program has ended is no more than pipes and terminals hold; more than that
/// comes from others that have its output, and is not waited for.
const REST_BYTES: usize = 1 << 20;

/// What is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) argv: Vec<String>,
    pub(super) stdin: bool,
    pub(super) terminal: bool,
}

/// The program's side of its input and outputs, in the order in which the shim takes them.
type Theirs = Vec<OwnedFd>;

/// Our side.
struct Ours {
    input: Input,
    shown: Vec<(Channel, Arc<Descriptor>)>,
}

/// Runs the program to its end.
pub(super) async fn run(
    pipe: &Arc<Pipe>,
    id: &TaskId,
    wanted: Wanted,
    from: &mut FromCaller,
    to: &ToCaller,
) -> Result<StreamEnd, Over> {
    if wanted.argv.first().is_none_or(String::is_empty) {
        return Err(Over::invalid("there is no program to run"));
    }
    let Wanted { argv, stdin, terminal } = wanted;
    let via::Program { argv, environment_of } = via::find(pipe, id, argv, stdin, terminal).await?;
    let (theirs, ours) = if terminal { at_terminal(stdin) } else { at_pipes(stdin) }.map_err(|e| no_stdio(&e))?;
    let control = Control::connect(pipe, id).await?;
    let request = ControlRequest::Exec { argv, stdin, terminal, environment_of };
    let descriptors: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    match control.ask(&request, &descriptors).await? {
        (ControlAnswer::Started, _) => {}
        (other, _) => return Err(control::unexpected(&other).into()),
    }
    // The end of its output is seen only when nobody here can write to it.
    drop(theirs);

    let ended = CancellationToken::new();
    let waiting = async {
        let end = end(&control).await;
        ended.cancel();
        end
    };
    let showing = futures::future::try_join_all(ours.shown.iter().map(|(channel, fd)| show(*channel, fd, &ended, to)));
    let work = async {
        let (end, shown) = tokio::join!(waiting, showing);
        shown?;
        Ok(StreamEnd::Ended { end: end? })
    };
    tokio::select! {
        // Cancel-safe, as are the others: when one of them is done so is the stream, and with the connection to the shim
        // the program is ended.
        done = work => done,
        over = ours.input.take_from(from) => Err(over),
        () = to.hung_up() => Err(Over::HungUp),
    }
}

async fn end(control: &Control) -> Result<End, ApiError> {
    match control.next().await? {
        (ControlAnswer::Ended { end }, _) => Ok(end),
        (other, _) => Err(control::unexpected(&other)),
    }
}

/// Passes an output on: to its end, or to what was there when the program had ended.
async fn show(channel: Channel, fd: &Descriptor, ended: &CancellationToken, to: &ToCaller) -> Result<(), Over> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let n = tokio::select! {
            // Cancel-safe: what was not read stays.
            n = fd.read(&mut buffer) => n.unwrap_or_default(),
            // Cancel-safe: it only waits.
            () = ended.cancelled() => break,
        };
        if n == 0 {
            return to.send(frames::close(channel)).await;
        }
        pass_on(channel, &buffer, n, to).await?;
    }
    let mut rest = REST_BYTES;
    while rest > 0
        && let Ok(Some(n @ 1..)) = fd.try_read(&mut buffer)
    {
        pass_on(channel, &buffer, n, to).await?;
        rest = rest.saturating_sub(n);
    }
    to.send(frames::close(channel)).await
}

async fn pass_on(channel: Channel, buffer: &[u8], n: usize, to: &ToCaller) -> Result<(), Over> {
    let payload = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
    to.send(Frame { channel, payload }).await
}

fn at_pipes(stdin: bool) -> std::io::Result<(Theirs, Ours)> {
    let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut theirs = vec![their_stdout, their_stderr];
    let mut keys = None;
    if stdin {
        let (their_stdin, end) = pipe_with(PipeFlags::CLOEXEC)?;
        theirs.insert(0, their_stdin);
        keys = Some(Keys::Pipe(Descriptor::new(end, Interest::WRITABLE)?));
    }
    let shown = vec![
        (Channel::Stdout, Arc::new(Descriptor::new(stdout, Interest::READABLE)?)),
        (Channel::Stderr, Arc::new(Descriptor::new(stderr, Interest::READABLE)?)),
    ];
    Ok((theirs, Ours { input: Input { keys, size: Size::Nobody }, shown }))
}

fn at_terminal(stdin: bool) -> std::io::Result<(Theirs, Ours)> {
    let Terminal { ours, theirs } = Terminal::new()?;
    let size = Size::Terminal(ours.try_clone()?);
    let ours = Arc::new(Descriptor::new(ours, Interest::READABLE | Interest::WRITABLE)?);
    let keys = stdin.then(|| Keys::Terminal(Arc::clone(&ours)));
    Ok((vec![theirs], Ours { input: Input { keys, size }, shown: vec![(Channel::Stdout, ours)] }))
}

fn no_stdio(e: &std::io::Error) -> Over {
    Over::failed(ErrorReason::Internal, format!("cannot make the program's input and output: {e}"))
}
