//! Calls to the API server, as the operator makes them.

use std::time::Duration;

use kube::api::{PatchParams, PostParams};
pub use vk_api_client::{CallError, call_within};

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

/// The longest time for one call. The API server itself gives up after a minute; an answer that takes longer than this is
/// asked for again later.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// Makes a call with the usual time limit. `what` completes "cannot …".
pub async fn call<T>(what: &'static str, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    call_within(TIME_LIMIT, what, request).await
}
