//! The way in: where the API server reaches a node, and by what its connections come to the kubelet API.
//!
//! ```text
//!   a port of this host, to which a tunnel may lead ──▶ Entrance ──▶ kubelet API
//!
//!   reach (told, may change at run time) ─┬▶ Node's status (registration)
//!                                         └▶ names of the serving certificate
//! ```
//!
//! A node that knows no way in is a node all the same: it runs its pods. It only cannot be asked for logs and the like,
//! and its Node names no address meanwhile.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use vk_cmd_crds::NodeName;
use vk_node_core::node::{Reach, Through};

use crate::tunnel::Tunnel;

/// Where the API server reaches a node, now and later; none while that is not known.
pub(crate) type Reached = watch::Receiver<Option<Reach>>;

/// A node's way in.
pub(crate) struct Way {
    /// By what connections come.
    pub(crate) entrance: Entrance,
    /// Where the API server dials.
    pub(crate) reach: Reached,
}

/// By what connections come to the kubelet API.
pub(crate) enum Entrance {
    /// By a port of this host.
    Port(TcpListener),
}

impl Entrance {
    /// The next connection, and who has made it. Cancel-safe: one that is not taken now is there at the next call.
    ///
    /// # Errors
    /// When none can be taken for now.
    pub(crate) async fn accept(&mut self) -> io::Result<(TcpStream, String)> {
        match self {
            Self::Port(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Only slower without.
                let _ = stream.set_nodelay(true);
                Ok((stream, peer.to_string()))
            }
        }
    }
}

impl Way {
    /// The way by a port of this host.
    ///
    /// # Errors
    /// When the port is not one.
    pub(crate) fn by_port(listener: TcpListener, address: IpAddr) -> anyhow::Result<Self> {
        let port = listener.local_addr().context("the kubelet's port has no address")?.port();
        let reach = Reach { at: SocketAddr::new(address, port), through: Through::Itself };
        let (_, reach) = watch::channel(Some(reach));
        Ok(Self { entrance: Entrance::Port(listener), reach })
    }

    /// The way by a tunnel, whose far end listens at `far`, an address and a port or 0 for any, and leads to a port of this host.
    ///
    /// # Errors
    /// When the port is not one.
    pub(crate) fn by_tunnel(
        listener: TcpListener,
        tunnel: &Tunnel,
        node: &NodeName,
        far: (IpAddr, u16),
    ) -> anyhow::Result<Self> {
        let listens = listener.local_addr().context("the kubelet's port has no address")?;
        let here = match listens.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let reach = tunnel.way_in(node, far, SocketAddr::new(here, listens.port()));
        Ok(Self { entrance: Entrance::Port(listener), reach })
    }
}
