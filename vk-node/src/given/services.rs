//! The Services of the cluster, for the variables that containers are told of them by. One watch for all pods, begun when
//! the first one needs it; of each Service only what its variables tell is kept. (By the API nothing less can be watched:
//! the Node authorizer knows no Services of one namespace.)

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1 as api;
use kube::{Api, Client, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tracing::warn;
use vk_api_client::chain;
use vk_node_core::services::Service;

/// How long a container that is to be started waits for the first list.
const PATIENCE: Duration = Duration::from_secs(3);

/// The Services of the cluster.
pub(super) struct Services {
    client: Client,
    known: OnceLock<watch::Receiver<bool>>,
    all: Arc<Mutex<ByNamespace>>,
}

/// Those that have variables, by namespace and name.
type ByNamespace = HashMap<String, BTreeMap<String, Service>>;

impl Services {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: OnceLock::new(), all: Arc::default() }
    }

    /// The Services of a namespace; `None` while they have never been read.
    pub(super) async fn of(&self, namespace: &str) -> Option<Vec<Service>> {
        let mut known = self.known.get_or_init(|| self.begin()).clone();
        match tokio::time::timeout(PATIENCE, known.wait_for(|known| *known)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return None,
        }
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        Some(all.get(namespace).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }

    fn begin(&self) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(follow(Api::all(self.client.clone()), self.all.clone(), sender));
        receiver
    }
}

/// Follows them for as long as the process lives.
async fn follow(api: Api<api::Service>, all: Arc<Mutex<ByNamespace>>, known: watch::Sender<bool>) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut listed = ByNamespace::new();
    let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(service)) => put(&mut listed, &service),
            Ok(Event::InitDone) => {
                *lock() = std::mem::take(&mut listed);
                known.send_replace(true);
            }
            Ok(Event::Apply(service)) => put(&mut lock(), &service),
            Ok(Event::Delete(service)) => take(&mut lock(), &service),
            Err(error) => warn!("watching services: {}; trying again", chain(&error)),
        }
    }
}

fn put(all: &mut ByNamespace, service: &api::Service) {
    match Service::of(service) {
        Some(told) => {
            all.entry(service.namespace().unwrap_or_default()).or_default().insert(told.name.clone(), told);
        }
        None => take(all, service),
    }
}

fn take(all: &mut ByNamespace, service: &api::Service) {
    let namespace = service.namespace().unwrap_or_default();
    if let Some(of_namespace) = all.get_mut(&namespace) {
        of_namespace.remove(&service.name_any());
        if of_namespace.is_empty() {
            all.remove(&namespace);
        }
    }
}
