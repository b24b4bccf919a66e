//! The operator: what decides is the real code, from the first effect of a look to the last (`vk_operator_core::look`). What
//! acts is here the world in memory.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use vk_cmd_crds::{CmdJob, CmdJobStatus, labels};
use vk_operator_core::dependencies;
use vk_operator_core::effects::{At, Effects, Only};
use vk_operator_core::floor::Floor;
use vk_operator_core::look::{Failed, Found, Why, look, stray};
use vk_operator_core::memory::Memory;
use vk_operator_core::place::Nodes;
use vk_operator_core::pods::Owner;

use crate::api::{Api, Stop};
use crate::script::Kind;

/// What the operator holds in memory.
#[derive(Default)]
pub(crate) struct Operator {
    jobs: BTreeMap<String, CmdJob>,
    pods: BTreeMap<String, Pod>,
    floor: Floor,
    memory: Memory,
}

impl Operator {
    /// One that has just been started: its caches are filled before it acts.
    pub(crate) fn new(api: &Api, nodes: &Nodes) -> Self {
        let mut operator = Self::default();
        for kind in [Kind::Jobs, Kind::Pods, Kind::Nodes] {
            operator.hears(kind, api, nodes);
        }
        operator.floor.settle(|| operator.jobs.values().filter_map(|job| job.metadata.uid.clone()).collect());
        operator
    }

    /// A cache catches up.
    pub(crate) fn hears(&mut self, kind: Kind, api: &Api, nodes: &Nodes) {
        let now = api.now;
        match kind {
            Kind::Jobs => {
                for gone in self.jobs.values().filter(|job| is_gone(job, api)) {
                    let uid = gone.metadata.uid.as_deref().unwrap();
                    self.floor.looked(uid, now);
                    self.floor.withdraw(uid, now);
                    self.memory.gone(At { namespace: "lab", name: gone.metadata.name.as_deref().unwrap() });
                }
                self.jobs = api.jobs.clone();
            }
            Kind::Pods => {
                // Beside those of the cache there are those that it has made itself: they are in the floor only.
                let known: Vec<String> = self.floor.pods().iter().map(|(_, pod)| pod.uid.clone()).collect();
                let is_known = |pod: &&Pod| known.contains(pod.metadata.uid.as_ref().unwrap());
                for (name, pod) in self.pods.iter().filter(|(_, pod)| is_known(pod)) {
                    if api.pods.get(name).is_none_or(|now| now.metadata.uid != pod.metadata.uid) {
                        self.floor.remove_pod(pod, now);
                    }
                }
                for pod in api.pods.values() {
                    self.floor.put_pod(pod, now);
                }
                self.pods = api.pods.clone();
            }
            Kind::Nodes => {
                let gone: Vec<_> =
                    self.floor.nodes().keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
                for name in gone {
                    self.floor.put_node(&name, None, now);
                }
                for (name, node) in nodes {
                    self.floor.put_node(name, Some(node.clone()), now);
                }
            }
        }
    }

    /// One look at one CmdJob.
    pub(crate) fn look(&mut self, name: &str, api: &mut Api) -> Result<(), Stop> {
        let Some(job) = self.jobs.get(name).cloned() else { return Ok(()) };
        match at_once(look(Found::Job(&job), &mut Hands { operator: self, api })) {
            Err(Failed { why: Why::Call(stop), .. }) => Err(stop),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Lets pods go whose CmdJob is gone.
    pub(crate) fn strays(&mut self, api: &mut Api) -> Result<(), Stop> {
        let known = |owner: &Owner| self.jobs.values().any(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
        for (owner, pod) in self.floor.pods().strays(known) {
            at_once(stray(&owner, &pod, &mut Hands { operator: self, api }))?;
        }
        Ok(())
    }
}

/// What the operator's look acts on here.
struct Hands<'a> {
    operator: &'a mut Operator,
    api: &'a mut Api,
}

impl Effects for Hands<'_> {
    type Error = Stop;

    fn now(&self) -> Timestamp {
        self.api.now
    }

    fn uptime(&self) -> Duration {
        Duration::try_from(self.api.now.duration_since(Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn dependency(&self, at: At<'_>) -> Option<dependencies::State> {
        self.operator.jobs.get(at.name).map(dependencies::State::of)
    }

    fn has(&self, job: &CmdJob) -> bool {
        self.operator.jobs.contains_key(job.metadata.name.as_ref().unwrap())
    }

    fn floor<R>(&mut self, act: impl FnOnce(&mut Floor) -> (R, Vec<Owner>)) -> R {
        act(&mut self.operator.floor).0
    }

    fn memory<R>(&mut self, act: impl FnOnce(&mut Memory) -> R) -> R {
        act(&mut self.operator.memory)
    }

    async fn get_job(&mut self, at: At<'_>) -> Result<Option<ObjectMeta>, Stop> {
        Ok(self.api.jobs.get(at.name).map(|job| job.metadata.clone()))
    }

    async fn patch_job(&mut self, at: At<'_>, patch: &Value) -> Result<(), Stop> {
        let what = format!("change {}: {}", at.name, patch["metadata"]["finalizers"]);
        self.api.effect(&what, |api| api.patch_job(at.name, patch).map(drop))
    }

    async fn delete_job(&mut self, at: At<'_>, only: Only<'_>) -> Result<(), Stop> {
        self.api.effect(&format!("delete {}", at.name), |api| api.delete_job(at.name, Some(only.uid), only.version))
    }

    async fn write_status(
        &mut self,
        at: At<'_>,
        patch: &Value,
        _: Option<(&CmdJob, &CmdJobStatus)>,
    ) -> Result<Option<CmdJob>, Stop> {
        let what = format!("write status of {}: {}", at.name, patch["status"]);
        self.api.effect(&what, |api| api.patch_job(at.name, patch)).map(Some)
    }

    async fn create_pods(&mut self, pods: &[Pod]) -> Vec<Result<Pod, Stop>> {
        let create = |pod: &Pod| {
            let node = pod.spec.as_ref().unwrap().node_name.as_ref().unwrap();
            let what = format!("create pod {} for {node}", pod.metadata.name.as_ref().unwrap());
            self.api.effect(&what, |api| api.create_pod(pod))
        };
        pods.iter().map(create).collect()
    }

    async fn get_pod(&mut self, at: At<'_>) -> Result<Option<Pod>, Stop> {
        Ok(self.api.pods.get(at.name).cloned())
    }

    async fn list_pods(
        &mut self,
        _: &str,
        job_uid: &str,
        _: Option<&str>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), Stop> {
        let of_job = |pod: &&Pod| pod.metadata.labels.as_ref().unwrap()[labels::JOB_UID] == job_uid;
        Ok((self.api.pods.values().filter(of_job).map(|pod| pod.metadata.clone()).collect(), None))
    }

    async fn get_pod_metadata(&mut self, at: At<'_>) -> Result<Option<ObjectMeta>, Stop> {
        Ok(self.api.pods.get(at.name).map(|pod| pod.metadata.clone()))
    }

    async fn patch_pod(&mut self, at: At<'_>, patch: &Value) -> Result<(), Stop> {
        self.api.effect(&format!("release pod {}", at.name), |api| api.patch_pod(at.name, patch))
    }

    async fn delete_pod(&mut self, at: At<'_>, only: Only<'_>) -> Result<(), Stop> {
        self.api.effect(&format!("delete pod {}", at.name), |api| {
            api.delete_pod(at.name, only.uid, None);
            Ok(())
        })
    }
}

/// The effects of this world wait for nothing.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("an effect of the model waits"),
    }
}

fn is_gone(job: &CmdJob, api: &Api) -> bool {
    api.jobs.values().all(|there| there.metadata.uid != job.metadata.uid)
}
