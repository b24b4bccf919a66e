//! What is there now, by watches.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube_runtime::WatchStreamExt as _;
use kube_runtime::reflector::{self, Lookup, Store};
use kube_runtime::watcher::{self, watcher};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use vk_api_client::chain;
use vk_cmd_crds::{CmdFleet, CmdJob, labels};

use crate::cluster::Cluster;

/// Objects of one kind, as they are now.
#[derive(Debug)]
pub(super) struct Seen<K: Lookup<DynamicType = ()> + 'static> {
    store: Store<K>,
    /// Why the API server is asked again, if it is.
    trouble: Arc<Mutex<Option<String>>>,
    task: AbortHandle,
}

impl<K: Lookup<DynamicType = ()> + 'static> Drop for Seen<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> Seen<K>
where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    /// Of each object, `trim` takes away what nobody here looks at.
    fn watch(api: Api<K>, config: watcher::Config, what: &'static str, trim: fn(&mut K)) -> Self {
        let (store, writer) = reflector::store();
        let trouble = Arc::new(Mutex::new(None));
        let told = Arc::clone(&trouble);
        let seen = watcher(api, config).default_backoff().modify(trim).reflect(writer);
        let task = tokio::spawn(seen.for_each(move |event| {
            let text = event.err().map(|error| format!("cannot watch {what}: {}", chain(&error)));
            *told.lock().unwrap_or_else(PoisonError::into_inner) = text;
            std::future::ready(())
        }));
        Self { store, trouble, task: task.abort_handle() }
    }

    /// All that are there.
    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// What they are not known for.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the first list, or for the word that there is none.
    pub(super) async fn first(&self) {
        let ready = self.store.wait_until_ready();
        let told = async {
            while self.trouble().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            // Both only look.
            _ = ready => {}
            () = told => {}
        }
    }
}

/// All that the page's tables are of.
#[derive(Debug)]
pub(super) struct World {
    pub(super) jobs: Seen<CmdJob>,
    pub(super) nodes: Seen<Node>,
    pub(super) fleets: Seen<CmdFleet>,
    /// Those that have not ended, wherever: they are what is used of the nodes.
    pub(super) pods: Seen<Pod>,
}

impl World {
    /// Begins to watch.
    pub(super) fn watch(cluster: &Cluster, all_namespaces: bool) -> Self {
        let client = &cluster.client;
        let jobs = if all_namespaces { Api::all(client.clone()) } else { cluster.jobs() };
        let ours = watcher::Config::default().labels(&format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE));
        let running = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        Self {
            jobs: Seen::watch(jobs, watcher::Config::default(), "CmdJobs", trim_job),
            nodes: Seen::watch(Api::all(client.clone()), ours, "nodes", trim_any),
            fleets: Seen::watch(Api::all(client.clone()), watcher::Config::default(), "fleets", trim_any),
            pods: Seen::watch(Api::all(client.clone()), running, "pods", trim_pod),
        }
    }
}

/// What no row is made of.
fn trim_any<K: kube::ResourceExt>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    // It has the whole object in it once more.
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// A job's story is told of what is asked for then: here its script, which may have half a megabyte, is only carried about.
fn trim_job(job: &mut CmdJob) {
    trim_any(job);
    let spec = &mut job.spec;
    (spec.script, spec.command, spec.args) = (None, None, None);
    (spec.env, spec.volumes, spec.volume_mounts) = Default::default();
}

fn trim_pod(pod: &mut Pod) {
    trim_any(pod);
    let Some(spec) = &mut pod.spec else { return };
    (spec.volumes, spec.tolerations, spec.affinity) = (None, None, None);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        (container.command, container.args, container.env, container.volume_mounts) = (None, None, None, None);
    }
}
