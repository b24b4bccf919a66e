//! Who is here: for each node the port that is listened on for it, and which of its connections counts.
//!
//! ```text
//!   dialled ──▶ seat taken (generation 1) ── the same node dials again ──▶ generation 2 counts, 1 takes no more streams
//!                    └── the connection that counts ends ──▶ the port is closed, and stays the name's in the book
//! ```
//!
//! The newest connection of a name counts: the one before may be one that nobody has found out to be dead yet.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;
use vk_cmd_crds::NodeName;

use crate::Relay;
use crate::book::Change;

/// Who is here.
#[derive(Default)]
pub(crate) struct Seats(Mutex<HashMap<NodeName, Seat>>);

struct Seat {
    listener: Arc<TcpListener>,
    port: u16,
    generation: watch::Sender<u64>,
}

/// A node's place. It is given up when this is dropped, unless another connection of the node has it by then.
pub(crate) struct Place {
    relay: Arc<Relay>,
    node: NodeName,
    /// The port of the relay's address that is the node's.
    pub(crate) port: u16,
    /// What listens there.
    pub(crate) listener: Arc<TcpListener>,
    mine: u64,
    generation: watch::Receiver<u64>,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeName, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many nodes are here.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Takes a node's place, from an earlier connection of it if there is one. Also gives what must be on disk before the
    /// node hears of its port.
    ///
    /// # Errors
    /// When there is no place for it; the reason is for the node.
    pub(crate) fn take(relay: &Arc<Relay>, node: &NodeName) -> anyhow::Result<(Place, Change)> {
        let mut seats = relay.seats.lock();
        if let Some(seat) = seats.get(node) {
            let mut mine = 0;
            seat.generation.send_modify(|generation| {
                *generation += 1;
                mine = *generation;
            });
            let place = Place {
                relay: relay.clone(),
                node: node.clone(),
                port: seat.port,
                listener: seat.listener.clone(),
                mine,
                generation: seat.generation.subscribe(),
            };
            return Ok((place, Change::default()));
        }
        let most = relay.config.limits.nodes;
        anyhow::ensure!(
            seats.len() < most,
            "the relay is full: {most} nodes are connected, and more it was not started for. Raise --max-nodes, or run more \
             relays"
        );
        loop {
            let (port, change) = relay.book.arrive(node)?;
            let listener = match listen(SocketAddr::new(relay.config.bind, port)) {
                Ok(listener) => Arc::new(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    warn!(port, "somebody else listens on a port of --node-ports: it is not used");
                    relay.book.is_unusable(node);
                    continue;
                }
                Err(error) => {
                    relay.book.leave(node);
                    return Err(error).with_context(|| format!("the relay cannot listen on port {port}"));
                }
            };
            let (generation, receiver) = watch::channel(1);
            seats.insert(node.clone(), Seat { listener: listener.clone(), port, generation });
            relay.metrics.nodes(seats.len());
            let (relay, node) = (relay.clone(), node.clone());
            return Ok((Place { relay, node, port, listener, mine: 1, generation: receiver }, change));
        }
    }
}

impl Place {
    /// Returns when another connection of the node has its place.
    pub(crate) async fn replaced(&self) {
        let mut generation = self.generation.clone();
        // Without a sender nobody has it any more.
        let _ = generation.wait_for(|generation| *generation != self.mine).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.relay.seats.lock();
        // One thread does all of this, so nobody looks for the port between this and the end of the listener.
        // A seat that was given up and taken again begins with other senders, so the numbers alone would not do.
        let is_mine = seats
            .get(&self.node)
            .is_some_and(|seat| Arc::ptr_eq(&seat.listener, &self.listener) && *seat.generation.borrow() == self.mine);
        if is_mine {
            seats.remove(&self.node);
            self.relay.book.leave(&self.node);
            self.relay.metrics.nodes(seats.len());
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
