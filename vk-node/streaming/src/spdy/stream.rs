//! One stream of a connection, as its two halves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, MAX_PIECE_BYTES, ResetStatus, StreamId};
use crate::Gone;
use crate::watch::Watch;

/// What both halves and the connection know of a stream.
#[derive(Debug)]
pub(super) struct State {
    pub(super) id: StreamId,
    /// It was reset, by us or the client.
    pub(super) reset: CancellationToken,
    /// We send nothing more.
    pub(super) we_ended: AtomicBool,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes.
    Bytes(Bytes),
    /// The client sends nothing more on this stream; it may go on to read.
    End,
    /// The client wants nothing of this stream any more.
    Reset,
}

/// What the client sends. Dropping it throws away whatever still comes.
#[derive(Debug)]
pub struct StreamInput {
    pub(super) data: mpsc::Receiver<Bytes>,
    pub(super) state: Arc<State>,
    pub(super) watch: Watch,
}

/// What the client is sent.
#[derive(Debug)]
pub struct StreamOutput {
    pub(super) frames: mpsc::Sender<Frame>,
    pub(super) state: Arc<State>,
    pub(super) watch: Watch,
}

impl StreamInput {
    /// What comes next. Cancel-safe: nothing is lost.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn next(&mut self) -> Result<Received, Gone> {
        // Cancel-safe: nothing is taken but what is given.
        tokio::select! {
            biased;
            () = self.watch.gone().cancelled() => Err(Gone),
            () = self.state.reset.cancelled() => Ok(Received::Reset),
            bytes = self.data.recv() => Ok(bytes.map_or(Received::End, Received::Bytes)),
        }
    }
}

impl StreamInput {
    /// Waits until the client is gone or the stream is reset, and reads nothing.
    pub async fn over(&self) {
        // Cancel-safe: both only wait.
        tokio::select! {
            () = self.watch.gone().cancelled() => {}
            () = self.state.reset.cancelled() => {}
        }
    }
}

impl StreamOutput {
    /// Sends bytes; waits for as long as the client does not read.
    ///
    /// # Errors
    /// When the client is gone, or has reset this stream.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        // Pieces, so that other streams of the connection get their turn.
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_PIECE_BYTES));
            self.send(Frame::Data { id: self.state.id, bytes: piece, fin: false }).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes on this stream.
    ///
    /// # Errors
    /// When the client is gone, or has reset this stream.
    pub async fn end(self) -> Result<(), Gone> {
        self.state.we_ended.store(true, Ordering::Relaxed);
        self.send(Frame::Data { id: self.state.id, bytes: Bytes::new(), fin: true }).await
    }

    /// Ends the stream in both directions at once.
    ///
    /// # Errors
    /// When the client is gone, or has reset this stream.
    pub async fn reset(self) -> Result<(), Gone> {
        self.reset_as(ResetStatus::CANCEL).await
    }

    pub(super) async fn reset_as(self, status: ResetStatus) -> Result<(), Gone> {
        let told = self.send(Frame::Reset { id: self.state.id, status }).await;
        self.state.reset.cancel();
        told
    }

    pub(super) async fn send(&self, frame: Frame) -> Result<(), Gone> {
        // Cancel-safe: a frame is sent as a whole or not at all.
        tokio::select! {
            biased;
            () = self.state.reset.cancelled() => Err(Gone),
            sent = send(&self.frames, &self.watch, frame) => sent,
        }
    }
}

/// Gives a frame to whoever writes.
pub(super) async fn send(frames: &mpsc::Sender<Frame>, watch: &Watch, frame: Frame) -> Result<(), Gone> {
    // Cancel-safe: a frame is sent as a whole or not at all.
    tokio::select! {
        biased;
        () = watch.gone().cancelled() => Err(Gone),
        sent = frames.send(frame) => sent.map_err(|_| Gone),
    }
}
