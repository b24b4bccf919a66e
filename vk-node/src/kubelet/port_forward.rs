//! `/portForward`: connections to the pod's ports, which the pipe makes on the host.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use kube::ResourceExt;
use tokio::task::JoinSet;
use tracing::debug;
use vk_api_client::chain;
use vk_pipe::client::PipeClient;
use vk_pipe::{StreamEvent, StreamInput, StreamOutput};
use vk_streaming::Gone;
use vk_streaming::forward::{Forward, ForwardInput, ForwardOutput, Forwards, HalfClose};
use vk_streaming::negotiate;
use vk_task::stream::{DialRequest, DialTarget, StreamEnd};
use vk_task::{DirName, TaskState};

use super::Context;
use super::found::{Named, Refused};
use super::streams::{Client, ENDS, parameters, refuse, user};

pub(super) fn routes() -> Router<Context> {
    let either = MethodFilter::GET.or(MethodFilter::POST);
    Router::new()
        .route("/portForward/{namespace}/{pod}", on(either, open))
        .route("/portForward/{namespace}/{pod}/{uid}", on(either, open))
}

/// For whom the pipe connects.
#[derive(Clone)]
struct Whose {
    /// As errors name it.
    pod: String,
    uid: DirName,
    user: String,
}

async fn open(State(context): State<Context>, Path(named): Path<Named>, request: Request) -> Response {
    let agreed = negotiate::port_forward(request.method(), request.headers(), &parameters(&request, "port"));
    let whose = match whose(&context, &named, user(&request)) {
        Ok(whose) => whose,
        Err(refused) => return refused.into_response(),
    };
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(refusal) => return refuse(refusal),
    };
    let (pipe, closing) = (context.pipe.clone(), context.streams.closing().clone());
    context.streams.upgrade(request, agreed, async move |client: Client, transport| {
        let Ok(mut forwards) = Forwards::open(client, transport).await else { return };
        let mut going = JoinSet::new();
        loop {
            // Cancel-safe: a connection is taken or stays where it is.
            tokio::select! {
                forward = forwards.next() => match forward {
                    Some(forward) => drop(going.spawn(serve(pipe.clone(), whose.clone(), forward, closing.clone()))),
                    None => break,
                },
                Some(_) = going.join_next() => {}
                () = closing.cancelled() => {
                    // Each tells its client why.
                    while going.join_next().await.is_some() {}
                    forwards.close().await;
                    break;
                }
            }
        }
    })
}

fn whose(context: &Context, named: &Named, user: String) -> Result<Whose, Refused> {
    let pod = named.pod(context)?;
    let uid = pod.uid().unwrap_or_default();
    let runs = context.mirror.of_pod(&uid).iter().any(|task| matches!(task.state, TaskState::Running { .. }));
    let name = format!("{}_{}", named.pod, named.namespace);
    if !runs {
        return Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({name:?})")));
    }
    let uid = DirName::new(uid).map_err(|e| Refused(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(Whose { pod: name, uid, user })
}

/// Has one connection from its beginning to its end.
async fn serve(pipe: PipeClient, whose: Whose, forward: Forward, closing: tokio_util::sync::CancellationToken) {
    let Forward { port, mut input, mut output } = forward;
    let Whose { pod, uid, user } = whose;
    let request = DialRequest { pod: uid.clone(), target: DialTarget::Forward { port, user } };
    let work = async {
        let (to, from) = pipe.dial(&request).await.map_err(|error| chain(&error))?.split();
        // Cancel-safe: when the client wants no more, or the other side is done, all is.
        tokio::select! {
            Gone = inwards(&mut input, to) => Ok(()),
            done = outwards(from, &mut output) => done,
        }
    };
    // Cancel-safe: what was dialled ends with the connection to the pipe.
    let end = tokio::select! {
        end = work => end,
        () = closing.cancelled() => Err(ENDS.to_owned()),
    };
    let end = end.map_err(|why| format!("error forwarding port {port} to pod {pod}, uid {uid}: {why}"));
    if output.finish(end).await.is_err() {
        debug!(port, "a client has left a forwarded connection before its end");
    }
}

/// Passes on what the client sends, until it wants nothing more at all.
async fn inwards(input: &mut ForwardInput, mut to: StreamInput) -> Gone {
    loop {
        let next = match input.next().await {
            Ok(next) => next,
            Err(gone) => return gone,
        };
        let last = next.is_none();
        let passed_on = async {
            match next {
                Some(bytes) => to.write(bytes).await,
                None => to.close().await,
            }
        };
        // Cancel-safe: if the client is gone so is what it sent.
        let passed_on = tokio::select! {
            passed_on = passed_on => passed_on,
            () = input.gone() => return Gone,
        };
        if last || passed_on.is_err() {
            // How it ends is told by the other direction.
            input.gone().await;
            return Gone;
        }
    }
}

/// Passes on what comes back, until the end.
async fn outwards(mut from: StreamOutput, output: &mut ForwardOutput) -> Result<(), String> {
    loop {
        let sent = match from.next().await {
            Ok(StreamEvent::Stdout(bytes)) => output.write(bytes).await,
            Ok(StreamEvent::Closed(_)) => match output.end().await {
                Ok(HalfClose::Unknown) => return Ok(()),
                Ok(HalfClose::Said) => Ok(()),
                Err(gone) => Err(gone),
            },
            Ok(StreamEvent::Stderr(_)) => Ok(()),
            Ok(StreamEvent::Ended(StreamEnd::Closed | StreamEnd::Ended { .. })) => return Ok(()),
            Ok(StreamEvent::Ended(StreamEnd::Failed { error })) => return Err(error.message),
            Err(error) => return Err(chain(&error)),
        };
        if sent.is_err() {
            return Ok(());
        }
    }
}
