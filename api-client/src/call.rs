//! Calls to the API server: each with a time limit, each error saying what was attempted.

use std::time::Duration;

use kube::core::Status;

use crate::chain::said;

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
    #[error("cannot {what}: {}", said(.status))]
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
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            Self::TimedOut { .. } | Self::Failed { .. } => None,
        }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Whether an object of that name is there.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// Whether the object is another one, or another version, than was said.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }
}

/// Makes a call with a time limit. `what` completes "cannot …".
///
/// # Errors
/// What the API server says against it, or that it says nothing that is understood in time.
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
