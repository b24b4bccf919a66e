//! The connection to a node, once it is known whose it is: HTTP/2, of which the relay is the client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vk_relay_core::protocol::{
    KUBELET, MESSAGE_PATH, Message, PEER_HEADER, PING_AFTER_SECONDS, PING_TIMEOUT_SECONDS, SEND_BUFFER, STREAM_WINDOW,
};

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a node.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    tasks: Tasks,
    ended: CancellationToken,
}

/// Runs what a connection consists of, until it is cut.
#[derive(Clone, Default)]
struct Tasks {
    cut: CancellationToken,
    all: TaskTracker,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, work: F) {
        let cut = self.cut.clone();
        self.all.spawn(async move {
            // Cancel-safe: what is cut is dropped, and with the last of it the socket is closed.
            tokio::select! {
                () = cut.cancelled() => {}
                _ = work => {}
            }
        });
    }
}

/// What is left of a line by which no more streams are opened.
pub(crate) struct Draining(Tasks);

impl Line {
    /// Begins to speak HTTP/2. `streams` is how many there may be at a time.
    pub(crate) async fn over(stream: TlsStream<TcpStream>, streams: usize) -> anyhow::Result<Self> {
        let tasks = Tasks::default();
        // As large as all streams' windows together: what one of them does not read keeps no other waiting.
        let all = STREAM_WINDOW.saturating_mul(u32::try_from(streams.max(1)).unwrap_or(u32::MAX)).min(i32::MAX as u32);
        let mut builder = Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(all)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(Duration::from_secs(PING_AFTER_SECONDS))
            .keep_alive_timeout(Duration::from_secs(PING_TIMEOUT_SECONDS))
            .keep_alive_while_idle(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.context("HTTP/2 has not begun")?;
        let ended = CancellationToken::new();
        // Whatever becomes of it, also when it is cut.
        let end = ended.clone().drop_guard();
        tasks.execute(async move {
            let _ = connection.await;
            drop(end);
        });
        Ok(Self { sender, tasks, ended })
    }

    /// Tells the node something.
    ///
    /// # Errors
    /// When it does not take it.
    pub(crate) async fn tell(&self, message: &Message) -> anyhow::Result<()> {
        let body = Full::new(Bytes::from(message.to_json()?));
        // HTTP/2 wants a host; there is none to name.
        let request = Request::post(format!("https://node{MESSAGE_PATH}")).body(body)?;
        let answer = timeout(ANSWER_TIMEOUT, self.sender.clone().send_request(request)).await;
        let status = answer.context("the node does not answer")?.context("the connection has ended")?.status();
        if !status.is_success() {
            bail!("the node has answered {status}");
        }
        Ok(())
    }

    /// What opens streams by it.
    pub(crate) fn opener(&self) -> Opener {
        Opener(self.sender.clone())
    }

    /// Returns when no more streams can be opened by it, because it has ended or is about to.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Opens no more streams. It ends when the last of them does.
    pub(crate) fn drain(self) -> Draining {
        self.tasks.all.close();
        Draining(self.tasks)
    }
}

/// What opens streams.
#[derive(Clone)]
pub(crate) struct Opener(SendRequest<Full<Bytes>>);

impl Opener {
    /// Opens a stream to the node's kubelet API, for somebody who has connected to its port.
    ///
    /// # Errors
    /// When the node takes none.
    pub(crate) async fn open(mut self, peer: SocketAddr) -> anyhow::Result<Upgraded> {
        let request = Request::connect(KUBELET).header(PEER_HEADER, peer.to_string()).body(Full::default())?;
        let answer = timeout(ANSWER_TIMEOUT, self.0.send_request(request)).await;
        let answer = answer.context("the node does not answer")?.context("the connection to the node has ended")?;
        if answer.status() != StatusCode::OK {
            bail!("the node takes no more connections: it has answered {}", answer.status());
        }
        let stream = timeout(ANSWER_TIMEOUT, hyper::upgrade::on(answer)).await;
        stream.context("the node does not answer")?.context("there is no stream")
    }
}

impl Draining {
    /// Returns when the last stream has ended.
    pub(crate) async fn ended(&self) {
        self.0.all.wait().await;
    }

    /// Ends it now, with all its streams.
    pub(crate) fn cut(self) {
        self.0.cut.cancel();
    }
}
