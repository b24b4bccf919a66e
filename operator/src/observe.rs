//! Gathers what bears on one CmdJob: from the caches, and where a cache proves nothing, from the API server itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use vk_cmd_crds::CmdJobStatus;
use vk_operator_core::{Seen, Sight, ValidJob, attempts, pod, seen};

use crate::api::{CallError, call};
use crate::cache::Caches;

/// Looks at the job's pods by the names that they must have, and at its node.
pub async fn observe(
    client: &Client,
    caches: &Caches,
    job: &ValidJob<'_>,
    recorded: &CmdJobStatus,
) -> Result<Seen, CallError> {
    let known = recorded.attempts.iter().filter_map(|attempt| u32::try_from(attempt.attempt).ok());
    let mut pods: BTreeMap<u32, Sight> = known
        .chain([attempts::next_number(recorded)])
        .filter_map(|number| {
            let pod = caches.pod(job.namespace, &pod::name(job, number))?;
            Some((number, Sight::of(&pod, job.uid)))
        })
        .collect();
    for number in seen::unproven(recorded, &pods) {
        pods.insert(number, ask(client, job, number).await?);
    }
    Ok(Seen { pods, node: caches.node(&job.target) })
}

/// Asks the API server for the pod of an attempt.
pub(crate) async fn ask(client: &Client, job: &ValidJob<'_>, number: u32) -> Result<Sight, CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
    let found = call("get a pod", api.get_opt(&pod::name(job, number))).await?;
    Ok(found.map_or(Sight::Gone, |pod| Sight::of(&pod, job.uid)))
}
