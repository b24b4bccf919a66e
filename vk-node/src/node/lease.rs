//! The node's Lease: taken, kept, given back.

use std::time::Duration;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};
use vk_node_core::lease::{self, Claim};

use super::registration::call;

/// How often it is looked whether another holder is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A node's Lease.
pub(super) struct Name {
    leases: Api<Lease>,
    /// The node's name.
    name: String,
    /// Who holds it: one per host and pipe.
    identity: String,
    duration: SignedDuration,
    /// The Node, as long as it is this one: with it the lease goes.
    owner: Mutex<Option<OwnerReference>>,
    /// As our last write left it, and when that was; none where it must be read first.
    held: Mutex<Option<(Lease, Instant)>>,
}

/// Somebody else works under this node's name.
#[derive(Debug, thiserror::Error)]
#[error("the node {name} is held by {holder}: end that vk-node, or choose another --node-name")]
pub(super) struct NameTaken {
    name: String,
    holder: String,
}

impl Name {
    pub(super) fn new(client: Client, name: &str, identity: String, duration: SignedDuration) -> Self {
        let leases = Api::namespaced(client, lease::NAMESPACE);
        Self { leases, name: name.to_owned(), identity, duration, owner: Mutex::default(), held: Mutex::default() }
    }

    /// How often it is renewed.
    pub(super) fn renew_every(&self) -> Duration {
        Duration::try_from(lease::renew_every(self.duration)).unwrap_or_default()
    }

    /// Waits until nobody else holds the name.
    pub(super) async fn claim(&self) -> anyhow::Result<()> {
        let mut silent: Option<(String, Instant)> = None;
        loop {
            let lease = call("read the Lease", self.leases.get_opt(&self.name)).await?;
            let Claim::Taken { holder, version, patience } =
                lease::claim(lease.as_ref(), &self.identity, Timestamp::now())
            else {
                return Ok(());
            };
            let since = match &silent {
                Some((known, since)) if *known == version => *since,
                first => {
                    if first.is_none() {
                        warn!(
                            node = self.name,
                            holder, "another vk-node has this name: end it, or choose another --node-name; waiting"
                        );
                    }
                    let now = Instant::now();
                    silent = Some((version, now));
                    now
                }
            };
            if since.elapsed() >= Duration::try_from(patience).unwrap_or_default() {
                info!(node = self.name, holder, "whoever had this name is silent: taking it");
                *self.held.lock().await = None;
                return self.take_over(lease).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the lease of a holder that is gone. If it is not, the lease has another version by now, and this fails.
    async fn take_over(&self, lease: Option<Lease>) -> anyhow::Result<()> {
        let lease = lease::renewed(lease, &self.name, None, &self.identity, self.duration, Timestamp::now());
        let written =
            call("take the Lease over", self.leases.replace(&self.name, &PostParams::default(), &lease)).await?;
        *self.held.lock().await = Some((written, Instant::now()));
        Ok(())
    }

    /// Renews the lease if it is time, in one write as long as nobody else writes it. With a Node that has just been made
    /// or found, always.
    ///
    /// # Errors
    /// Among others [`NameTaken`].
    pub(super) async fn renew(&self, node: Option<&Node>) -> anyhow::Result<()> {
        let mut held = self.held.lock().await;
        let before = match held.take() {
            Some((lease, at)) if node.is_none() => {
                // Not to be a whole round late for the sake of a moment.
                if at.elapsed() < self.renew_every().mul_f64(0.9) {
                    *held = Some((lease, at));
                    return Ok(());
                }
                Some(lease)
            }
            _ => call("read the Lease", self.leases.get_opt(&self.name)).await?,
        };
        let now = Timestamp::now();
        if let Claim::Taken { holder, .. } = lease::claim(before.as_ref(), &self.identity, now) {
            bail!(NameTaken { name: self.name.clone(), holder });
        }
        let mut owner = self.owner.lock().await;
        if let Some(node) = node {
            *owner = Some(OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: self.name.clone(),
                uid: node.uid().unwrap_or_default(),
                ..OwnerReference::default()
            });
        }
        let is_new = before.is_none();
        let lease = lease::renewed(before, &self.name, owner.clone(), &self.identity, self.duration, now);
        // A lease that another wrote in between has another resourceVersion: this write is refused, and the next one
        // begins with a read.
        let written = if is_new {
            call("create the Lease", self.leases.create(&PostParams::default(), &lease)).await?
        } else {
            call("renew the Lease", self.leases.replace(&self.name, &PostParams::default(), &lease)).await?
        };
        *held = Some((written, Instant::now()));
        Ok(())
    }

    /// Gives the name back, so that another host can take it at once.
    pub(super) async fn release(&self) -> anyhow::Result<()> {
        let known = self.held.lock().await.take().map(|(lease, _)| lease);
        if let Some(lease) = known
            && self.give_back(lease).await.is_ok()
        {
            return Ok(());
        }
        // A renewal that was cut off by the end may have been written, or not.
        let lease = call("read the Lease", self.leases.get_opt(&self.name)).await?;
        match lease.filter(|lease| lease::claim(Some(lease), &self.identity, Timestamp::now()) == Claim::Ours) {
            Some(lease) => self.give_back(lease).await,
            None => Ok(()),
        }
    }

    async fn give_back(&self, lease: Lease) -> anyhow::Result<()> {
        let lease = lease::released(lease);
        call("give the Lease back", self.leases.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
    }
}
