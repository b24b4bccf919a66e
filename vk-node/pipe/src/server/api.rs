//! The requests on the socket.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put as put_method};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use vk_record::points::{Point, reach};
use vk_record::{RecordError, TaskDir};
use vk_task::control::ControlRequest;
use vk_task::{
    ApiError, DirName, ErrorReason, FileContent, HostInfo, LogQuery, ReadRequest, SignalRequest, StopRequest, TaskId,
    TaskSpec, TaskView, VolumeContent, WatchEvent, paths,
};

use super::control::Control;
use super::refusal::{failure, no_task};
use super::start::{self, Started};
use super::{Pipe, logs, stats, stream};

/// The longest request: a pod is at most 3 MiB as the API server takes it, and escaping may make it longer.
const MAX_BODY_BYTES: usize = 32 << 20;

/// The routes.
pub(super) fn router(pipe: Arc<Pipe>) -> Router {
    let task = format!("{}/{{id}}", paths::TASKS);
    let pod = format!("{}/{{uid}}", paths::PODS);
    Router::new()
        .route(paths::INFO, get(info))
        .route(paths::TASKS, get(list))
        .route(paths::WATCH, get(watch))
        .route(&task, get(view).put(put).delete(remove))
        .route(&format!("{task}/stop"), post(stop))
        .route(&format!("{task}/reported"), post(reported))
        .route(&format!("{task}/signal"), post(signal))
        .route(&format!("{task}/stream"), post(open_stream))
        .route(&format!("{task}/logs"), get(read_logs))
        .route(paths::STATS, get(read_stats))
        .route(paths::HOST_USAGE, get(read_host_usage))
        .route(paths::DIAL, post(open_dial))
        .route(&format!("{pod}/volumes/{{name}}"), put_method(put_volume))
        .route(&format!("{pod}/volumes/{{name}}/read"), post(read_volume))
        .route(&pod, delete(remove_pod))
        .fallback(|| async { Refusal::new(ErrorReason::NotFound, "there is no such path in the pipe's API") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(pipe)
}

/// A refusal as an answer.
struct Refusal(ApiError);

impl Refusal {
    fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self(ApiError { reason, message: message.into() })
    }

    fn no_task(id: &TaskId) -> Self {
        no_task(id).into()
    }
}

impl From<ApiError> for Refusal {
    fn from(e: ApiError) -> Self {
        Self(e)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// JSON as a body, whose refusals are ours too.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|e| Refusal::new(ErrorReason::Invalid, format!("the request's body: {}", e.body_text())))?;
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|e| Refusal::new(ErrorReason::Invalid, format!("the request's body makes no sense: {e}")))
    }
}

fn task_id(text: String) -> Result<TaskId, Refusal> {
    TaskId::new(text).map_err(|e| Refusal::new(ErrorReason::Invalid, e.to_string()))
}

async fn info(State(pipe): State<Arc<Pipe>>) -> Json<HostInfo> {
    let (site, policy) = {
        let pipe = Arc::clone(&pipe);
        pipe.clone().blocking.run(move || (pipe.site.info(), pipe.site.current())).await
    };
    let mount_namespaces = policy.policy.mount_namespaces(&pipe.info.mount_namespaces);
    Json(HostInfo { site, mount_namespaces, ..pipe.info.clone() })
}

async fn read_stats(State(pipe): State<Arc<Pipe>>) -> Response {
    axum::Json(&*stats::current(&pipe).await).into_response()
}

async fn read_host_usage(State(pipe): State<Arc<Pipe>>) -> Response {
    axum::Json(stats::of_host(&pipe).await).into_response()
}

async fn list(State(pipe): State<Arc<Pipe>>) -> Json<Vec<TaskView>> {
    Json(pipe.table.list())
}

async fn view(State(pipe): State<Arc<Pipe>>, Path(id): Path<String>) -> Result<Json<TaskView>, Refusal> {
    let id = task_id(id)?;
    pipe.table.get(&id).map(Json).ok_or_else(|| Refusal::no_task(&id))
}

async fn put(
    State(pipe): State<Arc<Pipe>>,
    Path(id): Path<String>,
    Json(spec): Json<TaskSpec>,
) -> Result<(StatusCode, Json<TaskView>), Refusal> {
    let id = task_id(id)?;
    match to_the_end(async move { start::start(&pipe, id, spec).await }).await? {
        Started::New(view) => Ok((StatusCode::CREATED, Json(view))),
        Started::Known(view) => Ok((StatusCode::OK, Json(view))),
    }
}

/// Does what changes a task on its own, so that a caller who hangs up does not leave it half done: the records changed,
/// and nobody told.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(e) => Err(Refusal::new(ErrorReason::Internal, format!("the pipe failed in what was asked: {e}"))),
    }
}

async fn stop(
    State(pipe): State<Arc<Pipe>>,
    Path(id): Path<String>,
    Json(request): Json<StopRequest>,
) -> Result<Json<TaskView>, Refusal> {
    let id = task_id(id)?;
    let stopping = {
        let id = id.clone();
        to_the_end(async move { pipe.stop(&id, request).await })
    };
    stopping.await?.map(Json).ok_or_else(|| Refusal::no_task(&id))
}

/// Writes a request to stop down, unless there is one that comes to its end sooner; gives the one that is in force.
fn write_stop(pipe: &Pipe, id: &TaskId, request: &StopRequest) -> Result<StopRequest, RecordError> {
    let task = TaskDir { dir: pipe.tasks.open_dir(id.as_str())? };
    if let Some(old) = task.stop()?
        && pipe.clock.present(old.kill_at) <= request.kill_at
    {
        return Ok(old);
    }
    task.write_stop(request)?;
    Ok(request.clone())
}

async fn reported(State(pipe): State<Arc<Pipe>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = task_id(id)?;
    let marking = {
        let id = id.clone();
        to_the_end(async move { pipe.mark_reported(&id).await })
    };
    match marking.await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::no_task(&id)),
    }
}

async fn signal(
    State(pipe): State<Arc<Pipe>>,
    Path(id): Path<String>,
    Json(request): Json<SignalRequest>,
) -> Result<StatusCode, Refusal> {
    let id = task_id(id)?;
    let control = Control::connect(&pipe, &id).await?;
    control.request(&ControlRequest::Signal { signal: request.signal }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn open_stream(
    State(pipe): State<Arc<Pipe>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    Ok(stream::open(&pipe, task_id(id)?, request)?)
}

async fn open_dial(State(pipe): State<Arc<Pipe>>, request: Request) -> Result<Response, Refusal> {
    Ok(stream::open_dial(&pipe, request)?)
}

async fn remove(State(pipe): State<Arc<Pipe>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let id = task_id(id)?;
    let removing = {
        let id = id.clone();
        to_the_end(async move { pipe.remove(&id).await })
    };
    match removing.await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::no_task(&id)),
    }
}

async fn put_volume(
    State(pipe): State<Arc<Pipe>>,
    Path((uid, name)): Path<(String, String)>,
    Json(content): Json<VolumeContent>,
) -> Result<StatusCode, Refusal> {
    let (pod, name) = (dir_name(uid)?, dir_name(name)?);
    to_the_end(async move { pipe.put_volume(pod, name, content).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn read_volume(
    State(pipe): State<Arc<Pipe>>,
    Path((uid, name)): Path<(String, String)>,
    Json(request): Json<ReadRequest>,
) -> Result<Json<FileContent>, Refusal> {
    Ok(Json(pipe.read_volume(dir_name(uid)?, dir_name(name)?, request.path).await?))
}

async fn remove_pod(State(pipe): State<Arc<Pipe>>, Path(uid): Path<String>) -> Result<StatusCode, Refusal> {
    let pod = dir_name(uid)?;
    to_the_end(async move { pipe.remove_pod(pod).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn dir_name(text: String) -> Result<DirName, Refusal> {
    DirName::new(text).map_err(|e| Refusal::new(ErrorReason::Invalid, e.to_string()))
}

impl Pipe {
    /// Asks for the end of a task; gives what is then known of it, if there is one.
    async fn stop(self: &Arc<Self>, id: &TaskId, request: StopRequest) -> Result<Option<TaskView>, ApiError> {
        let _busy = self.table.busy_with(id).await;
        let Some(mut view) = self.table.get(id) else { return Ok(None) };
        if view.state.is_final() {
            return Ok(Some(view));
        }
        let written = {
            let (pipe, id) = (Arc::clone(self), id.clone());
            self.blocking.run(move || write_stop(&pipe, &id, &request)).await
        };
        let in_force = written.map_err(|e| failure("the request to stop is not on disk, so the task goes on", &e))?;
        // The keeper reads it, tells the shim and the watchers.
        self.table.nudge(id);
        view.stop = Some(in_force);
        Ok(Some(view))
    }

    /// Writes down that the end of a task was told of; says whether there is such a task.
    async fn mark_reported(self: &Arc<Self>, id: &TaskId) -> Result<bool, ApiError> {
        let _busy = self.table.busy_with(id).await;
        let Some(view) = self.table.get(id) else { return Ok(false) };
        if !view.state.is_final() {
            let message = format!("task {id} has not ended: there is no end of it that could have been told of");
            return Err(ApiError { reason: ErrorReason::Conflict, message });
        }
        if !view.reported {
            let written = {
                let (pipe, id) = (Arc::clone(self), id.clone());
                self.blocking.run(move || TaskDir { dir: pipe.tasks.open_dir(id.as_str())? }.write_reported()).await
            };
            written.map_err(|e| failure("that the end was told of could not be written down; the records stay", &e))?;
            reach(Point::ReportedMarked);
            self.table.publish(TaskView { reported: true, ..view });
            self.collection.hint();
        }
        Ok(true)
    }
}

async fn read_logs(State(pipe): State<Arc<Pipe>>, Path(id): Path<String>, uri: Uri) -> Result<Response, Refusal> {
    let id = task_id(id)?;
    let Query(query) = Query::<LogQuery>::try_from_uri(&uri)
        .map_err(|e| Refusal::new(ErrorReason::Invalid, format!("the query makes no sense: {}", e.body_text())))?;
    let closing = pipe.closing.clone();
    let bytes = logs::read(pipe, id.clone(), query).await.map_err(|e| failure("the log cannot be read", &e))?;
    let bytes = bytes.ok_or_else(|| Refusal::no_task(&id))?;
    let body = Body::from_stream(or_cut_off(closing, bytes));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// Breaks a stream off when the pipe ends: whoever reads must not take that for the end of the output.
fn or_cut_off(
    closing: CancellationToken,
    bytes: impl Stream<Item = io::Result<Bytes>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    futures::stream::unfold(Some((closing, Box::pin(bytes))), |reading| async move {
        let (closing, mut bytes) = reading?;
        tokio::select! {
            // Cancel-safe: it only waits.
            () = closing.cancelled() => Some((Err(io::Error::other("the pipe ends")), None)),
            // Cancel-safe: if the other arm wins, nobody asks this stream again.
            next = bytes.next() => next.map(|item| (item, Some((closing, bytes)))),
        }
    })
}

async fn watch(State(pipe): State<Arc<Pipe>>) -> Response {
    let closing = pipe.closing.clone();
    let lines = Arc::clone(&pipe.table).events().map(|event| Ok::<_, Infallible>(line(&event)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(until(closing, lines))).into_response()
}

/// Ends a stream when the pipe does.
fn until<S: Stream>(closing: CancellationToken, stream: S) -> impl Stream<Item = S::Item> {
    stream.take_until(async move { closing.cancelled_owned().await })
}

fn line(event: &WatchEvent) -> Bytes {
    // None of its types can fail to become JSON.
    let mut bytes = serde_json::to_vec(event).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
