//! The way to the pipe's API.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::request::Builder;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;
use vk_record::names;
use vk_task::stream::{DialRequest, StreamRequest, UPGRADE};
use vk_task::{
    ApiError, DirName, FileContent, FilePath, HostInfo, HostUsage, LogQuery, LogStream, ReadRequest, Signal,
    SignalRequest, Stats, StopRequest, TaskId, TaskSpec, TaskView, VolumeContent, WatchEvent, paths,
};

use crate::StreamHandle;

/// How long the pipe may take to answer. Starting a task waits for the disk, and disks can be slow.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer that is read as a whole: a list of very many tasks.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Reaches the pipe of one directory. A connection is made for each request, so a pipe that was started anew is found
/// again without further ado.
#[derive(Clone, Debug)]
pub struct PipeClient {
    directory: PathBuf,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no pipe to be reached. It may come (again).
    #[error("the pipe in {} cannot be reached: is `vk-node pipe` running on the host?", directory.display())]
    Unreachable {
        /// Its directory.
        directory: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The pipe took too long to answer. It may or may not have done what was asked.
    #[error("the pipe in {} has not answered within {} s", directory.display(), after.as_secs())]
    TimedOut {
        /// Its directory.
        directory: PathBuf,
        /// How long it was given.
        after: Duration,
    },
    /// The pipe refused.
    #[error("the pipe refused")]
    Refused(#[from] ApiError),
    /// The connection broke, or what came was not what the API says. What was asked may or may not have been done.
    #[error("the pipe's answer broke off or makes no sense")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    /// The refusal, if it was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(e) => Some(e),
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Protocol(_) => None,
        }
    }

    pub(crate) fn protocol(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Protocol(e.into())
    }
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl PipeClient {
    /// For the pipe in `directory`, as this process sees it.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The pipe's directory, as this process sees it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Facts about the host.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn info(&self) -> Result<HostInfo> {
        self.ask(Method::GET, paths::INFO, None).await
    }

    /// All tasks.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self) -> Result<Vec<TaskView>> {
        self.ask(Method::GET, paths::TASKS, None).await
    }

    /// Starts a task, unless one of this name is there; either way gives what is known of it. When this answers, the
    /// pipe will start it, or has, whatever happens.
    ///
    /// # Errors
    /// See [`ClientError`]. After any error but a refusal, ask again: the name makes sure that it is started once.
    pub async fn start(&self, id: &TaskId, spec: &TaskSpec) -> Result<TaskView> {
        self.ask(Method::PUT, &paths::task(id), Some(json(spec)?)).await
    }

    /// What is known of a task.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, id: &TaskId) -> Result<TaskView> {
        self.ask(Method::GET, &paths::task(id), None).await
    }

    /// Asks for a task's end. It comes by the watch.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stop(&self, id: &TaskId, request: &StopRequest) -> Result<TaskView> {
        self.ask(Method::POST, &paths::stop(id), Some(json(request)?)).await
    }

    /// Says that the end of a task is where it belongs: its records may be collected.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reported(&self, id: &TaskId) -> Result<()> {
        self.within(ANSWER, async {
            checked(self.send(Method::POST, &paths::reported(id), None).await?).await.map(drop)
        })
        .await
    }

    /// Sends a signal to a task's main process, once.
    ///
    /// # Errors
    /// See [`ClientError`]; `Conflict` when the task does not run.
    pub async fn signal(&self, id: &TaskId, signal: Signal) -> Result<()> {
        let body = json(&SignalRequest { signal })?;
        let work = async { checked(self.send(Method::POST, &paths::signal(id), Some(body)).await?).await.map(drop) };
        self.within(ANSWER, work).await
    }

    /// Runs a program beside a task's own, in its environment, working directory, container and limits: `argv`, with
    /// standard input if `stdin`, at a terminal if `terminal`, for `user`.
    ///
    /// # Errors
    /// See [`ClientError`]; `Conflict` when the task does not run. What stands against it later is the stream's end.
    pub async fn exec(
        &self,
        id: &TaskId,
        argv: Vec<String>,
        stdin: bool,
        terminal: bool,
        user: &str,
    ) -> Result<StreamHandle> {
        self.stream(id, &StreamRequest::Exec { argv, stdin, terminal, user: user.to_owned() }).await
    }

    /// Takes part in a task's own input and outputs, those that are wanted, from now on, for `user`.
    ///
    /// # Errors
    /// As for [`Self::exec`].
    pub async fn attach(
        &self,
        id: &TaskId,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        user: &str,
    ) -> Result<StreamHandle> {
        self.stream(id, &StreamRequest::Attach { stdin, stdout, stderr, user: user.to_owned() }).await
    }

    /// A stream into a task.
    ///
    /// # Errors
    /// As for [`Self::exec`].
    pub async fn stream(&self, id: &TaskId, request: &StreamRequest) -> Result<StreamHandle> {
        self.upgrade(&paths::stream(id), request).await
    }

    /// A TCP connection that the host makes; what comes in is its standard output.
    ///
    /// # Errors
    /// As for [`Self::exec`]. That nothing listens there is told by the stream.
    pub async fn dial(&self, request: &DialRequest) -> Result<StreamHandle> {
        self.upgrade(paths::DIAL, request).await
    }

    async fn upgrade(&self, path: &str, request: &impl Serialize) -> Result<StreamHandle> {
        self.within(ANSWER, async {
            let asked =
                request_for(Method::POST, path).header(header::CONNECTION, "Upgrade").header(header::UPGRADE, UPGRADE);
            let answer = self.send_request(asked, None).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                let status = checked(answer).await?.status();
                return Err(ClientError::protocol(format!("it answered {status} instead of a stream")));
            }
            let upgraded = hyper::upgrade::on(answer).await.map_err(ClientError::protocol)?;
            StreamHandle::new(upgraded, request).await
        })
        .await
    }

    /// Has a volume of a pod be there, with this in it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_volume(&self, pod: &DirName, name: &DirName, content: &VolumeContent) -> Result<()> {
        let body = json(content)?;
        let work =
            async { checked(self.send(Method::PUT, &paths::volume(pod, name), Some(body)).await?).await.map(drop) };
        self.within(ANSWER, work).await
    }

    /// What is in a file of a volume of a pod.
    ///
    /// # Errors
    /// See [`ClientError`]; `NotFound` where there is no such file.
    pub async fn read_volume(&self, pod: &DirName, name: &DirName, path: &FilePath) -> Result<FileContent> {
        let body = json(&ReadRequest { path: path.clone() })?;
        self.ask(Method::POST, &paths::read(pod, name), Some(body)).await
    }

    /// Removes a pod's directory, with all that its tasks have left there.
    ///
    /// # Errors
    /// See [`ClientError`]; among others while a task of the pod is not final.
    pub async fn remove_pod(&self, pod: &DirName) -> Result<()> {
        self.within(ANSWER, async { checked(self.send(Method::DELETE, &paths::pod(pod), None).await?).await.map(drop) })
            .await
    }

    /// What is used at this moment.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stats(&self) -> Result<Stats> {
        self.ask(Method::GET, paths::STATS, None).await
    }

    /// What the host uses at this moment.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn host_usage(&self) -> Result<HostUsage> {
        self.ask(Method::GET, paths::HOST_USAGE, None).await
    }

    /// Removes the records of a task that has ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove(&self, id: &TaskId) -> Result<()> {
        self.within(ANSWER, async { checked(self.send(Method::DELETE, &paths::task(id), None).await?).await.map(drop) })
            .await
    }

    /// All tasks and what becomes of them: the first event is a snapshot, and so is any that comes after this was too
    /// slow in taking them. The stream ends when the pipe does.
    ///
    /// # Errors
    /// See [`ClientError`]; the stream's own errors mean that it is over.
    pub async fn watch(&self) -> Result<impl Stream<Item = Result<WatchEvent>> + Send + Unpin + 'static> {
        let answer = self.within(ANSWER, async { checked(self.send(Method::GET, paths::WATCH, None).await?).await });
        let bytes = answer.await?.into_body().into_data_stream().map_err(io::Error::other);
        let lines = FramedRead::new(StreamReader::new(bytes), LinesCodec::new_with_max_length(MAX_ANSWER_BYTES));
        Ok(lines.map(|line| serde_json::from_str(&line.map_err(ClientError::protocol)?).map_err(ClientError::protocol)))
    }

    /// A task's output, as it is taken: the pipe does not read ahead of whoever reads this.
    ///
    /// # Errors
    /// See [`ClientError`]; the stream's own errors mean that it is over, and not at its end.
    pub async fn logs(
        &self,
        id: &TaskId,
        query: &LogQuery,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static> {
        let path = format!("{}{}", paths::logs(id), query_text(query));
        let answer = self.within(ANSWER, async { checked(self.send(Method::GET, &path, None).await?).await });
        Ok(answer.await?.into_body().into_data_stream().map_err(ClientError::protocol))
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<T> {
        self.within(ANSWER, async {
            let answer = checked(self.send(method, path, body).await?).await?;
            serde_json::from_slice(&whole(answer).await?).map_err(ClientError::protocol)
        })
        .await
    }

    async fn within<T>(&self, after: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(after, work)
            .await
            .unwrap_or_else(|_| Err(ClientError::TimedOut { directory: self.directory.clone(), after }))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>> {
        self.send_request(request_for(method, path), body).await
    }

    /// Sends a request on a connection of its own, which lasts as long as the answer.
    async fn send_request(&self, request: Builder, body: Option<Bytes>) -> Result<Response<Incoming>> {
        let stream = self.within(CONNECT, self.connect()).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::protocol)?;
        // It ends with the answer, or when nobody wants the answer any more.
        tokio::spawn(connection.with_upgrades());
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(ClientError::protocol)?;
        sender.send_request(request).await.map_err(ClientError::protocol)
    }

    async fn connect(&self) -> Result<UnixStream> {
        let unreachable = |source| ClientError::Unreachable { directory: self.directory.clone(), source };
        // Through the open directory, for its path may be longer than the address of a socket can be. Whose directory it
        // is does not matter here: in a container, the node may be another user than the pipe.
        let dir = rustix::fs::open(&self.directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| unreachable(e.into()))?;
        let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), names::SOCKET);
        UnixStream::connect(path).await.map_err(unreachable)
    }
}

fn request_for(method: Method, path: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "pipe")
        .header(header::CONTENT_TYPE, "application/json")
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(ClientError::protocol)
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes> {
    Ok(Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(ClientError::Protocol)?.to_bytes())
}

async fn checked(answer: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let bytes = whole(answer).await?;
    match serde_json::from_slice::<ApiError>(&bytes) {
        Ok(refusal) => Err(refusal.into()),
        Err(_) => Err(ClientError::protocol(unexpected(status, &bytes))),
    }
}

fn unexpected(status: StatusCode, bytes: &[u8]) -> String {
    format!("it answered {status}: {}", String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)))
}

/// The query as it stands in a URL. All values are of characters that mean themselves there.
fn query_text(query: &LogQuery) -> String {
    let mut text = format!("?follow={}&timestamps={}", query.follow, query.timestamps);
    if let Some(n) = query.tail_lines {
        text.push_str(&format!("&tailLines={n}"));
    }
    if let Some(time) = query.since_time {
        text.push_str(&format!("&sinceTime={time}"));
    }
    if let Some(n) = query.limit_bytes {
        text.push_str(&format!("&limitBytes={n}"));
    }
    match query.stream {
        None => {}
        Some(LogStream::Stdout) => text.push_str("&stream=stdout"),
        Some(LogStream::Stderr) => text.push_str("&stream=stderr"),
    }
    text
}
