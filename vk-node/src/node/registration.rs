//! The node's presence in the cluster: its Node object, and that what it says is true.
//!
//! ```text
//!   pipe's link, host, pods refused ──▶ status ── is_due? ──▶ written ──▶ lease renewed
//!   own Node: gone ──▶ made again            labels: ours are put back
//!   the way in ──▶ condition, when it lasts
//!   the node's end ──▶ condition, ends-at    it has left ──▶ said so, for the operator to remove the object
//! ```
//!
//! The Lease vouches for the status: it is renewed only while what the Node object says is true. A node that cannot run
//! pods says so (Ready is False, with the reason) and keeps its lease: it still has its name, and its processes. One that
//! cannot even say so lets the lease run out, and the cluster finds out by itself.

mod leaving;
mod object;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};
use vk_api_client::chain;
use vk_node_core::config::NodeConfig;
use vk_node_core::node::{self, Nearing, NodeProfile, Patience, Told, Trouble, View, WayIn};

use self::object::Presence;
use super::health::{Health, PIPE_GRACE, Since, due, not_before, trouble};
use super::host::Seen;
use super::lease::{Name, NameTaken};
use super::own_node::{self, OwnNode};
use super::reports::OwnReport;
use super::tuned::Tuned;
use crate::ending::OwnEnd;
use crate::events::Events;
use crate::way::{Reached, Standing};

/// The longest that one request may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest wait of a node whose API server is not there yet.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How soon a Node that somebody removed is made again where that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// A node's presence in a cluster.
pub(super) struct Registration {
    client: Client,
    /// All but where the node is reached.
    profile: NodeProfile,
    reach: Reached,
    /// Whether it is reached, and what is told of that.
    standing: Standing,
    patience: Mutex<Patience>,
    host: watch::Receiver<Seen>,
    name: Name,
    report_every: Duration,
    update_every: Duration,
    started: Instant,
    /// When it ends.
    end: OwnEnd,
    /// What of the profile has changed since.
    tuned: Tuned,
    /// What is told of it on its machine.
    report: OwnReport,
    /// Whether it has ended, and only waits for what may have been placed here before that was seen.
    closed: AtomicBool,
    /// Whether the API server has the Node object.
    presence: Mutex<Presence>,
    /// The UIDs of the Node object, and of those that it replaces in this cluster, the latest first.
    lineage: Mutex<Vec<String>>,
    /// The status that the API server has.
    told: Mutex<Option<Told>>,
}

impl Registration {
    pub(super) fn new(
        client: Client,
        profile: NodeProfile,
        (reach, standing): (Reached, Standing),
        host: watch::Receiver<Seen>,
        end: OwnEnd,
        (tuned, report): (Tuned, OwnReport),
        config: &NodeConfig,
    ) -> Self {
        let identity = {
            let seen = host.borrow();
            format!("{}:{}", seen.info.hostname, seen.info.directory.display())
        };
        let name = Name::new(client.clone(), profile.name.as_str(), identity, config.lease_duration);
        let patience = Mutex::new(Patience::new(standing.borrow().clone()));
        Self {
            client,
            profile,
            reach,
            standing,
            patience,
            host,
            name,
            report_every: config.status_report_every,
            update_every: config.status_update_every,
            started: Instant::now(),
            end,
            tuned,
            report,
            closed: AtomicBool::new(false),
            presence: Mutex::default(),
            lineage: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The port at which the API server reaches the kubelet's API; 0 while that is not known.
    pub(super) fn port(&self) -> u16 {
        self.reach.borrow().map_or(0, |reach| reach.at.port())
    }

    /// What the node says of itself now.
    fn profile(&self) -> NodeProfile {
        let profile = NodeProfile { reach: *self.reach.borrow(), ..self.profile.clone() };
        self.tuned.node(profile.name.as_str()).profile(profile)
    }

    /// Waits until nobody else has the name, however long that and the API server take.
    pub(super) async fn claim(&self) {
        let mut wait = RETRY.0;
        while let Err(error) = self.name.claim().await {
            warn!(node = %self.profile.name, "cannot take the name yet: {}; trying again", chain(&*error));
            self.report.trouble(format!("cannot take the name yet: {}", chain(&*error)));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    /// Takes the name and makes or mends the Node object, however long the API server takes to answer. Returns the
    /// UIDs of that object and of those that it replaces.
    pub(super) async fn register(&self) -> Vec<String> {
        let mut wait = RETRY.0;
        loop {
            match self.try_register().await {
                Ok(()) => return self.lineage(),
                // Credentials that are refused now may be accepted soon: an API server that has just started refuses
                // nodes until its authorizer has seen them.
                Err(error) => {
                    warn!(node = %self.profile.name, "cannot register yet: {}; trying again", chain(&*error));
                    self.report.trouble(format!("cannot register yet: {}", chain(&*error)));
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn try_register(&self) -> anyhow::Result<()> {
        self.name.claim().await?;
        self.make(None).await
    }

    /// The API server knows all that there is to be known.
    fn heard(&self) {
        self.report.heard(self.reach.borrow().map(|reach| reach.at.to_string()), self.end.lives().ends);
    }

    fn lineage(&self) -> Vec<String> {
        lock(&self.lineage).clone()
    }

    /// Keeps the status, the labels and the lease for as long as nobody else takes the name. Returns why it gave up.
    pub(super) async fn keep(&self, mut health: Health, events: &Events) -> anyhow::Error {
        let own = watch::Sender::new(OwnNode::default());
        let follow = own_node::follow(self.client.clone(), self.profile.name.as_str(), &own);
        // Cancel-safe: following only tells what it sees, and keeping takes up what it finds.
        tokio::select! {
            () = follow => anyhow!("the watch of the node's own object has ended"),
            error = self.keep_told(&mut health, own.subscribe(), events) => error,
        }
    }

    async fn keep_told(
        &self,
        health: &mut Health,
        mut own: watch::Receiver<OwnNode>,
        events: &Events,
    ) -> anyhow::Error {
        let every = self.name.renew_every().min(self.update_every).max(Duration::from_secs(1));
        let mut ticks = interval_at(Instant::now() + share(self.profile.name.as_str(), every), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since = Since::default();
        let (mut reach, mut standing) = (self.reach.clone(), self.standing.clone());
        let mut ends = self.end.subscribe();
        let mut way = self.way();
        let mut tuned = self.tuned.clone();
        loop {
            let patience_ends = lock(&self.patience).wakes_at().map(|at| self.started + at);
            // Cancel-safe: a tick or a change that is not taken now is there at the next look.
            tokio::select! {
                _ = ticks.tick() => {}
                changed = health.link.changed() => {
                    if changed.is_err() { return anyhow!("the mirror of the pipe has ended") }
                }
                _ = own.changed() => {}
                // Where nobody is left to change it, it stays.
                Ok(()) = reach.changed() => {}
                Ok(()) = standing.changed() => {
                    let before = std::mem::replace(&mut way, self.way());
                    // It may be back in a moment.
                    if way == before { continue }
                }
                () = not_before(patience_ends) => {}
                () = ends.next() => {}
                () = tuned.changed() => {}
                () = due(since.lost, PIPE_GRACE) => {}
            }
            let trouble = if self.closed.load(Ordering::Relaxed) && self.end.is_closing() {
                Some(Trouble::Left)
            } else {
                trouble(health, &mut since)
            };
            let is = own.borrow_and_update().clone();
            let is_gone = is == OwnNode::Gone;
            let before = lock(&self.told).as_ref().map(|told| told.status.clone());
            match self.beat(trouble.as_ref(), is).await {
                Ok(()) => {}
                Err(error) if error.is::<NameTaken>() => return error,
                Err(error) => {
                    warn!(node = %self.profile.name, "no heartbeat: {}; trying again", chain(&*error));
                    self.report.trouble(format!("no heartbeat: {}", chain(&*error)));
                    if is_gone {
                        own.mark_changed();
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
            let after = lock(&self.told).as_ref().map(|told| told.status.clone());
            if let (Some(before), Some(after)) = (before, after) {
                for note in node::changes(self.profile.name.as_str(), &before, &after) {
                    events.node(self.profile.name.as_str(), note);
                }
            }
        }
    }

    async fn beat(&self, trouble: Option<&Trouble>, own: OwnNode) -> anyhow::Result<()> {
        match own {
            OwnNode::Gone => {
                info!(node = %self.profile.name, "somebody removed the Node object: making it again");
                return self.make(trouble).await;
            }
            OwnNode::There { labels, annotations, said } => {
                self.mark(&labels, &annotations).await?;
                let is_overwritten = lock(&self.told).as_ref().is_some_and(|told| node::is_overwritten(told, &said));
                if is_overwritten {
                    info!(node = %self.profile.name, "the cluster has taken the node for lost: its status is told again");
                    *lock(&self.told) = None;
                }
            }
            OwnNode::Unknown => {}
        }
        let before = lock(&self.told).as_ref().map(|told| told.status.clone());
        let status = self.status(trouble, before.as_ref());
        let is_due = node::is_due(lock(&self.told).as_ref(), &status, self.started.elapsed(), self.report_every);
        if is_due {
            self.write(status, before.as_ref()).await?;
        }
        self.name.renew(None).await?;
        self.heard();
        Ok(())
    }

    /// What is to be told of the way in now.
    fn way(&self) -> WayIn {
        lock(&self.patience).look(&self.standing.borrow(), self.started.elapsed()).clone()
    }
}

/// What a status is made of.
pub(super) fn view<'a>(seen: &'a Seen, trouble: Option<&'a Trouble>, nearing: Nearing, way: &'a WayIn) -> View<'a> {
    View { host: &seen.info, usage: seen.usage.as_ref(), shortages: seen.shortages, trouble, nearing, way }
}

/// A share of `whole` that is this name's: many nodes in one process do not all write at the same moment.
fn share(name: &str, whole: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
    whole / 1000 * thousandths
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request with a limit on its time, and with what it was for in its error.
pub(super) async fn call<T>(what: &'static str, request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match timeout(CALL_TIMEOUT, request).await {
        Ok(answer) => answer.with_context(|| format!("the API server refused to {what}")),
        Err(_) => Err(anyhow!("the API server took more than {} s to {what}", CALL_TIMEOUT.as_secs())),
    }
}
