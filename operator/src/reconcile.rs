//! One look at one CmdJob, as the controller asks for it. What it does, and in which order, is `vk_operator_core::look`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use tracing::warn;
use vk_operator_core::effects::At;
use vk_operator_core::look::{Again, Failed, Found, Why, look};

use crate::api::CallError;
use crate::apply::Hands;
use crate::cache::{Caches, MaybeJob};
use crate::events::Events;
use crate::memory::Memory;
use crate::metrics::{Metrics, Outcome as Measured};
use crate::pilots::Launchers;
use crate::tolerance::{unless_panicked, unless_panics};

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
            Self::Failed(Failed { why: Why::Call(error), .. }) => error.is_conflict(),
            Self::Failed(_) | Self::Panicked { .. } | Self::NoCaches => false,
        }
    }
}

/// Looks at one CmdJob and does what there is to do. A mistake of ours that this one brings out does not concern the others: see
/// [`crate::tolerance`].
pub async fn reconcile(job: Arc<MaybeJob>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if !context.caches.filled().await {
        return Err(ReconcileError::NoCaches);
    }
    let begun = context.metrics.begin();
    let done = match unless_panicked(Box::pin(one(&job, &context))).await {
        Ok(done) => done.map_err(ReconcileError::from),
        Err(text) => Err(panicked(text, &job, &context)),
    };
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

async fn one(job: &MaybeJob, context: &Context) -> Result<Again, Failed<CallError>> {
    context.caches.settle();
    let found = match &job.0 {
        Ok(job) => Found::Job(job),
        Err(unreadable) => {
            let what = match job.meta().deletion_timestamp {
                Some(_) => "and is let go, for it is being deleted",
                None => "and is left alone until it is changed",
            };
            warn!(job = %job.name_any(), "cannot be read, {what}: {unreadable}");
            Found::Unreadable { metadata: job.meta(), why: &unreadable.error }
        }
    };
    look(found, &mut Hands(context)).await
}

fn panicked(text: String, job: &MaybeJob, context: &Context) -> ReconcileError {
    if let Some(uid) = &job.meta().uid {
        // Those that wait for all to have been looked at do not wait for this one. That may panic by the same mistake.
        let looked = || context.caches.act(|floor| ((), floor.looked(uid, Timestamp::now())));
        if let Err(text) = unless_panics(looked) {
            warn!(job = %job.name_any(), "what waits for room has not been looked at: {text}");
        }
    }
    let at = At { namespace: &job.namespace().unwrap_or_default(), name: &job.name_any() };
    ReconcileError::Panicked { text, again: context.memory.with(|memory| memory.failed(at)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{StreamExt, stream};
    use http::{Request, Response};
    use kube::client::Body;
    use kube::runtime::controller::{Config, Error, applier};
    use kube::runtime::reflector::ObjectRef;
    use kube::runtime::watcher;
    use serde_json::{from_value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::events;
    use crate::run::retry;

    fn job(name: &str, uid: &str) -> MaybeJob {
        from_value(json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "spec": {"target": {"node": "vk-a"}, "script": "x"},
            "metadata": {"namespace": "lab", "name": name, "uid": uid, "generation": 1, "resourceVersion": "1"},
        }))
        .unwrap()
    }

    /// An API server that says no to everybody; but whoever asks about one object panics, in the middle of a look.
    fn api_server(bad: &'static str) -> Client {
        let answer = move |request: Request<Body>| async move {
            assert!(!request.uri().to_string().contains(bad), "asked about {bad}");
            let no = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403,
            });
            let body = Body::from(no.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(Response::builder().status(403).body(body).unwrap())
        };
        Client::new(tower::service_fn(answer), "lab")
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_neither_ends_the_operator_nor_holds_up_other_jobs() {
        let client = api_server("cmdjobs/bad");
        let jobs =
            [job("bad", "bad00000-0000-4000-8000-000000000000"), job("good", "600d0000-0000-4000-8000-000000000000")];
        let queue: Vec<_> = jobs.iter().map(|job| Ok::<_, watcher::Error>(ObjectRef::from_obj(job))).collect();
        let caches = Caches::with_jobs(jobs.into());
        let metrics = Arc::new(Metrics::new(1, watch::Sender::new(true).subscribe()).unwrap());
        let context = Arc::new(Context {
            once: client.clone(),
            caches: caches.clone(),
            memory: Arc::default(),
            metrics: Arc::clone(&metrics),
            events: events::queue(client.clone(), metrics).0,
            launchers: Launchers::default(),
            client,
        });
        let seen = Mutex::new(Vec::new());
        // One at a time, and the bad one first: whoever is held up by it shows it.
        let looks = applier(
            |job, context| Box::pin(reconcile(job, context)),
            retry,
            Arc::clone(&context),
            caches.jobs.clone(),
            stream::iter(queue).chain(stream::pending()),
            Config::default().concurrency(1),
        );
        looks
            .take(6)
            .for_each(|done| {
                let Err(Error::ReconcilerFailed(error, job)) = done else { panic!("{done:?}") };
                let panicked = matches!(error, ReconcileError::Panicked { .. });
                seen.lock().unwrap().push((job.name.clone(), panicked));
                std::future::ready(())
            })
            .await;
        let seen = seen.into_inner().unwrap();
        let count = |name: &str| seen.iter().filter(|(other, _)| other == name).count();
        assert!(count("bad") >= 2 && count("good") >= 2, "both are looked at again: {seen:?}");
        assert!(seen.iter().all(|(name, panicked)| *panicked == (name == "bad")), "{seen:?}");
        let measured = context.metrics.text(&caches);
        let panics = format!("controller_runtime_reconcile_panics_total{{controller=\"cmdjob\"}} {}", count("bad"));
        assert!(measured.contains(&panics), "{measured}");
        // Those that wait for all jobs to have been looked at once do not wait for ever.
        assert!(caches.floor(|floor| floor.has_begun()));
    }
}
