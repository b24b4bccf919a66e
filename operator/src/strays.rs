//! Lets pods go whose CmdJob is gone. In the usual course of things there are none: a CmdJob stays until its pods are let go.
//! But somebody may have taken its finalizer by force, or deleted it with `--cascade=orphan`; then its pods would be held for
//! ever. What is left to itself is let go at once, so that it can be deleted when there is no operator any more.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use tracing::{info, warn};
use vk_operator_core::PodSeen;
use vk_operator_core::look::stray;
use vk_operator_core::pods::Owner;

use crate::apply::Hands;
use crate::cache::Caches;
use crate::reconcile::Context;

/// How often they are looked for. Nobody waits for them but whoever has used force.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for them, for ever.
pub async fn run(context: Arc<Context>) {
    if !context.caches.filled().await {
        return;
    }
    loop {
        for (owner, pod) in strays(&context.caches) {
            match stray(&owner, &pod, &mut Hands(&context)).await {
                Ok(true) => {
                    info!(pod = pod.name, namespace = owner.namespace, "let go: its CmdJob {} is gone", owner.name)
                }
                Ok(false) => {}
                Err(error) => {
                    warn!(pod = pod.name, "cannot let go a pod whose CmdJob is gone, and tries again: {error}")
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn strays(caches: &Caches) -> Vec<(Owner, PodSeen)> {
    let is_known = |owner: &Owner| {
        let job = caches.job(&owner.namespace, &owner.name);
        job.is_some_and(|job| job.meta().uid.as_ref() == Some(&owner.uid))
    };
    caches.floor(|floor| floor.pods().strays(is_known))
}
