//! One probe of one run: waits, asks, counts, tells.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::debug;
use vk_node_core::admit::{AdmittedContainer, PodKey, Role};
use vk_node_core::events;
use vk_node_core::facts::Probe;
use vk_node_core::probe::machine::{Answer, Machine, Told};
use vk_node_core::probe::{Kind, ProbeSpec};
use vk_task::{DirName, TaskId};

use super::Prober;
use super::ask::{self, Means};

/// Asks about one thing for as long as it is wanted.
pub(super) struct Worker {
    prober: Prober,
    pod: PodKey,
    container: String,
    role: Role,
    restart: u32,
    task: TaskId,
    kind: Kind,
}

impl Worker {
    pub(super) fn new(
        prober: Prober,
        pod: &PodKey,
        container: &AdmittedContainer,
        restart: u32,
        task: TaskId,
        kind: Kind,
    ) -> Self {
        let (container, role) = (container.name.clone(), container.role);
        Self { prober, pod: pod.clone(), container, role, restart, task, kind }
    }

    /// Begins; the run is so old.
    pub(super) fn start(self, spec: ProbeSpec, age: SignedDuration, is_resumed: bool) -> AbortHandle {
        let machine = Machine::new(self.kind, spec);
        let first = machine.first(Duration::try_from(age).unwrap_or_default(), is_resumed.then(fastrand::f64));
        // It may be aborted wherever it waits: what it has told is told, and a probe that is under way hangs up.
        tokio::spawn(self.run(machine, first)).abort_handle()
    }

    async fn run(self, mut machine: Machine, first: Duration) {
        let mut wait = first;
        loop {
            sleep(wait).await;
            if !self.runs() {
                return;
            }
            // Without the pipe nothing can be asked; that it is away says nothing about the container.
            if !self.prober.0.mirror.is_live() {
                wait = machine.spec().period;
                continue;
            }
            // The semaphore is never closed.
            let Ok(place) = self.prober.0.places.acquire().await else { return };
            let began = Instant::now();
            let Some(answer) = self.ask(machine.spec()).await else { return };
            drop(place);
            let took = began.elapsed();
            // What came of asking a run that has ended meanwhile is no news of it.
            if !self.runs() {
                return;
            }
            self.count(&answer, took);
            let Told { verdict, next } = machine.told(&answer, took);
            if let Some(verdict) = verdict {
                self.tell(verdict).await;
            }
            match next {
                Some(next) => wait = next,
                None => return,
            }
        }
    }

    /// Whether the run is still there to be asked, as far as is known.
    fn runs(&self) -> bool {
        self.prober.0.mirror.runs(&self.pod.uid, &self.task)
    }

    /// `None` for a pod that no API server would make.
    async fn ask(&self, spec: &ProbeSpec) -> Option<Answer> {
        let shared = &self.prober.0;
        let pod = DirName::new(self.pod.uid.as_str()).ok()?;
        let means = Means { pipe: &shared.pipe, address: &shared.address, pod: &pod, task: &self.task };
        // There are many workers, and few of them ask at a time.
        Some(Box::pin(ask::ask(spec, &means)).await)
    }

    fn count(&self, answer: &Answer, took: Duration) {
        debug!(pod = %self.pod, container = self.container, kind = %self.kind, ?answer, "probed");
        self.prober.change(&self.pod, &self.container, self.restart, |kept| {
            kept.counts.entry(self.kind).or_default().add(answer, took);
        });
        if let Some(note) = events::of_probe(self.role, &self.container, self.kind, answer) {
            let metadata = ObjectMeta {
                namespace: Some(self.pod.namespace.clone()),
                name: Some(self.pod.name.clone()),
                uid: Some(self.pod.uid.clone()),
                ..ObjectMeta::default()
            };
            self.prober.0.events.pod(&Pod { metadata, ..Pod::default() }, note);
        }
    }

    async fn tell(&self, verdict: Probe) {
        let set = |kept: &mut super::ContainerProbes| kept.set(self.kind, verdict);
        if self.prober.change(&self.pod, &self.container, self.restart, set) == Some(true) {
            // The receiver lives as long as the node.
            let _ = futures::SinkExt::send(&mut self.prober.0.wake.clone(), self.pod.clone()).await;
        }
    }
}
