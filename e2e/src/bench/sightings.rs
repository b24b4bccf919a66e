//! When a client that watches hears that an object has come to a point of its life.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Resource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vk_cmd_crds::{CmdJob, State};

/// The longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A point of an object's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    /// It is bound to a node, and nothing is told of it by that.
    Bound,
    Running,
    Ended,
}

/// An object of which it can be told where it is.
pub(super) trait Staged: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    fn mark(&self) -> Option<Mark>;
}

impl Staged for Pod {
    fn mark(&self) -> Option<Mark> {
        match self.status.as_ref()?.phase.as_deref()? {
            "Running" => Some(Mark::Running),
            "Succeeded" | "Failed" => Some(Mark::Ended),
            _ => self.spec.as_ref()?.node_name.as_ref().map(|_| Mark::Bound),
        }
    }
}

impl Staged for CmdJob {
    fn mark(&self) -> Option<Mark> {
        match self.status.as_ref()?.state? {
            State::Running => Some(Mark::Running),
            State::Complete | State::Failed => Some(Mark::Ended),
            State::Waiting | State::Pending | State::Terminating | State::Suspended | State::Invalid => None,
        }
    }
}

impl Staged for Job {
    fn mark(&self) -> Option<Mark> {
        let conditions = self.status.as_ref()?.conditions.as_deref()?;
        let is_over = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        (is_over("Complete") || is_over("Failed")).then_some(Mark::Ended)
    }
}

type Seen = HashMap<(String, Mark), SystemTime>;

/// A watch on all objects of one kind in one namespace.
pub(super) struct Sightings {
    seen: Arc<Mutex<Seen>>,
    news: watch::Receiver<()>,
    task: JoinHandle<()>,
}

impl Sightings {
    pub(super) fn of<K: Staged>(api: Api<K>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let (tell, news) = watch::channel(());
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let noting = events.try_for_each(|object| {
                let now = SystemTime::now();
                if let Some(mark) = object.mark() {
                    noted
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry((object.name_any(), mark))
                        .or_insert(now);
                    tell.send_replace(());
                }
                std::future::ready(Ok(()))
            });
            if let Err(error) = noting.await {
                eprintln!("bench: a watch has broken: {error}");
            }
        });
        Self { seen, news, task }
    }

    /// Waits until so many objects have been seen there, in all.
    pub(super) async fn wait_for(&self, count: usize, mark: Mark) -> Result<()> {
        let mut news = self.news.clone();
        let seen = async {
            loop {
                if self.count(mark) >= count {
                    return Ok(());
                }
                news.changed().await.context("the watch has ended")?;
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .with_context(|| format!("{count} objects were not seen {mark:?} within {LIMIT:.0?}"))?
    }

    fn count(&self, mark: Mark) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.keys().filter(|(_, there)| *there == mark).count()
    }

    /// When the object was first seen there.
    pub(super) async fn wait(&self, name: &str, mark: Mark) -> Result<SystemTime> {
        let key = (name.to_owned(), mark);
        let mut news = self.news.clone();
        let seen = async {
            loop {
                if let Some(at) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
                    return Ok(*at);
                }
                news.changed().await.context("the watch has ended")?;
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .with_context(|| format!("{name} was not seen {mark:?} within {LIMIT:.0?}"))?
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.task.abort();
    }
}
