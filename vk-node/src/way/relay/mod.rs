//! The way in by a relay: the node dials, and what comes by that connection goes to its kubelet API. See docs/relay.md.
//!
//! ```text
//!             ┌──────────────── pause, at random, ever longer while it fails ◀──────────────┐
//!             ▼                                                                             │
//!          dials ── TLS, its own certificate ──▶ let in, told its port ──▶ serves ── lost ──┤
//!             │                 │ refused, and told why                      │ told to leave, or has a new certificate:
//!             └── no answer ────┴──────────────────────────────────────────▶ │ what is open goes on beside the next one
//!                                                                            └──────────────┘
//! ```
//!
//! When to dial again is decided in [`vk_relay_core::redial`].

mod answers;
mod session;

use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};
use vk_cmd_crds::NodeName;
use vk_node_core::config::RelayConfig;
use vk_node_core::node::{Reach, Through};
use vk_relay_core::protocol::{Leave, Message};
use vk_relay_core::redial::{self, Ended};
use vk_relay_core::who;

use self::session::Session;
use super::Passed;
use crate::credentials::{ClientPair, Identity};

/// How long the relay may take to let the node in, once it has answered.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked whether the node has a new certificate.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What dials the relay, and dials it again.
pub(crate) struct Dialler {
    config: RelayConfig,
    node: NodeName,
    identity: Identity,
    reach: watch::Sender<Option<Reach>>,
    entrance: mpsc::Sender<Passed>,
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
        config: RelayConfig,
        node: NodeName,
        identity: Identity,
        reach: watch::Sender<Option<Reach>>,
        entrance: mpsc::Sender<Passed>,
    ) -> anyhow::Result<Self> {
        let dialler = Self { config, node, identity, reach, entrance };
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
        let mut in_a_row = 0_u32;
        let mut former = JoinSet::new();
        loop {
            let mut stood = None;
            let ended = match self.once(&mut former, &mut stood).await {
                Ok(End::NewCertificate) => Ended::NewCertificate,
                Ok(End::Told { why, within_seconds }) => Ended::Told { why, within_seconds },
                Ok(End::Lost(why)) => {
                    warn!(node = %self.node, relay = %self.config.address, "the relay is lost: {why}; dialling again");
                    let lasted = stood.is_some_and(|since: Instant| since.elapsed() >= redial::STOOD);
                    if lasted { Ended::Lost } else { Ended::Failed { in_a_row: in_a_row.saturating_add(1) } }
                }
                Err(error) => {
                    warn!(node = %self.node, relay = %self.config.address, "no way in by the relay: {error:#}; dialling again");
                    Ended::Failed { in_a_row: in_a_row.saturating_add(1) }
                }
            };
            in_a_row = if let Ended::Failed { in_a_row } = ended { in_a_row } else { 0 };
            let pause = redial::pause(ended, fastrand::f64());
            debug!(node = %self.node, ?ended, ?pause, "the relay is dialled again");
            sleep(pause).await;
        }
    }

    /// Dials once, and serves for as long as that connection counts.
    async fn once(&self, former: &mut JoinSet<()>, stood: &mut Option<Instant>) -> anyhow::Result<End> {
        let certificate = self.certificate()?;
        let shown = certificate.chain.clone();
        let mut session = Session::dial(&self.config, certificate, self.entrance.clone()).await?;
        // Cancel-safe: whatever was not taken of it is dropped with it.
        let first = tokio::select! {
            first = session.next() => first,
            () = sleep(WELCOME_TIMEOUT) => bail!("the relay has answered, and does not let the node in or say why not"),
        };
        match first {
            Ok(Message::Welcome { node, address, port }) => self.welcome(&node, address, port)?,
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
                    Ok(Message::Welcome { node, address, port }) => self.welcome(&node, address, port)?,
                    Ok(Message::Refused { why }) => return Ok(End::Lost(why)),
                    Ok(Message::Leave { why, within_seconds }) => {
                        self.say(why);
                        former.spawn(session.see_off(true));
                        return Ok(End::Told { why, within_seconds });
                    }
                    Err(ended) => return Ok(End::Lost(ended)),
                },
                () = sleep(LOOK_EVERY) => {
                    // One that is not there for a moment is about to be.
                    let is_new = self.certificate().is_ok_and(|now| now.chain != shown);
                    if is_new {
                        info!(node = %self.node, "the relay is dialled with the new certificate");
                        former.spawn(session.see_off(false));
                        return Ok(End::NewCertificate);
                    }
                }
                Some(_) = former.join_next() => {}
            }
        }
    }

    fn welcome(&self, node: &str, address: std::net::IpAddr, port: u16) -> anyhow::Result<()> {
        if node != self.node.as_str() {
            bail!("it takes this node for {node}");
        }
        let reach = Reach { at: (address, port).into(), through: Through::Another };
        info!(%node, relay = %self.config.address, at = %reach.at, "the relay has let the node in");
        self.reach.send_if_modified(|before| before.replace(reach) != Some(reach));
        Ok(())
    }

    fn say(&self, why: Leave) {
        match why {
            Leave::Stopping => info!(node = %self.node, "the relay is about to end; dialling again"),
            Leave::Replaced => warn!(
                node = %self.node,
                "another process has dialled the relay with this node's certificate, and the newest counts: end it. This one \
                 dials again in a while"
            ),
        }
    }
}
