//! Has a reason for which a node is cordoned stand, or not: see [`vk_operator_core::cordon`].

use k8s_openapi::api::core::v1::Node;
use kube::api::Patch;
use kube::{Api, Client};
use vk_operator_core::cordon::{By, Change, Cordon};

use crate::api::{CallError, call, patch_params};

/// What was written, if anything had to be. The cache may be behind, and others speak for other reasons: so it follows from the node as
/// it is.
pub async fn cordon(client: &Client, name: &str, by: By, wanted: bool) -> Result<Option<Change>, CallError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(node) = call("read a node", nodes.get_opt(name)).await? else { return Ok(None) };
    let Some(change) = Cordon::of(&node).want(by, wanted) else { return Ok(None) };
    let patch = Patch::Merge(change.patch(node.metadata.resource_version.as_deref()));
    call("cordon a node", nodes.patch(name, &patch_params(), &patch)).await?;
    Ok(Some(change))
}
