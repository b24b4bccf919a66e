//! Forwarded connections, many in one connection of a client.
//!
//! In SPDY each has a pair of streams, `data` and `error`, with the same `requestID`; both directions of `data` have ends of
//! their own. In the old WebSocket protocol there is one for each port that was named in the request, on two channels, from
//! the beginning to the end of the WebSocket.

mod channels;
mod pairs;

use std::convert::Infallible;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::channels::Channels;
use self::pairs::Pairs;
use crate::negotiate::{ForwardTransport, PortForward};
use crate::spdy::{Connection, Received, StreamInput, StreamOutput};
use crate::websocket::ToClient;
use crate::{Gone, tunnel};

/// A client's forwarded connections. Dropping it breaks them off.
#[derive(Debug)]
pub struct Forwards(Source);

#[derive(Debug)]
enum Source {
    Spdy(Pairs),
    WebSocket(Channels),
}

/// A forwarded connection.
#[derive(Debug)]
pub struct Forward {
    /// The port that it is for.
    pub port: u16,
    /// What comes from the client.
    pub input: ForwardInput,
    /// What goes to the client.
    pub output: ForwardOutput,
}

/// What comes from the client.
#[derive(Debug)]
pub struct ForwardInput(From);

#[derive(Debug)]
enum From {
    Spdy(StreamInput),
    WebSocket { bytes: mpsc::Receiver<Bytes>, gone: CancellationToken },
}

/// What goes to the client.
#[derive(Debug)]
pub struct ForwardOutput(To);

/// Whether the end of one direction can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// It was; the other direction goes on.
    Said,
    /// The protocol knows no such thing.
    Unknown,
}

#[derive(Debug)]
enum To {
    Spdy { data: Option<StreamOutput>, error: StreamOutput },
    WebSocket { to: ToClient, channel: u8, _not_finished: mpsc::Sender<Infallible> },
}

impl Forwards {
    /// Over a connection that has been upgraded as was agreed.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn open<C>(connection: C, agreed: PortForward) -> Result<Self, Gone>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spdy = |connection| Source::Spdy(Pairs::new(connection));
        Ok(Self(match agreed.0 {
            ForwardTransport::Spdy => spdy(Connection::new(connection)),
            ForwardTransport::Tunnel => spdy(Connection::new(tunnel::open(connection).await)),
            ForwardTransport::WebSocket { encoding, ports } => {
                Source::WebSocket(Channels::open(connection, encoding, ports).await?)
            }
        }))
    }

    /// The next connection that the client forwards; `None` when it is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Forward> {
        match &mut self.0 {
            Source::Spdy(pairs) => pairs.next().await,
            Source::WebSocket(channels) => channels.next().await,
        }
    }

    /// Says that it is over, and closes the connection.
    pub async fn close(self) {
        match self.0 {
            Source::Spdy(pairs) => pairs.connection.close().await,
            Source::WebSocket(channels) => drop(channels.to.end().await),
        }
    }
}

impl ForwardInput {
    /// Bytes; `None` when no more come, while the other direction may go on. Cancel-safe.
    ///
    /// # Errors
    /// When the client is gone, or wants nothing of this connection any more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        match &mut self.0 {
            From::Spdy(stream) => match stream.next().await? {
                Received::Bytes(bytes) => Ok(Some(bytes)),
                Received::End => Ok(None),
                Received::Reset => Err(Gone),
            },
            From::WebSocket { bytes, gone } => {
                // Cancel-safe: nothing is taken but what is given.
                tokio::select! {
                    bytes = bytes.recv() => bytes.map(Some).ok_or(Gone),
                    () = gone.cancelled() => Err(Gone),
                }
            }
        }
    }

    /// Waits until the client is gone, or wants nothing of this connection any more, and reads nothing.
    pub async fn gone(&self) {
        match &self.0 {
            From::Spdy(stream) => stream.over().await,
            From::WebSocket { gone, .. } => gone.cancelled().await,
        }
    }
}

impl ForwardOutput {
    /// Sends bytes; waits for as long as the client does not read.
    ///
    /// # Errors
    /// When the client is gone, or wants nothing of this connection any more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match &mut self.0 {
            To::Spdy { data: Some(data), .. } => data.write(bytes).await,
            To::Spdy { data: None, .. } => Ok(()),
            To::WebSocket { to, channel, .. } if !bytes.is_empty() => to.write(*channel, bytes).await,
            To::WebSocket { .. } => Ok(()),
        }
    }

    /// Says that nothing more comes in this direction, if that can be said: where it cannot, all is to be finished.
    ///
    /// # Errors
    /// When the client is gone, or wants nothing of this connection any more.
    pub async fn end(&mut self) -> Result<HalfClose, Gone> {
        match &mut self.0 {
            To::Spdy { data, .. } => {
                if let Some(data) = data.take() {
                    data.end().await?;
                }
                Ok(HalfClose::Said)
            }
            To::WebSocket { .. } => Ok(HalfClose::Unknown),
        }
    }

    /// Ends it: well, or with what people are to be told of why not.
    ///
    /// # Errors
    /// When the client is gone, or wants nothing of this connection any more.
    pub async fn finish(self, end: Result<(), String>) -> Result<(), Gone> {
        match (self.0, end) {
            (To::Spdy { data, error }, Ok(())) => {
                // Whatever became of the one, the other has an end of its own, for which clients wait.
                let ended = match data {
                    Some(data) => data.end().await,
                    None => Ok(()),
                };
                error.end().await.and(ended)
            }
            (To::Spdy { data, mut error }, Err(why)) => {
                error.write(why.into()).await?;
                error.end().await?;
                match data {
                    Some(data) => data.reset().await,
                    None => Ok(()),
                }
            }
            (To::WebSocket { .. }, Ok(())) => Ok(()),
            (To::WebSocket { to, channel, .. }, Err(why)) => to.write(channel.wrapping_add(1), why.into()).await,
        }
    }
}
