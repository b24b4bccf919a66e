//! The way in: where the API server reaches a node, and by what its connections come to the kubelet API.
//!
//! ```text
//!   a port of this host, to which a tunnel may lead ─┬──▶ Entrance ──▶ kubelet API
//!   a relay that the node has dialled ───────────────┘
//!
//!   reach (told, may change at run time) ─┬▶ Node's status (registration)
//!                                         └▶ names of the serving certificate
//!   standing (told likewise) ──────────────▶ the condition vk-cmd.io/Reachable, and why not
//! ```
//!
//! A node that knows no way in is a node all the same: it runs its pods. It only cannot be asked for logs and the like,
//! and its Node names no address meanwhile.

mod figures;
mod relay;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use vk_cmd_crds::NodeName;
use vk_node_core::config::RelayConfig;
use vk_node_core::node::{By, Reach, Through, WayIn};

pub(crate) use self::figures::{Counts, Figures};
use self::relay::Dialler;
use crate::credentials::Identity;
use crate::tunnel::Tunnel;

/// How long a node that begins waits for its way in before it registers without one: a relay answers at once, or is away, and
/// the far end of a tunnel mostly does with the way to the API server.
const RELAY_PATIENCE: Duration = Duration::from_secs(3);
const TUNNEL_PATIENCE: Duration = Duration::from_secs(10);
/// How many connections that were passed on wait to be taken.
const WAITING: usize = 64;

/// Where the API server reaches a node, now and later; none while that is not known.
pub(crate) type Reached = watch::Receiver<Option<Reach>>;

/// Whether the API server reaches it, now and later.
pub(crate) type Standing = watch::Receiver<WayIn>;

/// A node's way in.
pub(crate) struct Way {
    /// By what connections come.
    pub(crate) entrance: Entrance,
    /// Where the API server dials.
    pub(crate) reach: Reached,
    /// Whether it gets there.
    pub(crate) standing: Standing,
    /// What is measured of it.
    pub(crate) figures: Figures,
    /// What makes it and keeps it. It ends with this.
    pub(crate) keeper: Keeper,
    /// How long it is waited for.
    patience: Duration,
}

/// What makes a way in and keeps it, for as long as somebody has this.
pub(crate) enum Keeper {
    /// There is nothing to keep.
    Nothing,
    /// It has not begun.
    Cold(Box<Dialler>),
    /// It works.
    Running {
        /// It ends with this.
        _task: AbortOnDropHandle<()>,
    },
}

/// By what connections come to the kubelet API.
pub(crate) enum Entrance {
    /// By a port of this host.
    Port(TcpListener),
    /// By something else that hands them on. None come when nobody is left to do so.
    Passed(mpsc::Receiver<Passed>),
}

/// A connection to the kubelet API: by a port of this host, or a stream of the connection to the relay.
pub(crate) type Connection = Either<TcpStream, TokioIo<Upgraded>>;

/// A connection that was handed on.
pub(crate) struct Passed {
    /// Itself.
    pub(crate) connection: Connection,
    /// Who has made it, for people.
    pub(crate) peer: String,
}

/// What is told of a way in by what makes it.
struct Tells {
    reach: watch::Sender<Option<Reach>>,
    standing: watch::Sender<WayIn>,
    counts: Counts,
}

impl Tells {
    /// It stands, and the API server dials there.
    fn stands(&self, by: By, at: SocketAddr) {
        let reach = Reach { at, through: Through::Another };
        self.reach.send_if_modified(|before| before.replace(reach) != Some(reach));
        self.say(WayIn::Stands(by));
    }

    fn say(&self, way: WayIn) {
        self.standing.send_if_modified(|before| std::mem::replace(before, way.clone()) != way);
    }
}

impl Entrance {
    /// The next connection, and who has made it. Cancel-safe: one that is not taken now is there at the next call.
    ///
    /// # Errors
    /// When none can be taken for now.
    pub(crate) async fn accept(&mut self) -> io::Result<(Connection, String)> {
        match self {
            Self::Port(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Only slower without.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), peer.to_string()))
            }
            Self::Passed(passed) => match passed.recv().await {
                Some(Passed { connection, peer }) => Ok((connection, peer)),
                None => std::future::pending().await,
            },
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
        let ((_, reach), (_, standing)) = (watch::channel(Some(reach)), watch::channel(WayIn::Own));
        let (entrance, keeper, figures) = (Entrance::Port(listener), Keeper::Nothing, Figures::default());
        Ok(Self { entrance, reach, standing, figures, keeper, patience: Duration::ZERO })
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
        let (reach, standing) = tunnel.way_in(node, far, SocketAddr::new(here, listens.port()));
        let (entrance, keeper) = (Entrance::Port(listener), Keeper::Nothing);
        let figures = Figures { relay: None, tunnel: Some(tunnel.counts()) };
        Ok(Self { entrance, reach, standing, figures, keeper, patience: TUNNEL_PATIENCE })
    }

    /// The way by a relay, which is not dialled before [`begin`](Self::begin). No port is listened on. A tunnel that there is leads
    /// to the relay, too.
    ///
    /// # Errors
    /// When the node has no certificate that a relay would take.
    pub(crate) fn by_relay(
        config: &RelayConfig,
        tunnel: Option<&Tunnel>,
        node: &NodeName,
        identity: Identity,
    ) -> anyhow::Result<Self> {
        let (reach_teller, reach) = watch::channel(None);
        let (standing_teller, standing) = watch::channel(WayIn::Begins(By::Relay));
        let (sender, passed) = mpsc::channel(WAITING);
        let counts = Counts::default();
        let tells = Tells { reach: reach_teller, standing: standing_teller, counts: counts.clone() };
        let dialler = Dialler::new(config, tunnel, node.clone(), identity, tells, sender)?;
        let keeper = Keeper::Cold(Box::new(dialler));
        let figures = Figures { relay: Some(counts), tunnel: tunnel.map(Tunnel::counts) };
        Ok(Self { entrance: Entrance::Passed(passed), reach, standing, figures, keeper, patience: RELAY_PATIENCE })
    }

    /// Whether it must begin, and the node must have its name by then: a relay lets the newest of a name in.
    pub(crate) fn is_cold(&self) -> bool {
        matches!(self.keeper, Keeper::Cold(_))
    }

    /// Begins.
    pub(crate) fn begin(&mut self) {
        self.keeper = match std::mem::replace(&mut self.keeper, Keeper::Nothing) {
            Keeper::Cold(dialler) => Keeper::Running { _task: AbortOnDropHandle::new(tokio::spawn(dialler.run())) },
            begun @ (Keeper::Nothing | Keeper::Running { .. }) => begun,
        };
    }

    /// Waits a moment for it to be known, so that the Node need not be written twice. Without it the node has all but logs and
    /// the like.
    pub(crate) async fn found(&mut self) {
        // Whoever makes it goes on, and tells when it is there.
        let _ = tokio::time::timeout(self.patience, self.reach.wait_for(Option::is_some)).await;
    }
}
