//! SPDY inside a WebSocket: the messages, whatever their borders, are the bytes of a connection.

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::debug;

use crate::websocket;

/// How much waits on its way through, in each direction.
const BUFFER_BYTES: usize = 64 << 10;

/// The connection that is in the WebSocket. It ends when that does, and the other way round.
pub(crate) async fn open<C>(connection: C) -> DuplexStream
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (to, from) = websocket::wrap(connection).await.split();
    let (inside, outside) = tokio::io::duplex(BUFFER_BYTES);
    let (from_inside, to_inside) = tokio::io::split(outside);
    tokio::spawn(async move {
        // Cancel-safe: when one direction is over nothing can come of the other.
        tokio::select! {
            () = inwards(from, to_inside) => {}
            sent = outwards(from_inside, to) => {
                if let Err(error) = sent {
                    debug!("a WebSocket with SPDY in it broke: {error}");
                }
            }
        }
    });
    inside
}

async fn inwards<C>(mut from: SplitStream<WebSocketStream<C>>, mut to: WriteHalf<DuplexStream>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = from.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            // Others than binary ones are no part of the protocol; pings are answered where they are read.
            Message::Text(_) | Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn outwards<C>(
    mut from: ReadHalf<DuplexStream>,
    mut to: SplitSink<WebSocketStream<C>, Message>,
) -> Result<(), Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer).await {
            Ok(n @ 1..) => {
                to.send(Message::Binary(Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default()))).await?
            }
            Ok(0) | Err(_) => return to.send(Message::Close(None)).await,
        }
    }
}
