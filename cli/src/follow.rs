//! Watching one job until something has become of it.

use std::time::Instant;

use anyhow::{Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _};
use kube_runtime::watcher::{self, watch_object};
use kube_runtime::{WatchStreamExt as _, watcher::Error};
use vk_api_client::chain;
use vk_cli_core::progress::Teller;
use vk_cli_core::refusals::{self, Refusals};
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
    let mut trouble = Trouble::default();
    let mut jobs = std::pin::pin!(watch_object(cluster.jobs(), name).default_backoff());
    while let Some(seen) = jobs.next().await {
        match seen {
            Ok(job) => {
                trouble.over(|words| progress.tell(words));
                if let Some(value) = done(job.as_ref()) {
                    return Ok(value);
                }
                if let Some(line) = teller.tell(name, job.as_ref()) {
                    progress.tell(line);
                }
            }
            Err(error) => trouble.bear(error, |words| progress.tell(words))?,
        }
    }
    Err(anyhow!("the watch of {name} has ended"))
}

/// What goes wrong with a watch, as it is told: each thing once, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    refusals: Refusals,
    told: Option<String>,
}

impl Trouble {
    /// The API server answers.
    pub(crate) fn over(&mut self, tell: impl FnOnce(String)) {
        self.refusals.answered();
        if self.told.take().is_some() {
            tell("the API server answers again".to_owned());
        }
    }

    /// What another try may mend is told, and else it is an error.
    pub(crate) fn bear(&mut self, error: Error, tell: impl FnOnce(String)) -> Result<()> {
        let code = code_of(&error);
        if !self.refusals.may_change(code, Instant::now()) {
            let what = code.and_then(refusals::advice).unwrap_or("cannot watch");
            return Err(anyhow::Error::new(error).context(what));
        }
        let words = format!("the API server is asked again: {}", chain(&error));
        if self.told.as_ref() != Some(&words) {
            self.told = Some(words.clone());
            tell(words);
        }
        Ok(())
    }
}

/// With what code the API server has refused, if it has.
fn code_of(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.code)
        }
        Error::WatchError(status) => Some(status.code),
        Error::InitialListFailed(_) | Error::WatchStartFailed(_) | Error::WatchFailed(_) | Error::NoResourceVersion => {
            None
        }
    }
}

/// The pods of a job as they come and change.
pub(crate) fn pods_of(
    cluster: &Cluster,
    uid: &str,
) -> impl futures::Stream<Item = Result<k8s_openapi::api::core::v1::Pod, Error>> + Send + use<> {
    let config = watcher::Config::default().labels(&format!("{}={uid}", vk_cmd_crds::labels::JOB_UID));
    watcher::watcher(cluster.namespaced(), config).default_backoff().applied_objects().into_stream()
}
