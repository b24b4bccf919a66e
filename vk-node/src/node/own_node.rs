//! The node's own Node object, as others may change it: removed, or its labels taken away. It is watched, not asked for:
//! the Node authorizer lets a node watch itself.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PartialObjectMeta};
use kube::{Client, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tracing::debug;

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnNode {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is there, with these labels.
    There(BTreeMap<String, String>),
    /// Somebody has removed it.
    Gone,
}

/// Follows it for ever.
pub(super) async fn follow(client: Client, name: &str, told: &watch::Sender<OwnNode>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(Api::<PartialObjectMeta<Node>>::all(client), config).default_backoff());
    // In a list that is being read: none so far.
    let mut listed: Option<OwnNode> = None;
    while let Some(event) = events.next().await {
        let now = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(node)) => {
                listed = Some(there(&node));
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take().unwrap_or(OwnNode::Gone),
            Ok(watcher::Event::Apply(node)) => there(&node),
            Ok(watcher::Event::Delete(_)) => OwnNode::Gone,
            Err(error) => {
                debug!(%error, "the node's own watch broke; it begins again");
                continue;
            }
        };
        told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
    }
}

fn there(node: &PartialObjectMeta<Node>) -> OwnNode {
    OwnNode::There(node.labels().clone())
}
