//! The watches that keep the caches current, each of which names the jobs to look at after a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::SelectAll;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use vk_cmd_crds::labels;
use vk_cmd_crds::names::NODE_PREFIX;
use vk_operator_core::backoff;
use vk_operator_core::interests::Interests;
use vk_operator_core::pilots::Known;
use vk_operator_core::place::{NodeSeen, Nodes};
use vk_operator_core::pods::Pods;

use super::{Caches, MaybeFleet, MaybeJob, references};
use crate::memory::Memory;

/// Pods that take up room on a node.
const OPEN: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// Where the watches write what they hear.
pub(super) struct Writers {
    pub(super) jobs: Writer<MaybeJob>,
    pub(super) fleets: Writer<MaybeFleet>,
    pub(super) nodes: Writer<Node>,
}

/// Jobs to look at, as a watch names them.
type Named = Result<Vec<ObjectRef<MaybeJob>>, watcher::Error>;

/// All of them.
pub(super) fn all(
    client: &Client,
    caches: &Caches,
    memory: Arc<Memory>,
    writers: Writers,
) -> SelectAll<stream::BoxStream<'static, Named>> {
    let Writers { jobs, fleets, nodes } = writers;
    stream::select_all([
        of_jobs(client, caches.clone(), memory, jobs).boxed(),
        of_pods(client, caches.clone()).boxed(),
        of_strangers(client, caches.clone()).boxed(),
        of_nodes(client, caches.clone(), nodes).boxed(),
        of_fleets(client, caches.clone(), fleets).boxed(),
    ])
}

fn of_jobs(
    client: &Client,
    caches: Caches,
    memory: Arc<Memory>,
    writer: Writer<MaybeJob>,
) -> impl Stream<Item = Named> + Send + use<> {
    let mut new = (Interests::default(), Known::default());
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
                if caches.pilots(|known| known.remove(&namespace, &name)) {
                    caches.stir();
                }
                references(caches.interests(|index| index.remove(&namespace, &name)))
            }
            Event::Init => {
                new = Default::default();
                Vec::new()
            }
            Event::InitApply(job) => {
                let (interests, known) = &mut new;
                if let Ok(job) = &job.0 {
                    interests.put(job);
                    known.put(job);
                }
                Vec::new()
            }
            Event::InitDone => {
                let (interests, pilots) = std::mem::take(&mut new);
                caches.interests(|index| *index = interests);
                caches.pilots(|known| *known = pilots);
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

/// The vk-nodes: for placing, and as far as [`crate::nodes`] looks at them.
fn of_nodes(client: &Client, caches: Caches, mut writer: Writer<Node>) -> impl Stream<Item = Named> + Send + use<> {
    let selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
    let mut new = Nodes::default();
    watcher(Api::<Node>::all(client.clone()), watcher::Config::default().labels(&selector))
        .backoff(Pause::default())
        .map_ok(move |mut event| {
            let named = match &event {
                Event::Apply(node) => caches.node(&node.name_any(), Some(NodeSeen::of(node)), node),
                Event::Delete(node) => caches.node(&node.name_any(), None, node),
                Event::Init => {
                    new.clear();
                    Vec::new()
                }
                Event::InitApply(node) => {
                    new.insert(node.name_any(), NodeSeen::of(node));
                    Vec::new()
                }
                Event::InitDone => {
                    caches.with(|floor| floor.replace_nodes(std::mem::take(&mut new)));
                    caches.fill(|filled| filled.nodes = true);
                    caches.all()
                }
            };
            if let Event::Apply(node) | Event::InitApply(node) = &mut event {
                slim_node(node);
            }
            writer.apply_watcher_event(&event);
            caches.node_changed(&event);
            named
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

fn is_on_vk_node(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| node.starts_with(NODE_PREFIX))
}

/// Drops what nobody reads of a pod that is not ours.
fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.status = None;
}

/// Drops what is not looked at when it is decided what becomes of a Node object.
fn slim_node(node: &mut Node) {
    node.metadata.managed_fields = None;
    node.metadata.labels = None;
    if let Some(status) = &mut node.status {
        *status = NodeStatus { conditions: status.conditions.take(), ..NodeStatus::default() };
    }
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
