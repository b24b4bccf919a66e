//! Carries out the steps of a plan, as they are.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use vk_cmd_crds::CmdJob;
use vk_operator_core::status::Creation;
use vk_operator_core::{PodSeen, Sight, Step, ValidJob};

use crate::api::{CallError, FIELD_MANAGER, call};
use crate::observe::ask;

/// Carries out the steps in order, up to the first that fails.
pub async fn apply(
    client: &Client,
    job: &ValidJob<'_>,
    resource_version: Option<&str>,
    steps: &[Step],
) -> Result<Creation, CallError> {
    let mut creation = Creation::NotAsked;
    for step in steps {
        match step {
            Step::CreatePod { attempt, pod } => creation = create(client, job, *attempt, pod).await?,
            Step::DeletePod { name, uid } => delete_pod(client, job, name, uid).await?,
            Step::DeleteJob => delete_job(client, job, resource_version).await?,
        }
    }
    Ok(creation)
}

async fn create(client: &Client, job: &ValidJob<'_>, attempt: u32, pod: &Pod) -> Result<Creation, CallError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let error = match call("create a pod", api.create(&params, pod)).await {
        Ok(made) => return Ok(Creation::Made(PodSeen::of(&made))),
        Err(error) => error,
    };
    let Some(status) = error.status() else { return Err(error) };
    if status.is_already_exists() {
        return match ask(client, job, attempt).await? {
            Sight::Ours(pod) => Ok(Creation::Made(pod)),
            Sight::Foreign => Ok(Creation::NameTaken(pod.metadata.name.clone().unwrap_or_default())),
            // It went between the two calls: look again.
            Sight::Gone => Err(error),
        };
    }
    match status.code {
        400 | 413 | 422 => Ok(Creation::Rejected(status.message.clone())),
        403 | 404 => Ok(Creation::Refused(status.message.clone())),
        _ => Err(error),
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
