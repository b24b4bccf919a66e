//! One forward: what is asked of the far end, and what became of it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{Bind, bracketed};
use super::words;
use crate::facts::Endpoint;

/// The first and the longest wait until what was refused is asked for again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a connection is to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// From a socket here to a server that the far end reaches: ssh's `-L`.
    Out {
        /// The socket. Only its owner can use it, which a port of this host would let everybody do.
        socket: PathBuf,
        /// The server, as the far end calls it.
        to: Endpoint,
    },
    /// From a port of the far end to a port here: ssh's `-R`.
    In {
        /// What it listens on.
        bind: Bind,
        /// The port; 0: any that is free.
        port: u16,
        /// Where it leads to, on this host.
        to: SocketAddr,
    },
}

/// As a person would say it.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Out { to, .. } => write!(f, "the way to the API server, {}:{}", bracketed(&to.host), to.port),
            Self::In { bind, port: 0, .. } => write!(f, "a port of its own choice on {bind}"),
            Self::In { bind, port, .. } => write!(f, "port {port} on {bind}"),
        }
    }
}

/// Which port of the far end leads to a node.
///
/// ```text
///   wanted by the user ──▶ that one, for ever
///   wanted: any ──▶ 0 ──▶ the one that was given ──▶ that one again after each reconnect
///                   ▲                                   │ refused: somebody else has it, an earlier
///                   └───────────────────────────────────┘ connection of ours that has not ended there, say
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    wanted: u16,
    given: Option<u16>,
}

impl Port {
    /// What the user wants; 0: any.
    #[must_use]
    pub fn wanted(port: u16) -> Self {
        Self { wanted: port, given: None }
    }

    /// What is to be asked for now.
    #[must_use]
    pub fn ask(&self) -> u16 {
        if self.wanted == 0 { self.given.unwrap_or_default() } else { self.wanted }
    }

    /// The far end gave this one.
    pub fn granted(&mut self, port: u16) {
        self.given = Some(port);
    }

    /// The far end did not give what was asked for. Whether another may be had at once.
    pub fn refused(&mut self) -> bool {
        self.wanted == 0 && self.given.take().is_some()
    }
}

/// A forward that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// To a server.
    Out,
    /// From this port of the far end.
    In {
        /// The port.
        port: u16,
    },
}

/// Why a forward is not there, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The far end does not listen for us.
    #[error(
        "the ssh server does not give {what}: either something else listens there (an earlier connection that the server has \
         not yet noticed to be gone, perhaps), or it is not allowed: its sshd_config needs `AllowTcpForwarding yes` (or \
         `remote`), no `DisableForwarding`, a `PermitListen` that has it, and, for another address than 127.0.0.1, \
         `GatewayPorts clientspecified`; and the key's line in authorized_keys, where it says `restrict`, needs \
         `port-forwarding`"
    )]
    Listen {
        /// What was asked for.
        what: String,
    },
    /// The socket here could not be made.
    #[error("ssh cannot make the socket {}: {words}", socket.display())]
    Socket {
        /// Where.
        socket: PathBuf,
        /// What ssh says.
        words: String,
    },
    /// The connection does not take orders any more; the next one is asked again.
    #[error("the connection takes no orders: {words}")]
    NoOrders {
        /// What ssh says.
        words: String,
    },
}

/// The far end said that it listens, and does not where the API server is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "on the ssh server's host nothing answers at {at}, where the API server is to reach the node, though the forward was granted: sshd listens \
     on its loopback address only, whatever it is asked for, where its sshd_config has no `GatewayPorts clientspecified`. `kubectl \
     logs` and `exec` do not work until it has, or until the node's address is 127.0.0.1; unless that address is one of a NAT before \
     that host, by which it does not reach itself"
)]
pub struct Elsewhere {
    /// Where the Node says that it is.
    pub at: SocketAddr,
}

/// Whether it is to be tried out that the far end listens there: at its loopback address it does if it says so.
#[must_use]
pub fn is_to_be_proved(at: SocketAddr) -> bool {
    at.ip() != std::net::IpAddr::from(std::net::Ipv4Addr::LOCALHOST)
        && at.ip() != std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
}

/// When what was refused is asked for again, after so many refusals before: for ever, since an administrator may mend it, or
/// an earlier connection end there.
#[must_use]
pub fn again_in(refusals: u32) -> Duration {
    AGAIN.0.saturating_mul(2_u32.saturating_pow(refusals.min(16))).min(AGAIN.1)
}

/// What became of a forward that was ordered, by what `ssh -O forward` printed and how it ended.
///
/// # Errors
/// Why it is not there.
pub fn outcome(forward: &Forward, succeeded: bool, stdout: &str, stderr: &str) -> Result<Granted, Refused> {
    let words = words::last_line(stderr);
    match forward {
        Forward::Out { .. } if succeeded => Ok(Granted::Out),
        Forward::In { port: 0, .. } if succeeded => {
            match stdout.lines().rev().find_map(|line| line.trim().parse().ok()) {
                Some(port) => Ok(Granted::In { port }),
                None => {
                    Err(Refused::NoOrders { words: format!("it was to say which port it has, and said {stdout:?}") })
                }
            }
        }
        Forward::In { port, .. } if succeeded => Ok(Granted::In { port: *port }),
        Forward::In { .. } if stderr.contains("remote port forwarding failed") => {
            Err(Refused::Listen { what: forward.to_string() })
        }
        Forward::Out { socket, .. } if stderr.contains("Port forwarding failed") => {
            Err(Refused::Socket { socket: socket.clone(), words })
        }
        Forward::Out { .. } | Forward::In { .. } => Err(Refused::NoOrders { words }),
    }
}
