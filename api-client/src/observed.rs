//! Tells somebody how each request has ended.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower::{BoxError, Service};

use crate::body::Answer;
use crate::wire::Wire;

/// How a request has ended. One that is sent again has ended more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its method.
    pub method: Method,
    /// The server, with its port if the kubeconfig has one.
    pub host: String,
    /// The code of the answer. None: there was none, or nobody has waited for it.
    pub code: Option<StatusCode>,
}

/// Whoever is told. It must be quick: the request waits for it.
pub type Observer = Arc<dyn Fn(&Ended) + Send + Sync>;

/// Sends requests, and tells of their ends.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) wire: Wire,
    pub(crate) observer: Option<Observer>,
}

impl Service<Request<Body>> for Observed {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.wire.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(observer) = self.observer.clone() else { return self.wire.call(request) };
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let ended = Ended { method: request.method().clone(), host, code: None };
        let mut open = Open { ended, observer };
        let answer = self.wire.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // The whole of it goes with the future, and not just its code.
            open.answered(answer.as_ref().ok().map(Response::status));
            answer
        })
    }
}

/// A request under way, told of when it is dropped: at its end, or because nobody waits for it any more.
struct Open {
    ended: Ended,
    observer: Observer,
}

impl Open {
    fn answered(&mut self, code: Option<StatusCode>) {
        self.ended.code = code;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.observer)(&self.ended);
    }
}
