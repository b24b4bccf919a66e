//! The probes of this node's pods: who is asked now, by whom, and what was told.
//!
//! ```text
//!   each look at a pod ──look──▶ Prober ──starts, stops──▶ one worker for each (run, kind) that is wanted
//!           ▲    ▲                  ▲                          │ sleeps, asks, counts
//!           │    └───verdicts───────┤                          ▼
//!           └──────────wakes────────┴──────────────────── a verdict that is another
//! ```
//!
//! All of this may be lost: what is wanted follows from what is seen, and a verdict that is not known takes nothing
//! from a pod (see `vk_node_core::probe`).

mod ask;
mod counts;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use vk_node_core::admit::{AdmittedContainer, AdmittedPod, PodKey};
use vk_node_core::facts::{NodeFacts, Probe, Probed};
use vk_node_core::probe::{self, Kind, Seen};
use vk_pipe::client::PipeClient;
use vk_record::clock::Clock;
use vk_task::{TaskState, TaskView};

pub(crate) use self::ask::{Means, Outcome, hook};
use self::counts::Counts;
use self::worker::Worker;
use crate::events::Events;
use crate::tasks::Mirror;

/// How many probes are being made at a time. One that waits for its place is late, and has not failed.
const AT_ONCE: usize = 64;
/// How many verdicts may wait to be looked at; the workers that have more wait.
const WAITING_VERDICTS: usize = 256;

/// Probes pods. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Prober(Arc<Shared>);

struct Shared {
    pipe: PipeClient,
    mirror: Arc<Mirror>,
    events: Events,
    clock: Arc<Clock>,
    /// The node's address, which is that of its pods.
    address: String,
    /// Runs that began before this were found running.
    started_at: Timestamp,
    places: Semaphore,
    wake: mpsc::Sender<PodKey>,
    pods: Mutex<HashMap<String, PodProbes>>,
}

/// What is kept about a pod that has probes.
struct PodProbes {
    key: PodKey,
    containers: BTreeMap<String, ContainerProbes>,
}

/// What is kept about a container that has probes.
#[derive(Default)]
struct ContainerProbes {
    /// What its last run's probes have told.
    probed: Probed,
    /// Those who ask.
    workers: BTreeMap<Kind, AbortHandle>,
    /// How often each was answered how, over all its runs.
    counts: BTreeMap<Kind, Counts>,
}

impl Prober {
    /// A prober that nobody has shown a pod yet, and the pods of which a verdict has changed.
    pub(crate) fn new(
        pipe: PipeClient,
        mirror: Arc<Mirror>,
        events: Events,
        node: &NodeFacts,
        clock: Arc<Clock>,
    ) -> (Self, mpsc::Receiver<PodKey>) {
        let (wake, verdicts) = mpsc::channel(WAITING_VERDICTS);
        let shared = Shared {
            pipe,
            mirror,
            events,
            started_at: clock.now().wall,
            clock,
            address: node.address.clone(),
            places: Semaphore::new(AT_ONCE),
            wake,
            pods: Mutex::default(),
        };
        (Self(Arc::new(shared)), verdicts)
    }

    /// What the probes of a pod have told, by container.
    pub(crate) fn told(&self, uid: &str) -> BTreeMap<String, Probed> {
        let pods = self.0.lock();
        let containers = pods.get(uid).into_iter().flat_map(|pod| &pod.containers);
        containers.map(|(name, container)| (name.clone(), container.probed.clone())).collect()
    }

    /// Sees to it that those probes of the pod are made that are wanted now, and no others.
    pub(crate) fn look(&self, pod: &Pod, admitted: &AdmittedPod, tasks: &[TaskView]) {
        let with_probes = || admitted.containers.iter().filter(|container| !container.probes.is_empty());
        if with_probes().next().is_none() {
            return;
        }
        let is_deleted = pod.metadata.deletion_timestamp.is_some();
        let published = pod.status.as_ref();
        let mut pods = self.0.lock();
        let known = pods
            .entry(admitted.key.uid.clone())
            .or_insert_with(|| PodProbes { key: admitted.key.clone(), containers: BTreeMap::new() });
        for container in with_probes() {
            if let Some((restart, task)) = latest(&container.name, tasks) {
                let kept = known.containers.entry(container.name.clone()).or_default();
                self.look_at_run(kept, container, restart, task, is_deleted, published, &admitted.key);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one look; a type for them would be used once")]
    fn look_at_run(
        &self,
        kept: &mut ContainerProbes,
        container: &AdmittedContainer,
        restart: u32,
        task: &TaskView,
        is_deleted: bool,
        published: Option<&PodStatus>,
        key: &PodKey,
    ) {
        if kept.probed.restart != restart {
            kept.stop_all();
            kept.probed = Probed { restart, ..Probed::default() };
        }
        let started_at = match &task.state {
            TaskState::Running { started_at, .. } => Some(*started_at),
            TaskState::Accepted { .. } | TaskState::Ended { .. } | TaskState::Unknown { .. } => None,
        };
        let seen = Seen {
            probes: &container.probes,
            restart,
            is_running: started_at.is_some(),
            is_ending: is_deleted || task.stop.is_some(),
            was_started: published.is_some_and(|status| probe::was_started(status, &task.id)),
            probed: Some(&kept.probed),
        };
        let wanted: Vec<Kind> = probe::wanted(seen).collect();
        kept.workers.retain(|kind, worker| {
            let is_wanted = wanted.contains(kind);
            if !is_wanted {
                worker.abort();
            }
            is_wanted && !worker.is_finished()
        });
        for kind in wanted {
            if let (Some(spec), Some(started_at)) = (container.probes.get(kind), started_at)
                && !kept.workers.contains_key(&kind)
            {
                let worker = Worker::new(self.clone(), key, container, restart, task.id.clone(), kind);
                let now = self.0.clock.now();
                let age = now.wall.duration_since(now.steps.present(started_at));
                let is_resumed = now.steps.present(started_at) < now.steps.present(self.0.started_at);
                kept.workers.insert(kind, worker.start(spec.clone(), age, is_resumed));
            }
        }
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        if let Some(mut pod) = self.0.lock().remove(uid) {
            pod.containers.values_mut().for_each(ContainerProbes::stop_all);
        }
    }

    /// The counts of all probes, as text for `/metrics/probes`.
    pub(crate) fn metrics(&self) -> String {
        let pods = self.0.lock();
        let all = pods.values().flat_map(|pod| {
            pod.containers.iter().flat_map(move |(container, kept)| {
                kept.counts.iter().map(move |(kind, counts)| (&pod.key, container.as_str(), *kind, counts))
            })
        });
        counts::text(all)
    }

    /// Changes what is kept about a container's probes, if this is still its last run. Gives what `change` does.
    fn change<T>(
        &self,
        key: &PodKey,
        container: &str,
        restart: u32,
        change: impl FnOnce(&mut ContainerProbes) -> T,
    ) -> Option<T> {
        let mut pods = self.0.lock();
        let kept = pods.get_mut(&key.uid)?.containers.get_mut(container)?;
        (kept.probed.restart == restart).then(|| change(kept))
    }
}

impl ContainerProbes {
    fn stop_all(&mut self) {
        for worker in std::mem::take(&mut self.workers).into_values() {
            worker.abort();
        }
    }

    /// Takes in a verdict; tells whether it is another than before. Why something fails may change every time, and is
    /// kept as it was at first.
    fn set(&mut self, kind: Kind, verdict: Probe) -> bool {
        let known = match kind {
            Kind::Startup => &mut self.probed.startup,
            Kind::Liveness => &mut self.probed.liveness,
            Kind::Readiness => &mut self.probed.readiness,
        };
        let is_other = std::mem::discriminant(known) != std::mem::discriminant(&verdict);
        if is_other {
            *known = verdict;
        }
        is_other
    }
}

impl Shared {
    /// A panic of another holder leaves the map whole: every change to it is an assignment or a removal.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, PodProbes>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last run of a container.
fn latest<'a>(container: &str, tasks: &'a [TaskView]) -> Option<(u32, &'a TaskView)> {
    let runs = tasks.iter().filter_map(|task| Some((task.run_of(container)?, task)));
    runs.max_by_key(|(restart, _)| *restart)
}
