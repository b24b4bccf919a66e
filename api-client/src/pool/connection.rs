//! One connection that speaks HTTP/2.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use futures::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::TokioTimer;
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Service};

use super::Pool;
use super::choice::Load;
use crate::connect::Io;

/// How much may be on the way on a connection: as Go's transport. More than all streams together may have, so that one whose
/// reader is slow does not stop the others.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// How much may be on the way, and wait here to be read, of one answer.
const STREAM_WINDOW: u32 = 256 << 10;
/// How often it is looked in that time whether a connection is idle.
const LOOKS: u32 = 6;
/// The most streams on a connection to a server that does not limit them: as Go's transport.
const MOST_STREAMS: usize = 1000;

type Driven = http2::Connection<Io, Body, Stirring>;

/// A connection that can be sent requests by.
pub(super) struct Connection {
    sender: http2::SendRequest<Body>,
    streams: AtomicUsize,
    limit: AtomicUsize,
    is_gone: AtomicBool,
    /// Since when it is idle, if it is.
    idle: Mutex<Instant>,
}

/// What came of opening one.
pub(super) enum Opened {
    /// It is there.
    Http2(Arc<Connection>),
    /// The server chose HTTP/1.1.
    Http1,
}

impl Connection {
    /// Opens one, and waits for how many streams the server allows: a request that it does not allow would wait for one
    /// that ends.
    pub(super) async fn open(pool: &Arc<Pool>) -> Result<Opened, BoxError> {
        let mut connector = pool.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        let io = connector.call(pool.server.clone()).await?;
        if !io.connected().is_negotiated_h2() {
            return Ok(Opened::Http1);
        }
        let stirring = Stirring::default();
        let (sender, mut driven) = http2::Builder::new(stirring.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(pool.limits.ask_after)
            .keep_alive_timeout(pool.limits.answer_within)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            // None, until the server has said how many.
            .initial_max_send_streams(0)
            .handshake(io)
            .await?;
        let limit = poll_fn(|cx| match stirring.poll(&mut driven, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(BoxError::from("the server has closed the connection at once"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => match driven.current_max_send_streams() {
                0 => Poll::Pending,
                limit => Poll::Ready(Ok(limit)),
            },
        })
        .await?;
        let connection = Arc::new(Self {
            sender,
            streams: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit.min(MOST_STREAMS)),
            is_gone: AtomicBool::new(false),
            idle: Mutex::new(Instant::now()),
        });
        let look_every = pool.limits.idle / LOOKS;
        let (pool, known) = (Arc::downgrade(pool), Arc::downgrade(&connection));
        tokio::spawn(drive(pool, known, stirring, Box::new(driven), look_every));
        Ok(Opened::Http2(connection))
    }

    pub(super) fn load(&self) -> Load {
        Load {
            streams: self.streams.load(Ordering::Relaxed),
            limit: self.limit.load(Ordering::Relaxed),
            is_gone: self.is_gone.load(Ordering::Relaxed) || self.sender.is_closed(),
        }
    }

    /// Whether nobody has used it for this time. Nobody can begin to while the pool is locked.
    pub(super) fn is_idle(&self, time: Duration) -> bool {
        let since = *self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        self.streams.load(Ordering::Relaxed) == 0 && since.elapsed() >= time
    }
}

/// Moves a connection until it has ended, nobody wants it any more or it has been idle. What is under way then goes on by
/// itself.
async fn drive(
    pool: Weak<Pool>,
    connection: Weak<Connection>,
    stirring: Stirring,
    mut driven: Box<Driven>,
    look_every: Duration,
) {
    let ended = poll_fn(|cx| {
        let polled = stirring.poll(&mut driven, cx);
        if let Some(connection) = connection.upgrade() {
            connection.limit.store(driven.current_max_send_streams().min(MOST_STREAMS), Ordering::Relaxed);
        }
        polled
    });
    let mut ended = pin!(ended);
    let mut look = tokio::time::interval(look_every);
    loop {
        // Cancel-safe: neither loses anything when the other is first.
        tokio::select! {
            ended = &mut ended => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the API server was lost");
                }
                if let Some(connection) = connection.upgrade() {
                    connection.is_gone.store(true, Ordering::Relaxed);
                    pool.upgrade().iter().for_each(|pool| pool.remove(&connection));
                }
                return;
            }
            _ = look.tick() => {
                // With the pool, or the connection, those who would send by it are gone; the next look at `ended` tells.
                if let (Some(pool), Some(connection)) = (pool.upgrade(), connection.upgrade())
                    && pool.remove_idle(&connection)
                {
                    return;
                }
            }
        }
    }
}

/// A place on a connection.
pub(crate) struct Stream(Arc<Connection>);

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Why.
    pub(crate) error: hyper::Error,
    /// The request, if the server has certainly not looked at it.
    pub(crate) again: Option<Request<Body>>,
}

impl Stream {
    /// A place on this connection, which must have room.
    pub(super) fn on(connection: &Arc<Connection>) -> Self {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }

    /// Sends a request, and waits for the beginning of its answer.
    pub(crate) async fn send(self, request: Request<Body>) -> Result<(Response<Incoming>, Self), Failed> {
        let copy = copy(&request);
        match self.0.sender.clone().try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                if unsent.is_some() || is_going(&error) {
                    self.0.is_gone.store(true, Ordering::Relaxed);
                }
                let again = unsent.or_else(|| copy.filter(|_| is_unseen(&error)));
                Err(Failed { error, again })
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.0.idle.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same request again, if its body can be had twice.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The server's own word in an error.
fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether the server was ending the connection in peace. Only requests that it has not begun with end by that (RFC 9113,
/// 6.8).
fn is_going(error: &hyper::Error) -> bool {
    of_http2(error)
        .is_some_and(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// Whether the server has certainly not looked at the request (RFC 9113, 8.7).
fn is_unseen(error: &hyper::Error) -> bool {
    let is_refused = of_http2(error).is_some_and(|error| {
        error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
    });
    is_refused || is_going(error)
}

/// Runs what hyper runs for a connection, and then looks at the connection too: what hyper tells of it (how many streams
/// there may be, that it is ending) it tells only to who looks.
#[derive(Clone, Default)]
struct Stirring(Arc<AtomicWaker>);

impl Stirring {
    fn poll(&self, driven: &mut Driven, cx: &mut std::task::Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.register(cx.waker());
        std::pin::Pin::new(driven).poll(cx)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Stirring {
    fn execute(&self, future: F) {
        let waker = self.0.clone();
        tokio::spawn(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                let polled = future.as_mut().poll(cx);
                waker.wake();
                polled
            })
            .await;
        });
    }
}
