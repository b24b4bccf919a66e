//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use tower::BoxError;

use crate::pool::Stream;

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("the API server has sent nothing for {} s", .0.as_secs())]
pub(crate) struct Silent(pub(crate) Duration);

/// A body that holds its place on the connection until it has ended or is dropped, and fails when it is silent for long.
pub(crate) struct Answer {
    incoming: Incoming,
    /// None on a connection that is for this request only.
    stream: Option<Stream>,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Answer {
    pub(crate) fn new(incoming: Incoming, stream: Option<Stream>, silence: Option<Duration>) -> Self {
        let silence = silence.map(|time| (time, Box::pin(tokio::time::sleep(time))));
        Self { incoming, stream, silence }
    }

    /// Nothing more will come.
    fn end(&mut self) {
        self.stream = None;
        self.silence = None;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some((time, sleep)) = &mut self.silence {
                    sleep.as_mut().reset(Instant::now() + *time);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end();
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let Some((time, sleep)) = &mut self.silence else { return Poll::Pending };
                ready!(sleep.as_mut().poll(cx));
                let silent = Silent(*time);
                self.end();
                Poll::Ready(Some(Err(silent.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
