//! Calls to the API server: each with a time limit, each error saying what was attempted.

use kube::api::{PatchParams, PostParams};

pub use vk_api_client::call::{CallError, call, call_within, chain};

/// The name under which the operator writes.
const FIELD_MANAGER: &str = "vk-operator";

/// For a patch by the operator.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// For an object that the operator makes or replaces.
pub fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
