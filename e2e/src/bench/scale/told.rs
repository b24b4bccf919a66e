//! What a client that watches a namespace is told of CmdJobs, Jobs and their pods, and when.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Resource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_of};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vk_cmd_crds::{CmdJob, labels};

use super::super::contestant::Resourceful;
use super::super::sightings::{Mark, Staged};

/// What has been told so far.
#[derive(Debug, Default)]
pub(in crate::bench) struct Seen {
    /// When each job was first told to have ended, by its name, and how.
    pub(in crate::bench) ended: HashMap<String, (Instant, Ended)>,
    /// When the last pod of each CmdJob was told to have ended.
    pub(super) pods_ended: HashMap<String, Instant>,
    /// Pods that have succeeded, by UID.
    pub(super) succeeded: HashSet<String>,
    /// The jobs and the pods that are there, by UID.
    pub(super) jobs: HashSet<String>,
    pub(super) pods: HashSet<String>,
    /// CmdJobs that wait, by UID.
    pub(super) waiting: HashSet<String>,
}

/// How a job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bench) struct Ended {
    pub(in crate::bench) state: String,
    pub(super) succeeded: i32,
    pub(super) indexes: Option<String>,
}

/// The watches of one namespace.
pub(in crate::bench) struct Told {
    seen: Arc<Mutex<Seen>>,
    news: watch::Receiver<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Told {
    pub(in crate::bench) fn of(client: &Client, namespace: &str) -> Self {
        let (tell, news) = watch::channel(());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = vec![
            watching(client, namespace, &seen, &tell, note_pod),
            watching(client, namespace, &seen, &tell, note_cmdjob),
            watching(client, namespace, &seen, &tell, note_job),
        ];
        Self { seen, news, tasks }
    }

    /// What has been told.
    pub(in crate::bench) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, what: &str, limit: Duration, is_so: impl Fn(&Seen) -> bool) -> Result<()> {
        let mut news = self.news.clone();
        let waiting = async {
            while !is_so(&self.seen()) {
                news.changed().await.context("the watches have ended")?;
                // Very many come at once: not each is worth a look.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(done) => done,
            Err(_) => {
                let seen = self.seen();
                bail!(
                    "waited {limit:.0?} for {what} in vain: {} jobs have ended of {} that are there, {} pods are there",
                    seen.ended.len(),
                    seen.jobs.len(),
                    seen.pods.len()
                )
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn watching<K: Staged + Resourceful + Resource<DynamicType = ()>>(
    client: &Client,
    namespace: &str,
    seen: &Arc<Mutex<Seen>>,
    tell: &watch::Sender<()>,
    note: fn(&mut Seen, &K, bool),
) -> JoinHandle<()> {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let (seen, tell) = (Arc::clone(seen), tell.clone());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watch_of(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => note(&mut seen, &object, true),
                Ok(Event::Delete(object)) => note(&mut seen, &object, false),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => eprintln!("bench: a watch has failed and is started again: {error}"),
            }
            drop(seen);
            tell.send_replace(());
        }
    })
}

fn note_pod(seen: &mut Seen, pod: &Pod, is_there: bool) {
    let uid = pod.uid().unwrap_or_default();
    if !is_there {
        seen.pods.remove(&uid);
        return;
    }
    if pod.mark() == Some(Mark::Ended) && pod.metadata.deletion_timestamp.is_none() {
        let is_success = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
        let is_news = is_success && seen.succeeded.insert(uid.clone());
        if let Some(job) = pod.labels().get(labels::JOB).filter(|_| is_news) {
            seen.pods_ended.insert(job.clone(), Instant::now());
        }
    }
    seen.pods.insert(uid);
}

fn note_cmdjob(seen: &mut Seen, job: &CmdJob, is_there: bool) {
    let status = job.status.clone().unwrap_or_default();
    let ended = Ended {
        state: status.state.map(|state| state.to_string()).unwrap_or_default(),
        succeeded: status.succeeded,
        indexes: status.completed_indexes,
    };
    if ended.state == "Waiting" {
        seen.waiting.insert(job.uid().unwrap_or_default());
    }
    note(seen, job, is_there, ended);
}

fn note_job(seen: &mut Seen, job: &Job, is_there: bool) {
    let status = job.status.clone().unwrap_or_default();
    let ended = Ended {
        state: status.conditions.into_iter().flatten().last().map(|condition| condition.type_).unwrap_or_default(),
        succeeded: status.succeeded.unwrap_or_default(),
        indexes: status.completed_indexes,
    };
    note(seen, job, is_there, ended);
}

fn note<K: Staged>(seen: &mut Seen, job: &K, is_there: bool, ended: Ended) {
    let uid = job.uid().unwrap_or_default();
    if !is_there {
        seen.jobs.remove(&uid);
        return;
    }
    if job.mark() == Some(Mark::Ended) {
        seen.ended.entry(job.name_any()).or_insert_with(|| (Instant::now(), ended));
    }
    seen.jobs.insert(uid);
}
