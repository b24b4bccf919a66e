//! Tasks whose pod is no more: somebody deleted it by force, or while this node was away.
//!
//! That the watch does not know a pod is no proof that it is gone. Proof is a deletion that the watch told of, or a
//! list of this node's pods, read from the store of the API server itself and not from a cache, without that UID. The
//! latter speaks only about tasks that were started for the very Node object that the list is asked for: a node that
//! was pointed at another cluster must not end what it ran for the first one, and of several nodes that share a pipe none
//! judges what another has started. No clock has a say in it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use kube_runtime::reflector::{ObjectRef, Store};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use vk_api_client::chain;
use vk_node_core::admit::PodKey;
use vk_task::{AskingNode, StopRequest, TaskView};

use super::act::{ActError, forget};
use super::{CallError, Context, KeptPod, call};

/// How often tasks without a pod are looked for, besides each time that something hints at one.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon a look that failed is repeated.
const RETRY: Duration = Duration::from_secs(2);
/// The time between `SIGTERM` and `SIGKILL` for the processes of a pod that was deleted by force: the kubelet's
/// shortest.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

/// The care for tasks without a pod.
#[derive(Clone)]
pub(super) struct Orphans {
    context: Arc<Context>,
    store: Store<KeptPod>,
    hint: Arc<Notify>,
}

impl Orphans {
    pub(super) fn new(context: Arc<Context>, store: Store<KeptPod>) -> Self {
        Self { context, store, hint: Arc::default() }
    }

    /// A task of this pod has changed: there may be something to do if the pod is not there.
    pub(super) fn look(&self, key: &PodKey) {
        if !self.knows(key) {
            self.hint.notify_one();
        }
    }

    /// The pipe is back.
    pub(super) fn look_at_all(&self) {
        self.hint.notify_one();
    }

    /// Runs for ever.
    pub(super) async fn run(self, mut deletions: mpsc::Receiver<String>) {
        let mut proven: HashSet<String> = HashSet::new();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.store.wait_until_ready().await.is_err() {
            return;
        }
        loop {
            // Cancel-safe: each arm waits for something that stays where it is until it is taken.
            tokio::select! {
                deleted = deletions.next() => match deleted {
                    Some(uid) => { proven.insert(uid); }
                    None => return,
                },
                () = self.hint.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.sweep(&mut proven).await {
                warn!("cannot look after tasks without a pod: {}; trying again", chain(&error));
                tokio::time::sleep(RETRY).await;
                self.hint.notify_one();
            }
        }
    }

    async fn sweep(&self, proven: &mut HashSet<String>) -> Result<(), ActError> {
        if !self.context.mirror.is_live() {
            return Ok(());
        }
        let unknown = self.context.mirror.pods().into_iter().filter(|(key, _)| !self.knows(key));
        let unknown: Vec<(PodKey, Option<AskingNode>)> = unknown.collect();
        proven.retain(|uid| unknown.iter().any(|(key, _)| key.uid == *uid));
        let is_suspect = |(key, node): &&(PodKey, Option<AskingNode>)| {
            let is_ours = node
                .as_ref()
                .is_some_and(|node| node.name == self.context.node.name && self.context.lineage.contains(&node.uid));
            is_ours && !proven.contains(&key.uid)
        };
        let suspects: Vec<&PodKey> = unknown.iter().filter(is_suspect).map(|(key, _)| key).collect();
        if !suspects.is_empty() {
            let alive = alive(&self.context.client, &self.context.node.name).await.map_err(ActError::List)?;
            proven.extend(suspects.iter().map(|key| key.uid.clone()).filter(|uid| !alive.contains(uid)));
        }
        for (key, _) in unknown.iter().filter(|(key, _)| proven.contains(&key.uid)) {
            for task in self.context.mirror.of_pod(&key.uid) {
                self.end(key, &task).await?;
            }
            if self.context.mirror.of_pod(&key.uid).is_empty() {
                self.context.provisions.remove(&key.uid).await?;
            }
        }
        Ok(())
    }

    async fn end(&self, key: &PodKey, task: &TaskView) -> Result<(), ActError> {
        if task.state.is_final() {
            return forget(&task.id, &self.context).await;
        }
        if task.stop.is_none() {
            info!(pod = %key, task = %task.id, "its pod object is gone: stopping it");
            let request = StopRequest { kill_at: Timestamp::now() + GRACE, reason: "the pod was deleted".into() };
            self.context.mirror.learn(self.context.pipe.stop(&task.id, &request).await?);
        }
        Ok(())
    }

    fn knows(&self, key: &PodKey) -> bool {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.store.get(&reference).is_some_and(|pod| pod.uid().as_deref() == Some(&key.uid))
    }
}

/// The UIDs of the pods that are bound to the node, by a list without a resource version: the API server answers it
/// from what is agreed on at that moment.
async fn alive(client: &Client, node: &str) -> Result<HashSet<String>, CallError> {
    let api: Api<Pod> = Api::all(client.clone());
    let list = call(api.list_metadata(&ListParams::default().fields(&format!("spec.nodeName={node}")))).await?;
    Ok(list.items.iter().filter_map(ResourceExt::uid).collect())
}
