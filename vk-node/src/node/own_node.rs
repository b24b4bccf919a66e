//! The node's own Node object, as others may change it: removed, its marks taken away, its conditions written over. It is watched, not asked for:
//! the Node authorizer lets a node watch itself.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::{Client, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::watch_object;
use tokio::sync::watch;
use tracing::debug;
use vk_api_client::chain;
use vk_node_core::node::Said;

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
        /// What else it says.
        said: Said,
    },
    /// Somebody has removed it.
    Gone,
}

/// Follows it for ever.
pub(super) async fn follow(client: Client, name: &str, told: &watch::Sender<OwnNode>) {
    let node = Api::<Node>::all(client);
    let mut looks = std::pin::pin!(watch_object(node, name).default_backoff());
    while let Some(look) = looks.next().await {
        let now = match look {
            Ok(Some(node)) => OwnNode::There {
                labels: node.labels().clone(),
                annotations: node.annotations().clone(),
                said: Said::of(&node),
            },
            Ok(None) => OwnNode::Gone,
            Err(error) => {
                debug!(error = chain(&error), "the node's own watch broke; it begins again");
                continue;
            }
        };
        told.send_if_modified(|before| !is_same(&std::mem::replace(before, now.clone()), &now));
    }
}

/// Whether two looks differ in nothing but the version of the object: that changes with every write of the node's own.
fn is_same(before: &OwnNode, now: &OwnNode) -> bool {
    match (before, now) {
        (
            OwnNode::There { labels, annotations, said },
            OwnNode::There { labels: now_labels, annotations: now_annotations, said: now_said },
        ) => labels == now_labels && annotations == now_annotations && said.conditions == now_said.conditions,
        _ => before == now,
    }
}
