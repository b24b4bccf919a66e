//! What the operator does to the world, one call each: the walls between what decides and what acts. [`mod@crate::look`] says in which
//! order. In the operator each is a call to the API server; in the model (`model/`) a change of a world in memory.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use vk_cmd_crds::{CmdJob, CmdJobStatus};

use crate::dependencies;
use crate::events::Event;
use crate::floor::Floor;
use crate::memory::Memory;
use crate::pods::Owner;

/// An object by its namespace and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl<'a> At<'a> {
    /// Where the object with this metadata is.
    pub fn of(metadata: &'a ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: metadata.name.as_deref().unwrap_or_default(),
        }
    }
}

/// Which object is to be deleted: no other of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only<'a> {
    /// Its UID.
    pub uid: &'a str,
    /// Its resource version, where it must not have changed either.
    pub version: Option<&'a str>,
}

/// A pod: no other of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThisPod<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its resource version, where it must not have changed either.
    pub version: Option<u64>,
}

/// Why the API server has not done what it was asked, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The object, or its namespace, is not there.
    NotFound,
    /// The object is another one, or another version, than was said.
    Conflict,
    /// The name is taken.
    AlreadyExists,
    /// It may not be now: a quota, a policy, a right that is lacking, a webhook that does not answer.
    Forbidden,
    /// Its namespace enforces a Pod Security Standard, and the pod is not held to that.
    PodSecurity,
    /// It can never be as it is, unless a policy changes.
    Malformed,
    /// It has not answered, or cannot now: nobody knows whether it was done.
    Trouble,
}

/// What the operator has and does while it looks at one CmdJob.
pub trait Effects: Send {
    /// Why a call went wrong.
    type Error: Send;

    /// The same in one word.
    fn refusal(error: &Self::Error) -> Refusal;
    /// The same in the API server's words.
    fn words(error: &Self::Error) -> String;

    /// The time.
    fn now(&self) -> Timestamp;
    /// The time since the operator was started, by a clock that nobody can set.
    fn uptime(&self) -> Duration;

    /// A CmdJob of the cache, for those that wait for it.
    fn dependency(&self, at: At<'_>) -> Option<dependencies::State>;
    /// Whether a CmdJob is in the cache.
    fn has(&self, job: &CmdJob) -> bool;
    /// Does something on the floor, and has the jobs looked at that are named.
    fn floor<R>(&mut self, act: impl FnOnce(&mut Floor) -> (R, Vec<Owner>)) -> R;
    /// Does something in the memory.
    fn memory<R>(&mut self, act: impl FnOnce(&mut Memory) -> R) -> R;

    /// The metadata of a CmdJob, by the API server's own word.
    fn get_job(&mut self, at: At<'_>) -> impl Future<Output = Result<Option<ObjectMeta>, Self::Error>> + Send;
    /// Something to tell people of a CmdJob. It takes no time and cannot fail.
    fn tell(&mut self, job: At<'_>, uid: &str, event: Event);
    /// A merge patch of a CmdJob's metadata.
    fn patch_job(&mut self, at: At<'_>, patch: &Value) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Deletes a CmdJob.
    fn delete_job(&mut self, at: At<'_>, only: Only<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// A merge patch of the status of a CmdJob; what it was made from, and for. The object after it, unless that cannot be read.
    fn write_status(
        &mut self,
        at: At<'_>,
        patch: &Value,
        change: Option<(&CmdJob, &CmdJobStatus)>,
    ) -> impl Future<Output = Result<Option<CmdJob>, Self::Error>> + Send;

    /// Makes pods, side by side, and says of each in this order what has become of it.
    fn create_pods(&mut self, pods: &[Pod]) -> impl Future<Output = Vec<Result<Pod, Self::Error>>> + Send;
    /// A pod, by the API server's own word.
    fn get_pod(&mut self, at: At<'_>) -> impl Future<Output = Result<Option<Pod>, Self::Error>> + Send;
    /// A part of the metadata of all pods with the label of this job, by the API server's own word, and where the next part
    /// begins.
    fn list_pods(
        &mut self,
        namespace: &str,
        job_uid: &str,
        from: Option<&str>,
    ) -> impl Future<Output = Result<(Vec<ObjectMeta>, Option<String>), Self::Error>> + Send;
    /// Takes our finalizer from pods, side by side, and says of each in this order what has become of it. Finalizers of others stay.
    fn release_pods(
        &mut self,
        namespace: &str,
        pods: &[ThisPod<'_>],
    ) -> impl Future<Output = Vec<Result<(), Self::Error>>> + Send;
    /// Deletes pods, side by side, each with its own grace, and says of each in this order what has become of it.
    fn delete_pods(
        &mut self,
        namespace: &str,
        pods: &[ThisPod<'_>],
    ) -> impl Future<Output = Vec<Result<(), Self::Error>>> + Send;
}
