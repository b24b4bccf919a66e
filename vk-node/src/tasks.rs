//! The node's mirror of what the pipe knows: filled by the pipe's watch, asked by everything else here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use tokio::sync::watch;
use tracing::{info, warn};
use vk_node_core::admit::PodKey;
use vk_pipe::client::PipeClient;
use vk_task::{AskingNode, TaskId, TaskState, TaskView, WatchEvent};

/// How long to wait before a watch that ended is begun again. The pipe is on this host: asking is cheap.
const RECONNECT: Duration = Duration::from_millis(100);
/// How many changes may wait to be looked at; the pipe's watch waits when there are more.
const WAITING_CHANGES: usize = 1024;

/// Whether the mirror speaks for the pipe at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The pipe answers, and all it knows is here.
    Live,
    /// It does not: what is here is what it once said.
    Lost,
}

/// What has changed, for those who decide about pods.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Something about this pod's tasks.
    Pod(PodKey),
    /// The link has come back: everything is to be looked at.
    Everything,
}

/// The tasks of each pod, by its UID. In boxes, for a tree has room for eleven from the first on, and most pods have one.
type Pods = HashMap<String, BTreeMap<TaskId, Box<TaskView>>>;

/// The mirror.
pub(crate) struct Mirror {
    pods: Mutex<Pods>,
    link: watch::Sender<Link>,
    /// Who wants to know what changes, by the node that they are.
    members: Mutex<HashMap<String, mpsc::Sender<Change>>>,
}

impl Mirror {
    /// An empty mirror.
    pub(crate) fn new() -> Self {
        Self { pods: Mutex::default(), link: watch::Sender::new(Link::Lost), members: Mutex::default() }
    }

    /// What changes from now on among the tasks of this node's pods, and among those of which nobody knows whose they
    /// are. One stream for each node: the next takes the place of the one before.
    pub(crate) fn subscribe(&self, node: &str) -> mpsc::Receiver<Change> {
        let (sender, receiver) = mpsc::channel(WAITING_CHANGES);
        self.members.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), sender);
        receiver
    }

    /// Whether the mirror can be believed to be complete.
    pub(crate) fn is_live(&self) -> bool {
        *self.link.borrow() == Link::Live
    }

    /// The link's state, now and later.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// The tasks of the pod with this UID.
    pub(crate) fn of_pod(&self, uid: &str) -> Vec<TaskView> {
        self.lock().get(uid).into_iter().flat_map(|tasks| tasks.values().map(|task| TaskView::clone(task))).collect()
    }

    /// Whether this task of the pod with this UID runs, as far as is known.
    pub(crate) fn runs(&self, uid: &str, id: &TaskId) -> bool {
        let pods = self.lock();
        pods.get(uid)
            .and_then(|tasks| tasks.get(id))
            .is_some_and(|task| matches!(task.state, TaskState::Running { .. }))
    }

    /// All pods that have tasks, each with the node that it is bound to as far as that is known.
    pub(crate) fn pods(&self) -> Vec<(PodKey, Option<AskingNode>)> {
        let pods = self.lock();
        let all = pods.values().filter_map(|tasks| Some((key_of(tasks.values().next()?)?, node_of(tasks))));
        all.collect()
    }

    /// The pods that have tasks and are this node's, or nobody's as far as is known.
    pub(crate) fn pods_of(&self, node: &str) -> Vec<PodKey> {
        let is_its = |asking: &Option<AskingNode>| asking.as_ref().is_none_or(|asking| asking.name == node);
        self.pods().into_iter().filter(|(_, asking)| is_its(asking)).map(|(key, _)| key).collect()
    }

    /// Takes in what the pipe answered to a request, which may come before or after the watch tells the same.
    pub(crate) fn learn(&self, task: TaskView) {
        let Some(key) = key_of(&task) else { return };
        let mut pods = self.lock();
        let tasks = pods.entry(key.uid).or_default();
        match tasks.get(&task.id) {
            Some(known) if rank(&known.state) > rank(&task.state) => {}
            _ => {
                tasks.insert(task.id.clone(), Box::new(task));
            }
        }
    }

    /// Follows the pipe for ever.
    pub(crate) async fn follow(&self, pipe: &PipeClient) {
        loop {
            match pipe.watch().await {
                Ok(events) => {
                    let mut events = std::pin::pin!(events);
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => self.take(event).await,
                            Err(error) => {
                                warn!(%error, "the pipe's watch broke");
                                break;
                            }
                        }
                    }
                }
                Err(error) if self.is_live() => warn!(%error, "the pipe does not answer"),
                Err(_) => {}
            }
            self.link.send_if_modified(|link| std::mem::replace(link, Link::Lost) == Link::Live);
            tokio::time::sleep(RECONNECT).await;
        }
    }

    async fn take(&self, event: WatchEvent) {
        match event {
            WatchEvent::Snapshot { tasks } => {
                let mut pods = Pods::new();
                for task in tasks {
                    if let Some(key) = key_of(&task) {
                        pods.entry(key.uid).or_default().insert(task.id.clone(), Box::new(task));
                    }
                }
                *self.lock() = pods;
                if self.link.send_replace(Link::Live) == Link::Lost {
                    info!("the pipe's tasks are known");
                }
                self.tell(Change::Everything, None).await;
            }
            WatchEvent::Changed { task } => {
                let Some(key) = key_of(&task) else { return };
                self.learn(task);
                let node = self.lock().get(&key.uid).and_then(node_of);
                self.tell(Change::Pod(key), node.as_ref().map(|node| &*node.name)).await;
            }
            WatchEvent::Removed { id } => self.remove(&id),
        }
    }

    /// Drops what is known of a task whose records are gone.
    pub(crate) fn remove(&self, id: &TaskId) {
        self.lock().retain(|_, tasks| {
            tasks.remove(id);
            !tasks.is_empty()
        });
    }

    /// Tells `node`, or all where that is not known. Waits where many changes wait already: nothing is dropped, and
    /// nothing grows without bound.
    async fn tell(&self, change: Change, node: Option<&str>) {
        let receivers: Vec<mpsc::Sender<Change>> = {
            let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            match node {
                Some(node) => members.get(node).into_iter().cloned().collect(),
                None => members.values().cloned().collect(),
            }
        };
        for mut receiver in receivers {
            // One that is gone has been replaced, or its node has ended.
            let _ = futures::SinkExt::send(&mut receiver, change.clone()).await;
        }
    }

    /// A panic of another holder leaves the map whole: every change to it is a single insert or removal.
    fn lock(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// States only move forward: a late answer does not undo what the watch has told.
fn rank(state: &TaskState) -> u8 {
    match state {
        TaskState::Accepted { .. } => 0,
        TaskState::Running { .. } => 1,
        TaskState::Ended { .. } | TaskState::Unknown { .. } => 2,
    }
}

/// The node that a pod with these tasks is bound to, if one of them tells.
fn node_of(tasks: &BTreeMap<TaskId, Box<TaskView>>) -> Option<AskingNode> {
    tasks.values().find_map(|task| task.origin.run()?.node.clone())
}

/// The pod that a task belongs to; a line of the FIFO may belong to none.
pub(crate) fn key_of(task: &TaskView) -> Option<PodKey> {
    let run = task.origin.run()?;
    Some(PodKey { namespace: run.namespace.clone(), name: run.pod.clone(), uid: run.uid.clone() })
}
