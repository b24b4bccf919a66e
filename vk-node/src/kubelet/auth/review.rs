//! Asking the API server for a review of a token or of an access.

use std::fmt::Debug;
use std::time::Duration;

use kube::Resource;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

/// The longest that an answer may take, all tries together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait before another try; each further one is half as long again. The kubelet's `WebhookRetryBackoff`.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The API server has given no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// Not in time.
    #[error("the API server gave no answer for {} s", TIMEOUT.as_secs())]
    TooLate,
    /// It refuses to review.
    #[error("the API server refuses a review")]
    Refused(#[source] Box<kube::Error>),
}

/// Creates a review and returns it with its status.
pub(super) async fn ask<K>(reviews: &Api<K>, question: &K) -> Result<K, Failed>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let tries = async {
        let mut wait = FIRST_WAIT;
        loop {
            match reviews.create(&PostParams::default(), question).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_final(&error) => return Err(Failed::Refused(Box::new(error))),
                Err(_) => sleep(wait).await,
            }
            wait = wait * 3 / 2;
        }
    };
    timeout(TIMEOUT, tries).await.unwrap_or(Err(Failed::TooLate))
}

/// Whether the same question would get the same answer again.
fn is_final(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error {
        return status.code < 500 && status.code != 429;
    }
    !matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_))
}
