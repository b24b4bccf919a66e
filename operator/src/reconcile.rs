//! One look at one CmdJob: validate, observe, plan, apply, report.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use tracing::warn;
use vk_cmd_crds::CmdJob;
use vk_operator_core::status::{self, Creation};
use vk_operator_core::{Invalid, Plan, plan, validate};

use crate::api::CallError;
use crate::apply::apply;
use crate::cache::{Caches, MaybeJob};
use crate::memory::Memory;
use crate::observe::observe;
use crate::report::{ReportError, report};

/// What every reconcile works with.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// What the watches have seen.
    pub caches: Caches,
    /// What is remembered.
    pub memory: Arc<Memory>,
}

/// Why a reconcile did not get to its end. It is made again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The watches have ended; the operator is about to do so, too.
    #[error("the watches have ended")]
    NoCaches,
    /// A look or a step failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The status could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The pod could not be made for now.
    #[error("the pod could not be made: {0}")]
    NotMade(String),
}

/// Looks at one CmdJob and does what there is to do.
pub async fn reconcile(job: Arc<MaybeJob>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let Context { client, caches, memory } = &*context;
    let cached = match &job.0 {
        Ok(cached) => cached,
        Err(unreadable) => {
            warn!(job = %job.name_any(), "cannot be read, and is left alone until it is changed: {unreadable}");
            return Ok(Action::await_change());
        }
    };
    if !caches.filled().await {
        return Err(ReconcileError::NoCaches);
    }
    let newer = memory.newer(cached);
    let job = newer.as_deref().unwrap_or(cached);
    let recorded = job.status.clone().unwrap_or_default();

    let valid = match validate(job) {
        Ok(valid) => valid,
        Err(problems) => return reject(client, memory, job, &problems).await,
    };
    let seen = observe(client, caches, &valid, &recorded).await?;
    let plan = plan(&valid, &recorded, &seen, Timestamp::now());
    let creation = apply(client, &valid, job.metadata.resource_version.as_deref(), &plan.steps).await?;
    let status = status::status(&valid, &recorded, &plan, &creation, Timestamp::now());
    report(client, memory, job, &status).await?;

    must_be_made(&creation, memory, job)?;
    Ok(next(&plan))
}

/// Says what is wrong with the CmdJob. It is looked at again when it has changed.
async fn reject(client: &Client, memory: &Memory, job: &CmdJob, problems: &Invalid) -> Result<Action, ReconcileError> {
    let recorded = job.status.clone().unwrap_or_default();
    let status = status::invalid(&recorded, job.metadata.generation, problems, Timestamp::now());
    report(client, memory, job, &status).await?;
    memory.succeeded(job);
    Ok(Action::await_change())
}

/// A pod that is refused now may be taken later (a quota, a policy, a name): that is tried again with growing pauses.
fn must_be_made(creation: &Creation, memory: &Memory, job: &CmdJob) -> Result<(), ReconcileError> {
    match creation {
        Creation::Refused(why) => Err(ReconcileError::NotMade(why.clone())),
        Creation::NameTaken(name) => Err(ReconcileError::NotMade(format!("the name {name} is taken"))),
        Creation::NotAsked | Creation::Made(_) | Creation::Rejected(_) => {
            memory.succeeded(job);
            Ok(())
        }
    }
}

/// When to look again though nothing has changed.
fn next(plan: &Plan) -> Action {
    match plan.look_again.map(std::time::Duration::try_from) {
        Some(Ok(pause)) => Action::requeue(pause),
        // A length of time that cannot be waited for is no time to look again at.
        Some(Err(_)) | None => Action::await_change(),
    }
}
