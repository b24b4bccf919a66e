//! From a node's dial to its end.
//!
//! ```text
//!   dials ── handshake ──▶ who? ── a vk-node ──▶ place taken ──▶ told its port ──▶ streams … ── ended, cut
//!              │ fails      │ anybody else         │ no place          ▲                │ replaced, relay stopping
//!              ▼            ▼                      ▼                   │                ▼
//!            closed     told why, closed      told why, closed         └─ dials again ─ told to leave, drained
//! ```
//!
//! A relay that is about to end goes on for each node until that is at another one: it is told to leave, its port stays open, and it
//! closes the connection when its Node says that it is reached elsewhere. So it can be reached all the time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info, warn};
use vk_relay_core::protocol::{Leave, Message};
use vk_relay_core::who::{self, Caller};

use crate::Relay;
use crate::line::{Draining, Line};
use crate::metrics::Refused;
use crate::passage;
use crate::seats::{Place, Seats};
use crate::tls::Door;

/// The pause after a connection could not be taken: too many open files, most likely, which passes when others close.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that the end of a certificate is waited for in one piece, so that a clock that is set is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Takes those who dial, for ever.
pub(crate) async fn accept(relay: Arc<Relay>, listener: TcpListener, door: Door) {
    let places = Arc::new(Semaphore::new(relay.config.limits.handshakes));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (relay, door) = (relay.clone(), door.clone());
                tokio::spawn(async move {
                    let known = timeout(relay.config.limits.handshake, receive(&relay, stream, peer, &door)).await;
                    drop(place);
                    match known {
                        Ok(Some((line, caller))) => {
                            let nodes = relay.nodes.clone();
                            nodes.spawn(serve(relay, line, caller, peer));
                        }
                        Ok(None) => {}
                        Err(_) => {
                            relay.metrics.refused(Refused::Handshake);
                            debug!(%peer, "whoever dialled has not said who it is in time");
                        }
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot take whoever dials");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Finds out who has dialled; none where it is nobody to be let in.
async fn receive(relay: &Relay, stream: TcpStream, peer: SocketAddr, door: &Door) -> Option<(Line, Caller)> {
    // Only slower without.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = door.borrow().clone() else {
        relay.metrics.refused(Refused::NotReady);
        debug!(%peer, "whoever dialled was sent away: the authority of nodes is not known yet");
        return None;
    };
    let (stream, line) = match acceptor.accept(stream).await {
        Ok(stream) => (caller(&stream), Line::over(stream, relay.config.limits.streams_per_node).await),
        Err(error) => {
            relay.metrics.refused(Refused::Handshake);
            info!(%peer, "whoever dialled is not let in: {error}");
            return None;
        }
    };
    match (stream, line) {
        (_, Err(error)) => {
            relay.metrics.refused(Refused::Handshake);
            debug!(%peer, "whoever dialled does not speak the protocol: {error:#}");
            None
        }
        (Ok(caller), Ok(line)) => Some((line, caller)),
        (Err(stranger), Ok(line)) => {
            relay.metrics.refused(Refused::NotANode);
            refuse(line, peer, &stranger.to_string()).await;
            None
        }
    }
}

fn caller(stream: &TlsStream<TcpStream>) -> Result<Caller, who::Stranger> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    who::caller(chain.first().map_or(&[], |own| own.as_ref()))
}

/// Says why somebody is not let in, and closes.
async fn refuse(line: Line, peer: SocketAddr, why: &str) {
    info!(%peer, "whoever dialled is not let in: {why}");
    if let Err(error) = line.tell(&Message::Refused { why: why.to_owned() }).await {
        debug!(%peer, "and does not hear of it: {error:#}");
    }
    line.drain().cut();
}

/// Why a node's connection is not served any more.
enum Why {
    Lost,
    Expired,
    Replaced,
    Stopping,
}

/// Serves a node for as long as its connection counts.
async fn serve(relay: Arc<Relay>, line: Line, caller: Caller, peer: SocketAddr) {
    let node = &caller.node;
    let (place, change) = match Seats::take(&relay, node) {
        Ok(taken) => taken,
        Err(why) => {
            relay.metrics.refused(Refused::Full);
            return refuse(line, peer, &format!("{why:#}")).await;
        }
    };
    relay.book.written(change).await;
    let (address, port) = (relay.config.advertise, place.port);
    let welcome = Message::Welcome { node: node.as_str().to_owned(), address, port };
    if let Err(error) = line.tell(&welcome).await {
        info!(%node, %peer, "a node has dialled and hung up: {error:#}");
        return line.drain().cut();
    }
    info!(%node, %peer, port, "a node is here");
    relay.metrics.welcomed();
    let mut stopping = relay.stopping.subscribe();
    // Cancel-safe: waiting leaves nothing behind, and serving says itself why it may be cut short.
    let mut why = tokio::select! {
        why = until_it_ends(&relay, &place, &line, &caller) => why,
        _ = stopping.wait_for(|stopping| *stopping) => Why::Stopping,
    };
    if let Why::Stopping = why {
        tell_to_leave(&relay, &line, &caller, Leave::Stopping).await;
        why = until_it_ends(&relay, &place, &line, &caller).await;
    }
    // The port is closed, unless a newer connection has it.
    drop(place);
    match why {
        Why::Lost | Why::Stopping => {
            info!(%node, %peer, port, "a node has gone");
            end(line.drain(), &caller).await;
        }
        Why::Expired => {
            info!(%node, %peer, "the certificate that a node has shown is over, and so is its connection");
            line.drain().cut();
        }
        Why::Replaced => {
            tell_to_leave(&relay, &line, &caller, Leave::Replaced).await;
            end(line.drain(), &caller).await;
        }
    }
}

/// Passes on what connects to a node's port, until the connection to the node counts no more.
async fn until_it_ends(relay: &Arc<Relay>, place: &Place, line: &Line, caller: &Caller) -> Why {
    // Cancel-safe: what is passed on already are tasks of their own, and whoever has connected and was not taken is
    // taken by the connection after this one, or told by a closed port.
    tokio::select! {
        () = line.ended() => Why::Lost,
        () = place.replaced() => Why::Replaced,
        () = expired(caller) => Why::Expired,
        () = passage::take(relay, place, line, &caller.node) => Why::Lost,
    }
}

/// Sends a node away; what it has open goes on.
async fn tell_to_leave(relay: &Relay, line: &Line, caller: &Caller, why: Leave) {
    let within = relay.config.drain.as_secs() / 2;
    let message = Message::Leave { why, within_seconds: u32::try_from(within).unwrap_or(u32::MAX) };
    if let Err(error) = line.tell(&message).await {
        debug!(node = %caller.node, "a node does not hear that it is to leave: {error:#}");
    }
}

/// Waits for the end of what a node has open, which is not to outlive its certificate.
async fn end(line: Draining, caller: &Caller) {
    // Cancel-safe: both only wait.
    tokio::select! {
        () = line.ended() => {}
        () = expired(caller) => line.cut(),
    }
}

/// Returns when the certificate's time is over, by the clock on the wall.
async fn expired(caller: &Caller) {
    loop {
        let left = caller.until.duration_since(Timestamp::now());
        if left < SignedDuration::ZERO {
            return;
        }
        let left = Duration::try_from(left).unwrap_or_default().min(LOOK_EVERY);
        sleep(left + Duration::from_millis(1)).await;
    }
}
