//! The pods of this node: a controller that reconciles each of them whenever it, one of its tasks, or time has moved.

mod act;
mod cleared;
mod durations;
mod evictions;
mod hooks;
mod kept;
mod memory;
mod orphans;
mod reconcile;
mod rejections;
mod status_writes;

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt, future, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt};
use kube_runtime::controller::{self, Controller};
use kube_runtime::reflector::{self, ObjectRef, Store};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tracing::{debug, warn};
use vk_api_client::chain;
use vk_node_core::admit::PodKey;
use vk_node_core::facts::NodeFacts;
use vk_node_core::meant;
use vk_node_core::trouble;
use vk_pipe::client::PipeClient;
use vk_record::clock::Clock;
use vk_task::TaskView;

pub(crate) use self::durations::Durations;
pub(crate) use self::evictions::Evictions;
pub(crate) use self::kept::{KeptPod, Unreadable};
use self::memory::{Door, Memory, Remembered};
use self::orphans::Orphans;
pub(crate) use self::rejections::Rejections;
pub(crate) use self::status_writes::StatusWrites;
use crate::ending::OwnEnd;
use crate::events::Events;
use crate::given::{Provisions, Watches};
use crate::probes::Prober;
use crate::tasks::{Change, Mirror};

/// How many proofs of deletion may wait to be acted on.
const WAITING_PROOFS: usize = 1024;

/// How many hooks that are done may wait to be looked at; those that are done later wait.
const WAITING_HOOKS: usize = 256;

/// What the parts of this module share.
pub(crate) struct Context {
    client: Client,
    /// The node's pods, of the API server.
    pods: Store<KeptPod>,
    pipe: PipeClient,
    mirror: Arc<Mirror>,
    node: NodeFacts,
    /// What the node can run now: new pods are admitted by it.
    can_run: CanRun,
    memory: Memory,
    status_writes: StatusWrites,
    evictions: Evictions,
    durations: Durations,
    events: Events,
    prober: Prober,
    /// Has a pod looked at.
    wake: mpsc::Sender<PodKey>,
    provisions: Arc<Provisions>,
    /// The UIDs of the node's own Node object, and of those that it replaces in this very cluster.
    lineage: Vec<String>,
    clock: Arc<Clock>,
    /// When the node ends.
    end: OwnEnd,
    refusal: watch::Sender<Option<String>>,
}

/// The facts about a node with what its pipe says now.
pub(crate) type CanRun = Box<dyn Fn(&NodeFacts) -> NodeFacts + Send + Sync>;

/// The node, as far as its pods are concerned.
pub(crate) struct Itself {
    pub(crate) facts: NodeFacts,
    /// What it can run now: new pods are admitted by it.
    pub(crate) can_run: CanRun,
    /// The UIDs of its own Node object, and of those that it replaces in this very cluster.
    pub(crate) lineage: Vec<String>,
    /// When it ends.
    pub(crate) end: OwnEnd,
}

/// The pods that are to be looked at because something of theirs has been done beside the controller.
pub(crate) struct News {
    /// A hook.
    hooks: mpsc::Receiver<PodKey>,
    /// Their volumes have changed their state.
    volumes: mpsc::Receiver<PodKey>,
}

impl Context {
    pub(crate) fn new(
        (client, watches, pods): (Client, Arc<Watches>, Store<KeptPod>),
        pipe: PipeClient,
        mirror: Arc<Mirror>,
        itself: Itself,
        events: Events,
        prober: Prober,
        clock: Arc<Clock>,
    ) -> (Self, News) {
        let Itself { facts: node, can_run, lineage, end } = itself;
        let (wake, hooks) = mpsc::channel(WAITING_HOOKS);
        let (provisions, volumes) =
            Provisions::new(client.clone(), watches, pipe.clone(), node.clone(), events.clone());
        let context = Self {
            client,
            pods,
            pipe,
            mirror,
            node,
            can_run,
            memory: Memory::default(),
            status_writes: StatusWrites::default(),
            evictions: Evictions::default(),
            durations: Durations::default(),
            events,
            prober,
            wake,
            provisions: provisions.into(),
            lineage,
            clock,
            end,
            refusal: watch::Sender::default(),
        };
        (context, News { hooks, volumes })
    }

    /// How many statuses have been written.
    pub(crate) fn status_writes(&self) -> StatusWrites {
        self.status_writes.clone()
    }

    /// How long pods took to start, and looks at them.
    pub(crate) fn durations(&self) -> Durations {
        self.durations.clone()
    }

    /// How many pods have been evicted.
    pub(crate) fn evictions(&self) -> Evictions {
        self.evictions.clone()
    }

    /// How many pods have been refused.
    pub(crate) fn rejections(&self) -> Rejections {
        self.memory.rejections()
    }

    /// Why the API server does not let the node see its pods, if it does not, now and later.
    pub(crate) fn refusal(&self) -> watch::Receiver<Option<String>> {
        self.refusal.subscribe()
    }

    /// Notes what the watch of the pods has come to. An API server that does not answer refuses nothing.
    fn note_refusal(&self, event: &watcher::Result<watcher::Event<KeptPod>>) {
        let now = match event {
            Ok(_) => None,
            Err(
                watcher::Error::InitialListFailed(kube::Error::Api(status))
                | watcher::Error::WatchStartFailed(kube::Error::Api(status)),
            ) if matches!(status.code, 401 | 403) => Some(status.message.clone()),
            Err(_) => return,
        };
        self.refusal.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
    }

    /// What is remembered of a pod: see [`Memory::recall`].
    fn recall(&self, pod: &Pod, is_meant: bool) -> Result<Option<(Remembered, Pod)>, Unreadable> {
        let door = Door {
            pods: &|| self.pods.state(),
            tasks: &|uid| self.mirror.of_pod(uid),
            node: &|| (self.can_run)(&self.node),
            end: &|| self.end.facts(),
            now: &|| self.clock.now().wall,
            is_meant,
        };
        self.memory.recall(pod, &door)
    }

    /// Whether a pod is meant for this node. As the kubelet does, the API server is asked before a pod is refused for the
    /// labels that the node has: it may have been given one a moment ago.
    async fn is_meant(&self, pod: &Pod) -> Result<bool, CallError> {
        let Some(spec) = pod.spec.as_ref().filter(|_| self.memory.is_in_doubt(pod, &self.node)) else {
            return Ok(true);
        };
        let node = call(Api::<Node>::all(self.client.clone()).get_metadata(&self.node.name)).await?;
        Ok(meant::is_meant(spec, &self.node.name, node.labels()))
    }

    /// Forgets a pod that is gone.
    fn forget(&self, uid: &str) {
        self.memory.forget(uid);
        self.prober.forget(uid);
        self.provisions.gone(uid);
    }

    /// Has the probes of the pod made that are wanted now.
    fn look_at_probes(&self, pod: &Pod, remembered: &Remembered, tasks: &[TaskView]) {
        if let Ok(admitted) = &remembered.admitted {
            self.prober.look(pod, admitted, tasks);
        }
    }
}

/// The node's pods as the API server last told of them.
pub(crate) fn store() -> (Store<KeptPod>, reflector::store::Writer<KeptPod>) {
    reflector::store()
}

/// Runs the controller, the care for orphans and the look at what pods use, for ever.
pub(crate) async fn run(
    context: Arc<Context>,
    (store, writer): (Store<KeptPod>, reflector::store::Writer<KeptPod>),
    changes: mpsc::Receiver<Change>,
    verdicts: mpsc::Receiver<PodKey>,
    news: News,
) {
    let made = volumes_made(&context, news.volumes);
    let (deleted, deletions) = mpsc::channel(WAITING_PROOFS);
    let pods = watch(&context, writer, deleted);
    let (again_all, all) = mpsc::channel(1);
    // What is to become of all of them changes with the end of the node.
    let all = stream::select(all, context.end.changes());
    let evictions = evictions::run(context.clone());
    let orphans = Orphans::new(context.clone(), store.clone());
    let changed = route(changes, again_all, orphans.clone());
    let controller = Controller::for_stream(pods, store)
        .with_config(controller::Config::default().concurrency(0))
        .reconcile_on(changed)
        .reconcile_on(stream::select(verdicts, news.hooks).map(|key| ObjectRef::new(&key.name).within(&key.namespace)))
        .reconcile_on(made)
        .reconcile_all_on(all)
        .run(reconcile::reconcile, reconcile::on_error, context)
        .for_each(|result| {
            match result {
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(controller::Error::ReconcilerFailed(error, pod)) => {
                    warn!(pod = %pod, "{}", chain(&error));
                }
                Err(error) => warn!("watching pods: {}; trying again", chain(&error)),
            }
            future::ready(())
        });
    future::join3(controller, orphans.run(deletions), evictions).await;
}

/// The pods bound to this node. A deletion that the watch tells of is the proof that orphans wait for.
fn watch(
    context: &Arc<Context>,
    writer: reflector::store::Writer<KeptPod>,
    deleted: mpsc::Sender<String>,
) -> impl Stream<Item = watcher::Result<KeptPod>> + Send + 'static {
    let api: Api<KeptPod> = Api::all(context.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", context.node.name));
    let context = context.clone();
    watcher(api, config)
        .default_backoff()
        .reflect(writer)
        .then(move |event| {
            let (mut deleted, context) = (deleted.clone(), context.clone());
            async move {
                if let Ok(watcher::Event::Delete(pod)) = &event {
                    let uid = pod.uid().unwrap_or_default();
                    debug!(pod = %ObjectRef::from_obj(pod), uid, "deleted");
                    context.forget(&uid);
                    // The receiver lives as long as the controller.
                    let _ = futures::SinkExt::send(&mut deleted, uid).await;
                }
                // A watch that was interrupted does not tell of each that has gone meanwhile.
                if let Ok(watcher::Event::InitDone) = &event {
                    let there = context.pods.state().iter().filter_map(|pod| pod.uid()).collect();
                    context.memory.others_than(&there).iter().for_each(|uid| context.forget(uid));
                }
                context.note_refusal(&event);
                event
            }
        })
        .applied_objects()
}

/// The pods whose volumes have been made, or cannot be for another reason than before: whatever waits for them is tried again
/// at once.
fn volumes_made(
    context: &Arc<Context>,
    news: mpsc::Receiver<PodKey>,
) -> impl Stream<Item = ObjectRef<KeptPod>> + Send + 'static {
    let context = context.clone();
    news.map(move |key| {
        context
            .memory
            .change(&key.uid, |entry| entry.troubles.retain(|_, trouble| trouble.reason != trouble::CREATING));
        ObjectRef::new(&key.name).within(&key.namespace)
    })
}

/// Turns what changed among the tasks into the pods to look at.
fn route(
    changes: mpsc::Receiver<Change>,
    again_all: mpsc::Sender<()>,
    orphans: Orphans,
) -> impl Stream<Item = ObjectRef<KeptPod>> + Send + 'static {
    changes.filter_map(move |change| {
        let (mut again_all, orphans) = (again_all.clone(), orphans.clone());
        async move {
            match change {
                Change::Pod(key) => {
                    orphans.look(&key);
                    Some(ObjectRef::new(&key.name).within(&key.namespace))
                }
                Change::Everything => {
                    orphans.look_at_all();
                    // Full means that a look at everything is due already.
                    let _ = again_all.try_send(());
                    None
                }
            }
        }
    })
}

/// The longest that one request to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A request with a limit on its time.
pub(crate) async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CallError::Failed(Box::new(error))),
        Err(_) => Err(CallError::TimedOut),
    }
}

/// Why a request to the API server has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the request to the API server failed")]
    Failed(#[source] Box<kube::Error>),
    #[error("the API server took more than {} s to answer", CALL_TIMEOUT.as_secs())]
    TimedOut,
}

impl CallError {
    /// The HTTP status of a refusal.
    fn code(&self) -> Option<u16> {
        if let Self::Failed(error) = self
            && let kube::Error::Api(status) = error.as_ref()
        {
            return Some(status.code);
        }
        None
    }
}
