//! Writes a status, if it says something new.

use kube::api::Patch;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use vk_cmd_crds::{CmdJob, CmdJobStatus};
use vk_operator_core::patch;

use crate::api::{CallError, call, patch_params};
use crate::cache::MaybeJob;

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The status does not turn into JSON.
    #[error("cannot write the status of a CmdJob as JSON")]
    Json(#[from] serde_json::Error),
}

/// Makes the status of `job` as it was read into `wanted`, by one write or none. Returns the object as it is after the write.
pub async fn report(client: &Client, job: &CmdJob, wanted: &CmdJobStatus) -> Result<Option<CmdJob>, ReportError> {
    let recorded = job.status.clone().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let version = job.metadata.resource_version.as_deref();
    match patch::status(&recorded, wanted, uid, version)? {
        Some(patch) => Ok(write(client, &job.namespace().unwrap_or_default(), &job.name_any(), &patch).await?),
        None => Ok(None),
    }
}

/// Says in the status of an object that does not fit its type what does not fit.
pub async fn report_unreadable(client: &Client, object: &InvalidObject) -> Result<(), CallError> {
    let meta = &object.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let patch = patch::unreadable(uid, meta.generation, &object.error);
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    write(client, namespace, name, &patch).await.map(drop)
}

/// Writes a patch of a status. The answer is nothing if the object is gone, or does not fit its type.
async fn write(client: &Client, namespace: &str, name: &str, patch: &Value) -> Result<Option<CmdJob>, CallError> {
    let api: Api<MaybeJob> = Api::namespaced(client.clone(), namespace);
    match call("write the status of a CmdJob", api.patch_status(name, &patch_params(), &Patch::Merge(patch))).await {
        Ok(answer) => Ok(answer.0.ok()),
        // Deleted meanwhile: nobody is left to be told.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
