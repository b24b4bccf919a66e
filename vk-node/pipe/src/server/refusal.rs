//! What a client is told when the records fail.

use tracing::error;
use vk_record::{RecordError, chain};
use vk_task::{ApiError, ErrorReason};

/// The refusal that a failure of the records comes to.
pub(super) fn failure(what: &str, e: &RecordError) -> ApiError {
    let reason = if e.is_no_space() { ErrorReason::NoSpace } else { ErrorReason::Internal };
    let message = format!("{what}: {}", chain(e));
    error!("{message}");
    ApiError { reason, message }
}
