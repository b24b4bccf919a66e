//! What is measured: the objects of each contestant, and the few things that one does with them.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use vk_cmd_crds::{CmdJob, labels};

use super::fake_nodes;
use super::sightings::{Mark, Sightings, Staged};
use crate::wait::{self, Probe};

/// A node that does not exist.
const NOBODY: &str = "nobody";
const CLEAN_LIMIT: Duration = Duration::from_secs(120);
const GLANCE: Duration = Duration::from_millis(100);

/// Who runs (or pretends to run) what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Contestant {
    /// A pod on a vk-node.
    #[serde(rename = "vk-cmd, pod")]
    OurPod,
    /// A CmdJob, by the operator and the same vk-node.
    #[serde(rename = "vk-cmd, CmdJob")]
    CmdJob,
    /// A pod on a node that kwok fakes: nothing is run.
    #[serde(rename = "kwok, pod")]
    FakePod,
    /// A batch/v1 Job, by the job controller with its default settings, and kwok's fake node.
    #[serde(rename = "kwok, batch/v1 Job")]
    FakeJob,
    /// A pod bound to a node that does not exist: what creating one takes by itself.
    #[serde(rename = "nobody, pod")]
    NobodysPod,
}

impl Contestant {
    /// What it is called in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OurPod => "vk-cmd, pod",
            Self::CmdJob => "vk-cmd, CmdJob",
            Self::FakePod => "kwok, pod",
            Self::FakeJob => "kwok, batch/v1 Job",
            Self::NobodysPod => "nobody, pod",
        }
    }

    /// For the names of its objects.
    fn prefix(self) -> &'static str {
        match self {
            Self::OurPod => "pod",
            Self::CmdJob => "cmdjob",
            Self::FakePod => "fake-pod",
            Self::FakeJob => "fake-job",
            Self::NobodysPod => "nobodys-pod",
        }
    }

    /// Whether there is a process, whose end can be timed.
    pub(super) fn runs_something(self) -> bool {
        matches!(self, Self::OurPod | Self::CmdJob)
    }

    /// The name of its `number`th object in `series`.
    pub(super) fn object_name(self, series: &str, number: usize) -> String {
        format!("{}-{series}-{number}", self.prefix())
    }
}

/// A namespace, watched, and the node of ours that its objects go to.
pub(super) struct Room {
    pods: (Api<Pod>, Sightings),
    cmdjobs: (Api<CmdJob>, Sightings),
    jobs: (Api<Job>, Sightings),
    node: String,
}

impl Room {
    pub(super) fn new(client: &Client, namespace: &str, node: &str) -> Self {
        Self {
            pods: watched(client, namespace),
            cmdjobs: watched(client, namespace),
            jobs: watched(client, namespace),
            node: node.to_owned(),
        }
    }

    /// Creates an object that runs `command`, where anything is run. Returns when that was asked for.
    pub(super) async fn create(&self, who: Contestant, name: &str, command: &[String]) -> Result<SystemTime> {
        match who {
            Contestant::OurPod => create(&self.pods.0, pod(name, self.our_place(), command)).await,
            Contestant::FakePod => create(&self.pods.0, pod(name, fake_nodes::PLACE, command)).await,
            Contestant::CmdJob => create(&self.cmdjobs.0, cmdjob(name, &self.node, command)).await,
            Contestant::FakeJob => create(&self.jobs.0, job(name, command)).await,
            Contestant::NobodysPod => self.create_bound(who, name, command).await,
        }
    }

    /// Creates a pod of this contestant that is bound to its node from the beginning: no scheduler has a part in it.
    pub(super) async fn create_bound(&self, who: Contestant, name: &str, command: &[String]) -> Result<SystemTime> {
        let node = match who {
            Contestant::OurPod | Contestant::CmdJob => &self.node,
            Contestant::FakePod | Contestant::FakeJob => fake_nodes::PLACE.node,
            Contestant::NobodysPod => NOBODY,
        };
        create(&self.pods.0, bound_pod(name, node, command)).await
    }

    fn our_place(&self) -> Place<'_> {
        Place { node: &self.node, taint: labels::TAINT_KEY }
    }

    /// When the watch told that the object had come so far.
    pub(super) async fn seen(&self, who: Contestant, name: &str, mark: Mark) -> Result<SystemTime> {
        match who {
            Contestant::OurPod | Contestant::FakePod | Contestant::NobodysPod => self.pods.1.wait(name, mark).await,
            Contestant::CmdJob => self.cmdjobs.1.wait(name, mark).await,
            Contestant::FakeJob => self.jobs.1.wait(name, mark).await,
        }
    }

    /// Waits until so many pods have been seen there, in all.
    pub(super) async fn pods_seen(&self, count: usize, mark: Mark) -> Result<()> {
        self.pods.1.wait_for(count, mark).await
    }

    /// Deletes everything in the namespace, and waits until it is gone.
    pub(super) async fn clear(&self) -> Result<()> {
        let kindly = DeleteParams::background();
        clear(&self.cmdjobs.0, &kindly).await?;
        clear(&self.jobs.0, &kindly).await?;
        clear(&self.pods.0, &kindly).await
    }

    /// The same for pods that nobody runs: no node says that they are gone.
    pub(super) async fn clear_nobodys(&self) -> Result<()> {
        clear(&self.pods.0, &DeleteParams::background().grace_period(0)).await
    }
}

fn watched<K: Staged + Resourceful>(client: &Client, namespace: &str) -> (Api<K>, Sightings) {
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let sightings = Sightings::of(api.clone());
    (api, sightings)
}

/// A resource that lives in namespaces.
pub(super) trait Resourceful: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> {}
impl<K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>> Resourceful for K {}

async fn create<K: Staged + Serialize>(api: &Api<K>, object: Value) -> Result<SystemTime> {
    let object: K = typed(object)?;
    let begin = SystemTime::now();
    api.create(&PostParams::default(), &object).await.context("cannot create an object to measure")?;
    Ok(begin)
}

async fn clear<K: Staged>(api: &Api<K>, how: &DeleteParams) -> Result<()> {
    let all = ListParams::default();
    api.delete_collection(how, &all).await.context("cannot clear up")?;
    wait::until("what was measured to be gone", CLEAN_LIMIT, GLANCE, async || {
        let left = api.list_metadata(&all).await?.items.len();
        Ok(if left == 0 { Probe::Ready(()) } else { Probe::not_yet(format!("{left} objects are left")) })
    })
    .await
}

pub(super) fn typed<K: DeserializeOwned>(object: Value) -> Result<K> {
    serde_json::from_value(object).context("an object of the benchmark is not as its type is")
}

/// Where a pod is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a str,
    /// The key of the taint that keeps other pods away.
    pub(super) taint: &'a str,
}

fn pod(name: &str, place: Place<'_>, command: &[String]) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(place, command)})
}

fn bound_pod(name: &str, node: &str, command: &[String]) -> Value {
    let containers = json!([{"name": labels::MAIN_CONTAINER, "image": labels::HOST_IMAGE, "command": command}]);
    let spec = json!({"nodeName": node, "restartPolicy": "Never", "containers": containers});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn pod_spec(place: Place<'_>, command: &[String]) -> Value {
    json!({
        "nodeSelector": {labels::HOSTNAME: place.node},
        "tolerations": [{"key": place.taint, "operator": "Exists"}],
        "restartPolicy": "Never",
        "containers": [{"name": labels::MAIN_CONTAINER, "image": labels::HOST_IMAGE, "command": command}],
    })
}

pub(super) fn cmdjob(name: &str, node: &str, command: &[String]) -> Value {
    json!({
        "apiVersion": format!("{}/{}", labels::GROUP, labels::VERSION), "kind": "CmdJob", "metadata": {"name": name},
        "spec": {"target": {"node": node}, "command": command},
    })
}

pub(super) fn job(name: &str, command: &[String]) -> Value {
    let template = json!({"spec": pod_spec(fake_nodes::PLACE, command)});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    })
}
