//! Between a client's session and the pipe's stream.
//!
//! ```text
//!   client ─ Session::input ──▶ StreamInput ─ pipe      stops reading while the program does not
//!   client ◀ Session::output ── StreamOutput ─ pipe     stops reading while the client does not
//! ```

use bytes::Bytes;
use tracing::debug;
use vk_api_client::chain;
use vk_pipe::client::ClientError;
use vk_pipe::{StreamEvent, StreamHandle, StreamInput, StreamOutput};
use vk_streaming::Gone;
use vk_streaming::session::{Input, InputEvent, Output, Session};
use vk_streaming::status::Status;
use vk_task::stream::{StreamEnd, TerminalSize};
use vk_task::{ApiError, End, ErrorReason};

use super::streams::Client;

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A program.
    Exec {
        /// At a terminal.
        terminal: bool,
    },
    /// A container's own process.
    Attach {
        /// It takes input.
        stdin: bool,
    },
}

impl What {
    fn takes_input(self) -> bool {
        match self {
            Self::Exec { .. } => true,
            Self::Attach { stdin } => stdin,
        }
    }

    /// As the kubelet says it.
    fn failed(self) -> &'static str {
        match self {
            Self::Exec { .. } => "error executing command in container",
            Self::Attach { .. } => "error attaching to container",
        }
    }
}

/// Passes on in both directions until one end is over; how it ended, unless the client is gone.
pub(super) async fn join(
    session: &mut Session<Client>,
    stream: Result<StreamHandle, ClientError>,
    what: What,
) -> Option<Status> {
    let (to, from) = match stream {
        Ok(stream) => stream.split(),
        Err(error) => return Some(not_opened(&error, what)),
    };
    // Cancel-safe: when one is done so is the session.
    tokio::select! {
        Gone = typed(&mut session.input, to, what) => None,
        shown = shown(from, &mut session.output, what) => shown.ok(),
    }
}

/// Passes on what the client types, until it is gone.
async fn typed(input: &mut Input<Client>, to: StreamInput, what: What) -> Gone {
    let mut to = Some(to);
    loop {
        let event = match input.next().await {
            Ok(event) => event,
            Err(gone) => return gone,
        };
        let Some(stream) = &mut to else { continue };
        let passed_on = async {
            match event {
                InputEvent::Stdin(bytes) if what.takes_input() => stream.write(bytes).await,
                InputEvent::StdinEnd if what.takes_input() => stream.close().await,
                InputEvent::Resize(size) => {
                    let vk_streaming::session::TerminalSize { width, height } = size;
                    stream.resize(TerminalSize { width, height }).await
                }
                InputEvent::Stdin(_) | InputEvent::StdinEnd => Ok(()),
            }
        };
        // Cancel-safe: if the client is gone so is its input.
        let passed_on = tokio::select! {
            passed_on = passed_on => passed_on,
            () = input.gone() => return Gone,
        };
        if let Err(error) = passed_on {
            // How it ended comes, or has come, from the other half.
            debug!("nothing more can be typed: {error}");
            to = None;
        }
    }
}

/// Shows what comes, until the end.
async fn shown(mut from: StreamOutput, output: &mut Output, what: What) -> Result<Status, Gone> {
    loop {
        match from.next().await {
            Ok(StreamEvent::Stdout(bytes)) => output.stdout(bytes).await?,
            Ok(StreamEvent::Stderr(bytes)) => output.stderr(bytes).await?,
            // Its end is told with that of the session.
            Ok(StreamEvent::Closed(_)) => {}
            Ok(StreamEvent::Ended(StreamEnd::Ended { end })) => {
                return match what {
                    Exec { terminal } => {
                        why_not_started(&end, terminal, output).await?;
                        Ok(Status::exited(end.exit_code(), &how(&end)))
                    }
                    // How its process ended is told by the pod's status.
                    Attach { .. } => Ok(Status::success()),
                };
            }
            Ok(StreamEvent::Ended(StreamEnd::Failed { error })) => return Ok(refused(&error, what)),
            Ok(StreamEvent::Ended(StreamEnd::Closed)) => {
                return Ok(Status::internal_error("the stream ended without an end"));
            }
            Err(error) => return Ok(Status::internal_error(&format!("{}: {}", what.failed(), chain(&error)))),
        }
    }
}

use What::{Attach, Exec};

/// A program that was not started cannot say why. kubectl shows an exit code, and no more than that.
async fn why_not_started(end: &End, terminal: bool, output: &mut Output) -> Result<(), Gone> {
    let End::NotStarted { message, .. } = end else { return Ok(()) };
    let newline = if terminal { "\r\n" } else { "\n" };
    let text = Bytes::from(format!("vk-cmd: {message}{newline}"));
    if terminal { output.stdout(text).await } else { output.stderr(text).await }
}

/// How a program ended, for people.
pub(super) fn how(end: &End) -> String {
    match end {
        End::Exited { code } => format!("exit status {code}"),
        End::Signaled { signal, .. } => format!("signal {}", signal.0),
        End::NotStarted { message, .. } => message.clone(),
    }
}

fn refused(error: &ApiError, what: What) -> Status {
    match error.reason {
        ErrorReason::Denied => Status::forbidden(&error.message),
        ErrorReason::Invalid
        | ErrorReason::NotFound
        | ErrorReason::Conflict
        | ErrorReason::NoSpace
        | ErrorReason::Internal => Status::internal_error(&format!("{}: {}", what.failed(), error.message)),
    }
}

fn not_opened(error: &ClientError, what: What) -> Status {
    match error.refusal() {
        Some(refusal) => refused(refusal, what),
        None => Status::internal_error(&format!("{}: {}", what.failed(), chain(error))),
    }
}
