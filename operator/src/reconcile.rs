//! One look at one CmdJob, as the controller asks for it. What it does, and in which order, is `vk_operator_core::look`.

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use tracing::warn;
use vk_operator_core::effects::{CallFailure as _, Refusal};
use vk_operator_core::look::{Failed, Found, Why, look};

use crate::api::CallError;
use crate::apply::Hands;
use crate::cache::{Caches, MaybeJob};
use crate::memory::Memory;
use crate::metrics::{Metrics, Outcome as Measured};

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

/// Why a reconcile did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The watches have ended; the operator is about to do so, too.
    #[error("the watches have ended")]
    NoCaches,
    /// It is made again after a pause.
    #[error(transparent)]
    Failed(#[from] Failed<CallError>),
}

impl ReconcileError {
    /// Whether the object has changed while it was looked at. That happens, and is made good by the next look.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Failed(Failed { why: Why::Call(error), .. }) => error.refusal() == Refusal::Conflict,
            Self::Failed(_) | Self::NoCaches => false,
        }
    }
}

/// Looks at one CmdJob and does what there is to do.
pub async fn reconcile(job: Arc<MaybeJob>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if !context.caches.filled().await {
        return Err(ReconcileError::NoCaches);
    }
    context.caches.settle();
    let found = match &job.0 {
        Ok(job) => Found::Job(job),
        Err(unreadable) => {
            warn!(job = %job.name_any(), "cannot be read, and is left alone until it is changed: {unreadable}");
            Found::Unreadable { metadata: job.meta(), why: &unreadable.error }
        }
    };
    let begun = context.metrics.begin();
    let done = look(found, &mut Hands(&context)).await;
    context.metrics.end(
        begun,
        match &done {
            Ok(None) => Measured::Success,
            Ok(Some(_)) => Measured::RequeueAfter,
            Err(_) => Measured::Error,
        },
    );
    Ok(done?.map_or_else(Action::await_change, Action::requeue))
}
