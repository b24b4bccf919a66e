//! Writes a status, if it says something new.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use vk_cmd_crds::{CmdJob, CmdJobStatus};
use vk_operator_core::patch;

use crate::api::{CallError, FIELD_MANAGER, call};

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
    let Some(patch) = patch::status(&recorded, wanted, uid, version)? else { return Ok(None) };

    let api: Api<CmdJob> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match call("write the status of a CmdJob", api.patch_status(&job.name_any(), &params, &Patch::Merge(&patch))).await
    {
        Ok(answer) => Ok(Some(answer)),
        // Deleted meanwhile: nobody is left to be told.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
