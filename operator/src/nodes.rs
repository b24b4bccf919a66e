//! Cordons nodes whose end is near, and removes the objects of those that have left. What is done when is decided in
//! [`vk_operator_core::nodes`]. That nodes have changed is heard by the watch that fills the caches.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, Preconditions};
use kube::runtime::controller::{Action, Config, Error, applier};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tracing::{debug, info, warn};
use vk_api_client::chain;
use vk_operator_core::nodes::{self, Decision, Deed};

use crate::api::{CallError, call, patch_params};
use crate::reconcile::Context;
use crate::tolerance::unless_panicked;

/// The wait after an error.
const PAUSE: Duration = Duration::from_secs(2);
/// The wait after a mistake of ours.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Why a look at a node did not get to its end.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Failed(#[from] CallError),
    #[error("the look has panicked, which is a mistake in vk-operator (please report it): {0}")]
    Panicked(String),
}

/// Looks after the nodes, for ever. `dead_after`: as in [`nodes::decide`].
pub async fn run(context: Arc<Context>, dead_after: SignedDuration) {
    if !context.caches.filled().await {
        return;
    }
    let client = Arc::new(context.client.clone());
    let changed = context.caches.changed_nodes().map(Ok::<_, watcher::Error>);
    let look = |node, client| Box::pin(reconcile(node, client, dead_after));
    applier(look, retry, client, context.caches.nodes.clone(), changed, Config::default())
        .for_each(|result| {
            match result {
                Ok((node, action)) => debug!(%node, ?action, "looked at"),
                Err(Error::ObjectNotFound(node)) => debug!(%node, "gone"),
                // It has changed while it was looked at: the change is looked at too.
                Err(Error::ReconcilerFailed(LookError::Failed(error), node)) if error.is_conflict() => {
                    debug!(node = node.name, "{error}");
                }
                Err(Error::ReconcilerFailed(error, node)) => warn!(node = node.name, "{}; trying again", chain(&error)),
                Err(error) => warn!("looking after nodes: {}", chain(&error)),
            }
            std::future::ready(())
        })
        .await;
}

/// When to look again after an error.
fn retry(_: Arc<Node>, error: &LookError, _: Arc<Client>) -> Action {
    Action::requeue(match error {
        LookError::Failed(_) => PAUSE,
        LookError::Panicked(_) => LONG_PAUSE,
    })
}

/// One look at one node.
async fn reconcile(node: Arc<Node>, client: Arc<Client>, dead_after: SignedDuration) -> Result<Action, LookError> {
    match unless_panicked(one(&node, &client, dead_after)).await {
        Ok(done) => Ok(done?),
        Err(text) => Err(LookError::Panicked(text)),
    }
}

async fn one(node: &Node, client: &Client, dead_after: SignedDuration) -> Result<Action, CallError> {
    let now = Timestamp::now();
    let Decision { deed, again } = nodes::decide(node, dead_after, now);
    if let Some(deed) = deed {
        act(node, &deed, client.clone()).await?;
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
