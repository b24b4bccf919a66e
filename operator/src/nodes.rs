//! Cordons nodes whose end is near, and removes the objects of those that have left. What is done when is decided in
//! [`vk_operator_core::nodes`].

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, Preconditions};
use kube::runtime::controller::{Action, Controller, Error};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use tracing::{debug, info, warn};
use vk_cmd_crds::labels;
use vk_operator_core::nodes::{self, Decision, Deed};

use crate::api::{CallError, call, patch_params};

/// The wait after an error.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks after the nodes, for ever.
pub async fn run(client: Client) {
    let (store, writer) = reflector::store();
    let selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default().labels(&selector))
        .default_backoff()
        .modify(slim)
        .reflect(writer)
        .applied_objects();
    Controller::for_stream(nodes, store)
        .run(reconcile, |_, _, _| Action::requeue(PAUSE), Arc::new(client))
        .for_each(|result| {
            match result {
                Ok((node, action)) => debug!(%node, ?action, "looked at"),
                Err(Error::ObjectNotFound(node)) => debug!(%node, "gone"),
                // It has changed while it was looked at: the change is looked at too.
                Err(Error::ReconcilerFailed(error, node)) if error.is_conflict() => debug!(node = node.name, "{error}"),
                Err(Error::ReconcilerFailed(error, node)) => {
                    warn!(node = node.name, "{:#}; trying again", anyhow::Error::from(error));
                }
                Err(error) => warn!("watching nodes: {:#}", anyhow::Error::from(error)),
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile(node: Arc<Node>, client: Arc<Client>) -> Result<Action, CallError> {
    let now = Timestamp::now();
    let Decision { deed, again } = nodes::decide(&node, now);
    if let Some(deed) = deed {
        act(&node, &deed, client.as_ref().clone()).await?;
    }
    let wait = again.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    Ok(wait.map_or_else(Action::await_change, Action::requeue))
}

async fn act(node: &Node, deed: &Deed, client: Client) -> Result<(), CallError> {
    let (api, name) = (Api::<Node>::all(client), node.name_any());
    if let Some(patch) = deed.patch(node) {
        call("cordon a node that ends", api.patch_metadata(&name, &patch_params(), &Patch::Merge(patch))).await?;
    }
    match deed {
        Deed::Cordon(_) => info!(node = name, "cordoned: its end is near"),
        Deed::Uncordon(_) => info!(node = name, "its end has moved away: not cordoned for that any more"),
        Deed::Remove(gone) => {
            // This very object as it was looked at: a node that is there again under this name has written to it since.
            let (uid, resource_version) = (node.uid(), node.resource_version());
            let parameters = DeleteParams {
                preconditions: Some(Preconditions { uid, resource_version }),
                ..DeleteParams::default()
            };
            match call("remove a node that is gone", api.delete(&name, &parameters)).await {
                Ok(_) => info!(node = name, "removed: {}", gone.words()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Drops what is not looked at.
fn slim(node: &mut Node) {
    node.metadata.managed_fields = None;
    if let Some(status) = &mut node.status {
        *status = k8s_openapi::api::core::v1::NodeStatus { conditions: status.conditions.take(), ..Default::default() };
    }
}
