//! One look at one CmdJob: validate, observe, plan, apply, report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use tracing::warn;
use vk_cmd_crds::CmdJob;
use vk_operator_core::floor::Placed;
use vk_operator_core::status::{self, Outcome};
use vk_operator_core::{Invalid, Plan, Start, ValidJob, patch, plan, validate};

use crate::api::CallError;
use crate::apply;
use crate::cache::{Caches, MaybeJob};
use crate::memory::Memory;
use crate::metrics::{Metrics, Outcome as Measured};
use crate::observe::observe;
use crate::report::{ReportError, report, report_unreadable};

/// How long a change of the status waits for the next one, if it only tells how far the work is.
const SOFT: Duration = Duration::from_millis(500);
/// The same where the job comes into another state: people wait for that. What ends sooner than this is told of in one write.
const SOFT_STATE: Duration = Duration::from_millis(100);

/// What every reconcile works with.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// What the watches have seen.
    pub caches: Caches,
    /// What is remembered.
    pub memory: Arc<Memory>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
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

impl ReconcileError {
    /// Whether the object has changed while it was looked at. That happens, and is made good by the next look.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Call(error) | Self::Report(ReportError::Call(error)) => error.is_conflict(),
            Self::NoCaches | Self::NotMade(_) | Self::Report(ReportError::Json(_)) => false,
        }
    }
}

/// Looks at one CmdJob and does what there is to do.
pub async fn reconcile(job: Arc<MaybeJob>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let caches = &context.caches;
    if !caches.filled().await {
        return Err(ReconcileError::NoCaches);
    }
    caches.settle();
    let begun = context.metrics.begin();
    let done = look(&job, &context).await;
    context.metrics.end(
        begun,
        match &done {
            Ok(action) if *action == Action::await_change() => Measured::Success,
            Ok(_) => Measured::RequeueAfter,
            Err(_) => Measured::Error,
        },
    );
    if let Some(uid) = &job.meta().uid {
        caches.act(|floor| ((), floor.looked(uid, Timestamp::now())));
    }
    done
}

async fn look(job: &MaybeJob, context: &Context) -> Result<Action, ReconcileError> {
    let Context { client, caches, memory, metrics: _ } = context;
    let cached = match &job.0 {
        Ok(cached) => cached,
        Err(unreadable) => {
            caches.withdraw(unreadable.metadata.uid.as_deref());
            report_unreadable(client, unreadable).await?;
            warn!(job = %job.name_any(), "cannot be read, and is left alone until it is changed: {unreadable}");
            return Ok(Action::await_change());
        }
    };
    let newer = memory.newer(cached);
    let job = newer.as_deref().unwrap_or(cached);
    let recorded = job.status.clone().unwrap_or_default();

    if job.spec.managed_by.is_some() {
        // Somebody else's to run, status and all.
        caches.withdraw(job.metadata.uid.as_deref());
        return Ok(Action::await_change());
    }
    let valid = match validate(job) {
        Ok(valid) => valid,
        Err(problems) => return reject(context, job, &problems).await,
    };
    let seen = observe(caches, &valid);
    let plan = plan(&valid, &recorded, &seen, Timestamp::now());
    apply::steps(client, &valid, job.metadata.resource_version.as_deref(), &plan.steps).await?;
    let Some(placed) = placed(caches, &valid, &plan) else {
        // It is named again when the other jobs have been looked at, too.
        return Ok(Action::await_change());
    };
    let outcomes = apply::starts(client, caches, &valid, &placed).await?;
    context.metrics.pods_made(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Made(_))).count());
    let status = status::status(&valid, &recorded, &plan, &outcomes, Timestamp::now());
    let wait = match patch::is_urgent(&recorded, &status) || status == recorded {
        true => None,
        false => {
            let length = if recorded.state == status.state { SOFT } else { SOFT_STATE };
            length.checked_sub(memory.unwritten(job)).filter(|wait| !wait.is_zero())
        }
    };
    if wait.is_none() {
        let written = report(client, job, &status).await?;
        if written.is_some() {
            context.metrics.status_written(&recorded, &status, Timestamp::now());
        }
        remember(context, written);
        memory.written(job);
    }

    must_be_made(&outcomes, context, job)?;
    Ok(next(&plan, wait))
}

/// Finds a node for each start, as far as it is the job's turn. None: it is too early to say.
fn placed(caches: &Caches, job: &ValidJob<'_>, plan: &Plan) -> Option<Vec<(Start, Placed)>> {
    let placed = caches.act(|floor| floor.ask_for(job, &plan.starts, Timestamp::now()))?;
    Some(plan.starts.iter().cloned().zip(placed).collect())
}

/// Says what is wrong with the CmdJob. It is looked at again when it has changed.
async fn reject(context: &Context, job: &CmdJob, problems: &Invalid) -> Result<Action, ReconcileError> {
    context.caches.withdraw(job.metadata.uid.as_deref());
    let recorded = job.status.clone().unwrap_or_default();
    let status = status::invalid(&recorded, job.metadata.generation, problems, Timestamp::now());
    remember(context, report(&context.client, job, &status).await?);
    context.memory.succeeded(job);
    Ok(Action::await_change())
}

/// Keeps the answer to a write until the cache has caught up, but not for an object that is gone meanwhile.
fn remember(context: &Context, answer: Option<CmdJob>) {
    if let Some(answer) = answer.filter(|answer| context.caches.has(answer)) {
        context.memory.keep(answer);
    }
}

/// A pod that is refused now may be taken later (a quota, a policy, a name): that is tried again with growing pauses.
/// Meanwhile it keeps no room from others.
fn must_be_made(outcomes: &[Outcome], context: &Context, job: &CmdJob) -> Result<(), ReconcileError> {
    let why = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Refused(why) => Some(why.clone()),
        Outcome::NameTaken(name) => Some(format!("the name {name} is taken")),
        Outcome::Made(_) | Outcome::NotPlaced(..) | Outcome::Rejected(_) => None,
    });
    let Some(why) = why else {
        context.memory.succeeded(job);
        return Ok(());
    };
    context.caches.withdraw(job.metadata.uid.as_deref());
    Err(ReconcileError::NotMade(why))
}

/// When to look again though nothing has changed.
fn next(plan: &Plan, wait: Option<Duration>) -> Action {
    // A length of time that cannot be waited for is no time to look again at.
    let pause = plan.look_again.and_then(|pause| Duration::try_from(pause).ok());
    pause.into_iter().chain(wait).min().map_or_else(Action::await_change, Action::requeue)
}
