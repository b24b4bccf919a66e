//! Tells of CmdJobs in Events. What to tell is decided in `vk_operator_core::events`; here it is handed to one task, which writes
//! one after the other. Nobody waits for that: what does not fit into the queue is dropped and counted, as client-go's
//! broadcaster does.

use std::num::NonZeroUsize;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as Written, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use lru::LruCache;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;
use vk_cmd_crds::CmdJob;
use vk_operator_core::effects::At;
use vk_operator_core::events::{Allowance, Event, PodNamed};

use crate::api::{CallError, call};
use crate::metrics::{Metrics, Told};

/// How many wait to be written: as many as in client-go (`maxQueuedEvents`).
const QUEUE: usize = 1000;
/// Of how many objects it is known how much has been told of them: as many as in client-go (`maxLruCacheEntries`).
const OBJECTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// After so many Events the recorder is begun anew. It keeps each for six minutes, to make a series of it and the next one of
/// its kind, and looks through all that it keeps for each.
const RECORDED: usize = 500;

/// Where to hand what there is to tell.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(ObjectReference, Event)>,
    metrics: Arc<Metrics>,
}

/// What there is to tell, to be written by [`Telling::run`].
pub struct Telling {
    queue: mpsc::Receiver<(ObjectReference, Event)>,
    metrics: Arc<Metrics>,
    client: Client,
}

/// The queue, and who writes what comes out of it.
pub fn queue(client: Client, metrics: Arc<Metrics>) -> (Events, Telling) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Events { queue: sender, metrics: Arc::clone(&metrics) }, Telling { queue: receiver, metrics, client })
}

/// Without a version: an event of another version of the same object is one of the same kind.
fn reference(At { namespace, name }: At<'_>, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(CmdJob::api_version(&()).into_owned()),
        kind: Some(CmdJob::kind(&()).into_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

impl Events {
    /// Hands over what there is to tell of a CmdJob. Never waits.
    pub fn tell(&self, of: At<'_>, uid: &str, event: Event) {
        if self.queue.try_send((reference(of, uid), event)).is_err() {
            self.metrics.told(Told::Dropped);
        }
    }
}

impl Telling {
    /// Writes for ever.
    pub async fn run(mut self) {
        let started = Instant::now();
        let mut allowances = LruCache::<String, Allowance>::new(OBJECTS);
        let mut recorder = Recorder::new(self.client.clone(), reporter());
        let mut recorded = 0_usize;
        while let Some((of, event)) = self.queue.recv().await {
            let now = started.elapsed();
            let uid = of.uid.clone().unwrap_or_default();
            if !allowances.get_or_insert_mut(uid, || Allowance::new(now)).take(&event, now) {
                self.metrics.told(Told::Suppressed);
                continue;
            }
            if recorded >= RECORDED {
                (recorder, recorded) = (Recorder::new(self.client.clone(), reporter()), 0);
            }
            recorded = recorded.saturating_add(1);
            let mut written = write(&recorder, &of, &event).await;
            if written.as_ref().is_err_and(CallError::is_not_found) {
                // The Event that this one is to be a series with is gone, or the namespace is.
                (recorder, recorded) = (Recorder::new(self.client.clone(), reporter()), 1);
                written = write(&recorder, &of, &event).await;
            }
            match written {
                Ok(()) => self.metrics.told(Told::Written),
                Err(error) => {
                    self.metrics.told(Told::Failed);
                    debug!(job = of.name, event.reason, "{:#}", anyhow::Error::from(error));
                }
            }
        }
    }
}

async fn write(recorder: &Recorder, of: &ObjectReference, event: &Event) -> Result<(), CallError> {
    let written = Written {
        type_: if event.is_warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.clone(),
        note: Some(event.note.clone()),
        action: <&str>::from(event.action).to_owned(),
        secondary: event.pod.as_ref().map(|pod| of_pod(of, pod)),
    };
    call("write an Event", recorder.publish(&written, of)).await
}

fn of_pod(job: &ObjectReference, PodNamed { name, uid }: &PodNamed) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: job.namespace.clone(),
        name: Some(name.clone()),
        uid: Some(uid.clone()),
        ..ObjectReference::default()
    }
}

fn reporter() -> Reporter {
    Reporter::from("vk-operator")
}
