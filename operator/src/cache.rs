//! The caches: CmdJobs, their pods and the vk-nodes, each kept current by a watch, each change pointing at the CmdJobs that
//! may have something to do now.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use vk_cmd_crds::names::NODE_PREFIX;
use vk_cmd_crds::{CmdFleet, CmdJob, labels};
use vk_operator_core::backoff;
use vk_operator_core::fleet::Fleets;
use vk_operator_core::floor::Floor;
use vk_operator_core::interests::Interests;
use vk_operator_core::place::{NodeSeen, Nodes};
use vk_operator_core::pods::{Owner, Pods};

use crate::memory::Memory;

/// A CmdJob, or the metadata of one that cannot be read: such an object must not stop the others.
pub type MaybeJob = DeserializeGuard<CmdJob>;
/// The same of a CmdFleet.
pub type MaybeFleet = DeserializeGuard<CmdFleet>;

/// Pods that take up room on a node.
const OPEN: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// What the watches have seen.
#[derive(Clone)]
pub struct Caches {
    /// All CmdJobs.
    pub jobs: Store<MaybeJob>,
    /// All CmdFleets.
    pub fleets: Store<MaybeFleet>,
    /// Told of each change of the floor or of a fleet.
    stirred: watch::Sender<()>,
    /// The pods and the nodes, and what is to go where.
    floor: Arc<Mutex<Floor>>,
    /// To which jobs it matters when another one or a node changes.
    interests: Arc<Mutex<Interests>>,
    filled: watch::Sender<Filled>,
    /// Names jobs that are to be looked at, besides those that the watches name.
    named: mpsc::UnboundedSender<ObjectRef<MaybeJob>>,
}

/// Which parts of the floor have been filled once: what has not is not to be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Filled {
    pods: bool,
    strangers: bool,
    nodes: bool,
    fleets: bool,
}

impl Caches {
    /// Waits until all have been filled once. False if the watches have ended.
    pub async fn filled(&self) -> bool {
        let all = |filled: &Filled| filled.pods && filled.strangers && filled.nodes && filled.fleets;
        let jobs = self.jobs.wait_until_ready().await.is_ok();
        // The sender lives as long as this.
        let _ = self.filled.subscribe().wait_for(all).await;
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

    /// Looks at the pods and the nodes.
    pub fn floor<R>(&self, look: impl FnOnce(&Floor) -> R) -> R {
        look(&self.floor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of each change of the floor or of a fleet.
    pub fn stirred(&self) -> watch::Receiver<()> {
        self.stirred.subscribe()
    }

    /// Has the fleets looked at.
    pub fn stir(&self) {
        self.stirred.send_replace(());
    }

    /// Does something on the floor, and has the jobs looked at to which it matters.
    pub fn act<R>(&self, act: impl FnOnce(&mut Floor) -> (R, Vec<Owner>)) -> R {
        let (result, named) = self.with(act);
        for owner in named {
            // Nobody listens any more when the operator ends.
            let _ = self.named.send(reference(owner));
        }
        result
    }

    fn with<R>(&self, act: impl FnOnce(&mut Floor) -> R) -> R {
        // A panic elsewhere does not spoil it.
        let result = act(&mut self.floor.lock().unwrap_or_else(PoisonError::into_inner));
        self.stirred.send_replace(());
        result
    }

    fn fill(&self, part: impl FnOnce(&mut Filled)) {
        self.filled.send_modify(part);
    }

    /// All CmdJobs.
    pub fn all(&self) -> Vec<ObjectRef<MaybeJob>> {
        self.jobs.state().iter().map(|job| ObjectRef::from_obj(&**job)).collect()
    }

    fn interests<R>(&self, act: impl FnOnce(&mut Interests) -> R) -> R {
        act(&mut self.interests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The CmdJobs to which it matters how a node is: those that may go there, and those that have something there.
    fn concerned(&self, name: &str, labels: &BTreeMap<String, String>) -> Vec<ObjectRef<MaybeJob>> {
        let mut all: BTreeSet<Owner> = self.interests(|index| index.may_go(name, labels)).into_iter().collect();
        all.extend(self.floor(|floor| floor.pods().jobs_on(name)));
        all.into_iter().map(reference).collect()
    }

    /// A node as it is now. Nodes say often that they are alive; only what bears on a decision is news.
    fn node(&self, name: &str, now: Option<NodeSeen>, node: &Node) -> Vec<ObjectRef<MaybeJob>> {
        let (is_news, named) = self.with(|floor| floor.put_node(name, now, Timestamp::now()));
        let mut all = references(named);
        if is_news {
            let known = self.floor(|floor| floor.nodes().get(name).map(|node| node.labels.clone()));
            all.extend(self.concerned(name, &known.unwrap_or_else(|| node.labels().clone())));
        }
        all
    }

    /// From now on all jobs are known, and each gets room when it is its turn.
    pub fn settle(&self) {
        let all = || self.jobs.state().iter().filter_map(|job| job.meta().uid.clone()).collect();
        self.with(|floor| floor.settle(all));
    }

    /// All jobs were listed anew: those that are not among them are gone, and have no event of their own.
    fn forget_others(&self) {
        let jobs = self.jobs.state();
        let known: HashSet<&str> = jobs.iter().filter_map(|job| job.meta().uid.as_deref()).collect();
        self.act(|floor| ((), floor.keep(|uid| known.contains(uid), Timestamp::now())));
    }

    /// The fleets as they are now. Names the jobs to which that matters. One that cannot be read has no say, and is told of where its
    /// status is written.
    fn read_fleets(&self) -> Vec<ObjectRef<MaybeJob>> {
        let all = self.fleets.state();
        let fleets = Fleets::of(all.iter().filter_map(|fleet| fleet.0.as_ref().ok()));
        references(self.with(|floor| floor.put_fleets(fleets, Timestamp::now())))
    }

    /// A job is gone.
    fn forget(&self, uid: &str) {
        let now = Timestamp::now();
        self.act(|floor| {
            let mut named = floor.looked(uid, now);
            named.extend(floor.withdraw(uid, now));
            ((), named)
        });
    }

    /// A job as it is now. Names those that wait for it.
    fn put_job(&self, job: &MaybeJob) -> Vec<ObjectRef<MaybeJob>> {
        references(self.interests(|index| match &job.0 {
            Ok(job) => index.put(job),
            Err(unreadable) => {
                let meta = &unreadable.metadata;
                index.remove(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
            }
        }))
    }
}

/// Starts the watches. The stream names the CmdJobs to look at, and must be polled for the caches to be filled.
///
/// When a watch had to list everything anew, all CmdJobs are named, and only after the cache holds the new list: an object
/// that vanished in between has no event of its own.
pub fn watch(
    client: &Client,
    memory: Arc<Memory>,
) -> (Caches, impl Stream<Item = Result<ObjectRef<MaybeJob>, watcher::Error>> + Send + use<>) {
    let (jobs, jobs_writer) = reflector::store();
    let (named, more) = mpsc::unbounded_channel();
    let (fleets, fleets_writer) = reflector::store();
    let caches = Caches {
        jobs,
        fleets,
        stirred: watch::Sender::default(),
        floor: Arc::default(),
        interests: Arc::default(),
        filled: watch::Sender::default(),
        named,
    };
    let watches = stream::select_all([
        of_jobs(client, caches.clone(), memory, jobs_writer).boxed(),
        of_pods(client, caches.clone()).boxed(),
        of_strangers(client, caches.clone()).boxed(),
        of_nodes(client, caches.clone()).boxed(),
        of_fleets(client, caches.clone(), fleets_writer).boxed(),
    ]);
    let by_watches = watches.map_ok(|jobs| stream::iter(jobs).map(Ok)).try_flatten();
    let more = stream::unfold(more, async |mut more| more.recv().await.map(|job| (Ok(job), more)));
    (caches, stream::select(by_watches, more))
}

/// Jobs to look at, as a watch names them.
type Named = Result<Vec<ObjectRef<MaybeJob>>, watcher::Error>;

fn of_jobs(
    client: &Client,
    caches: Caches,
    memory: Arc<Memory>,
    writer: Writer<MaybeJob>,
) -> impl Stream<Item = Named> + Send + use<> {
    let mut new = Interests::default();
    watcher(Api::<MaybeJob>::all(client.clone()), watcher::Config::default())
        .backoff(Pause::default())
        .modify(slim_job)
        .reflect(writer)
        .map_ok(move |event| match event {
            Event::Apply(job) => {
                let mut all = caches.put_job(&job);
                all.push(ObjectRef::from_obj(&job));
                all
            }
            Event::Delete(job) => {
                let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
                memory.gone(&namespace, &name);
                if let Some(uid) = &job.meta().uid {
                    caches.forget(uid);
                }
                references(caches.interests(|index| index.remove(&namespace, &name)))
            }
            Event::Init => {
                new = Interests::default();
                Vec::new()
            }
            Event::InitApply(job) => {
                if let Ok(job) = &job.0 {
                    new.put(job);
                }
                Vec::new()
            }
            Event::InitDone => {
                caches.interests(|index| *index = std::mem::take(&mut new));
                caches.forget_others();
                caches.all()
            }
        })
}

/// The pods of CmdJobs.
fn of_pods(client: &Client, caches: Caches) -> impl Stream<Item = Named> + Send + use<> {
    let mut new = Pods::default();
    watcher(Api::<Pod>::all(client.clone()), watcher::Config::default().labels(labels::JOB))
        .backoff(Pause::default())
        .map_ok(move |event| match event {
            Event::Apply(pod) => references(caches.with(|floor| floor.put_pod(&pod, Timestamp::now()))),
            Event::Delete(pod) => references(caches.with(|floor| floor.remove_pod(&pod, Timestamp::now()))),
            Event::Init => {
                new = Pods::default();
                Vec::new()
            }
            Event::InitApply(pod) => {
                new.put(&pod);
                Vec::new()
            }
            Event::InitDone => {
                caches.with(|floor| floor.replace_pods(std::mem::take(&mut new)));
                caches.fill(|filled| filled.pods = true);
                caches.all()
            }
        })
}

/// All other pods that take up room on a vk-node. There is no way to ask for these alone, so that all pods of the cluster that
/// have a node are heard of, as a scheduler hears of them, and what is elsewhere is dropped at once.
fn of_strangers(client: &Client, caches: Caches) -> impl Stream<Item = Named> + Send + use<> {
    let mut new = Vec::<Pod>::new();
    let strangers = watcher::Config::default().labels(&format!("!{}", labels::JOB)).fields(OPEN);
    watcher(Api::<Pod>::all(client.clone()), strangers).backoff(Pause::default()).modify(slim_pod).map_ok(
        move |event| match event {
            Event::Apply(pod) if is_on_vk_node(&pod) => {
                references(caches.with(|floor| floor.put_stranger(&pod, Timestamp::now())))
            }
            Event::Delete(pod) if is_on_vk_node(&pod) => {
                references(caches.with(|floor| floor.remove_stranger(&pod.uid().unwrap_or_default(), Timestamp::now())))
            }
            Event::InitApply(pod) if is_on_vk_node(&pod) => {
                new.push(pod);
                Vec::new()
            }
            Event::Apply(_) | Event::Delete(_) | Event::InitApply(_) => Vec::new(),
            Event::Init => {
                new.clear();
                Vec::new()
            }
            Event::InitDone => {
                let all = std::mem::take(&mut new);
                let named = references(caches.with(|floor| floor.replace_strangers(&all, Timestamp::now())));
                caches.fill(|filled| filled.strangers = true);
                named
            }
        },
    )
}

fn of_nodes(client: &Client, caches: Caches) -> impl Stream<Item = Named> + Send + use<> {
    let selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
    let mut new = Nodes::default();
    watcher(Api::<Node>::all(client.clone()), watcher::Config::default().labels(&selector))
        .backoff(Pause::default())
        .map_ok(move |event| match event {
            Event::Apply(node) => caches.node(&node.name_any(), Some(NodeSeen::of(&node)), &node),
            Event::Delete(node) => caches.node(&node.name_any(), None, &node),
            Event::Init => {
                new.clear();
                Vec::new()
            }
            Event::InitApply(node) => {
                new.insert(node.name_any(), NodeSeen::of(&node));
                Vec::new()
            }
            Event::InitDone => {
                caches.with(|floor| floor.replace_nodes(std::mem::take(&mut new)));
                caches.fill(|filled| filled.nodes = true);
                caches.all()
            }
        })
}

/// The fleets. A cluster that does not know the kind yet has none.
fn of_fleets(client: &Client, caches: Caches, writer: Writer<MaybeFleet>) -> impl Stream<Item = Named> + Send + use<> {
    let known = caches.clone();
    watcher(Api::<MaybeFleet>::all(client.clone()), watcher::Config::default())
        .backoff(Pause::default())
        .modify(|fleet| fleet.meta_mut().managed_fields = None)
        .reflect(writer)
        .map_ok(move |event| match event {
            Event::Apply(_) | Event::Delete(_) | Event::InitDone => {
                let named = caches.read_fleets();
                caches.fill(|filled| filled.fleets = true);
                named
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        })
        .inspect_err(move |error| {
            if let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error
                && status.code == 404
            {
                known.fill(|filled| filled.fleets = true);
            }
        })
}

fn reference(owner: Owner) -> ObjectRef<MaybeJob> {
    ObjectRef::new(&owner.name).within(&owner.namespace)
}

fn references(owners: Vec<Owner>) -> Vec<ObjectRef<MaybeJob>> {
    owners.into_iter().map(reference).collect()
}

fn is_on_vk_node(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| node.starts_with(NODE_PREFIX))
}

/// Drops what nobody reads of a pod that is not ours.
fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.status = None;
}

/// Drops what nobody reads from a CmdJob in the cache.
fn slim_job(job: &mut MaybeJob) {
    let meta = job.meta_mut();
    meta.managed_fields = None;
    meta.annotations = meta.annotations.take().and_then(|all| {
        let read = [labels::TRACE_PARENT, labels::WARNING_SIGNAL];
        let kept: BTreeMap<_, _> = all.into_iter().filter(|(name, _)| read.contains(&name.as_str())).collect();
        (!kept.is_empty()).then_some(kept)
    });
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
