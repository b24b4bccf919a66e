//! One look at one CmdJob, as the controller asks for it. What it does, and in which order, is `vk_operator_core::look`.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use tracing::warn;
use vk_operator_core::effects::{At, CallFailure as _, Refusal};
use vk_operator_core::look::{Again, Failed, Found, Why, look};

use crate::api::CallError;
use crate::apply::Hands;
use crate::cache::{Caches, MaybeJob};
use crate::events::Events;
use crate::memory::Memory;
use crate::metrics::{Metrics, Outcome as Measured};
use crate::pilots::Launchers;

/// What every reconcile works with.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// The same, for calls whose refusal is an answer: what is refused for now (429) is not asked again unasked.
    pub once: Client,
    /// What the watches have seen.
    pub caches: Caches,
    /// What is remembered.
    pub memory: Arc<Memory>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Where people are told.
    pub events: Events,
    /// What there is to say of pilots.
    pub launchers: Launchers,
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
    /// The code has a mistake, and this look has come upon it. It is made again after a pause, too.
    #[error("the look has panicked, which is a mistake in vk-operator (please report it): {text}")]
    Panicked {
        /// What it said.
        text: String,
        /// The pause.
        again: Duration,
    },
}

impl ReconcileError {
    /// Whether the object has changed while it was looked at. That happens, and is made good by the next look.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Failed(Failed { why: Why::Call(error), .. }) => error.refusal() == Refusal::Conflict,
            Self::Failed(_) | Self::Panicked { .. } | Self::NoCaches => false,
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
    let done = caught(&job, &context, Box::pin(look(found, &mut Hands(&context)))).await;
    context.metrics.end(
        begun,
        match &done {
            Ok(None) => Measured::Success,
            Ok(Some(_)) => Measured::RequeueAfter,
            Err(ReconcileError::Panicked { .. }) => Measured::Panic,
            Err(_) => Measured::Error,
        },
    );
    Ok(done?.map_or_else(Action::await_change, Action::requeue))
}

/// A panic is a mistake of ours that one CmdJob has brought out: the others go on. What was under way is as after a crash, which
/// every step survives.
async fn caught(
    job: &MaybeJob,
    context: &Context,
    look: impl Future<Output = Result<Again, Failed<CallError>>>,
) -> Result<Again, ReconcileError> {
    let text = match unless_panicked(look).await {
        Ok(done) => return done.map_err(ReconcileError::from),
        Err(text) => text,
    };
    if let Some(uid) = &job.meta().uid {
        // Those that wait for all to have been looked at do not wait for this one.
        context.caches.act(|floor| ((), floor.looked(uid, Timestamp::now())));
    }
    let at = At { namespace: &job.namespace().unwrap_or_default(), name: &job.name_any() };
    Err(ReconcileError::Panicked { text, again: context.memory.with(|memory| memory.failed(at)) })
}

/// What comes of it, or what the panic has said.
async fn unless_panicked<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic: Box<dyn Any + Send>| {
        let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        fixed.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_no_more_than_an_error() {
        let work = async |n: u32| match n {
            0 => "done",
            1 => panic!("a word"),
            _ => panic!("a word and {n}"),
        };
        let mut all = Vec::new();
        for n in 0..3 {
            all.push(unless_panicked(work(n)).await);
        }
        assert_eq!(all, [Ok("done"), Err("a word".to_owned()), Err("a word and 2".to_owned())]);
    }
}
