//! Clients.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::codec::Framed;
use vk_streaming::negotiate::{self, PortForward, RemoteCommand};
use vk_streaming::spdy::{Codec, Frame, Headers, StreamId};

/// How much is on its way in a connection of the tests.
const BUFFER_BYTES: usize = 64 << 10;

/// The two ends of a connection: ours and the server's.
pub(crate) fn connection() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(BUFFER_BYTES)
}

fn websocket_headers(protocol: &'static str) -> HeaderMap {
    let all = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocol),
    ];
    all.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let all = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", protocol)];
    all.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

pub(crate) fn command_by_websocket(protocol: &'static str) -> RemoteCommand {
    negotiate::remote_command(&Method::GET, &websocket_headers(protocol)).unwrap().transport
}

pub(crate) fn command_by_spdy(protocol: &'static str) -> RemoteCommand {
    negotiate::remote_command(&Method::POST, &spdy_headers(protocol)).unwrap().transport
}

pub(crate) fn forward_by_websocket(protocol: &'static str, ports: &str) -> PortForward {
    negotiate::port_forward(&Method::GET, &websocket_headers(protocol), &[ports.to_owned()]).unwrap().transport
}

pub(crate) fn forward_by_spdy() -> PortForward {
    negotiate::port_forward(&Method::POST, &spdy_headers("portforward.k8s.io"), &[]).unwrap().transport
}

/// A client that speaks SPDY.
pub(crate) struct Spdy {
    frames: Framed<DuplexStream, Codec>,
}

impl Spdy {
    pub(crate) fn new(connection: DuplexStream) -> Self {
        Self { frames: Framed::new(connection, Codec::default()) }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        self.frames.send(frame).await.unwrap();
    }

    pub(crate) async fn begin(&mut self, id: StreamId, headers: &[(&str, &str)]) {
        let headers = Headers::from_iter(headers.iter().copied());
        self.send(Frame::SynStream { id, headers, fin: false }).await;
    }

    pub(crate) async fn write(&mut self, id: StreamId, bytes: &[u8], fin: bool) {
        self.send(Frame::Data { id, bytes: Bytes::copy_from_slice(bytes), fin }).await;
    }

    /// The next frame, which is no ping.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.frames.next().await?.unwrap();
            if !matches!(frame, Frame::Ping { id } if id.is_multiple_of(2)) {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn replied(&mut self, wanted: StreamId) {
        match self.next().await {
            Some(Frame::SynReply { id, fin: false, .. }) => assert_eq!(id, wanted),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn data(&mut self) -> (StreamId, Bytes, bool) {
        match self.next().await {
            Some(Frame::Data { id, bytes, fin }) => (id, bytes, fin),
            other => panic!("{other:?}"),
        }
    }
}

/// A client that speaks WebSocket.
pub(crate) struct Web(WebSocketStream<DuplexStream>);

impl Web {
    pub(crate) async fn new(connection: DuplexStream) -> Self {
        Self(WebSocketStream::from_raw_socket(connection, Role::Client, None).await)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::Binary(Bytes::copy_from_slice(bytes))).await.unwrap();
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message's bytes; `None` when the server closes the connection in good order.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.0.next().await.expect("a WebSocket is closed before its connection").unwrap() {
                Message::Binary(bytes) => return Some(bytes),
                Message::Text(text) => return Some(text.into()),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return None,
            }
        }
    }

    /// The connection that is left.
    pub(crate) fn into_inner(self) -> WebSocketStream<DuplexStream> {
        self.0
    }
}
