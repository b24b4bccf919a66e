//! `/exec`, `/attach` and `/run`: programs beside a container's own, and its own.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use tracing::debug;
use vk_api_client::chain;
use vk_pipe::StreamEvent;
use vk_pipe::client::{ClientError, PipeClient};
use vk_streaming::negotiate;
use vk_streaming::session::{NoSession, Session, Wanted};
use vk_streaming::status::Status;
use vk_task::stream::StreamEnd;
use vk_task::{End, TaskId};

use super::Context;
use super::bridge::{self, What};
use super::found::{Named, Refused, Stdio, status_of};
use super::streams::{Client, parameters, refuse, user};

/// The most output that `/run` gives: what container runtimes keep of it.
const MAX_RUN_BYTES: usize = 16 << 20;

pub(super) fn routes() -> Router<Context> {
    let either = MethodFilter::GET.or(MethodFilter::POST);
    let mut routes = Router::new();
    for target in ["{namespace}/{pod}/{container}", "{namespace}/{pod}/{uid}/{container}"] {
        routes = routes
            .route(&format!("/exec/{target}"), on(either, exec))
            .route(&format!("/attach/{target}"), on(either, attach))
            .route(&format!("/run/{target}"), on(MethodFilter::POST, run));
    }
    routes
}

/// What the client wants to take part in.
fn wanted(request: &Request) -> Result<Wanted, Refused> {
    let is = |name| parameters(request, name).first().is_some_and(|value| value == "1");
    let terminal = is("tty");
    // What is shown at a terminal is one output.
    let wanted = Wanted { stdin: is("input"), stdout: is("output"), stderr: is("error") && !terminal, terminal };
    if wanted.stdin || wanted.stdout || wanted.stderr {
        return Ok(wanted);
    }
    Err(Refused(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr".into()))
}

/// What is to be done in a session.
enum Work {
    Exec { argv: Vec<String>, wanted: Wanted },
    Attach { wanted: Wanted, stdio: Stdio },
}

async fn exec(State(context): State<Context>, Path(named): Path<Named>, request: Request) -> Response {
    let asked = wanted(&request).and_then(|wanted| {
        let pod = named.pod(&context)?;
        let task = named.running(&context, &pod)?;
        Ok((task.id, wanted, Work::Exec { argv: parameters(&request, "command"), wanted }))
    });
    open(&context, asked, request)
}

async fn attach(State(context): State<Context>, Path(named): Path<Named>, request: Request) -> Response {
    let asked = wanted(&request).and_then(|wanted| {
        let pod = named.pod(&context)?;
        let no_container = |_| {
            let message = format!("container {} not found in pod {}_{}", named.container, named.pod, named.namespace);
            Refused(StatusCode::INTERNAL_SERVER_ERROR, message)
        };
        let task = named.running(&context, &pod).map_err(no_container)?;
        let stdio = named.stdio(&pod).ok_or_else(|| named.no_container())?;
        // A process has a terminal from its beginning, or never. Whatever the client says of one, it is not asked.
        let wanted = Wanted { stderr: wanted.stderr && !stdio.terminal, ..wanted };
        Ok((task.id, wanted, Work::Attach { wanted, stdio }))
    });
    open(&context, asked, request)
}

fn open(context: &Context, asked: Result<(TaskId, Wanted, Work), Refused>, request: Request) -> Response {
    let (task, wanted, work) = match asked {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let agreed = match negotiate::remote_command(request.method(), request.headers()) {
        Ok(agreed) => agreed,
        Err(refusal) => return refuse(refusal),
    };
    let (pipe, closing, user) = (context.pipe.clone(), context.streams.closing().clone(), user(&request));
    context.streams.upgrade(request, agreed, async move |client: Client, transport| {
        match Session::open(client, transport, wanted).await {
            Ok(mut session) => {
                // Cancel-safe: what was begun ends with the connection to the pipe.
                let status = tokio::select! {
                    status = serve(&pipe, &task, work, &user, &mut session) => status,
                    () = closing.cancelled() => Some(Status::internal_error(super::streams::ENDS)),
                };
                if let Some(status) = status {
                    session.finish(&status).await;
                }
            }
            Err(error @ (NoSession::Gone(_) | NoSession::TimedOut)) => debug!("no session came about: {error}"),
        }
    })
}

/// Has the session until it ends; how it ended, unless there is nobody to be told.
async fn serve(
    pipe: &PipeClient,
    task: &TaskId,
    work: Work,
    user: &str,
    session: &mut Session<Client>,
) -> Option<Status> {
    match work {
        Work::Exec { argv, wanted } => {
            let opened = pipe.exec(task, argv, wanted.stdin, wanted.terminal, user).await;
            bridge::join(session, opened, What::Exec { terminal: wanted.terminal }).await
        }
        Work::Attach { wanted, stdio } => {
            // Where the container has no standard input what is typed goes nowhere, as with container runtimes.
            let stdin = wanted.stdin && stdio.stdin;
            // Nothing at all would be refused, and there is the end to wait for.
            let stdout = wanted.stdout || !stdin;
            let opened = pipe.attach(task, stdin, stdout, wanted.stderr, user).await;
            bridge::join(session, opened, What::Attach { stdin }).await
        }
    }
}

/// `POST /run/…?cmd=`: runs a program to its end, and answers with all that it wrote.
async fn run(State(context): State<Context>, Path(named): Path<Named>, request: Request) -> Response {
    let task = match named.pod(&context).and_then(|pod| named.running(&context, &pod)) {
        Ok(task) => task,
        Err(refused) => return refused.into_response(),
    };
    let text = parameters(&request, "cmd").into_iter().next().unwrap_or_default();
    let argv: Vec<String> = text.split(' ').map(str::to_owned).collect();
    match output(&context, &task.id, argv, &user(&request)).await {
        Ok(Ran { end: None, output }) => ([(header::CONTENT_TYPE, "application/json")], output).into_response(),
        Ok(Ran { end: Some(how), output }) => {
            let message = format!("command {text:?} {how}: {}", String::from_utf8_lossy(&output));
            Refused(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// What became of a program.
struct Ran {
    /// How it ended, unless with exit code 0.
    end: Option<String>,
    /// Its standard output, then its standard error.
    output: Vec<u8>,
}

async fn output(context: &Context, task: &TaskId, argv: Vec<String>, user: &str) -> Result<Ran, Refused> {
    let failed = |error: &ClientError| {
        let status = error.refusal().map_or(StatusCode::INTERNAL_SERVER_ERROR, status_of);
        Refused(status, chain(error))
    };
    let internal = |message: String| Refused(StatusCode::INTERNAL_SERVER_ERROR, message);
    let stream = context.pipe.exec(task, argv, false, false, user).await.map_err(|error| failed(&error))?;
    // Both halves: the program is ended when they are dropped.
    let (_input, mut events) = stream.split();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let take = |to: &mut Vec<u8>, bytes: &[u8]| {
        let room = MAX_RUN_BYTES.saturating_sub(to.len());
        to.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    };
    loop {
        // Cancel-safe: the program is ended with the connection to the pipe.
        let event = tokio::select! {
            event = events.next() => event.map_err(|error| failed(&error))?,
            () = context.streams.closing().cancelled() => return Err(internal(super::streams::ENDS.into())),
        };
        match event {
            StreamEvent::Stdout(bytes) => take(&mut stdout, &bytes),
            StreamEvent::Stderr(bytes) => take(&mut stderr, &bytes),
            StreamEvent::Closed(_) => {}
            StreamEvent::Ended(StreamEnd::Ended { end }) => {
                stdout.append(&mut stderr);
                let end = (end != End::Exited { code: 0 }).then(|| format!("exited with {}", bridge::how(&end)));
                return Ok(Ran { end, output: stdout });
            }
            StreamEvent::Ended(StreamEnd::Failed { error }) => return Err(Refused(status_of(&error), error.message)),
            StreamEvent::Ended(StreamEnd::Closed) => return Err(internal("the stream ended without an end".into())),
        }
    }
}
