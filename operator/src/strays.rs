//! Lets pods go whose CmdJob is gone. In the usual course of things there are none: a CmdJob stays until its pods are let go.
//! But somebody may have taken its finalizer by force, or deleted it with `--cascade=orphan`; then its pods would be held for
//! ever.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Resource, ResourceExt};
use tracing::{info, warn};
use vk_cmd_crds::CmdJob;
use vk_operator_core::PodSeen;
use vk_operator_core::pods::Owner;

use crate::api::{CallError, call};
use crate::apply;
use crate::cache::Caches;

/// How often they are looked for. Nobody waits for them but whoever has used force.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for them, for ever.
pub async fn run(client: Client, caches: Caches) {
    if !caches.filled().await {
        return;
    }
    loop {
        for (owner, pod) in strays(&caches) {
            match let_go(&client, &owner, &pod).await {
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
    let jobs = caches.jobs.state();
    let known: HashSet<&str> = jobs.iter().filter_map(|job| job.meta().uid.as_deref()).collect();
    caches.floor(|floor| floor.pods().strays(|owner| known.contains(owner.uid.as_str())))
}

/// Asks the API server itself whether the CmdJob is gone: the cache may be behind.
async fn let_go(client: &Client, owner: &Owner, pod: &PodSeen) -> Result<bool, CallError> {
    let jobs: Api<CmdJob> = Api::namespaced(client.clone(), &owner.namespace);
    let found = call("get a CmdJob", jobs.get_metadata_opt(&owner.name)).await?;
    if found.is_some_and(|job| job.uid().as_ref() == Some(&owner.uid)) {
        return Ok(false);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &owner.namespace);
    apply::release_pod(&pods, &pod.name, &pod.uid).await?;
    Ok(true)
}
