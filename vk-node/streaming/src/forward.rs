//! Forwarded connections, many in one connection of a client.
//!
//! In SPDY each has a pair of streams, `data` and `error`, with the same `requestID`; both directions of `data` have ends of
//! their own. In the old WebSocket protocol there is one for each port that was named in the request, on two channels, from
//! the beginning to the end of the WebSocket.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::negotiate::{self, ForwardTransport, PortForward};
use crate::session::STREAM_CREATION_TIMEOUT;
use crate::spdy::{Connection, Headers, Incoming, Received, StreamId, StreamInput, StreamOutput};
use crate::websocket::{self, Encoding, FromClient, ToClient};
use crate::{Gone, tunnel};

/// How many messages wait for each port of the old WebSocket protocol.
const WAITING_MESSAGES: usize = 8;

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
        let spdy = |connection| Source::Spdy(Pairs { connection, halves: HashMap::new() });
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

/// Streams that are, or will be, pairs.
#[derive(Debug)]
struct Pairs {
    connection: Connection,
    halves: HashMap<String, Half>,
}

/// The first stream of a pair.
#[derive(Debug)]
struct Half {
    kind: Kind,
    port: u16,
    input: StreamInput,
    output: StreamOutput,
    /// When the other one is not waited for any more.
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Pairs {
    async fn next(&mut self) -> Option<Forward> {
        loop {
            let until = self.halves.values().map(|half| half.until).min();
            let expired = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            // Cancel-safe: a stream is taken or stays where it is.
            let stream = tokio::select! {
                stream = self.connection.next() => stream?,
                () = expired => {
                    self.give_up_halves().await;
                    continue;
                }
            };
            if let Some(forward) = self.take(stream).await {
                return Some(forward);
            }
        }
    }

    /// Takes a stream; gives the pair that it completes.
    async fn take(&mut self, stream: Incoming) -> Option<Forward> {
        let asked = asked(stream.headers(), stream.id());
        let (kind, port, request) = match asked {
            Ok((kind, _, request)) if self.halves.get(&request).is_some_and(|half| half.kind == kind) => {
                debug!(request, "a stream of a forwarded connection is there already");
                let _ = stream.refuse().await;
                return None;
            }
            Ok(asked) => asked,
            Err(error) => {
                debug!("a stream of a forwarded connection is not taken: {error}");
                let _ = stream.refuse().await;
                return None;
            }
        };
        let (input, output) = stream.accept().await.ok()?;
        let Some(other) = self.halves.remove(&request) else {
            let until = Instant::now() + STREAM_CREATION_TIMEOUT;
            self.halves.insert(request, Half { kind, port, input, output, until });
            return None;
        };
        // The port is that of the data. Nothing comes on the stream for errors.
        let (port, input, data, error) = match kind {
            Kind::Data => (port, input, output, other.output),
            Kind::Error => (other.port, other.input, other.output, output),
        };
        let data = Some(data);
        Some(Forward { port, input: ForwardInput(From::Spdy(input)), output: ForwardOutput(To::Spdy { data, error }) })
    }

    async fn give_up_halves(&mut self) {
        let now = Instant::now();
        let expired: Vec<Half> = self.halves.extract_if(|_, half| half.until <= now).map(|(_, half)| half).collect();
        for Half { kind, mut output, .. } in expired {
            let told = match kind {
                Kind::Error => {
                    let said = output.write(Bytes::from_static(b"timed out waiting for streams")).await;
                    said.and(output.end().await)
                }
                Kind::Data => output.reset().await,
            };
            if told.is_err() {
                debug!("a client has left a forwarded connection before it was complete");
            }
        }
    }
}

/// What a stream is: of which kind, for which port, and of which request.
fn asked(headers: &Headers, id: StreamId) -> Result<(Kind, u16, String), String> {
    let missing = |name: &str| format!("{name:?} header is required");
    let port = negotiate::port(headers.get("port").ok_or_else(|| missing("port"))?)?;
    let kind = match headers.get("streamType").ok_or_else(|| missing("streamType"))? {
        "data" => Kind::Data,
        "error" => Kind::Error,
        other => return Err(format!("invalid stream type {other:?}")),
    };
    // Clients of old send none, and begin the stream for errors first.
    let implied = || match kind {
        Kind::Error => id,
        Kind::Data => id.wrapping_sub(2),
    };
    let request = headers.get("requestID").map_or_else(|| implied().to_string(), str::to_owned);
    Ok((kind, port, request))
}

/// The ports of the old WebSocket protocol.
#[derive(Debug)]
struct Channels {
    to: ToClient,
    /// What has not been given yet.
    forwards: std::vec::IntoIter<Forward>,
    /// Ends when all are finished.
    unfinished: mpsc::Receiver<Infallible>,
}

impl Channels {
    async fn open<C>(connection: C, encoding: Encoding, ports: Vec<u16>) -> Result<Self, Gone>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (from, to) = websocket::channels(connection, encoding).await;
        let (not_finished, unfinished) = mpsc::channel(1);
        let (mut inputs, mut forwards) = (Vec::new(), Vec::new());
        // Two channels for each: data and errors. Both begin with the port.
        for (channel, port) in (0..=u8::MAX).step_by(2).zip(ports) {
            let named = Bytes::copy_from_slice(&port.to_le_bytes());
            to.write(channel, named.clone()).await?;
            to.write(channel.wrapping_add(1), named).await?;
            let (bytes_to, bytes) = mpsc::channel(WAITING_MESSAGES);
            inputs.push(bytes_to);
            let input = ForwardInput(From::WebSocket { bytes, gone: from.gone() });
            let output = To::WebSocket { to: to.clone(), channel, _not_finished: not_finished.clone() };
            forwards.push(Forward { port, input, output: ForwardOutput(output) });
        }
        tokio::spawn(deal(from, inputs));
        Ok(Self { to, forwards: forwards.into_iter(), unfinished })
    }

    async fn next(&mut self) -> Option<Forward> {
        if let Some(forward) = self.forwards.next() {
            return Some(forward);
        }
        // Nothing is ever sent.
        self.unfinished.recv().await;
        if self.to.end().await.is_ok() {
            self.to.linger().await;
        }
        None
    }
}

/// Gives each message to its port; waits while that takes none.
async fn deal<C: AsyncRead + AsyncWrite + Unpin>(mut from: FromClient<C>, inputs: Vec<mpsc::Sender<Bytes>>) {
    let gone = from.gone();
    while let Ok((channel, bytes)) = from.next().await {
        let input = (channel % 2 == 0).then(|| inputs.get(usize::from(channel / 2))).flatten();
        if let Some(input) = input.filter(|_| !bytes.is_empty()) {
            // Cancel-safe: if the client is gone nobody misses what is not passed on.
            tokio::select! {
                // One that is finished takes no more.
                _ = input.send(bytes) => {}
                () = gone.cancelled() => {}
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_what_it_is_for() {
        let of = |all: &[(&str, &str)], id| asked(&all.iter().copied().collect(), id);
        let known = [("port", "80"), ("streamType", "data"), ("requestID", "7")];
        assert_eq!(of(&known, 3), Ok((Kind::Data, 80, "7".into())));
        assert_eq!(of(&[("port", "80"), ("streamType", "error")], 1), Ok((Kind::Error, 80, "1".into())));
        assert_eq!(of(&[("port", "80"), ("streamType", "data")], 3), Ok((Kind::Data, 80, "1".into())));
        for wrong in [&[][..], &[("port", "0")], &[("port", "80")], &[("port", "80"), ("streamType", "stdin")]] {
            assert!(of(wrong, 1).is_err(), "{wrong:?}");
        }
    }
}
