//! Connections that speak HTTP/2, to one server.
//!
//! ```text
//!   request ──▶ is there room? ── yes ──▶ Stream: a place on a Connection, held until the answer has ended
//!                 ▲        │ no
//!                 │        ▼
//!                 └── one opening for all who wait: TCP, TLS, HTTP/2, the server's limit of streams
//! ```
//!
//! A connection leaves the pool when it is lost, when the server wants it to end (GOAWAY), or when it has been idle; what is
//! under way on one that the server wants to end goes on.

mod choice;
mod connection;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::Uri;
use hyper_rustls::HttpsConnector;
use tower::BoxError;

use crate::Limits;
use crate::connect::Dial;
use connection::{Connection, Opened};
pub(crate) use connection::{Failed, Stream};

/// Where a request can go.
pub(crate) enum Found {
    /// On a connection that is open.
    Stream(Stream),
    /// The server speaks HTTP/1.1 only.
    Http1,
}

/// Why there is no connection. Those who have waited for it share the error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot connect to the API server {server}")]
pub(crate) struct NotConnected {
    server: Uri,
    #[source]
    why: Arc<dyn std::error::Error + Send + Sync>,
}

/// What an opening has found.
#[derive(Clone, Copy)]
enum Speaks {
    Http2,
    Http1,
}

type Opening = Shared<BoxFuture<'static, Result<Speaks, NotConnected>>>;

pub(crate) struct Pool {
    server: Uri,
    connector: HttpsConnector<Dial>,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By age.
    connections: Vec<Arc<Connection>>,
    opening: Option<Opening>,
}

impl Pool {
    pub(crate) fn new(server: Uri, connector: HttpsConnector<Dial>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { server, connector, limits, state: Mutex::default() })
    }

    /// A place for a request, on a connection that has room or on a new one.
    pub(crate) async fn stream(self: &Arc<Self>) -> Result<Found, NotConnected> {
        loop {
            let opening = {
                let mut state = self.state();
                if let Some(stream) = state.take() {
                    return Ok(Found::Stream(stream));
                }
                state.opening.get_or_insert_with(|| self.open()).clone()
            };
            // Each opening adds room for one at least: this comes to an end.
            match opening.await? {
                Speaks::Http2 => {}
                Speaks::Http1 => return Ok(Found::Http1),
            }
        }
    }

    /// Opens a connection, whoever goes on waiting for it.
    fn open(self: &Arc<Self>) -> Opening {
        let pool = self.clone();
        let task = tokio::spawn(async move {
            let opened = tokio::time::timeout(pool.limits.connect, Connection::open(&pool)).await;
            let mut state = pool.state();
            state.opening = None;
            match opened {
                Ok(Ok(Opened::Http2(connection))) => {
                    state.connections.push(connection);
                    tracing::debug!(server = %pool.server, open = state.connections.len(), "connected");
                    Ok(Speaks::Http2)
                }
                Ok(Ok(Opened::Http1)) => Ok(Speaks::Http1),
                Ok(Err(error)) => Err(pool.not_connected(error)),
                Err(elapsed) => Err(pool.not_connected(elapsed.into())),
            }
        });
        let pool = self.clone();
        // It ends otherwise only with the runtime.
        async move { task.await.unwrap_or_else(|error| Err(pool.not_connected(error.into()))) }.boxed().shared()
    }

    fn not_connected(&self, why: BoxError) -> NotConnected {
        NotConnected { server: self.server.clone(), why: why.into() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection out that nobody can use any more.
    fn remove(&self, connection: &Arc<Connection>) {
        self.state().connections.retain(|other| !Arc::ptr_eq(other, connection));
    }

    /// Takes a connection out if nobody has used it for long.
    fn remove_idle(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.state();
        let is_idle = connection.is_idle(self.limits.idle);
        state.connections.retain(|other| !(is_idle && Arc::ptr_eq(other, connection)));
        is_idle
    }
}

impl State {
    fn take(&self) -> Option<Stream> {
        let place = choice::choose(self.connections.iter().map(|connection| connection.load()))?;
        self.connections.get(place).map(Stream::on)
    }
}
