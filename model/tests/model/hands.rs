//! What an operator's look acts on here: the world in memory.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use vk_cmd_crds::{CmdJob, CmdJobStatus, labels};
use vk_operator_core::dependencies;
use vk_operator_core::effects::{At, Effects, Only, Refusal, ThisPod};
use vk_operator_core::events::Event;
use vk_operator_core::floor::Floor;
use vk_operator_core::memory::Memory;
use vk_operator_core::pods::Owner;

use crate::api::{Api, Key, Stop};
use crate::mutation::Mutation;
use crate::objects::{at, key, key_of, node_of};
use crate::operator::Operator;

/// What the operator's look acts on here.
pub(crate) struct Hands<'a> {
    pub(crate) operator: &'a mut Operator,
    pub(crate) api: &'a mut Api,
}

impl Effects for Hands<'_> {
    type Error = Stop;

    fn refusal(error: &Stop) -> Refusal {
        match error {
            Stop::Killed | Stop::ReplyLost => Refusal::Trouble,
            Stop::No(refusal) => *refusal,
        }
    }

    fn words(error: &Stop) -> String {
        format!("{error:?}")
    }

    fn now(&self) -> Timestamp {
        self.api.now
    }

    fn uptime(&self) -> Duration {
        Duration::try_from(self.api.now.duration_since(Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn dependency(&self, at: At<'_>) -> Option<dependencies::State> {
        let key = key(at);
        let job = self.operator.jobs.get(&key)?;
        Some(match self.operator.unreadable.contains(&key) {
            true => dependencies::State::default(),
            false => self.operator.mutation.of_dependency(dependencies::State::of(job)),
        })
    }

    fn has(&self, job: &CmdJob) -> bool {
        self.operator.jobs.contains_key(&key_of(&job.metadata))
    }

    fn floor<R>(&mut self, act: impl FnOnce(&mut Floor) -> (R, Vec<Owner>)) -> R {
        let (done, named) = act(&mut self.operator.floor);
        self.operator.desk.stir();
        if self.operator.mutation != Mutation::NobodyIsNamed {
            self.operator.named(named, self.api.now);
        }
        done
    }

    fn memory<R>(&mut self, act: impl FnOnce(&mut Memory) -> R) -> R {
        match self.operator.mutation {
            Mutation::PausesDoNotGrow => {
                let keys: Vec<Key> = self.operator.jobs.keys().cloned().collect();
                keys.iter().for_each(|key| self.operator.memory.succeeded(at(key)));
            }
            Mutation::AlwaysSure => {
                for (key, job) in &self.operator.jobs {
                    self.operator.memory.be_sure(at(key), job.metadata.uid.as_ref().unwrap());
                }
            }
            _ => {}
        }
        act(&mut self.operator.memory)
    }

    /// Nobody acts on what is told.
    fn tell(&mut self, _: At<'_>, _: &str, _: Event) {}

    async fn get_job(&mut self, at: At<'_>) -> Result<Option<ObjectMeta>, Stop> {
        Ok(self.api.job(at).map(|job| job.metadata.clone()))
    }

    async fn patch_job(&mut self, at: At<'_>, patch: &Value) -> Result<(), Stop> {
        let what = || format!("patch {}/{}: {}", at.namespace, at.name, patch["metadata"]);
        let mutation = self.operator.mutation;
        self.api.effect(what, |api| if mutation.drops(patch) { Ok(()) } else { api.patch_job(at, patch) })
    }

    async fn delete_job(&mut self, at: At<'_>, only: Only<'_>) -> Result<(), Stop> {
        let what = || format!("delete {}/{}", at.namespace, at.name);
        self.api.effect(what, |api| api.delete_job(at, Some(only.uid), only.version))
    }

    async fn write_status(
        &mut self,
        at: At<'_>,
        patch: &Value,
        _: Option<(&CmdJob, &CmdJobStatus)>,
    ) -> Result<Option<CmdJob>, Stop> {
        let patch = self.operator.mutation.of_status(patch, self.operator.incarnation, self.api.now);
        let what = || format!("write status of {}/{}: {}", at.namespace, at.name, patch["status"]);
        let answer = self.api.effect(what, |api| api.patch_status(at, &patch))?;
        let is_readable = !self.operator.unreadable.contains(&key(at));
        Ok(is_readable.then(|| CmdJob::clone(&answer)))
    }

    async fn create_pods(&mut self, pods: &[Pod]) -> Vec<Result<Pod, Stop>> {
        let create = |pod: &Pod| {
            let what = || format!("create pod {} for {}", pod.metadata.name.as_ref().unwrap(), node_of(pod).unwrap());
            let pod = self.operator.mutation.of_new_pod(pod);
            self.api.effect(what, |api| api.create_pod(&pod))
        };
        pods.iter().map(create).collect()
    }

    async fn get_pod(&mut self, at: At<'_>) -> Result<Option<Pod>, Stop> {
        Ok(self.api.pod(at).map(|pod| Pod::clone(pod)))
    }

    async fn list_pods(
        &mut self,
        namespace: &str,
        job_uid: &str,
        _: Option<&str>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), Stop> {
        let of_job = |pod: &&Arc<Pod>| {
            let label =
                |labels: &BTreeMap<String, String>| labels.get(labels::JOB_UID).is_some_and(|uid| uid == job_uid);
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.labels.as_ref().is_some_and(label)
        };
        Ok((self.api.pods.values().filter(of_job).map(|pod| pod.metadata.clone()).collect(), None))
    }

    async fn release_pods(&mut self, namespace: &str, pods: &[ThisPod<'_>]) -> Vec<Result<(), Stop>> {
        let release = |pod: &ThisPod<'_>| {
            let at = At { namespace, name: pod.name };
            self.api.effect(|| format!("release pod {}", pod.name), |api| api.release_pod(at, pod.uid))
        };
        pods.iter().map(release).collect()
    }

    async fn delete_pods(&mut self, namespace: &str, pods: &[ThisPod<'_>]) -> Vec<Result<(), Stop>> {
        let delete = |pod: &ThisPod<'_>| {
            let at = At { namespace, name: pod.name };
            self.api.effect(
                || format!("delete pod {}", pod.name),
                |api| {
                    let there = api.pod(at).and_then(|pod| pod.metadata.resource_version.as_deref()?.parse().ok());
                    if pod.version.is_some() && there.is_some() && there != pod.version {
                        return Err(Stop::No(Refusal::Conflict));
                    }
                    api.delete_pod(&key(at), pod.uid, None)
                },
            )
        };
        pods.iter().map(delete).collect()
    }
}

/// The effects of this world wait for nothing.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("an effect of the model waits"),
    }
}
