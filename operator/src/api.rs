//! Calls to the API server: each with a time limit, each error saying what was attempted.

use std::time::Duration;

use kube::api::{PatchParams, PostParams};
use kube::core::Status;

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

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("cannot {what}: the API server has not answered within {} s", .limit.as_secs())]
    TimedOut {
        /// What was attempted.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The API server said no.
    #[error("cannot {what}: the API server says {} {}: {}", .status.code, .status.reason, .status.message)]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// Its answer.
        status: Box<Status>,
    },
    /// The API server was not reached, or its answer not understood.
    #[error("cannot {what}")]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl CallError {
    /// What the API server answered, if it did.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            Self::TimedOut { .. } | Self::Failed { .. } => None,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Whether the object is another one, or another version, than was said.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }
}

/// Makes a call with the usual time limit. `what` completes "cannot …".
pub async fn call<T>(what: &'static str, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    call_within(TIME_LIMIT, what, request).await
}

/// The same with another time limit.
pub async fn call_within<T>(
    limit: Duration,
    what: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused { what, status }),
        Ok(Err(source)) => Err(CallError::Failed { what, source: Box::new(source) }),
        Err(_) => Err(CallError::TimedOut { what, limit }),
    }
}
