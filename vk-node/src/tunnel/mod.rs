//! The tunnel: the system's own ssh, kept running, and what it carries.
//!
//! ```text
//!   way_out, way_in ──▶ wants ──────────────┐
//!                                           ▼
//!   keep: Course ── start ──▶ ssh ── up ──▶ carry: one order for each want ── granted ──▶ the socket, or where the node is reached
//!           ▲                  │              ▲                              └ refused ──▶ told, asked again
//!           └── says, ended ───┘              └── anew with each connection
//! ```
//!
//! What is decided is in [`vk_node_core::tunnel`].

mod carry;
mod keep;
mod leash;
mod place;
mod prove;
mod ssh;

pub(crate) use self::keep::Keeper;
pub(crate) use self::leash::main as leash;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vk_cmd_crds::NodeName;
use vk_node_core::config::{NodeConfig, TunnelConfig};
use vk_node_core::facts::Endpoint;
use vk_node_core::tunnel::argv::Asking;

use self::carry::Wants;
use self::place::Place;
use self::prove::Ear;
use crate::way::{Counts, Reached, Standing};

/// A tunnel that all nodes of the process share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: TunnelConfig,
    place: Place,
    asking: Asking,
    wants: Wants,
    ear: Ear,
    counts: Counts,
}

impl Tunnel {
    /// The tunnel that is configured, if one is. It carries nothing before its [`Keeper`] runs.
    ///
    /// # Errors
    /// When there is no place for its sockets.
    pub(crate) fn of(config: &NodeConfig) -> anyhow::Result<Option<Self>> {
        let Some(tunnel) = config.tunnel.clone() else { return Ok(None) };
        let place = Place::take(&config.pipe.directory)?;
        let (asking, wants, ear, counts) = (ssh::asking(), Wants::default(), Ear::default(), Counts::default());
        Ok(Some(Self(Arc::new(Inner { config: tunnel, place, asking, wants, ear, counts }))))
    }

    /// The socket that leads to an API server, whenever the tunnel is up.
    pub(crate) fn way_out(&self, server: Endpoint) -> PathBuf {
        self.way_to(self.0.config.api_server.clone().unwrap_or(server))
    }

    /// The socket that leads to any other server, as the far end calls it, whenever the tunnel is up.
    pub(crate) fn way_to(&self, server: Endpoint) -> PathBuf {
        let socket = self.0.place.way_to(&server);
        self.0.wants.out(server, socket.clone());
        socket
    }

    /// What is measured of it.
    pub(crate) fn counts(&self) -> Counts {
        self.0.counts.clone()
    }

    /// Where a node is reached that listens at `to`, and whether it is; no address before the far end has said so. Of `far` the address is what the API
    /// server calls the far end, and the port which one is wanted there, 0 for any.
    pub(crate) fn way_in(
        &self,
        node: &NodeName,
        (address, port): (IpAddr, u16),
        to: SocketAddr,
    ) -> (Reached, Standing) {
        self.0.wants.inward(node, self.0.config.bind_for(address), (address, port), to)
    }
}

impl Inner {
    fn program(&self) -> &Path {
        &self.config.program
    }
}
