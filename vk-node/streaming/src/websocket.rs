//! Messages on channels, over a WebSocket: the protocols `channel.k8s.io` and what came of it. The first byte of a message
//! is its channel.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::Gone;
use crate::watch::{KEEP_ALIVE, Watch};

/// The longest message that is taken: the kubelet's figure. Kubernetes' own clients send 32 KiB at a time.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// The longest that is sent at once.
const MAX_PIECE_BYTES: usize = 64 << 10;
/// How many messages wait to be written.
const WAITING_MESSAGES: usize = 8;
/// How long the last messages may take to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the bytes of a channel are written in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they are; the channel's number is a byte.
    Raw,
    /// In base64; the channel's number is a digit.
    Base64,
}

/// Wraps a connection that has been upgraded.
pub(crate) async fn wrap<C: AsyncRead + AsyncWrite + Unpin>(connection: C) -> WebSocketStream<C> {
    let config = WebSocketConfig::default()
        .read_buffer_size(64 << 10)
        .write_buffer_size(64 << 10)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// What the client sends.
#[derive(Debug)]
pub(crate) struct FromClient<C> {
    messages: SplitStream<WebSocketStream<C>>,
    encoding: Encoding,
    watch: Watch,
}

/// What the client is sent. The connection is closed when the last of these is dropped.
#[derive(Clone, Debug)]
pub(crate) struct ToClient {
    messages: mpsc::Sender<Message>,
    encoding: Encoding,
    watch: Watch,
}

/// Both directions of a connection.
pub(crate) async fn channels<C>(connection: C, encoding: Encoding) -> (FromClient<C>, ToClient)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::new();
    let (sink, stream) = wrap(connection).await.split();
    let (messages, to_write) = mpsc::channel(WAITING_MESSAGES);
    tokio::spawn(write(sink, to_write, watch.clone()));
    (FromClient { messages: stream, encoding, watch: watch.clone() }, ToClient { messages, encoding, watch })
}

/// Writes messages, until there are no more to come or one closes the connection.
async fn write<C>(mut to: SplitSink<WebSocketStream<C>, Message>, mut messages: mpsc::Receiver<Message>, watch: Watch)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let work = async {
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        keep_alive.reset();
        let mut closing = false;
        loop {
            // Cancel-safe: a message is taken or stays where it is.
            let message = tokio::select! {
                message = messages.recv() => message,
                _ = keep_alive.tick(), if !closing => {
                    // While nobody reads the input of a program the client's pings are not seen, and it would give us
                    // up: a pong is good without a ping, too.
                    to.feed(Message::Ping(Bytes::new())).await?;
                    to.send(Message::Pong(Bytes::new())).await?;
                    continue;
                }
            };
            let Some(message) = message else { return Ok(()) };
            watch.active();
            closing |= message.is_close();
            to.feed(message).await?;
            if messages.is_empty() {
                to.flush().await?;
            }
        }
    };
    let work = async {
        if let Err(error) = work.await {
            let error: tokio_tungstenite::tungstenite::Error = error;
            debug!("a WebSocket broke: {error}");
        }
    };
    // Cancel-safe: if the client is gone nobody misses what is not written.
    tokio::select! {
        () = work => {}
        () = watch.gone().cancelled() => {}
        () = watch.idle() => debug!("a WebSocket was idle for too long"),
    }
    watch.gone().cancel();
}

impl<C> FromClient<C> {
    /// Cancelled when the client is gone.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.watch.gone().clone()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> FromClient<C> {
    /// The next message: its channel and its bytes. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<(u8, Bytes), Gone> {
        loop {
            // Cancel-safe: what has come of a message is kept.
            let message = tokio::select! {
                message = self.messages.next() => message,
                () = self.watch.gone().cancelled() => return Err(Gone),
            };
            self.watch.active();
            let bytes = match message {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => return self.over(),
                Some(Err(error)) => {
                    debug!("a WebSocket broke: {error}");
                    return self.over();
                }
            };
            match decode(self.encoding, bytes) {
                Some(message) => return Ok(message),
                None => continue,
            }
        }
    }

    fn over<T>(&self) -> Result<T, Gone> {
        self.watch.gone().cancel();
        Err(Gone)
    }

    /// Reads on without looking, until the client closes the connection or has had its time.
    pub(crate) async fn linger(mut self) {
        let watch = self.watch.clone();
        // Cancel-safe: nobody wants what is read here.
        tokio::select! {
            () = async { while self.next().await.is_ok() {} } => {}
            () = watch.lingered() => {}
        }
        watch.gone().cancel();
    }
}

impl ToClient {
    /// Sends bytes on a channel; waits for as long as the client does not read.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn write(&self, channel: u8, mut bytes: Bytes) -> Result<(), Gone> {
        loop {
            let piece = bytes.split_to(bytes.len().min(MAX_PIECE_BYTES));
            self.send(encode(self.encoding, channel, &piece)).await?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn end(&self) -> Result<(), Gone> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: String::new().into() };
        let work = self.send(Message::Close(Some(frame)));
        tokio::time::timeout(CLOSE_TIMEOUT, work).await.unwrap_or(Err(Gone))
    }

    /// Waits until the client has closed the connection, or has had its time. Somebody must go on to read.
    pub(crate) async fn linger(&self) {
        self.watch.lingered().await;
        self.watch.gone().cancel();
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        // Cancel-safe: a message is sent as a whole or not at all.
        tokio::select! {
            biased;
            () = self.watch.gone().cancelled() => Err(Gone),
            sent = self.messages.send(message) => sent.map_err(|_| Gone),
        }
    }
}

/// The channel and bytes of a message; nothing if it is empty, or no base64 where it should be.
fn decode(encoding: Encoding, mut message: Bytes) -> Option<(u8, Bytes)> {
    if message.is_empty() {
        return None;
    }
    let channel = message.split_to(1).first().copied()?;
    match encoding {
        Encoding::Raw => Some((channel, message)),
        Encoding::Base64 => Some((channel.wrapping_sub(b'0'), BASE64_STANDARD.decode(&message).ok()?.into())),
    }
}

fn encode(encoding: Encoding, channel: u8, bytes: &[u8]) -> Message {
    match encoding {
        Encoding::Raw => {
            let mut message = BytesMut::with_capacity(bytes.len() + 1);
            message.put_u8(channel);
            message.put_slice(bytes);
            Message::Binary(message.freeze())
        }
        Encoding::Base64 => {
            let digit = char::from(b'0'.wrapping_add(channel));
            Message::Text(format!("{digit}{}", BASE64_STANDARD.encode(bytes)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_back(channel in 0_u8..5, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Raw, Encoding::Base64] {
                let message = encode(encoding, channel, &bytes).into_data();
                prop_assert_eq!(decode(encoding, message), Some((channel, Bytes::from(bytes.clone()))));
            }
        }

        #[test]
        fn garbage_is_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Raw, Encoding::Base64] {
                let _ = decode(encoding, bytes.clone().into());
            }
        }
    }
}
