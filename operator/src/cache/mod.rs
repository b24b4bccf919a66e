//! The caches: CmdJobs, their pods and the vk-nodes, each kept current by a watch, each change pointing at the CmdJobs that
//! may have something to do now.

mod watches;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use vk_cmd_crds::{CmdFleet, CmdJob};
use vk_operator_core::fleet::Fleets;
use vk_operator_core::floor::Floor;
use vk_operator_core::interests::Interests;
use vk_operator_core::pilots::{Known, PilotSeen};
use vk_operator_core::place::NodeSeen;
use vk_operator_core::pods::Owner;

use self::watches::Writers;
use crate::memory::Memory;

/// A CmdJob, or the metadata of one that cannot be read: such an object must not stop the others.
pub type MaybeJob = DeserializeGuard<CmdJob>;
/// The same of a CmdFleet.
pub type MaybeFleet = DeserializeGuard<CmdFleet>;

/// What the watches have seen.
#[derive(Clone)]
pub struct Caches {
    /// All CmdJobs.
    pub jobs: Store<MaybeJob>,
    /// All CmdFleets.
    pub fleets: Store<MaybeFleet>,
    /// The vk-nodes, as far as [`crate::nodes`] looks at them.
    pub nodes: Store<Node>,
    /// Those of them that have changed and were not looked at since.
    changed: watch::Sender<BTreeSet<String>>,
    /// Told of each change of the floor, of a fleet or of a pilot.
    stirred: watch::Sender<()>,
    /// The CmdJobs that are pilots.
    pilots: Arc<Mutex<Known>>,
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
    /// Empty ones, what fills them, and the jobs that they name.
    fn new() -> (Self, Writers, mpsc::UnboundedReceiver<ObjectRef<MaybeJob>>) {
        let (jobs, jobs_writer) = reflector::store();
        let (fleets, fleets_writer) = reflector::store();
        let (nodes, nodes_writer) = reflector::store();
        let (named, more) = mpsc::unbounded_channel();
        let this = Self {
            jobs,
            fleets,
            nodes,
            changed: watch::Sender::default(),
            stirred: watch::Sender::default(),
            pilots: Arc::default(),
            floor: Arc::default(),
            interests: Arc::default(),
            filled: watch::Sender::default(),
            named,
        };
        (this, Writers { jobs: jobs_writer, fleets: fleets_writer, nodes: nodes_writer }, more)
    }

    /// Those of a cluster with nothing but these CmdJobs, in a test.
    #[cfg(test)]
    pub(crate) fn with_jobs(jobs: Vec<MaybeJob>) -> Self {
        let (caches, mut writers, _) = Self::new();
        let events = jobs.into_iter().map(watcher::Event::InitApply);
        let events = std::iter::once(watcher::Event::Init).chain(events).chain([watcher::Event::InitDone]);
        events.for_each(|event| writers.jobs.apply_watcher_event(&event));
        caches.fill(|filled| *filled = Filled { pods: true, strangers: true, nodes: true, fleets: true });
        caches
    }

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

    /// The pilots of the fleet of this UID in a namespace.
    pub fn pilots_of(&self, fleet: &str, namespace: &str) -> Vec<PilotSeen> {
        self.pilots(|known| known.of(fleet, namespace))
    }

    fn pilots<R>(&self, act: impl FnOnce(&mut Known) -> R) -> R {
        act(&mut self.pilots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The vk-nodes as they change, beginning with all that are there. It is for one listener.
    pub fn changed_nodes(&self) -> impl Stream<Item = ObjectRef<Node>> + Send + use<> {
        let changed = self.changed.clone();
        let mut heard = changed.subscribe();
        heard.mark_changed();
        let next = stream::unfold((changed, heard), async |(changed, mut heard)| {
            heard.changed().await.ok()?;
            let mut names = BTreeSet::new();
            changed.send_if_modified(|all| {
                names = std::mem::take(all);
                // Nobody is to be told that they were taken.
                false
            });
            Some((names, (changed, heard)))
        });
        next.flat_map(|names| stream::iter(names.into_iter().map(|name| ObjectRef::new(&name))))
    }

    /// Tells of each change of the floor, of a fleet or of a pilot.
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

    /// What the watch has told of a Node: it is to be looked at, unless it is gone.
    fn node_changed(&self, event: &watcher::Event<Node>) {
        match event {
            watcher::Event::Apply(node) => {
                self.changed.send_if_modified(|all| all.insert(node.name_any()));
            }
            watcher::Event::Delete(node) => {
                self.changed.send_if_modified(|all| all.remove(&node.name_any()));
            }
            // What is gone has no event of its own.
            watcher::Event::InitDone => {
                let names = self.nodes.state().iter().map(|node| node.name_any()).collect();
                self.changed.send_replace(names);
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
        }
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
        let is_news = self.pilots(|known| match &job.0 {
            Ok(job) => known.put(job),
            Err(_) => known.remove(&job.namespace().unwrap_or_default(), &job.name_any()),
        });
        if is_news {
            self.stir();
        }
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
    let (caches, writers, more) = Caches::new();
    let watches = watches::all(client, &caches, memory, writers);
    let by_watches = watches.map_ok(|jobs| stream::iter(jobs).map(Ok)).try_flatten();
    let more = stream::unfold(more, async |mut more| more.recv().await.map(|job| (Ok(job), more)));
    (caches, stream::select(by_watches, more))
}

fn reference(owner: Owner) -> ObjectRef<MaybeJob> {
    ObjectRef::new(&owner.name).within(&owner.namespace)
}

fn references(owners: Vec<Owner>) -> Vec<ObjectRef<MaybeJob>> {
    owners.into_iter().map(reference).collect()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use kube::api::ObjectMeta;

    use super::*;

    #[tokio::test]
    async fn nodes_that_have_changed_are_named_once_and_not_when_they_are_gone() {
        let caches = Caches::with_jobs(Vec::new());
        let node = |name: &str| Node {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Node::default()
        };
        let events = [watcher::Event::Apply(node("vk-a")), watcher::Event::Apply(node("vk-b"))];
        events.iter().chain(&events).for_each(|event| caches.node_changed(event));
        caches.node_changed(&watcher::Event::Delete(node("vk-b")));
        let mut changed = pin!(caches.changed_nodes());
        assert_eq!(changed.next().await.unwrap().name, "vk-a");
        assert!(changed.next().now_or_never().is_none());
        caches.node_changed(&events[1]);
        assert_eq!(changed.next().await.unwrap().name, "vk-b");
        assert!(changed.next().now_or_never().is_none());
    }
}
