//! The node's presence in the cluster: its Node object, its Lease, and its health.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};
use vk_node_core::lease::{self, Claim};
use vk_node_core::node::{self, Health, NodeProfile};
use vk_pipe::client::PipeClient;
use vk_task::HostInfo;

use crate::tasks::Link;

/// The longest that one request may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an unchanged status is written all the same: the kubelet's `nodeStatusReportFrequency`.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// The first and the longest wait of a node whose API server is not there yet.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// The longest that a node takes to say good-bye.
const SIGN_OFF_TIMEOUT: Duration = Duration::from_secs(3);

/// A node's presence in a cluster.
pub(super) struct Registration {
    client: Client,
    profile: NodeProfile,
    pipe: PipeClient,
    /// What the pipe last told of the host; it may change what is in force while it runs.
    host: std::sync::Mutex<HostInfo>,
    /// Who holds the node's lease: one per host and pipe.
    identity: String,
    /// The UIDs of the Node object, and of those that it replaces in this cluster, the latest first.
    lineage: std::sync::Mutex<Vec<String>>,
    /// The lease as our last write left it; none where it must be read first.
    lease: Mutex<Option<Lease>>,
}

impl Registration {
    pub(super) fn new(client: Client, profile: NodeProfile, host: HostInfo, pipe: PipeClient) -> Self {
        let identity = format!("{}:{}", host.hostname, host.directory.display());
        let (lineage, lease) = Default::default();
        Self { client, profile, pipe, host: host.into(), identity, lineage, lease }
    }

    /// Facts about the host, as they were last told.
    fn host(&self) -> HostInfo {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the pipe what is in force now, and says so in the log where it is news. A pipe that does not answer has told
    /// already, and its link says that it is away.
    async fn refresh_host(&self) {
        let Ok(now) = self.pipe.info().await else { return };
        let before = std::mem::replace(&mut *self.host.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        if node::in_force(&before) != node::in_force(&now) {
            info!("now in force: {}", node::in_force(&now));
        }
    }

    /// The port of the kubelet's API.
    pub(super) fn port(&self) -> u16 {
        self.profile.port
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
                Err(error) => warn!("cannot register yet: {error:#}; trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn try_register(&self) -> anyhow::Result<()> {
        self.await_name().await?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = self.profile.name.as_str();
        let mut wanted = node::object(&self.profile, &self.host(), Timestamp::now());
        node::set_lineage(&mut wanted, &self.lineage());
        let existing = match call("read the Node", nodes.get_opt(name)).await? {
            Some(node) => node,
            None => {
                let made = call("create the Node", nodes.create(&PostParams::default(), &wanted)).await;
                made.context("check that the credentials are those of this node: system:node:<name>")?
            }
        };
        let labels = json!({"metadata": {"labels": node::labels_of(&self.profile)}});
        call("label the Node", nodes.patch(name, &PatchParams::default(), &Patch::Merge(&labels))).await?;
        self.renew(Some(&existing)).await?;
        self.publish(Health::Ready, existing.status.as_ref()).await?;
        *self.lineage.lock().unwrap_or_else(PoisonError::into_inner) = node::lineage(&existing);
        Ok(())
    }

    fn lineage(&self) -> Vec<String> {
        self.lineage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody else holds the name.
    async fn await_name(&self) -> anyhow::Result<()> {
        loop {
            let lease = call("read the Lease", self.leases().get_opt(self.profile.name.as_str())).await?;
            let now = Timestamp::now();
            match lease::claim(lease.as_ref(), &self.identity, now) {
                Claim::Ours => return Ok(()),
                Claim::TakenUntil { holder, until } => {
                    warn!(holder, %until, "another vk-node has this name: end it, or choose another --node-name; waiting");
                    let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                    tokio::time::sleep(wait.clamp(RETRY.0, RETRY.1)).await;
                }
            }
        }
    }

    /// Keeps the lease and the status for as long as nobody else takes the name. Returns why it gave up.
    pub(super) async fn keep(&self, mut link: watch::Receiver<Link>) -> anyhow::Error {
        let mut ticks = interval(Duration::try_from(lease::RENEW_EVERY).unwrap_or(CALL_TIMEOUT));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published: Option<Published> = None;
        loop {
            // Cancel-safe: a tick or a change that is not taken now is there at the next look.
            tokio::select! {
                _ = ticks.tick() => {}
                changed = link.changed() => if changed.is_err() { return anyhow!("the mirror of the pipe has ended") },
            }
            let health = health(*link.borrow_and_update());
            if health == Health::Ready {
                self.refresh_host().await;
            }
            match self.beat(health, &mut published).await {
                Ok(()) => {}
                Err(error) if error.is::<NameTaken>() => return error,
                Err(error) => warn!("no heartbeat: {error:#}; trying again"),
            }
        }
    }

    async fn beat(&self, health: Health, published: &mut Option<Published>) -> anyhow::Result<()> {
        let host = self.host();
        let is_known =
            |last: &Published| last.health == health && last.host == host && last.at.elapsed() < STATUS_EVERY;
        if !published.as_ref().is_some_and(is_known) {
            let nodes: Api<Node> = Api::all(self.client.clone());
            match call("read the Node", nodes.get_opt(self.profile.name.as_str())).await? {
                Some(node) => self.publish(health.clone(), node.status.as_ref()).await?,
                None => {
                    info!("somebody removed the Node object: making it again");
                    self.try_register().await?;
                }
            }
            *published = Some(Published { health, host, at: tokio::time::Instant::now() });
        }
        self.renew(None).await
    }

    async fn publish(&self, health: Health, before: Option<&NodeStatus>) -> anyhow::Result<()> {
        let status = node::status(&self.profile, &self.host(), &health, before, Timestamp::now());
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = json!({"status": status});
        let name = self.profile.name.as_str();
        call("write the Node's status", nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)))
            .await?;
        Ok(())
    }

    /// Renews the lease: one write, as long as nobody else writes it.
    async fn renew(&self, node: Option<&Node>) -> anyhow::Result<()> {
        let leases = self.leases();
        let name = self.profile.name.as_str();
        let before = match self.lease.lock().await.take() {
            Some(lease) if node.is_none() => Some(lease),
            _ => call("read the Lease", leases.get_opt(name)).await?,
        };
        let now = Timestamp::now();
        if let Claim::TakenUntil { holder, .. } = lease::claim(before.as_ref(), &self.identity, now) {
            bail!(NameTaken { name: name.to_owned(), holder });
        }
        let owner = node.map(|node| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.to_owned(),
            uid: node.uid().unwrap_or_default(),
            ..OwnerReference::default()
        });
        let is_new = before.is_none();
        let lease = lease::renewed(before, name, owner, &self.identity, now);
        // A lease that another wrote in between has another resourceVersion: this write is refused, and the next one
        // begins with a read.
        let written = if is_new {
            call("create the Lease", leases.create(&PostParams::default(), &lease)).await?
        } else {
            call("renew the Lease", leases.replace(name, &PostParams::default(), &lease)).await?
        };
        *self.lease.lock().await = Some(written);
        Ok(())
    }

    /// Says that the node is going, so that nothing is placed on it while its lease lasts.
    pub(super) async fn sign_off(&self) {
        let health = Health::NotReady { reason: "NodeShutdown".into(), message: "vk-node was told to end".into() };
        match timeout(SIGN_OFF_TIMEOUT, self.publish(health, None)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("cannot say good-bye: {error:#}; the lease will run out"),
            Err(_) => warn!("the API server does not answer the good-bye; the lease will run out"),
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), lease::NAMESPACE)
    }
}

/// What the Node's status was last written from, and when.
struct Published {
    health: Health,
    host: HostInfo,
    at: tokio::time::Instant,
}

/// Somebody else works under this node's name.
#[derive(Debug, thiserror::Error)]
#[error("the node {name} is held by {holder}: end that vk-node, or choose another --node-name")]
struct NameTaken {
    name: String,
    holder: String,
}

fn health(link: Link) -> Health {
    match link {
        Link::Live => Health::Ready,
        Link::Lost => Health::NotReady {
            reason: "PipeUnreachable".into(),
            message: "the pipe does not answer: start `vk-node pipe` on the host".into(),
        },
    }
}

/// A request with a limit on its time, and with what it was for in its error.
async fn call<T>(what: &'static str, request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match timeout(CALL_TIMEOUT, request).await {
        Ok(answer) => answer.with_context(|| format!("the API server refused to {what}")),
        Err(_) => Err(anyhow!("the API server took more than {} s to {what}", CALL_TIMEOUT.as_secs())),
    }
}
