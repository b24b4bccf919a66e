//! The connection to whoever asked for a stream.

use std::io::{self, Cursor};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use axum::body::Bytes;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Chain, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio_util::codec::{FramedRead, FramedWrite};
use vk_task::ApiError;
use vk_task::stream::{Channel, Frame, StreamEnd};

use super::Over;
use crate::frames::{self, FrameCodec};

/// How long the caller may take to say what it wants, and to take the last word.
const PATIENCE: Duration = Duration::from_secs(10);

/// What comes from the caller.
#[derive(Debug)]
pub(super) struct FromCaller {
    frames: FramedRead<Chain<Cursor<Bytes>, OwnedReadHalf>, FrameCodec>,
}

/// What goes to the caller, from several sources at once.
#[derive(Debug)]
pub(super) struct ToCaller {
    // Its buffer has whole frames only, so that a writer that is given up in the middle leaves nothing half sent.
    frames: Mutex<FramedWrite<OwnedWriteHalf, FrameCodec>>,
    /// The same socket, by which a hang-up is seen also while nobody reads.
    socket: AsyncFd<OwnedFd>,
}

/// Takes an upgraded connection over from the HTTP server.
#[allow(unsafe_code)]
pub(super) fn take_over(upgraded: Upgraded) -> io::Result<(FromCaller, ToCaller)> {
    let parts = downcast::<TokioIo<UnixStream>>(upgraded)
        .map_err(|_| io::Error::other("the HTTP server has given away something else than its socket"))?;
    let stream = parts.io.into_inner();
    let socket = stream.as_fd().try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` is open and the same for as long as it is owned, and the `AsyncFd` owns it.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)?;
    let (from, to) = stream.into_split();
    // What the server has read past the request comes first.
    let from = Cursor::new(parts.read_buf).chain(from);
    Ok((
        FromCaller { frames: FramedRead::new(from, FrameCodec) },
        ToCaller { frames: Mutex::new(FramedWrite::new(to, FrameCodec)), socket },
    ))
}

impl FromCaller {
    /// What is wanted: the first frame.
    pub(super) async fn request<T: DeserializeOwned>(&mut self) -> Result<T, Over> {
        let first = tokio::time::timeout(PATIENCE, self.next())
            .await
            .map_err(|_| Over::invalid("nothing was asked for, so the connection is closed"))??;
        if first.channel != Channel::Request {
            return Err(Over::invalid(format!("the first frame must say what is wanted, and is {:?}", first.channel)));
        }
        frames::read_message(&first).map_err(|e| Over::invalid(format!("what is wanted makes no sense: {e}")))
    }

    /// The next frame. Cancel-safe: what has come of a frame is kept.
    pub(super) async fn next(&mut self) -> Result<Frame<Bytes>, Over> {
        match self.frames.next().await {
            None => Err(Over::HungUp),
            Some(Ok(frame)) => Ok(frame),
            Some(Err(e)) if e.kind() == io::ErrorKind::InvalidData => {
                Err(Over::invalid(format!("what comes over the connection makes no sense: {e}")))
            }
            Some(Err(_)) => Err(Over::HungUp),
        }
    }
}

impl ToCaller {
    /// Sends a frame; waits for as long as the caller does not take it.
    pub(super) async fn send(&self, frame: Frame<Bytes>) -> Result<(), Over> {
        self.frames.lock().await.send(frame).await.map_err(|_| Over::HungUp)
    }

    /// Sends the last word, to a caller that may have stopped listening.
    pub(super) async fn say(&self, end: &StreamEnd) {
        let Ok(frame) = frames::message(Channel::Status, end) else { return };
        let _ = tokio::time::timeout(PATIENCE, self.send(frame)).await;
    }

    /// Waits until the caller has hung up, whether or not anybody reads what it has sent. Cancel-safe: it only waits.
    pub(super) async fn hung_up(&self) {
        loop {
            // An error means that the runtime goes down.
            let Ok(mut guard) = self.socket.readable().await else { return };
            if guard.ready().is_read_closed() {
                return;
            }
            // The next that comes rings again.
            guard.clear_ready();
        }
    }
}

impl From<ApiError> for Over {
    fn from(error: ApiError) -> Self {
        Self::Said(StreamEnd::Failed { error })
    }
}
