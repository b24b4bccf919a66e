//! Pilots: looks at each fleet with a launcher, and does what `vk_operator_core::pilots` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};
use vk_cmd_crds::{CmdFleet, CmdJob, Launcher, Scheduling, labels};
use vk_operator_core::cordon::By;
use vk_operator_core::effects::{CallFailure as _, Refusal};
use vk_operator_core::pilots::{
    Decision, Facts, Memory, NodeOfPilot, PilotSeen, Step, Told, ValidLauncher, Wishes, decide, invalid, job, name,
};
use vk_operator_core::place::Meant;

use crate::api::{CallError, call, chain, post_params};
use crate::cordon::cordon;
use crate::reconcile::Context;

/// How often fleets are looked at: it costs a walk over what is in memory, and nothing where no fleet has a launcher.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after them, for ever.
pub async fn run(context: Arc<Context>) {
    if !context.caches.filled().await {
        return;
    }
    let mut hands = Hands { context, memory: BTreeMap::new() };
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hands.look_at_all().await;
    }
}

/// What there is to say of the pilots of each fleet, by its UID. The status of a fleet is written in one place, which is
/// [`crate::fleet`].
#[derive(Debug, Default)]
pub struct Launchers(Mutex<BTreeMap<String, Told>>);

impl Launchers {
    /// Of one fleet; none: it has not been looked at.
    pub fn of(&self, fleet: &str) -> Option<Told> {
        self.with(|all| all.get(fleet).cloned())
    }

    /// Says it. Whether that is news.
    fn tell(&self, fleet: &str, told: Told) -> bool {
        self.with(|all| all.insert(fleet.to_owned(), told.clone()).as_ref() != Some(&told))
    }

    /// Forgets all other fleets.
    fn keep(&self, known: &BTreeSet<String>) {
        self.with(|all| all.retain(|uid, _| known.contains(uid)));
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<String, Told>) -> R) -> R {
        // A panic elsewhere does not spoil a map.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Hands {
    context: Arc<Context>,
    /// By the UID of the fleet.
    memory: BTreeMap<String, Memory>,
}

impl Hands {
    async fn look_at_all(&mut self) {
        let fleets = self.context.caches.fleets.state();
        let readable = fleets.iter().filter_map(|fleet| fleet.0.as_ref().ok());
        let with_launcher = readable.filter(|fleet| fleet.spec.launcher.is_some());
        let known: BTreeSet<String> = with_launcher.clone().filter_map(|fleet| fleet.uid()).collect();
        self.memory.retain(|uid, _| known.contains(uid));
        self.context.launchers.keep(&known);
        for fleet in with_launcher.filter(|fleet| fleet.metadata.deletion_timestamp.is_none()) {
            if let (Some(uid), Some(launcher)) = (fleet.uid(), &fleet.spec.launcher) {
                self.look(fleet, &uid, launcher).await;
            }
        }
    }

    /// One look at one fleet.
    async fn look(&mut self, fleet: &CmdFleet, uid: &str, launcher: &Launcher) {
        let fleet_name = fleet.name_any();
        let valid = match ValidLauncher::read(&fleet_name, uid, launcher) {
            Ok(valid) => valid,
            Err(problems) => {
                self.tell(uid, Told { status: None, paused: Some(invalid(&problems)) });
                return;
            }
        };
        let memory = self.memory.entry(uid.to_owned()).or_default();
        let decision = look(&self.context, fleet, &valid, memory);
        for step in &decision.steps {
            if let Err(error) = self.take(&valid, step).await {
                warn!(fleet = fleet_name, "pilots: {}; looking again", chain(&error));
                break;
            }
        }
        self.tell(uid, Told { status: Some(decision.status), paused: decision.paused });
    }

    fn tell(&self, uid: &str, told: Told) {
        if self.context.launchers.tell(uid, told) {
            self.context.caches.stir();
        }
    }

    async fn take(&self, launcher: &ValidLauncher<'_>, step: &Step) -> Result<(), CallError> {
        let client = &self.context.client;
        let jobs: Api<CmdJob> = Api::namespaced(client.clone(), launcher.namespace);
        match step {
            Step::Submit(number) => {
                let Ok(job) = job::of(launcher, *number) else { return Ok(()) };
                let made = call("make the CmdJob of a pilot", jobs.create(&post_params(), &job)).await;
                match made {
                    Ok(_) => info!(fleet = launcher.fleet, pilot = job.name_any(), "a pilot is submitted"),
                    // It has been made already: by another look, or before a restart.
                    Err(error) if error.refusal() == Refusal::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            Step::Release { node, .. } => {
                if unless_gone(cordon(client, node, By::Released, true).await)?.is_some() {
                    info!(
                        fleet = launcher.fleet,
                        node, "nobody needs it: its pilot is cancelled when nothing runs there"
                    );
                }
            }
            Step::Cancel { pilot, uid, nodes } => {
                for node in nodes {
                    if has_pods(&self.context, node).await? {
                        return Ok(());
                    }
                }
                delete(&jobs, "cancel a pilot", pilot, uid).await?;
                info!(fleet = launcher.fleet, pilot, "a pilot that nobody needs is cancelled");
            }
            Step::Forget { pilot, uid } => delete(&jobs, "delete a pilot that has ended", pilot, uid).await?,
        }
        Ok(())
    }
}

/// What is to be done about a fleet by what the caches say.
fn look(context: &Context, fleet: &CmdFleet, launcher: &ValidLauncher<'_>, memory: &mut Memory) -> Decision {
    let jobs = context.caches.jobs.state();
    let of_fleet = jobs.iter().filter_map(|job| job.0.as_ref().ok());
    let pilots: Vec<PilotSeen> = of_fleet
        .filter(|job| job.namespace().as_deref() == Some(launcher.namespace))
        .filter_map(|job| PilotSeen::of(job, launcher.fleet, launcher.fleet_uid))
        .collect();
    let labels = launcher.labels();
    context.caches.floor(|floor| {
        let nodes = floor
            .nodes()
            .iter()
            .filter_map(|(name, seen)| Some((name, seen, seen.labels.get(labels::PILOT)?)))
            .filter(|(name, _, pilot)| name::is_node_of(name, pilot) && name::number(pilot, launcher.fleet).is_some())
            .map(|(name, seen, pilot)| NodeOfPilot { name, pilot, seen, used: floor.used(name) });
        let is_meant = |target: &Meant| match target {
            Meant::Fleet(_) | Meant::Labels(_) => target.means("", &labels),
            // Those are there, or will never be.
            Meant::Node(_) | Meant::Each(_) => false,
        };
        let facts = Facts {
            launcher,
            wishes: wishes(fleet),
            pilots,
            nodes: nodes.collect(),
            waiting: floor.waiting_for(|demand| is_meant(&demand.target)),
            last_number: fleet
                .status
                .as_ref()
                .and_then(|status| u64::try_from(status.pilots.as_ref()?.last_number?).ok()),
            now: Timestamp::now(),
            uptime: context.memory.age(),
        };
        decide(&facts, memory)
    })
}

fn wishes(fleet: &CmdFleet) -> Wishes {
    let spec = &fleet.spec;
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    let wishes = Wishes {
        replicas: spec.replicas.map(count),
        min: count(spec.min_nodes),
        max: spec.max_nodes.map(count),
        margin: SignedDuration::from_secs(spec.walltime_margin_seconds),
    };
    match spec.scheduling {
        Scheduling::Active => wishes,
        // What takes no work is not asked for; what is there stays until it is idle.
        Scheduling::Cordoned | Scheduling::Draining => Wishes { replicas: None, min: 0, max: Some(0), ..wishes },
    }
}

/// Whether there are pods on a node that have not ended, by the API server's own word.
async fn has_pods(context: &Context, node: &str) -> Result<bool, CallError> {
    let open = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let pods: Api<Pod> = Api::all(context.client.clone());
    let found =
        call("list the pods of a node", pods.list_metadata(&ListParams::default().fields(&open).limit(1))).await?;
    Ok(!found.items.is_empty())
}

async fn delete(jobs: &Api<CmdJob>, what: &'static str, pilot: &str, uid: &str) -> Result<(), CallError> {
    let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams::background().preconditions(only);
    unless_gone(call(what, jobs.delete(pilot, &params)).await.map(drop))
}

/// What is gone, or is another one by now, needs nothing.
fn unless_gone<T: Default>(done: Result<T, CallError>) -> Result<T, CallError> {
    match done {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(T::default()),
        other => other,
    }
}
