//! Carries out the steps of a plan, as they are.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Patch, Preconditions};
use kube::{Api, Client};
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::floor::Placed;
use vk_operator_core::status::Outcome;
use vk_operator_core::{Sight, Start, Step, ValidJob, patch, pod};

use crate::api::{CallError, call, patch_params, post_params};
use crate::cache::Caches;

/// How many pods are asked for at a time.
const PAGE: u32 = 500;
/// How many pods of one job are made side by side.
const SIDE_BY_SIDE: usize = 16;

/// Carries out the steps in order, up to the first that fails.
pub async fn steps(
    client: &Client,
    job: &ValidJob<'_>,
    resource_version: Option<&str>,
    steps: &[Step],
) -> Result<(), CallError> {
    for step in steps {
        match step {
            Step::HoldJob => hold_job(client, job, resource_version).await?,
            Step::DeletePod { name, uid } => delete_pod(client, job, name, uid).await?,
            Step::ReleasePod { name, uid } => {
                release_pod(&Api::namespaced(client.clone(), job.namespace), name, uid).await?;
            }
            Step::DeleteJob => delete_job(client, job, resource_version).await?,
            Step::ReleaseJob => release_job(client, job).await?,
        }
    }
    Ok(())
}

/// Makes the pods that were started, each on the node that was found for it, and says what has become of each. Like the Job
/// controller it begins with one and goes on with twice as many, as long as none is refused: a namespace whose quota is used up
/// is not asked a hundred times.
pub async fn starts(
    client: &Client,
    caches: &Caches,
    job: &ValidJob<'_>,
    starts: &[(Start, Placed)],
) -> Result<Vec<Outcome>, CallError> {
    let mut outcomes = Vec::new();
    let (mut left, mut batch) = (starts, 1_usize);
    while !left.is_empty() {
        let (now, rest) = left.split_at(batch.min(left.len()));
        let making: Vec<_> = now.iter().map(|each| start(client, caches, job, each)).collect();
        let made: Vec<Outcome> = stream::iter(making).buffered(SIDE_BY_SIDE).try_collect().await?;
        let refused = made.iter().any(|outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Rejected(_)));
        outcomes.extend(made);
        if refused {
            break;
        }
        (left, batch) = (rest, batch.saturating_mul(2));
    }
    Ok(outcomes)
}

async fn start(
    client: &Client,
    caches: &Caches,
    job: &ValidJob<'_>,
    (start, placed): &(Start, Placed),
) -> Result<Outcome, CallError> {
    match placed {
        Ok(node) => create(client, caches, job, start, node).await,
        Err((reason, why)) => Ok(Outcome::NotPlaced(*reason, why.clone())),
    }
}

async fn create(
    client: &Client,
    caches: &Caches,
    job: &ValidJob<'_>,
    start: &Start,
    node: &str,
) -> Result<Outcome, CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
    let pod = pod::build(job, start.index, start.attempt, node);
    let error = match call("create a pod", api.create(&post_params(), &pod)).await {
        Ok(made) => return Ok(note(caches, job, &made)),
        Err(error) => error,
    };
    let Some(status) = error.status() else { return Err(error) };
    if status.is_already_exists() {
        let name = pod.metadata.name.unwrap_or_default();
        // It may go between the two calls: look again then.
        let found = call("get a pod", api.get_opt(&name)).await?;
        return found.map(|found| note(caches, job, &found)).ok_or(error);
    }
    match status.code {
        400 | 413 | 422 => Ok(Outcome::Rejected(status.message.clone())),
        403 | 404 => Ok(Outcome::Refused(status.message.clone())),
        _ => Err(error),
    }
}

/// A pod of the name that was wanted.
fn note(caches: &Caches, job: &ValidJob<'_>, pod: &Pod) -> Outcome {
    match Sight::of(pod, job.uid) {
        Sight::Ours(seen) => {
            caches.made(pod);
            Outcome::Made(seen)
        }
        Sight::Foreign => Outcome::NameTaken(pod.metadata.name.clone().unwrap_or_default()),
    }
}

/// Gives the CmdJob its finalizer. Beside those that others have put there.
async fn hold_job(client: &Client, job: &ValidJob<'_>, resource_version: Option<&str>) -> Result<(), CallError> {
    let api: Api<CmdJob> = Api::namespaced(client.clone(), job.namespace);
    let patch = patch::hold(job.finalizers, job.uid, resource_version);
    call("give a CmdJob its finalizer", api.patch_metadata(job.name, &patch_params(), &Patch::Merge(&patch)))
        .await
        .map(drop)
}

async fn release_job(client: &Client, job: &ValidJob<'_>) -> Result<(), CallError> {
    if is_held(client, job).await? {
        // The cache is behind: what it is about to tell of will have the job looked at again.
        return Ok(());
    }
    let api: Api<CmdJob> = Api::namespaced(client.clone(), job.namespace);
    let patch = patch::release(job.finalizers, job.uid, None);
    match call("let a CmdJob go", api.patch_metadata(job.name, &patch_params(), &Patch::Merge(&patch))).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

/// Whether there is a pod of the job that has not been counted, by the API server's own word.
async fn is_held(client: &Client, job: &ValidJob<'_>) -> Result<bool, CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
    let mut page = ListParams::default().labels(&format!("{}={}", labels::JOB_UID, job.uid)).limit(PAGE);
    loop {
        let pods = call("list the pods of a CmdJob", api.list_metadata(&page)).await?;
        // One that was taken from the job (`--cascade=orphan`) is nobody's to count.
        let held = |pod: &PartialObjectMeta<Pod>| {
            pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == job.uid)
                && pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::FINALIZER)
        };
        if pods.items.iter().any(held) {
            return Ok(true);
        }
        match pods.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(false),
        }
    }
}

/// Takes our finalizer from a pod, if it still has this UID. Those of others stay.
pub async fn release_pod(api: &Api<Pod>, name: &str, uid: &str) -> Result<(), CallError> {
    let Some(pod) = call("get a pod", api.get_metadata_opt(name)).await? else { return Ok(()) };
    let patch = patch::release(
        pod.metadata.finalizers.as_deref().unwrap_or_default(),
        uid,
        pod.metadata.resource_version.as_deref(),
    );
    match call("let a pod go", api.patch_metadata(name, &patch_params(), &Patch::Merge(&patch))).await {
        // Gone, or another pod by now: in both cases this one is no more.
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

async fn delete_pod(client: &Client, job: &ValidJob<'_>, name: &str, uid: &str) -> Result<(), CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
    let params =
        DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match call("delete a pod", api.delete(name, &params)).await {
        // Gone, or another pod by now: in both cases this one is no more.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

async fn delete_job(client: &Client, job: &ValidJob<'_>, resource_version: Option<&str>) -> Result<(), CallError> {
    let api: Api<CmdJob> = Api::namespaced(client.clone(), job.namespace);
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: Some(job.uid.to_owned()),
        // Somebody may just have lengthened its time.
        resource_version: resource_version.map(str::to_owned),
    });
    match call("delete a CmdJob whose time is over", api.delete(job.name, &params)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
