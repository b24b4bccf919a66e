//! What the node answers the relay: it takes messages, and streams to its kubelet API.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_util::either::Either;
use tracing::{debug, warn};
use vk_relay_core::protocol::{MESSAGE_MAX, MESSAGE_PATH, Message, PEER_HEADER};

use super::super::{Counts, Passed};

/// What answers the relay.
#[derive(Clone)]
pub(super) struct Answers {
    messages: mpsc::Sender<Message>,
    entrance: mpsc::Sender<Passed>,
    counts: Counts,
}

impl Answers {
    pub(super) fn new(messages: mpsc::Sender<Message>, entrance: mpsc::Sender<Passed>, counts: Counts) -> Self {
        Self { messages, entrance, counts }
    }

    async fn answer(self, request: Request<Incoming>) -> StatusCode {
        if request.method() == Method::CONNECT {
            return self.take(request);
        }
        if (request.method(), request.uri().path()) == (&Method::POST, MESSAGE_PATH) {
            return self.hear(request).await;
        }
        StatusCode::NOT_FOUND
    }

    /// Takes a stream, if not too many wait already.
    fn take(self, request: Request<Incoming>) -> StatusCode {
        let Ok(place) = self.entrance.try_reserve_owned() else { return StatusCode::SERVICE_UNAVAILABLE };
        let peer = request.headers().get(PEER_HEADER).and_then(|value| value.to_str().ok());
        let peer = format!("{} by the relay", peer.unwrap_or("somebody"));
        self.counts.passed();
        // The stream begins when this has been answered.
        tokio::spawn(async move {
            match hyper::upgrade::on(request).await {
                Ok(stream) => drop(place.send(Passed { connection: Either::Right(TokioIo::new(stream)), peer })),
                Err(error) => debug!(peer, %error, "a stream has ended before it began"),
            }
        });
        StatusCode::OK
    }

    async fn hear(self, request: Request<Incoming>) -> StatusCode {
        let Ok(body) = Limited::new(request.into_body(), MESSAGE_MAX).collect().await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        match Message::of_json(&body.to_bytes()) {
            Ok(message) => match self.messages.send(message).await {
                Ok(()) => StatusCode::NO_CONTENT,
                Err(_) => StatusCode::GONE,
            },
            Err(error) => {
                warn!(%error, "the relay says something that this version does not know");
                StatusCode::NOT_IMPLEMENTED
            }
        }
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answers = self.clone();
        Box::pin(async move {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = answers.answer(request).await;
            Ok(response)
        })
    }
}
