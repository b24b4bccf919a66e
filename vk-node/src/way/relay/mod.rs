//! The way in by a relay: the node dials, and what comes by that connection goes to its kubelet API. See docs/how-to/relay.md.
//!
//! ```text
//!             ┌──────────────── pause, at random, ever longer while it fails ◀──────────────┐
//!             ▼                                                                             │
//!          dials ── TLS, its own certificate ──▶ let in, told its port ──▶ serves ── lost ──┤
//!             │                 │ refused, and told why                      │ told to leave, or has a new certificate:
//!             └── no answer ────┴──────────────────────────────────────────▶ │ the former serves on until the next one does,
//!                                                                            │ and what is open on it until it ends
//!                                                                            └──────────────┘
//! ```
//!
//! When to dial again is decided in [`vk_relay_core::redial`], which of several relays in [`vk_relay_core::choice`].

mod answers;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use vk_api_client::chain;
use vk_cmd_crds::NodeName;
use vk_node_core::config::{RelayAddress, RelayConfig};
use vk_node_core::facts::Endpoint;
use vk_node_core::node::{By, Fault, WayIn};
use vk_relay_core::choice::Choice;
use vk_relay_core::protocol::{Leave, Message};
use vk_relay_core::redial::{self, Ended};
use vk_relay_core::who;

use self::session::Session;
use super::{Passed, Tells};
use crate::credentials::{ClientPair, Identity};
use crate::tunnel::Tunnel;

/// How long the relay may take to let the node in, once it has answered.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked whether the node has a new certificate.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What dials the relay, and dials it again.
pub(crate) struct Dialler {
    relays: Vec<Relay>,
    ca_file: PathBuf,
    node: NodeName,
    identity: Identity,
    tells: Tells,
    entrance: mpsc::Sender<Passed>,
    /// How often a relay has let the node in.
    let_in: watch::Sender<u64>,
}

/// A relay that can be dialled.
struct Relay {
    address: RelayAddress,
    /// The socket that a tunnel forwards to it, where there is one.
    socket: Option<PathBuf>,
}

/// Why a connection that stood does not any more.
enum End {
    Lost(String),
    Told { why: Leave, within_seconds: u32 },
    NewCertificate,
}

impl Dialler {
    /// # Errors
    /// When the node has no certificate that a relay would take.
    pub(super) fn new(
        config: &RelayConfig,
        tunnel: Option<&Tunnel>,
        node: NodeName,
        identity: Identity,
        tells: Tells,
        entrance: mpsc::Sender<Passed>,
    ) -> anyhow::Result<Self> {
        let relay = |address: &RelayAddress| {
            let at = Endpoint { host: address.host.clone(), port: address.port };
            Relay { address: address.clone(), socket: tunnel.map(|tunnel| tunnel.way_to(at)) }
        };
        let relays = config.addresses.iter().map(relay).collect();
        let (ca_file, let_in) = (config.ca_file.clone(), watch::Sender::new(0));
        let dialler = Self { relays, ca_file, node, identity, tells, entrance, let_in };
        dialler.certificate()?;
        Ok(dialler)
    }

    /// The node's certificate of this moment.
    fn certificate(&self) -> anyhow::Result<ClientPair> {
        let pair = self.identity.pair()?;
        let caller = who::caller(pair.chain.first().map_or(&[], |own| own.as_ref()))?;
        if caller.node != self.node {
            bail!("the client certificate is that of {}, and a relay takes no other's for {}", caller.node, self.node);
        }
        Ok(pair)
    }

    /// Keeps the way in, for ever.
    pub(super) async fn run(self: Box<Self>) {
        let mut choice = Choice::new(self.node.as_str(), self.relays.len());
        let mut in_a_row = 0_u32;
        let mut former = JoinSet::new();
        // There is at least one.
        while let Some(relay) = self.relays.get(choice.current()) {
            let mut stood = None;
            let ended = match self.once(relay, &mut former, &mut stood).await {
                Ok(End::NewCertificate) => Ended::NewCertificate,
                Ok(End::Told { why, within_seconds }) => Ended::Told { why, within_seconds },
                Ok(End::Lost(why)) => {
                    warn!(node = %self.node, relay = %relay.address, "the relay is lost: {why}; dialling again");
                    self.fails(&format!("the connection to {} was lost: {why}", relay.address));
                    let lasted = stood.is_some_and(|since: Instant| since.elapsed() >= redial::STOOD);
                    if lasted { Ended::Lost } else { Ended::Failed { in_a_row: in_a_row.saturating_add(1) } }
                }
                Err(error) => {
                    warn!(node = %self.node, relay = %relay.address, "no way in by the relay: {}; dialling again", chain(&*error));
                    self.fails(&format!("{}: {}", relay.address, chain(&*error)));
                    Ended::Failed { in_a_row: in_a_row.saturating_add(1) }
                }
            };
            in_a_row = if let Ended::Failed { in_a_row } = ended { in_a_row } else { 0 };
            choice.after(ended);
            let pause = redial::pause(ended, fastrand::f64());
            debug!(node = %self.node, ?ended, ?pause, "the relay is dialled again");
            sleep(pause).await;
        }
    }

    /// Dials once, and serves for as long as that connection counts.
    async fn once(&self, relay: &Relay, former: &mut JoinSet<()>, stood: &mut Option<Instant>) -> anyhow::Result<End> {
        let certificate = self.certificate()?;
        let shown = certificate.chain.clone();
        let (entrance, counts) = (self.entrance.clone(), self.tells.counts.clone());
        let mut session = Session::dial(relay, &self.ca_file, certificate, entrance, counts).await?;
        // Cancel-safe: whatever was not taken of it is dropped with it.
        let first = tokio::select! {
            first = session.next() => first,
            () = sleep(WELCOME_TIMEOUT) => bail!("the relay has answered, and does not let the node in or say why not"),
        };
        match first {
            Ok(Message::Welcome { node, address, port }) => self.welcome(relay, &node, address, port)?,
            Ok(Message::Refused { why }) => bail!("it lets this node not in: {why}"),
            Ok(Message::Leave { why, within_seconds }) => return Ok(End::Told { why, within_seconds }),
            Err(ended) => bail!(
                "it has closed the connection before it let the node in ({ended}): it takes certificates of its cluster's \
                 authority only, and none that has expired"
            ),
        }
        *stood = Some(Instant::now());
        loop {
            // Cancel-safe: a message is there until it is taken, and the others only wait.
            tokio::select! {
                next = session.next() => match next {
                    Ok(Message::Welcome { node, address, port }) => self.welcome(relay, &node, address, port)?,
                    Ok(Message::Refused { why }) => return Ok(End::Lost(why)),
                    Ok(Message::Leave { why, within_seconds }) => {
                        self.say(relay, why);
                        former.spawn(session.see_off(self.is_elsewhere(why, within_seconds)));
                        return Ok(End::Told { why, within_seconds });
                    }
                    Err(ended) => return Ok(End::Lost(ended)),
                },
                () = sleep(LOOK_EVERY) => {
                    // One that is not there for a moment is about to be.
                    let is_new = self.certificate().is_ok_and(|now| now.chain != shown);
                    if is_new {
                        info!(node = %self.node, "the relay is dialled with the new certificate");
                        former.spawn(session.see_off(handed_over(self.let_in.subscribe(), None)));
                        return Ok(End::NewCertificate);
                    }
                }
                Some(_) = former.join_next() => {}
            }
        }
    }

    /// Returns when a connection by which the node was told to leave serves it no more.
    fn is_elsewhere(&self, why: Leave, within_seconds: u32) -> impl Future<Output = ()> + Send + use<> {
        let limit = match why {
            Leave::Stopping => Duration::from_secs(within_seconds.into()) + redial::HOLD_ON,
            // Another connection serves it already.
            Leave::Replaced => Duration::ZERO,
        };
        handed_over(self.let_in.subscribe(), Some(limit))
    }

    fn welcome(&self, relay: &Relay, node: &str, address: IpAddr, port: u16) -> anyhow::Result<()> {
        if node != self.node.as_str() {
            bail!("it takes this node for {node}");
        }
        let at = SocketAddr::new(address, port);
        info!(%node, relay = %relay.address, %at, "the relay has let the node in");
        self.tells.counts.up();
        self.tells.stands(By::Relay, at);
        self.let_in.send_modify(|times| *times += 1);
        Ok(())
    }

    /// There is no way in, as far as this connection goes.
    fn fails(&self, why: &str) {
        self.tells.counts.failed();
        self.tells.say(WayIn::Broken { by: By::Relay, fault: Fault::NoRelay, why: why.to_owned() });
    }

    fn say(&self, relay: &Relay, why: Leave) {
        match why {
            Leave::Stopping => {
                info!(node = %self.node, relay = %relay.address, "the relay is about to end; dialling again")
            }
            Leave::Replaced => {
                self.fails("another process has dialled it with this node's certificate, and the newest counts");
                warn!(
                    node = %self.node,
                    "another process has dialled the relay with this node's certificate, and the newest counts: end it. This one \
                     dials again in a while"
                );
            }
        }
    }
}

/// Returns when a relay has let the node in since, and some time has passed that others need to take note of it; or when that has
/// not happened within `limit`.
async fn handed_over(mut let_in: watch::Receiver<u64>, limit: Option<Duration>) {
    // Where nobody is left to be let in, the process ends.
    let is_let_in = match limit {
        Some(limit) => timeout(limit, let_in.changed()).await.is_ok(),
        None => let_in.changed().await.is_ok(),
    };
    if is_let_in {
        sleep(redial::HAND_OVER).await;
    }
}
