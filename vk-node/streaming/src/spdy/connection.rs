//! A connection, from the server's side.
//!
//! ```text
//!            ┌─ reads ─▶ each stream's own queue ─▶ StreamInput
//!   client ──┤                (bounded)
//!            └─ writes ◀─ one queue for all ◀────── StreamOutput
//! ```
//!
//! SPDY has flow control for each stream, and Kubernetes' clients do not keep to it. So a stream that nobody reads, with
//! its queue full, stops the reading of the whole connection, as it does in the kubelet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::frame::{Codec, Frame, MAX_PIECE_BYTES, ResetStatus, StreamId};
use super::headers::Headers;
use super::stream::{State, StreamInput, StreamOutput, send};
use crate::Gone;
use crate::watch::{KEEP_ALIVE, Watch};

/// How many streams a connection may have open at a time. A forwarded connection has two.
const MAX_STREAMS: usize = 2000;
/// How many pieces of data wait in a stream's queue.
const WAITING_PIECES: usize = 8;
/// How many frames wait to be written.
const WAITING_FRAMES: usize = 16;
/// How many new streams wait to be taken.
const WAITING_STREAMS: usize = 16;
/// How long the last frames may take to be written when the connection is closed.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The connection. Dropping it breaks it off.
#[derive(Debug)]
pub struct Connection {
    incoming: mpsc::Receiver<Incoming>,
    frames: mpsc::Sender<Frame>,
    watch: Watch,
    writes: JoinHandle<()>,
    _breaks_off: DropGuard,
}

/// A stream that the client wants to begin.
#[derive(Debug)]
pub struct Incoming {
    headers: Headers,
    input: StreamInput,
    output: StreamOutput,
}

impl Incoming {
    /// The stream's number.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.output.state.id
    }

    /// What the client says of it.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Takes the stream.
    ///
    /// # Errors
    /// When the client is gone, or has reset the stream.
    pub async fn accept(self) -> Result<(StreamInput, StreamOutput), Gone> {
        let reply = Frame::SynReply { id: self.id(), headers: Headers::default(), fin: false };
        self.output.send(reply).await?;
        Ok((self.input, self.output))
    }

    /// Does not take it.
    ///
    /// # Errors
    /// When the client is gone, or has reset the stream.
    pub async fn refuse(self) -> Result<(), Gone> {
        self.output.reset_as(ResetStatus::REFUSED_STREAM).await
    }
}

impl Connection {
    /// Over a connection on which nothing but SPDY comes from now on.
    pub fn new<C: AsyncRead + AsyncWrite + Send + 'static>(connection: C) -> Self {
        let (from, to) = tokio::io::split(connection);
        let watch = Watch::new();
        let (frames, to_write) = mpsc::channel(WAITING_FRAMES);
        let (new, incoming) = mpsc::channel(WAITING_STREAMS);
        let reader = Reader { streams: HashMap::new(), last: 0, new, frames: frames.clone(), watch: watch.clone() };
        tokio::spawn(reader.run(from));
        let writes = tokio::spawn(write(to, to_write, watch.clone()));
        let breaks_off = watch.gone().clone().drop_guard();
        Self { incoming, frames, watch, writes, _breaks_off: breaks_off }
    }

    /// The next stream that the client begins; `None` when it is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        // Cancel-safe: nothing is taken but what is given.
        tokio::select! {
            biased;
            () = self.watch.gone().cancelled() => None,
            stream = self.incoming.recv() => stream,
        }
    }

    /// From now on new streams are refused without asking.
    pub fn take_no_more(&mut self) {
        self.incoming.close();
    }

    /// Cancelled when the client is gone.
    #[must_use]
    pub fn gone(&self) -> CancellationToken {
        self.watch.gone().clone()
    }

    /// Waits for the client to close the connection, for a quarter of an hour at most: it has been told the end and may
    /// still be reading what was sent before. Then closes it.
    pub async fn linger(self) {
        self.watch.lingered().await;
        self.close().await;
    }

    /// Writes what waits to be written, says that it is over, and closes the connection.
    pub async fn close(self) {
        let Self { incoming, frames, watch, writes, _breaks_off } = self;
        drop(incoming);
        let _ = send(&frames, &watch, Frame::GoAway { last: 0, status: 0 }).await;
        let _ = timeout(CLOSE_TIMEOUT, writes).await;
    }
}

/// Writes frames until one says that it was the last.
async fn write<C: AsyncWrite + Send>(to: WriteHalf<C>, mut frames: mpsc::Receiver<Frame>, watch: Watch) {
    let mut to = FramedWrite::new(to, Codec::default());
    to.set_backpressure_boundary(2 * MAX_PIECE_BYTES);
    let work = async {
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        keep_alive.reset();
        let mut ping = 0_u32;
        loop {
            // Cancel-safe: a frame is taken or stays where it is.
            let frame = tokio::select! {
                frame = frames.recv() => frame,
                _ = keep_alive.tick() => {
                    // Those of a server are even, and none is 0.
                    ping = ping.checked_add(2).unwrap_or(2);
                    to.send(Frame::Ping { id: ping }).await?;
                    continue;
                }
            };
            let Some(frame) = frame else { break };
            let last = matches!(frame, Frame::GoAway { .. });
            watch.active();
            to.feed(frame).await?;
            if last {
                break;
            }
            if frames.is_empty() {
                to.flush().await?;
            }
        }
        to.close().await
    };
    // Cancel-safe: if the client is gone nobody misses what is not written.
    tokio::select! {
        written = work => {
            if let Err(error) = written {
                debug!("a SPDY connection broke: {error}");
            }
        }
        () = watch.gone().cancelled() => {}
        () = watch.idle() => debug!("a SPDY connection was idle for too long"),
    }
    watch.gone().cancel();
}

/// A stream as whoever reads knows it.
struct Slot {
    /// None after its last data.
    data: Option<mpsc::Sender<Bytes>>,
    state: Arc<State>,
}

impl Slot {
    fn is_over(&self) -> bool {
        self.state.reset.is_cancelled() || self.data.is_none() && self.state.we_ended.load(Ordering::Relaxed)
    }
}

struct Reader {
    streams: HashMap<StreamId, Slot>,
    /// The last stream that was begun.
    last: StreamId,
    new: mpsc::Sender<Incoming>,
    frames: mpsc::Sender<Frame>,
    watch: Watch,
}

impl Reader {
    async fn run<C: AsyncRead + Send>(mut self, from: ReadHalf<C>) {
        let watch = self.watch.clone();
        let mut frames = FramedRead::with_capacity(from, Codec::default(), MAX_PIECE_BYTES);
        let work = async {
            while let Some(frame) = frames.next().await {
                self.watch.active();
                match frame {
                    Ok(frame) => self.take(frame).await?,
                    Err(error) => {
                        debug!("a SPDY connection broke: {error}");
                        break;
                    }
                }
            }
            Err::<(), _>(Gone)
        };
        // Cancel-safe: if nobody wants the connection nobody misses what was not read.
        tokio::select! {
            _ = work => {}
            () = watch.gone().cancelled() => {}
        }
        watch.gone().cancel();
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Gone> {
        match frame {
            Frame::SynStream { id, headers, fin } => self.begin(id, headers, fin).await,
            Frame::Data { id, bytes, fin } => {
                self.data(id, bytes, fin).await;
                Ok(())
            }
            Frame::Headers { id, fin: true, .. } => {
                self.data(id, Bytes::new(), true).await;
                Ok(())
            }
            Frame::Reset { id, .. } => {
                if let Some(slot) = self.streams.remove(&id) {
                    slot.state.reset.cancel();
                }
                Ok(())
            }
            Frame::Ping { id } if id % 2 == 1 => send(&self.frames, &self.watch, Frame::Ping { id }).await,
            // We begin no streams, keep to no flow control, and go on until the client closes the connection.
            Frame::Ping { .. }
            | Frame::SynReply { .. }
            | Frame::Headers { .. }
            | Frame::Settings
            | Frame::WindowUpdate { .. }
            | Frame::GoAway { .. } => Ok(()),
        }
    }

    async fn begin(&mut self, id: StreamId, headers: Headers, fin: bool) -> Result<(), Gone> {
        self.streams.retain(|_, slot| !slot.is_over());
        let refused = if id.is_multiple_of(2) || id <= self.last {
            Some(ResetStatus::PROTOCOL_ERROR)
        } else if self.streams.len() >= MAX_STREAMS || self.new.is_closed() {
            Some(ResetStatus::REFUSED_STREAM)
        } else {
            None
        };
        if let Some(status) = refused {
            return send(&self.frames, &self.watch, Frame::Reset { id, status }).await;
        }
        self.last = id;
        let (to, data) = mpsc::channel(WAITING_PIECES);
        let state = Arc::new(State { id, reset: CancellationToken::new(), we_ended: AtomicBool::new(false) });
        let input = StreamInput { data, state: state.clone(), watch: self.watch.clone() };
        let output = StreamOutput { frames: self.frames.clone(), state: state.clone(), watch: self.watch.clone() };
        self.streams.insert(id, Slot { data: (!fin).then_some(to), state });
        match self.new.send(Incoming { headers, input, output }).await {
            Ok(()) => Ok(()),
            Err(refused) => refused.0.refuse().await,
        }
    }

    /// Puts data where it is read; waits while that is full. What nobody reads any more is thrown away.
    async fn data(&mut self, id: StreamId, bytes: Bytes, fin: bool) {
        let Some(slot) = self.streams.get_mut(&id) else { return };
        if let Some(to) = slot.data.as_ref().filter(|_| !bytes.is_empty()) {
            // Cancel-safe: if the stream was reset nobody misses what is not passed on.
            tokio::select! {
                _ = to.send(bytes) => {}
                () = slot.state.reset.cancelled() => {}
            }
        }
        if fin {
            slot.data = None;
        }
    }
}
