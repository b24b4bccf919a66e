//! Streams into tasks that run, `exec` and `attach`, and connections that the host makes for a pod. What goes over the
//! connection is in [`vk_task::stream`].
//!
//! ```text
//!   caller ◀─frames─▶ pipe ◀──pipes, or a terminal──▶ program      exec: the shim has only been handed the descriptors
//!                      │  ──────its input───────────▶ task         attach: the shim has handed out the input
//!                      └──follows the log◀───────────  shim ◀ task
//!                      ◀────────────TCP──────────────▶ a port        dial: the pod's own, or what its probes name
//! ```
//!
//! Nothing is read ahead of the one who takes it: a slow caller makes the program wait (exec), or leaves the rest in
//! the log (attach); a program that does not read makes the caller wait.

mod attach;
mod caller;
mod descriptor;
mod dial;
mod exec;
mod input;
mod via;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::debug;
use vk_task::stream::{StreamEnd, StreamRequest, UPGRADE};
use vk_task::{ApiError, ErrorReason, TaskId};

use super::{Pipe, control};
use caller::{FromCaller, ToCaller};

/// A stream is over.
#[derive(Debug)]
enum Over {
    /// The caller is to be told this.
    Said(StreamEnd),
    /// There is nobody to be told.
    HungUp,
}

impl Over {
    fn failed(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self::Said(StreamEnd::Failed { error: ApiError { reason, message: message.into() } })
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::failed(ErrorReason::Invalid, message)
    }
}

/// Answers the request for a stream; it goes on when the connection has been upgraded.
pub(super) fn open(pipe: &Arc<Pipe>, id: TaskId, request: Request) -> Result<Response, ApiError> {
    check_upgrade(request.headers())?;
    control::check_running(pipe, &id)?;
    Ok(upgrade(pipe, request, move |pipe, from, to| async move { serve(&pipe, &id, from, to).await }))
}

/// The same for a connection that the host makes.
pub(super) fn open_dial(pipe: &Arc<Pipe>, request: Request) -> Result<Response, ApiError> {
    check_upgrade(request.headers())?;
    Ok(upgrade(pipe, request, serve_dial))
}

/// Answers, and has the connection served once the HTTP server has given it away.
fn upgrade<F>(
    pipe: &Arc<Pipe>,
    mut request: Request,
    serve: impl FnOnce(Arc<Pipe>, FromCaller, ToCaller) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let upgraded = hyper::upgrade::on(&mut request);
    let pipe = Arc::clone(pipe);
    let streams = pipe.streams.clone();
    streams.spawn(async move {
        let taken = match upgraded.await {
            Ok(upgraded) => caller::take_over(upgraded).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match taken {
            Ok((from, to)) => serve(pipe, from, to).await,
            Err(e) => debug!("a stream did not come about: {e}"),
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, UPGRADE)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn check_upgrade(headers: &HeaderMap<HeaderValue>) -> Result<(), ApiError> {
    let asked =
        headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(UPGRADE.as_bytes()));
    if asked {
        return Ok(());
    }
    let message = format!("a stream needs the headers `Connection: Upgrade` and `Upgrade: {UPGRADE}`");
    Err(ApiError { reason: ErrorReason::Invalid, message })
}

async fn serve(pipe: &Arc<Pipe>, id: &TaskId, mut from: FromCaller, to: ToCaller) {
    let work = async {
        let request = from.request().await?;
        pipe.permit_stream(id, &request).await?;
        match request {
            StreamRequest::Exec { argv, stdin, terminal, user: _ } => {
                let wanted = exec::Wanted { argv, stdin, terminal };
                exec::run(pipe, id, wanted, &mut from, &to).await
            }
            StreamRequest::Attach { stdin, stdout, stderr, user: _ } => {
                let wanted = attach::Wanted { stdin, stdout, stderr };
                attach::run(pipe, id, wanted, &mut from, &to).await
            }
        }
    };
    to_the_last_word(pipe, work, &to, "the task goes on").await;
}

async fn serve_dial(pipe: Arc<Pipe>, mut from: FromCaller, to: ToCaller) {
    let work = async {
        let request = from.request().await?;
        dial::run(&pipe, request, &mut from, &to).await
    };
    to_the_last_word(&pipe, work, &to, "ask again when it is back").await;
}

/// Does the work of a stream, and tells the caller how it ended.
async fn to_the_last_word(
    pipe: &Pipe,
    work: impl Future<Output = Result<StreamEnd, Over>>,
    to: &ToCaller,
    comfort: &str,
) {
    let over = tokio::select! {
        // Cancel-safe: if the pipe ends, so does all that this holds open, and with it what was begun.
        ended = work => ended.map_or_else(|over| over, Over::Said),
        // Cancel-safe: it only waits.
        () = pipe.closing.cancelled() => Over::failed(
            ErrorReason::Internal,
            format!("the pipe ends, and with it this stream; {comfort}"),
        ),
    };
    match over {
        Over::Said(end) => to.say(&end).await,
        Over::HungUp => {}
    }
}
