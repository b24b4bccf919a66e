//! The node's own Node object, as others may change it: removed, or its marks taken away. It is watched, not asked for:
//! the Node authorizer lets a node watch itself.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, PartialObjectMeta};
use kube::{Client, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::watch_object;
use tokio::sync::watch;
use tracing::debug;

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnNode {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is there.
    There {
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its annotations.
        annotations: BTreeMap<String, String>,
    },
    /// Somebody has removed it.
    Gone,
}

/// Follows it for ever.
pub(super) async fn follow(client: Client, name: &str, told: &watch::Sender<OwnNode>) {
    let node = Api::<PartialObjectMeta<Node>>::all(client);
    let mut looks = std::pin::pin!(watch_object(node, name).default_backoff());
    while let Some(look) = looks.next().await {
        let now = match look {
            Ok(Some(node)) => OwnNode::There { labels: node.labels().clone(), annotations: node.annotations().clone() },
            Ok(None) => OwnNode::Gone,
            Err(error) => {
                debug!(%error, "the node's own watch broke; it begins again");
                continue;
            }
        };
        told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
    }
}
