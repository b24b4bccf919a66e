//! Where the API server reaches a node, and what the Node says of it.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::NodeAddress;

/// Where the API server reaches a node's kubelet API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The address and the port that the API server dials.
    pub at: SocketAddr,
    /// What it finds there.
    pub through: Through,
}

/// What the API server finds where it dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The node's host.
    Itself,
    /// Something else, which passes on to the node what comes: a relay, or the far end of a tunnel.
    Another,
}

impl Reach {
    /// The Node's `status.addresses`. The host's name is among them only where the host itself is dialled: an API server
    /// with the default `--kubelet-preferred-address-types` tries a `Hostname` before any address, and would never come
    /// to where it is passed on.
    #[must_use]
    pub fn addresses(&self, hostname: &str) -> Vec<NodeAddress> {
        let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
        let mut all = vec![address("InternalIP", self.at.ip().to_string())];
        match self.through {
            Through::Itself => all.push(address("Hostname", hostname.to_owned())),
            Through::Another => {}
        }
        all
    }
}
