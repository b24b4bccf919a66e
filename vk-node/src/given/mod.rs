//! What pods are given besides what their own objects hold: volumes, what variables come from, and in-cluster credentials.
//!
//! ```text
//!   objects    watches of the ConfigMaps and Secrets that volumes come from
//!   tokens     those of a pod's ServiceAccount                              ──▶ volumes ──▶ the pipe writes them
//!   services   the Services of the cluster      ─┐
//!   sources    what only variables come from    ─┴─▶ the variables of a container that is to be started
//! ```
//!
//! What is made of it is decided in `vk-node-core`: `files`, `environment`, `services`, `tokens`.

mod objects;
mod services;
mod sources;
mod tokens;
mod volumes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::debug;
use vk_api_client::chain;
use vk_node_core::admit::{AdmittedContainer, AdmittedPod, PodKey};
use vk_node_core::command::{ConfigError, Given};
use vk_node_core::facts::NodeFacts;
use vk_node_core::trouble::Problem;
use vk_pipe::client::{ClientError, PipeClient};
use vk_task::{DirName, ErrorReason};

use self::objects::Objects;
use self::services::Services;
use self::volumes::{Keeper, State};
use crate::events::Events;
use crate::pods::{CallError, KeptPod};

/// How long a container that is to be started waits for its pod's volumes, before its pod says what it waits for. It is
/// looked at again as soon as they are there.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many pods whose volumes have changed their state may wait to be looked at.
const WAITING_NEWS: usize = 256;

/// What is watched for pods, once for all nodes that have one way to the API server: what one of them may see, all may.
pub(crate) struct Watches {
    objects: Objects,
    services: Services,
}

impl Watches {
    /// Watches nothing yet.
    pub(crate) fn new(client: Client) -> Self {
        Self { objects: Objects::new(client.clone()), services: Services::new(client) }
    }
}

/// What all pods of a node are given.
pub(crate) struct Provisions {
    shared: Arc<Shared>,
    pods: Mutex<HashMap<String, Kept>>,
}

/// Why it is not known what a container is given. It is asked for again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPrepared {
    #[error("cannot read what the container's environment comes from")]
    Call(#[from] CallError),
    #[error("the pipe does not tell what is in a volume")]
    Pipe(#[from] ClientError),
}

/// What the keepers of volumes share.
struct Shared {
    client: Client,
    pipe: PipeClient,
    node: NodeFacts,
    events: Events,
    watches: Arc<Watches>,
    /// The pods that are to be looked at because something has changed about their volumes.
    news: mpsc::Sender<PodKey>,
    /// What was last told of each pod's volumes that could not be renewed.
    told: Mutex<HashMap<String, String>>,
}

/// A pod whose volumes are kept. Dropping it leaves them as they are.
struct Kept {
    /// Which ones. A pod that is given an ephemeral container may need more of them.
    volumes: Vec<DirName>,
    pod: watch::Sender<Arc<KeptPod>>,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provisions {
    /// What nobody has asked for anything yet, and the pods that are to be looked at because something has changed about
    /// their volumes.
    pub(crate) fn new(
        client: Client,
        watches: Arc<Watches>,
        pipe: PipeClient,
        node: NodeFacts,
        events: Events,
    ) -> (Self, mpsc::Receiver<PodKey>) {
        let (news, changed) = mpsc::channel(WAITING_NEWS);
        let shared = Shared { watches, client, pipe, node, events, news, told: Mutex::default() };
        (Self { shared: shared.into(), pods: Mutex::default() }, changed)
    }

    /// Keeps the volumes of a pod as they should be from now on: a pod that has not come to its end. It is given as it is
    /// kept, and read.
    pub(crate) fn keep(&self, (kept, pod): (&Arc<KeptPod>, &Pod), admitted: &AdmittedPod) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return self.forget(&admitted.key.uid);
        }
        let Ok(uid) = DirName::new(&*admitted.key.uid) else { return };
        let volumes: Vec<DirName> = admitted.volumes.iter().map(|volume| volume.name.clone()).collect();
        let mut pods = self.lock();
        match pods.get(uid.as_str()) {
            _ if volumes.is_empty() => {}
            Some(known) if known.volumes == volumes => {
                known.pod.send_if_modified(|before| {
                    let is_news = before.labels() != kept.labels() || before.annotations() != kept.annotations();
                    // The newest one is kept all the same, for it is in memory anyway.
                    *before = kept.clone();
                    is_news
                });
            }
            _ => {
                let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
                let (pod, of_pod) = watch::channel(kept.clone());
                let (of_state, state) = watch::channel(State::Making);
                let key = (admitted.key.clone(), uid.clone(), account);
                let keeper = Keeper::new(self.shared.clone(), key, admitted.volumes.clone(), of_pod, of_state);
                let task = tokio::spawn(keeper.run()).abort_handle();
                pods.insert(uid.into(), Kept { volumes, pod, state, task });
            }
        }
    }

    /// Keeps the volumes of a pod no longer.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Removes what a pod has on the host, of which nothing runs any more.
    pub(crate) async fn remove(&self, uid: &str) -> Result<(), ClientError> {
        self.forget(uid);
        let Ok(name) = DirName::new(uid) else { return Ok(()) };
        match self.shared.pipe.remove_pod(&name).await {
            Err(ClientError::Refused(refusal)) if refusal.reason == ErrorReason::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// Removes what a pod has on the host whose object is gone. Where something of it still runs, that is done when it has
    /// ended; and what is missed altogether, because this process ends just now, the pipe removes some day.
    pub(crate) fn gone(self: &Arc<Self>, uid: &str) {
        let (this, uid) = (self.clone(), uid.to_owned());
        tokio::spawn(async move {
            if let Err(error) = this.remove(&uid).await {
                debug!(uid, "what the pod has on the host stays for now: {}", chain(&error));
            }
        });
    }

    /// What a container is given that is to be started now: its pod's volumes are there when this has answered.
    pub(crate) async fn prepare(
        &self,
        pod: &Pod,
        admitted: &AdmittedPod,
        container: &AdmittedContainer,
    ) -> Result<Result<Given, Problem>, NotPrepared> {
        if let Err(why) = self.await_volumes(&admitted.key.uid).await {
            return Ok(Err(Problem::Volumes(why)));
        }
        let namespace = &admitted.key.namespace;
        let sources = sources::read(&self.shared, namespace, container).await?;
        let files = match sources::files(&self.shared, &admitted.key.uid, container).await? {
            Ok(files) => files,
            Err(why) => return Ok(Err(Problem::Config(ConfigError::File(why)))),
        };
        // The API server sets it on every pod.
        let wants_services = pod.spec.as_ref().is_none_or(|spec| spec.enable_service_links != Some(false));
        let services = if wants_services { self.shared.watches.services.of(namespace).await } else { Some(vec![]) };
        Ok(services
            .map(|services| Given { sources, files, services })
            .ok_or(Problem::Config(ConfigError::ServicesUnread)))
    }

    async fn await_volumes(&self, uid: &str) -> Result<(), String> {
        // A pod that none are kept for has none.
        let Some(mut state) = self.lock().get(uid).map(|kept| kept.state.clone()) else { return Ok(()) };
        let made = tokio::time::timeout(PATIENCE, state.wait_for(|state| *state != State::Making)).await;
        match made.map(|state| state.map(|state| state.clone())) {
            Ok(Ok(State::Made)) => Ok(()),
            Ok(Ok(State::Failing(why))) => Err(why),
            Ok(Ok(State::Making)) | Ok(Err(_)) | Err(_) => Err("the pod's volumes are being made".to_owned()),
        }
    }

    /// A panic of another holder leaves the map whole: every change to it is one insertion or removal.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether this is not what was last told of the pod.
    fn tell_once(&self, uid: &str, message: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(uid.to_owned(), message.to_owned()).as_deref() != Some(message)
    }
}
