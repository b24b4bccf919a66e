//! Watching one job until something has become of it.

use anyhow::{Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _};
use kube_runtime::watcher::{self, watch_object};
use kube_runtime::{WatchStreamExt as _, watcher::Error};
use vk_api_client::chain;
use vk_cli_core::progress::Teller;
use vk_cmd_crds::CmdJob;

use crate::cluster::Cluster;
use crate::screen::Progress;

/// Watches a job, tells of each change, and returns when `done` says something. `None` is the job that is gone.
///
/// An API server that is away is waited for; one that refuses is not.
pub(crate) async fn until<T>(
    cluster: &Cluster,
    name: &str,
    progress: &Progress,
    mut done: impl FnMut(Option<&CmdJob>) -> Option<T>,
) -> Result<T> {
    let mut teller = Teller::default();
    let mut jobs = std::pin::pin!(watch_object(cluster.jobs(), name).default_backoff());
    while let Some(seen) = jobs.next().await {
        match seen {
            Ok(job) => {
                if let Some(value) = done(job.as_ref()) {
                    return Ok(value);
                }
                if let Some(line) = teller.tell(name, job.as_ref()) {
                    progress.tell(line);
                }
            }
            Err(error) => tolerate(error, progress)?,
        }
    }
    Err(anyhow!("the watch of {name} has ended"))
}

/// What another try may mend is told, and else it is an error.
pub(crate) fn tolerate(error: Error, progress: &Progress) -> Result<()> {
    if is_final(&error) {
        return Err(anyhow::Error::new(error).context("cannot watch"));
    }
    progress.tell(format!("the API server is asked again: {}", chain(&error)));
    Ok(())
}

/// Whether asking again would bring the same: we may not, or there is no such kind.
fn is_final(error: &Error) -> bool {
    let code = match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code
        }
        Error::WatchError(status) => status.code,
        Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::WatchFailed(_) | Error::NoResourceVersion => {
            return false;
        }
    };
    matches!(code, 401 | 403 | 404)
}

/// The pods of a job as they come and change.
pub(crate) fn pods_of(
    cluster: &Cluster,
    uid: &str,
) -> impl futures::Stream<Item = Result<k8s_openapi::api::core::v1::Pod, Error>> + Send + use<> {
    let config = watcher::Config::default().labels(&format!("{}={uid}", vk_cmd_crds::labels::JOB_UID));
    watcher::watcher(cluster.namespaced(), config).default_backoff().applied_objects().into_stream()
}
