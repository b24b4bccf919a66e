//! The caches: CmdJobs, their pods and the vk-nodes, each kept current by a watch, each change pointing at the CmdJobs that
//! may have something to do now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::place::{NodeSeen, Nodes};
use vk_operator_core::pods::{Owner, Pods};
use vk_operator_core::{backoff, status};

use crate::memory::Memory;

/// A CmdJob, or the metadata of one that cannot be read: such an object must not stop the others.
pub type MaybeJob = DeserializeGuard<CmdJob>;

/// What the watches have seen.
#[derive(Clone)]
pub struct Caches {
    /// All CmdJobs.
    pub jobs: Store<MaybeJob>,
    /// The pods of CmdJobs.
    pods: Arc<Filled<Pods>>,
    /// The vk-nodes.
    nodes: Arc<Filled<Nodes>>,
}

/// Something that a watch fills: not to be believed before it has been filled once.
struct Filled<T> {
    now: Mutex<T>,
    once: watch::Sender<bool>,
}

impl<T: Default> Filled<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self { now: Mutex::default(), once: watch::Sender::default() })
    }

    fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        // A panic elsewhere does not spoil a map.
        look(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, all: T) {
        self.with(|now| *now = all);
        self.once.send_replace(true);
    }

    async fn filled(&self) {
        // The sender lives as long as this.
        let _ = self.once.subscribe().wait_for(|filled| *filled).await;
    }
}

impl Caches {
    /// Waits until each of the three has been filled once. False if the watches have ended.
    pub async fn filled(&self) -> bool {
        let jobs = self.jobs.wait_until_ready().await.is_ok();
        self.pods.filled().await;
        self.nodes.filled().await;
        jobs
    }

    /// Whether a CmdJob is in the cache.
    pub fn has(&self, job: &CmdJob) -> bool {
        self.job(&job.namespace().unwrap_or_default(), &job.name_any()).is_some()
    }

    /// A CmdJob.
    pub fn job(&self, namespace: &str, name: &str) -> Option<Arc<MaybeJob>> {
        self.jobs.get(&ObjectRef::new(name).within(namespace))
    }

    /// Looks at the pods.
    pub fn pods<R>(&self, look: impl FnOnce(&Pods) -> R) -> R {
        self.pods.with(|pods| look(pods))
    }

    /// Notes a pod that was made just now, which the watch will tell of soon.
    pub fn made(&self, pod: &Pod) {
        self.pods.with(|pods| pods.put(pod));
    }

    /// Looks at the nodes.
    pub fn nodes<R>(&self, look: impl FnOnce(&Nodes) -> R) -> R {
        self.nodes.with(|nodes| look(nodes))
    }

    fn all(&self) -> Vec<ObjectRef<MaybeJob>> {
        self.jobs.state().iter().map(|job| ObjectRef::from_obj(&**job)).collect()
    }

    /// The CmdJobs to which it matters how a node is: those that may go there, and those that have something there.
    fn concerned(&self, name: &str, labels: &BTreeMap<String, String>) -> Vec<ObjectRef<MaybeJob>> {
        let there: BTreeSet<String> = self.pods(|pods| pods.jobs_on(name)).into_iter().collect();
        let waits = |job: &CmdJob| {
            let finished = job.status.as_ref().is_some_and(|status| status::finished_at(status).is_some());
            !finished && (may_go(job, name, labels) || job.metadata.uid.as_ref().is_some_and(|uid| there.contains(uid)))
        };
        let jobs = self.jobs.state();
        jobs.iter().filter(|job| job.0.as_ref().is_ok_and(waits)).map(|job| ObjectRef::from_obj(&**job)).collect()
    }

    /// The CmdJobs of a namespace that wait for one of them.
    fn after(&self, namespace: Option<&str>, name: &str) -> Vec<ObjectRef<MaybeJob>> {
        let waits = |job: &CmdJob| {
            let finished = job.status.as_ref().is_some_and(|status| status::finished_at(status).is_some());
            job.metadata.namespace.as_deref() == namespace
                && !finished
                && job.spec.after.iter().flatten().any(|after| after.name == name)
        };
        let jobs = self.jobs.state();
        jobs.iter().filter(|job| job.0.as_ref().is_ok_and(waits)).map(|job| ObjectRef::from_obj(&**job)).collect()
    }
}

/// Whether the target of a job means a node.
fn may_go(job: &CmdJob, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let target = &job.spec.target;
    target.node.as_deref() == Some(name)
        || target.fleet.as_ref().is_some_and(|fleet| labels.get(labels::FLEET) == Some(fleet))
        || target.node_selector.as_ref().is_some_and(|wanted| wanted.iter().all(|(k, v)| labels.get(k) == Some(v)))
}

/// Starts the three watches. The stream names the CmdJobs to look at, and must be polled for the caches to be filled.
///
/// When a watch had to list everything anew, all CmdJobs are named, and only after the cache holds the new list: an object
/// that vanished in between has no event of its own.
pub fn watch(
    client: &Client,
    memory: Arc<Memory>,
) -> (Caches, impl Stream<Item = Result<ObjectRef<MaybeJob>, watcher::Error>> + Send + use<>) {
    let (jobs, jobs_writer) = reflector::store();
    let caches = Caches { jobs, pods: Filled::new(), nodes: Filled::new() };

    let of_jobs = {
        let caches = caches.clone();
        watcher(Api::<MaybeJob>::all(client.clone()), watcher::Config::default())
            .backoff(Pause::default())
            .modify(slim_job)
            .reflect(jobs_writer)
            .map_ok(move |event| match event {
                Event::Apply(job) => {
                    let mut all = caches.after(job.namespace().as_deref(), &job.name_any());
                    all.push(ObjectRef::from_obj(&job));
                    all
                }
                Event::Delete(job) => {
                    memory.gone(&job.namespace().unwrap_or_default(), &job.name_any());
                    caches.after(job.namespace().as_deref(), &job.name_any())
                }
                Event::InitDone => caches.all(),
                Event::Init | Event::InitApply(_) => Vec::new(),
            })
    };
    let of_pods = {
        let caches = caches.clone();
        let mut new = Pods::default();
        watcher(Api::<Pod>::all(client.clone()), watcher::Config::default().labels(labels::JOB))
            .backoff(Pause::default())
            .map_ok(move |event| match event {
                Event::Apply(pod) => caches.pods.with(|pods| pods.put(&pod)).map(named).into_iter().collect(),
                Event::Delete(pod) => caches.pods.with(|pods| pods.remove(&pod)).map(named).into_iter().collect(),
                Event::Init => {
                    new = Pods::default();
                    Vec::new()
                }
                Event::InitApply(pod) => {
                    new.put(&pod);
                    Vec::new()
                }
                Event::InitDone => {
                    caches.pods.replace(std::mem::take(&mut new));
                    caches.all()
                }
            })
    };
    let of_nodes = {
        let caches = caches.clone();
        let selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
        let mut new = Nodes::default();
        watcher(Api::<Node>::all(client.clone()), watcher::Config::default().labels(&selector))
            .backoff(Pause::default())
            .map_ok(move |event| match event {
                // Nodes say often that they are alive; only what bears on a decision is news.
                Event::Apply(node) => {
                    let (name, now) = (node.name_any(), NodeSeen::of(&node));
                    let before = caches.nodes.with(|nodes| nodes.insert(name.clone(), now.clone()));
                    if before.as_ref() == Some(&now) { Vec::new() } else { caches.concerned(&name, &now.labels) }
                }
                Event::Delete(node) => {
                    caches.nodes.with(|nodes| nodes.remove(&node.name_any()));
                    caches.concerned(&node.name_any(), &NodeSeen::of(&node).labels)
                }
                Event::Init => {
                    new.clear();
                    Vec::new()
                }
                Event::InitApply(node) => {
                    new.insert(node.name_any(), NodeSeen::of(&node));
                    Vec::new()
                }
                Event::InitDone => {
                    caches.nodes.replace(std::mem::take(&mut new));
                    caches.all()
                }
            })
    };

    let changes = stream::select_all([of_jobs.boxed(), of_pods.boxed(), of_nodes.boxed()]);
    let jobs = changes.map_ok(|jobs| stream::iter(jobs).map(Ok)).try_flatten();
    (caches, jobs)
}

fn named(owner: Owner) -> ObjectRef<MaybeJob> {
    ObjectRef::new(&owner.name).within(&owner.namespace)
}

/// Drops what nobody reads from a CmdJob in the cache.
fn slim_job(job: &mut MaybeJob) {
    let meta = job.meta_mut();
    meta.managed_fields = None;
    meta.annotations = None;
}

/// The pauses of a watch that fails.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(backoff::after_watch(self.failures))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
