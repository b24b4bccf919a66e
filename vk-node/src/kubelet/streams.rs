//! Connections that have been upgraded: they go on when the request has been answered, and end with the node.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;
use vk_streaming::negotiate::{Agreed, Refusal};

use super::auth::User;

/// How long streams may take to tell their clients that the node ends.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// What clients are told then.
pub(super) const ENDS: &str = "the node ends, and with it this stream; the pod's processes go on";

/// What has been upgraded.
pub(super) type Client = TokioIo<Upgraded>;

/// All streams of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Streams {
    /// Tells the clients that it is over. Tasks go on.
    pub(crate) async fn end(&self) {
        self.closing.cancel();
        self.tasks.close();
        let _ = timeout(END_TIMEOUT, self.tasks.wait()).await;
    }

    /// Cancelled when the node ends.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Answers that the connection is upgraded, and then has `serve` have it.
    pub(super) fn upgrade<T, F>(
        &self,
        mut request: Request,
        agreed: Agreed<T>,
        serve: impl FnOnce(Client, T) -> F + Send + 'static,
    ) -> Response
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let upgraded = hyper::upgrade::on(&mut request);
        let Agreed { transport, headers } = agreed;
        self.tasks.spawn(async move {
            match upgraded.await {
                Ok(upgraded) => serve(TokioIo::new(upgraded), transport).await,
                Err(error) => debug!("a connection was not upgraded: {error}"),
            }
        });
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// Who asks, for the audit log.
pub(super) fn user(request: &Request) -> String {
    request.extensions().get::<Arc<User>>().map(|user| user.name.clone()).unwrap_or_default()
}

/// The values of a parameter that may be there more than once, in their order.
pub(super) fn parameters(request: &Request, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name).map(|(_, value)| value.into()).collect()
}

/// A refusal as an answer.
pub(super) fn refuse(refusal: Refusal) -> Response {
    let mut answer = (refusal.status, refusal.message).into_response();
    for (name, value) in refusal.headers {
        answer.headers_mut().append(name, axum::http::HeaderValue::from_static(value));
    }
    answer
}
