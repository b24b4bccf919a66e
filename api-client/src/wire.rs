//! Requests, by whichever protocol the server speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use tower::{BoxError, Service};

use crate::Limits;
use crate::body::{Answer, Silent};
use crate::connect::Connector;
use crate::pool::{Failed, Found, Pool};

/// How many connections that nobody uses there are, at most, to a server that speaks HTTP/1.1.
const IDLE_MOST: usize = 8;
/// How often a request is sent that the server has certainly not looked at: as Go's transport.
const ATTEMPTS: usize = 6;

type Http1 = legacy::Client<TimeoutConnector<HttpsConnector<crate::connect::Dial>>, Body>;

/// Sends requests to one server.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    http1: Http1,
    /// Whether the server is known to speak no HTTP/2.
    is_http1: AtomicBool,
    limits: Limits,
}

impl Wire {
    pub(crate) fn new(server: &Uri, connector: Connector, limits: Limits) -> Self {
        let mut timed = TimeoutConnector::new(connector.http1);
        timed.set_connect_timeout(Some(limits.connect));
        timed.set_read_timeout(limits.read);
        timed.set_write_timeout(limits.write);
        // Otherwise the time that a connection was idle would count.
        timed.set_reset_reader_on_write(true);
        let http1 = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(limits.idle)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_MOST)
            .build(timed);
        let is_http1 = AtomicBool::new(server.scheme() != Some(&Scheme::HTTPS));
        let pool = Pool::new(server.clone(), connector.either, limits);
        Self(Arc::new(Inner { pool, http1, is_http1, limits }))
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Who finds all connections full waits in `call`.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.send(request).await })
    }
}

impl Inner {
    async fn send(&self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let Some(time) = self.limits.read else { return self.attempt(request).await };
        tokio::time::timeout(time, self.attempt(request)).await.map_err(|_| Silent(time))?
    }

    async fn attempt(&self, mut request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let mut attempts = ATTEMPTS;
        while !self.is_http1.load(Ordering::Relaxed) {
            attempts -= 1;
            let stream = match self.pool.stream().await? {
                Found::Stream(stream) => stream,
                Found::Http1 => {
                    tracing::info!(
                        "the API server, or what is in front of it, speaks no HTTP/2: going on with HTTP/1.1"
                    );
                    self.is_http1.store(true, Ordering::Relaxed);
                    continue;
                }
            };
            match stream.send(request).await {
                Ok((response, stream)) => {
                    return Ok(response.map(|body| Answer::new(body, Some(stream), self.limits.read)));
                }
                Err(Failed { again: Some(unseen), .. }) if attempts > 0 => request = unseen,
                Err(Failed { error, .. }) => return Err(error.into()),
            }
        }
        // Its connections watch over silence themselves.
        Ok(self.http1.request(request).await?.map(|body| Answer::new(body, None, None)))
    }
}
