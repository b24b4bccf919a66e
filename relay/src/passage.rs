//! One connection to a node's port, passed on byte for byte.
//!
//! Whoever connects must begin with a TLS handshake before the node hears of it: a port scan costs the node nothing. Each
//! direction has an end of its own. A side that does not read stops the other: all on the way holds no more than
//! [`STREAM_WINDOW`](vk_relay_core::protocol::STREAM_WINDOW) and what the sockets do.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use vk_cmd_crds::NodeName;

use crate::Relay;
use crate::line::{Line, Opener};
use crate::metrics::Turned;
use crate::seats::Place;

/// How long whoever connects may take to begin.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// With what a TLS handshake begins: the type of its record.
const HANDSHAKE: u8 = 22;
/// How much is moved at a time, in bytes: as much as one TLS record has.
const PIECE: usize = 16 << 10;
/// When the other end of a silent connection is asked whether it is there, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);
/// The pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections to a node's port, for ever.
pub(crate) async fn take(relay: &Arc<Relay>, place: &Place, line: &Line, node: &NodeName) {
    let own = Arc::new(Semaphore::new(relay.config.limits.streams_per_node));
    loop {
        match place.listener.accept().await {
            Ok((stream, peer)) => {
                let (relay, own, opener, node) = (relay.clone(), own.clone(), line.opener(), node.clone());
                tokio::spawn(async move {
                    if let Err(why) = pass(&relay, &own, opener, stream, peer).await {
                        relay.metrics.turned_away(why);
                        debug!(%node, %peer, "a connection to the node's port was turned away: {why:?}");
                    }
                });
            }
            Err(error) => {
                warn!(%node, %error, "cannot take a connection to the node's port");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn pass(
    relay: &Relay,
    own: &Arc<Semaphore>,
    opener: Opener,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<(), Turned> {
    let knocking = relay.knocking.clone().try_acquire_owned().map_err(|_| Turned::Busy)?;
    let mut first = [0];
    match timeout(FIRST_BYTE, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [HANDSHAKE] => {}
        _ => return Err(Turned::NotTls),
    }
    drop(knocking);
    let _own = own.clone().try_acquire_owned().map_err(|_| Turned::Busy)?;
    let _of_all = relay.streams.clone().try_acquire_owned().map_err(|_| Turned::Busy)?;
    prepare(&stream);
    let node = opener.open(peer).await.map_err(|error| {
        debug!(%peer, "{error:#}");
        Turned::ByNode
    })?;
    let _open = relay.metrics.stream();
    let (to_node, from_node) = relay.metrics.bytes();
    let mut stream = Counted { stream, read: to_node, written: from_node };
    let mut node = TokioIo::new(node);
    // How it ends is for the two ends to say: TLS tells an end from a cut.
    if let Err(error) = copy_bidirectional_with_sizes(&mut stream, &mut node, PIECE, PIECE).await {
        debug!(%peer, "a connection to a node was cut: {error}");
    }
    Ok(())
}

/// Sets up a socket so that it is quick, and that one whose other end is gone is found out.
fn prepare(stream: &TcpStream) {
    let (idle, interval, count) = KEEPALIVE;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_socket_keepalive(stream, true)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepidle(stream, idle)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepintvl(stream, interval)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepcnt(stream, count)?));
    if let Err(error) = set {
        debug!("a connection is not looked after: {error}");
    }
}

/// A connection whose bytes are counted.
struct Counted {
    stream: TcpStream,
    read: IntCounter,
    written: IntCounter,
}

fn count(counter: &IntCounter, bytes: usize) {
    counter.inc_by(u64::try_from(bytes).unwrap_or_default());
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        count(&self.read, buf.filled().len().saturating_sub(before));
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            count(&self.written, bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
