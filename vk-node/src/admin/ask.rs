//! The way to the node that runs here: HTTP/1.1 on the Unix socket `node.sock` in the pipe's directory.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use vk_node_core::config::Shown;
use vk_node_core::report::{self, Drain, NodeReport, Stop, paths};

use super::NoAnswer;

/// How long the node may take to answer: it does nothing for it but look at what it knows, or write a small file.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest answer: that of a process with very many nodes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Asks the node of one directory.
pub(super) struct NodeClient {
    hostpipe: PathBuf,
}

impl NodeClient {
    pub(super) fn new(hostpipe: &Path) -> Self {
        Self { hostpipe: hostpipe.to_owned() }
    }

    /// How it is; none where no node runs.
    pub(super) async fn status(&self) -> anyhow::Result<NodeReport> {
        self.ask(Method::GET, paths::STATUS, Bytes::new()).await
    }

    /// What is in force there.
    pub(super) async fn config(&self) -> anyhow::Result<Vec<Shown>> {
        self.ask(Method::GET, paths::CONFIG, Bytes::new()).await
    }

    /// Has it take nothing new.
    pub(super) async fn drain(&self, drain: &Drain) -> anyhow::Result<NodeReport> {
        self.ask(Method::PUT, paths::DRAIN, json(drain)?).await
    }

    /// Takes that back.
    pub(super) async fn undrain(&self) -> anyhow::Result<NodeReport> {
        self.ask(Method::DELETE, paths::DRAIN, Bytes::new()).await
    }

    /// The number of its process here; none where it has none, for it is in a container of another user's.
    pub(super) async fn process(&self) -> Option<i32> {
        // That of whoever listens there, as the kernel has it: see SO_PEERCRED in unix(7).
        self.connect().await.ok()?.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
    }

    /// Has it end.
    pub(super) async fn stop(&self, stop: Stop) -> anyhow::Result<()> {
        self.within(self.send(Method::POST, paths::STOP, json(&stop)?)).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let bytes = self.within(self.send(method, path, body)).await?;
        serde_json::from_slice(&bytes).context("the node's answer makes no sense: is it of another version?")
    }

    async fn within<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        match tokio::time::timeout(ANSWER, work).await {
            Ok(done) => done,
            Err(_) => Err(NoAnswer(format!(
                "the node in {} has not answered within {} s",
                self.hostpipe.display(),
                ANSWER.as_secs()
            ))
            .into()),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let stream = self.connect().await.map_err(|error| {
            let why = match matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
                true => "none runs, or it has another --hostpipe".to_owned(),
                false => error.to_string(),
            };
            NoAnswer(format!("no node answers in {}: {why}", self.hostpipe.display()))
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "node")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await.context("the node's answer broke off")?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let bytes = bytes.map_err(|error| anyhow!("the node's answer broke off: {error}"))?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let said = String::from_utf8_lossy(&bytes).into_owned();
        match status {
            StatusCode::NOT_FOUND => Err(anyhow!("the node knows no such request: it is of another version")),
            _ => Err(anyhow!("the node refused ({status}): {said}")),
        }
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        // Through the open directory, for its path may be longer than the address of a socket can be.
        let dir = rustix::fs::open(&self.hostpipe, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        UnixStream::connect(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), report::SOCKET)).await
    }
}

fn json(value: &impl Serialize) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(value)?.into())
}
