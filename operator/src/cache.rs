//! The caches: CmdJobs, their pods and the vk-nodes, each kept current by a watch, each change pointing at the CmdJobs that
//! may have something to do now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use vk_cmd_crds::{CmdJob, NodeName, labels};
use vk_operator_core::{NodeSeen, backoff, status};

use crate::memory::Memory;

/// A CmdJob, or the metadata of one that cannot be read: such an object must not stop the others.
pub type MaybeJob = DeserializeGuard<CmdJob>;

/// What the watches have seen.
#[derive(Clone)]
pub struct Caches {
    /// All CmdJobs.
    pub jobs: Store<MaybeJob>,
    /// The pods of CmdJobs, without what is not needed (see `slim_pod`).
    pub pods: Store<Pod>,
    /// The vk-nodes.
    pub nodes: Store<Node>,
}

impl Caches {
    /// Waits until each of the three has been filled once. False if the watches have ended.
    pub async fn filled(&self) -> bool {
        self.jobs.wait_until_ready().await.is_ok()
            && self.pods.wait_until_ready().await.is_ok()
            && self.nodes.wait_until_ready().await.is_ok()
    }

    /// Whether a CmdJob is in the cache.
    pub fn has(&self, job: &CmdJob) -> bool {
        let name = ObjectRef::new(&job.name_any()).within(&job.namespace().unwrap_or_default());
        self.jobs.get(&name).is_some()
    }

    /// The pod of that name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(name).within(namespace))
    }

    /// The target node.
    pub fn node(&self, name: &NodeName) -> NodeSeen {
        NodeSeen::of(self.nodes.get(&ObjectRef::new(name.as_str())).as_deref())
    }

    fn all(&self) -> Vec<ObjectRef<MaybeJob>> {
        self.jobs.state().iter().map(|job| ObjectRef::from_obj(&**job)).collect()
    }

    fn targeting(&self, node: &str) -> Vec<ObjectRef<MaybeJob>> {
        let waits = |job: &CmdJob| {
            let finished = job.status.as_ref().is_some_and(|status| status::finished_at(status).is_some());
            job.spec.target.node.as_deref() == Some(node) && !finished
        };
        let jobs = self.jobs.state();
        jobs.iter().filter(|job| job.0.as_ref().is_ok_and(waits)).map(|job| ObjectRef::from_obj(&**job)).collect()
    }
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
    let (pods, pods_writer) = reflector::store();
    let (nodes, nodes_writer) = reflector::store();
    let caches = Caches { jobs, pods, nodes };

    let of_jobs = {
        let caches = caches.clone();
        watcher(Api::<MaybeJob>::all(client.clone()), watcher::Config::default())
            .backoff(Pause::default())
            .modify(slim_job)
            .reflect(jobs_writer)
            .map_ok(move |event| match event {
                Event::Apply(job) => vec![ObjectRef::from_obj(&job)],
                Event::Delete(job) => {
                    memory.gone(&job.namespace().unwrap_or_default(), &job.name_any());
                    Vec::new()
                }
                Event::InitDone => caches.all(),
                Event::Init | Event::InitApply(_) => Vec::new(),
            })
    };
    let of_pods = {
        let caches = caches.clone();
        watcher(Api::<Pod>::all(client.clone()), watcher::Config::default().labels(labels::JOB))
            .backoff(Pause::default())
            .modify(slim_pod)
            .reflect(pods_writer)
            .map_ok(move |event| match event {
                Event::Apply(pod) | Event::Delete(pod) => owner(&pod).into_iter().collect(),
                Event::InitDone => caches.all(),
                Event::Init | Event::InitApply(_) => Vec::new(),
            })
    };
    let of_nodes = {
        let caches = caches.clone();
        let selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
        let mut known: HashMap<String, NodeSeen> = HashMap::new();
        watcher(Api::<Node>::all(client.clone()), watcher::Config::default().labels(&selector))
            .backoff(Pause::default())
            .modify(slim_node)
            .reflect(nodes_writer)
            .map_ok(move |event| match event {
                // Nodes say often that they are alive; only what bears on a decision is news.
                Event::Apply(node) => {
                    let (name, now) = (node.name_any(), NodeSeen::of(Some(&node)));
                    let news = known.insert(name.clone(), now.clone()).as_ref() != Some(&now);
                    if news { caches.targeting(&name) } else { Vec::new() }
                }
                Event::Delete(node) => {
                    known.remove(&node.name_any());
                    caches.targeting(&node.name_any())
                }
                Event::InitDone => {
                    known.clear();
                    caches.all()
                }
                Event::Init | Event::InitApply(_) => Vec::new(),
            })
    };

    let changes = stream::select_all([of_jobs.boxed(), of_pods.boxed(), of_nodes.boxed()]);
    let jobs = changes.map_ok(|jobs| stream::iter(jobs).map(Ok)).try_flatten();
    (caches, jobs)
}

/// The CmdJob that a pod belongs to.
fn owner(pod: &Pod) -> Option<ObjectRef<MaybeJob>> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == CmdJob::kind(&()))?;
    Some(ObjectRef::new(&owner.name).within(pod.metadata.namespace.as_deref()?))
}

/// Drops what nobody reads from a CmdJob in the cache.
fn slim_job(job: &mut MaybeJob) {
    let meta = job.meta_mut();
    meta.managed_fields = None;
    meta.annotations = None;
}

/// Drops what nobody reads from a pod in the cache, the script above all.
fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.spec = None;
    if let Some(status) = &mut pod.status {
        status.pod_ip = None;
        status.pod_ips = None;
        status.host_ips = None;
    }
}

/// Drops what nobody reads from a node in the cache.
fn slim_node(node: &mut Node) {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    if let Some(status) = node.status.take() {
        let conditions = status.conditions.map(|all| all.into_iter().filter(|c| c.type_ == "Ready").collect());
        node.status = Some(k8s_openapi::api::core::v1::NodeStatus { conditions, ..Default::default() });
    }
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
