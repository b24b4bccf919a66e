//! What clients are told in more than one place.

use tracing::error;
use vk_record::{RecordError, chain};
use vk_task::{ApiError, ErrorReason, TaskId};

/// There is no such task.
pub(super) fn no_task(id: &TaskId) -> ApiError {
    ApiError { reason: ErrorReason::NotFound, message: format!("there is no task {id} here") }
}

/// The refusal that a failure of the records comes to.
pub(super) fn failure(what: &str, e: &RecordError) -> ApiError {
    let reason = if e.is_no_space() { ErrorReason::NoSpace } else { ErrorReason::Internal };
    let message = format!("{what}: {}", chain(e));
    error!("{message}");
    ApiError { reason, message }
}
