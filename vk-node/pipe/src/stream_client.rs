//! The client's side of a stream: see [`vk_task::stream`].
//!
//! A kubelet's server passes on what it gets: bytes for standard input to [`StreamInput`], each [`StreamEvent`] to the
//! channel of the same name. Dropping both halves hangs up: that ends the program of an `exec`, and leaves the task of
//! an `attach` alone.

use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite};
use vk_task::stream::{Channel, StreamEnd, TerminalSize};

use crate::ClientError;
use crate::frames::{self, FrameCodec};

type Connection = TokioIo<Upgraded>;

/// A stream into a task.
#[derive(Debug)]
pub struct StreamHandle {
    input: StreamInput,
    output: StreamOutput,
}

/// What goes to the program.
#[derive(Debug)]
pub struct StreamInput {
    frames: FramedWrite<WriteHalf<Connection>, FrameCodec>,
}

/// What comes from the program.
#[derive(Debug)]
pub struct StreamOutput {
    frames: FramedRead<ReadHalf<Connection>, FrameCodec>,
}

/// What comes from the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// Bytes of its standard output, or of its terminal.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// There will be nothing more on this channel.
    Closed(Channel),
    /// It is over; nothing comes after this.
    Ended(StreamEnd),
}

impl StreamHandle {
    /// Over a connection that has been upgraded; says what is wanted.
    pub(crate) async fn new(upgraded: Upgraded, request: &impl Serialize) -> Result<Self, ClientError> {
        let (from, to) = tokio::io::split(TokioIo::new(upgraded));
        let mut input = StreamInput { frames: FramedWrite::new(to, FrameCodec) };
        let first = frames::message(Channel::Request, request).map_err(ClientError::protocol)?;
        input.frames.send(first).await.map_err(ClientError::protocol)?;
        Ok(Self { input, output: StreamOutput { frames: FramedRead::new(from, FrameCodec) } })
    }

    /// Both halves, to be used at the same time.
    #[must_use]
    pub fn split(self) -> (StreamInput, StreamOutput) {
        (self.input, self.output)
    }
}

impl StreamInput {
    /// Sends bytes to standard input; waits for as long as the program does not read them.
    ///
    /// # Errors
    /// When the stream is over: see what [`StreamOutput`] says of it.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        for frame in frames::pieces(Channel::Stdin, bytes) {
            self.frames.send(frame).await.map_err(ClientError::protocol)?;
        }
        Ok(())
    }

    /// Says that there is no more input; the output goes on.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn close(&mut self) -> Result<(), ClientError> {
        self.frames.send(frames::close(Channel::Stdin)).await.map_err(ClientError::protocol)
    }

    /// Gives the terminal this size, if there is one.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn resize(&mut self, size: TerminalSize) -> Result<(), ClientError> {
        let frame = frames::message(Channel::Resize, &size).map_err(ClientError::protocol)?;
        self.frames.send(frame).await.map_err(ClientError::protocol)
    }
}

impl StreamOutput {
    /// What comes next. The last is [`StreamEvent::Ended`]. Cancel-safe: what has come of a frame is kept.
    ///
    /// # Errors
    /// When the connection breaks before the end has been told: how the program ended, or that it did, is not known.
    pub async fn next(&mut self) -> Result<StreamEvent, ClientError> {
        loop {
            let broken = || ClientError::protocol(io::Error::from(io::ErrorKind::UnexpectedEof));
            let frame = self.frames.next().await.ok_or_else(broken)?.map_err(ClientError::protocol)?;
            return Ok(match frame.channel {
                Channel::Stdout => StreamEvent::Stdout(frame.payload),
                Channel::Stderr => StreamEvent::Stderr(frame.payload),
                Channel::Status => StreamEvent::Ended(frames::read_message(&frame).map_err(ClientError::protocol)?),
                Channel::Close => match frames::closed(&frame) {
                    Some(channel) => StreamEvent::Closed(channel),
                    None => continue,
                },
                Channel::Stdin | Channel::Resize | Channel::Request => {
                    return Err(ClientError::protocol(format!(
                        "a frame on channel {:?} came from the pipe",
                        frame.channel
                    )));
                }
            });
        }
    }
}
