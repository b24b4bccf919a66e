//! `GET /containerLogs/{namespace}/{pod}/{container}`: what `kubectl logs` reads.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;
use serde::Deserialize;
use vk_pipe::client::ClientError;
use vk_task::{LogQuery, Origin, TaskState, TaskView};

use super::Context;

/// The options of a request, as the API server passes them on: `PodLogOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    follow: Option<bool>,
    previous: Option<bool>,
    timestamps: Option<bool>,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    stream: Option<String>,
}

/// A refusal, in the words that the API server passes on to the user.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// Answers with the container's output.
pub(super) async fn logs(
    State(context): State<Context>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(options): Query<Options>,
) -> Response {
    answer(&context, &namespace, &pod, &container, &options).await.unwrap_or_else(Refused::into_response)
}

async fn answer(
    context: &Context,
    namespace: &str,
    pod: &str,
    container: &str,
    options: &Options,
) -> Result<Response, Refused> {
    if let Some(stream) = options.stream.as_deref().filter(|stream| *stream != "All") {
        let message = format!("the stream {stream:?} cannot be had alone: leave it out for both");
        return Err(Refused(StatusCode::BAD_REQUEST, message));
    }
    let found = context.pods.get(&ObjectRef::<Pod>::new(pod).within(namespace));
    let uid = found.and_then(|found| found.uid());
    let uid = uid.ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("pod {pod:?} is not on this node")))?;
    let task = choose(context.mirror.of_pod(&uid), pod, container, options.previous == Some(true))?;
    let since = options.since_seconds.map(|seconds| Timestamp::now() - SignedDuration::from_secs(seconds));
    let query = LogQuery {
        follow: options.follow == Some(true),
        tail_lines: options.tail_lines,
        since_time: options.since_time.or(since),
        timestamps: options.timestamps == Some(true),
        limit_bytes: options.limit_bytes,
    };
    let output = context.pipe.logs(&task.id, &query).await.map_err(|error| match &error {
        ClientError::Refused(refusal) => Refused(StatusCode::INTERNAL_SERVER_ERROR, refusal.message.clone()),
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Protocol(_) => {
            Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    })?;
    let headers = [("content-type", "text/plain"), ("transfer-encoding", "chunked")];
    Ok((headers, Body::from_stream(output)).into_response())
}

/// The run whose output is meant: the last one that has begun, or the one before it.
fn choose(tasks: Vec<TaskView>, pod: &str, container: &str, previous: bool) -> Result<TaskView, Refused> {
    let mut runs: Vec<(u32, TaskView)> = tasks
        .into_iter()
        .filter_map(|task| match &task.origin {
            Origin::Pod(run) if run.container == container => Some((run.restart, task)),
            Origin::Pod(_) | Origin::Fifo { .. } => None,
        })
        .collect();
    runs.sort_by_key(|(restart, _)| *restart);
    let refuse =
        |what: &str| Refused(StatusCode::BAD_REQUEST, format!("container {container:?} in pod {pod:?} {what}"));
    let last = runs.pop();
    if previous {
        let before = runs.pop().map(|(_, task)| task);
        return before.ok_or_else(|| refuse("was not run before"));
    }
    match last {
        Some((_, task)) if !matches!(task.state, TaskState::Accepted { .. }) => Ok(task),
        _ => Err(refuse("is waiting to start")),
    }
}
