//! Does what was decided: one call to the API server for each effect, without a choice of its own.

use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, Preconditions};
use kube::core::Status;
use serde_json::Value;
use vk_cmd_crds::{CmdJob, CmdJobStatus, labels};
use vk_operator_core::dependencies::State;
use vk_operator_core::effects::{At, Effects, Only, Refusal, ThisPod};
use vk_operator_core::events::Event;
use vk_operator_core::floor::Floor;
use vk_operator_core::memory::Memory;
use vk_operator_core::patch;
use vk_operator_core::pods::Owner;

use crate::api::{CallError, call, patch_params, post_params};
use crate::cache::MaybeJob;
use crate::reconcile::Context;

/// What the admission plugin PodSecurity says of a pod that it refuses; there is no code for it. From `pod-security-admission`.
const BELOW_STANDARD: &str = "violates PodSecurity \"";
/// How many pods are asked for at a time.
const PAGE: u32 = 500;
/// How many pods of one job are made side by side.
const SIDE_BY_SIDE: usize = 16;

/// Acts on the API server, the caches and the memory.
pub struct Hands<'a>(pub &'a Context);

impl Hands<'_> {
    fn jobs(&self, at: At<'_>) -> Api<CmdJob> {
        Api::namespaced(self.0.client.clone(), at.namespace)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.0.client.clone(), namespace)
    }
}

impl Effects for Hands<'_> {
    type Error = CallError;

    fn refusal(error: &CallError) -> Refusal {
        match error.status() {
            Some(status) if status.is_already_exists() => Refusal::AlreadyExists,
            Some(status) if status.is_not_found() || status.code == 404 => Refusal::NotFound,
            Some(status) if status.is_conflict() => Refusal::Conflict,
            Some(Status { code: 400 | 413 | 422, .. }) => Refusal::Malformed,
            Some(status) if status.code == 403 && status.message.contains(BELOW_STANDARD) => Refusal::PodSecurity,
            // 500: somebody whom it asks does not answer (a webhook).
            Some(Status { code: 403 | 500, .. }) => Refusal::Forbidden,
            Some(_) | None => Refusal::Trouble,
        }
    }

    fn words(error: &CallError) -> String {
        error.status().map_or_else(|| error.to_string(), |status| status.message.clone())
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        self.0.memory.age()
    }

    fn dependency(&self, at: At<'_>) -> Option<State> {
        let cached = self.0.caches.job(at.namespace, at.name)?;
        // One that cannot be read is not finished.
        Some(cached.0.as_ref().map_or_else(|_| State::default(), State::of))
    }

    fn has(&self, job: &CmdJob) -> bool {
        self.0.caches.has(job)
    }

    fn floor<R>(&mut self, act: impl FnOnce(&mut Floor) -> (R, Vec<Owner>)) -> R {
        self.0.caches.act(act)
    }

    fn memory<R>(&mut self, act: impl FnOnce(&mut Memory) -> R) -> R {
        self.0.memory.with(act)
    }

    fn tell(&mut self, job: At<'_>, uid: &str, event: Event) {
        self.0.events.tell(job, uid, event);
    }

    async fn get_job(&mut self, at: At<'_>) -> Result<Option<ObjectMeta>, CallError> {
        let found = call("get a CmdJob", self.jobs(at).get_metadata_opt(at.name)).await?;
        Ok(found.map(|job| job.metadata))
    }

    async fn patch_job(&mut self, at: At<'_>, patch: &Value) -> Result<(), CallError> {
        let (jobs, params, patch) = (self.jobs(at), patch_params(), Patch::Merge(patch));
        call("change the finalizers of a CmdJob", jobs.patch_metadata(at.name, &params, &patch)).await.map(drop)
    }

    async fn delete_job(&mut self, at: At<'_>, only: Only<'_>) -> Result<(), CallError> {
        let params = DeleteParams::background().preconditions(preconditions(only));
        call("delete a CmdJob whose time is over", self.jobs(at).delete(at.name, &params)).await.map(drop)
    }

    async fn write_status(
        &mut self,
        at: At<'_>,
        patch: &Value,
        change: Option<(&CmdJob, &CmdJobStatus)>,
    ) -> Result<Option<CmdJob>, CallError> {
        let jobs: Api<MaybeJob> = Api::namespaced(self.0.client.clone(), at.namespace);
        let (params, patch) = (patch_params(), Patch::Merge(patch));
        let answer = call("write the status of a CmdJob", jobs.patch_status(at.name, &params, &patch)).await?.0.ok();
        if let Some((job, written)) = change.filter(|_| answer.is_some()) {
            self.0.metrics.status_written(job, written, Timestamp::now());
        }
        Ok(answer)
    }

    async fn create_pods(&mut self, pods: &[Pod]) -> Vec<Result<Pod, CallError>> {
        let params = post_params();
        let create = async |pod: &Pod| {
            let there = self.pods(pod.metadata.namespace.as_deref().unwrap_or_default());
            call("create a pod", there.create(&params, pod)).await
        };
        let answers = side_by_side(pods.iter().map(create).collect()).await;
        self.0.metrics.pods_made(answers.iter().flatten().count());
        answers
    }

    async fn get_pod(&mut self, at: At<'_>) -> Result<Option<Pod>, CallError> {
        call("get a pod", self.pods(at.namespace).get_opt(at.name)).await
    }

    async fn list_pods(
        &mut self,
        namespace: &str,
        job_uid: &str,
        from: Option<&str>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), CallError> {
        let mut page = ListParams::default().labels(&format!("{}={job_uid}", labels::JOB_UID)).limit(PAGE);
        page.continue_token = from.map(str::to_owned);
        let list = call("list the pods of a CmdJob", self.pods(namespace).list_metadata(&page)).await?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok((list.items.into_iter().map(|pod| pod.metadata).collect(), next))
    }

    async fn release_pods(&mut self, namespace: &str, pods: &[ThisPod<'_>]) -> Vec<Result<(), CallError>> {
        let (there, params) = (self.pods(namespace), patch_params());
        let release = async |pod: &ThisPod<'_>| {
            let patch = Patch::Strategic(patch::release_pod(pod.uid));
            call("let a pod go", there.patch_metadata(pod.name, &params, &patch)).await.map(drop)
        };
        side_by_side(pods.iter().map(release).collect()).await
    }

    async fn delete_pods(&mut self, namespace: &str, pods: &[ThisPod<'_>]) -> Vec<Result<(), CallError>> {
        let there = self.pods(namespace);
        let delete = async |pod: &ThisPod<'_>| {
            let version = pod.version.map(|version| version.to_string());
            let only = Only { uid: pod.uid, version: version.as_deref() };
            let params = DeleteParams::default().preconditions(preconditions(only));
            call("delete a pod", there.delete(pod.name, &params)).await.map(drop)
        };
        side_by_side(pods.iter().map(delete).collect()).await
    }
}

/// What they come to, in their order.
async fn side_by_side<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    stream::iter(all).buffered(SIDE_BY_SIDE).collect().await
}

fn preconditions(only: Only<'_>) -> Preconditions {
    Preconditions { uid: Some(only.uid.to_owned()), resource_version: only.version.map(str::to_owned) }
}
