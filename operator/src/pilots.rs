//! Pilots: looks at each fleet with a launcher, and does what `vk_operator_core::pilots` decides. While nothing changes and no time
//! comes, nothing is looked at; a look costs what the fleet has, not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};
use vk_api_client::chain;
use vk_cmd_crds::{CmdFleet, CmdJob, Launcher, labels};
use vk_operator_core::backoff;
use vk_operator_core::cordon::By;
use vk_operator_core::floor::Floor;
use vk_operator_core::pilots::{
    Decision, Facts, Memory, PilotSeen, Step, Told, ValidLauncher, are_known, decide, invalid, job, name,
};

use crate::api::{CallError, call, post_params};
use crate::cordon::cordon;
use crate::reconcile::Context;
use crate::tolerance::unless_panicked;

/// How often fleets are looked at, at most.
const EVERY: Duration = Duration::from_secs(1);
/// The longest time between two looks at the clock, should it jump.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Looks after them, for ever.
pub async fn run(context: Arc<Context>) {
    if !context.caches.filled().await {
        return;
    }
    let mut stirred = context.caches.stirred();
    let mut hands = Hands { context, memory: BTreeMap::new(), failures: BTreeMap::new() };
    loop {
        stirred.borrow_and_update();
        let begun = Instant::now();
        let again = hands.look_at_all().await.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        // Cancel-safe: a change that comes meanwhile stays marked as unseen. The sender lives as long as the caches.
        let _ = timeout_at(Instant::now() + again, stirred.changed()).await;
        sleep_until(begun + EVERY).await;
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
    /// How many looks in a row have failed, by the UID of the fleet.
    failures: BTreeMap<String, u32>,
}

impl Hands {
    /// When to look again though nothing changes.
    async fn look_at_all(&mut self) -> Option<Duration> {
        let fleets = self.context.caches.fleets.state();
        let readable = fleets.iter().filter_map(|fleet| fleet.0.as_ref().ok());
        let with_launcher = readable.filter(|fleet| fleet.spec.launcher.is_some());
        let known: BTreeSet<String> = with_launcher.clone().filter_map(|fleet| fleet.uid()).collect();
        self.memory.retain(|uid, _| known.contains(uid));
        self.failures.retain(|uid, _| known.contains(uid));
        self.context.launchers.keep(&known);
        let mut times = Vec::new();
        for fleet in with_launcher.filter(|fleet| fleet.metadata.deletion_timestamp.is_none()) {
            if let (Some(uid), Some(launcher)) = (fleet.uid(), &fleet.spec.launcher) {
                // A mistake that this one brings out does not concern the others.
                let why = match unless_panicked(self.look(fleet, &uid, launcher)).await {
                    Ok(Ok(again)) => {
                        self.failures.remove(&uid);
                        times.extend(again);
                        continue;
                    }
                    Ok(Err(error)) => chain(&error),
                    Err(text) => {
                        format!("the look has panicked, which is a mistake in vk-operator (please report it): {text}")
                    }
                };
                warn!(fleet = fleet.name_any(), "pilots: {why}; looking again");
                let failures = self.failures.entry(uid).or_default();
                *failures = failures.saturating_add(1);
                times.push(backoff::after_reconcile(*failures));
            }
        }
        times.into_iter().min()
    }

    /// One look at one fleet. When to look again though nothing changes.
    async fn look(&mut self, fleet: &CmdFleet, uid: &str, launcher: &Launcher) -> Result<Option<Duration>, CallError> {
        let fleet_name = fleet.name_any();
        let valid = match ValidLauncher::read(&fleet_name, uid, launcher) {
            Ok(valid) => valid,
            Err(problems) => {
                self.tell(uid, Told { status: None, paused: Some(invalid(&problems)) });
                return Ok(None);
            }
        };
        let pilots = self.context.caches.pilots_of(uid, valid.namespace);
        let memory = self.memory.entry(uid.to_owned()).or_default();
        let decision = look(&self.context, fleet, &valid, &pilots, memory);
        let done = self.take_all(&valid, &pilots, &decision.steps).await;
        self.tell(uid, Told { status: Some(decision.status), paused: decision.paused });
        done.map(|()| decision.again)
    }

    async fn take_all(&self, valid: &ValidLauncher<'_>, pilots: &[PilotSeen], steps: &[Step]) -> Result<(), CallError> {
        let mut are_sure = false;
        for step in steps {
            if matches!(step, Step::Submit(_)) && !are_sure {
                if !self.knows_all(valid, pilots).await? {
                    continue;
                }
                are_sure = true;
            }
            self.take(valid, step).await?;
        }
        Ok(())
    }

    /// Whether the cache knows all pilots of a fleet, by the API server's own word.
    async fn knows_all(&self, launcher: &ValidLauncher<'_>, pilots: &[PilotSeen]) -> Result<bool, CallError> {
        let jobs: Api<CmdJob> = Api::namespaced(self.context.client.clone(), launcher.namespace);
        let of_fleet = ListParams::default().labels(&format!("{}={}", labels::FLEET, launcher.fleet));
        let there = call("list the pilots of a fleet", jobs.list_metadata(&of_fleet)).await?;
        Ok(are_known(launcher, pilots, there.items.iter().map(|item| &item.metadata)))
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
                    Err(error) if error.is_already_exists() => {}
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
                if !are_all(&self.context, pilot, nodes).await? {
                    return Ok(());
                }
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
fn look(
    context: &Context,
    fleet: &CmdFleet,
    launcher: &ValidLauncher<'_>,
    pilots: &[PilotSeen],
    memory: &mut Memory,
) -> Decision {
    let (now, uptime) = (Timestamp::now(), context.memory.age());
    let decide = |floor: &Floor| decide(&Facts::of(fleet, launcher, pilots.to_vec(), floor, now, uptime), memory);
    context.caches.floor(decide)
}

/// Whether these are all nodes of a pilot, by the API server's own word: one may have come a moment ago, and have something to do.
async fn are_all(context: &Context, pilot: &str, nodes: &[String]) -> Result<bool, CallError> {
    let of_pilot = ListParams::default().labels(&format!("{}={pilot}", labels::PILOT));
    let there: Api<Node> = Api::all(context.client.clone());
    let found = call("list the nodes of a pilot", there.list_metadata(&of_pilot)).await?;
    let mut names = found.items.iter().map(ResourceExt::name_any).filter(|name| name::is_node_of(name, pilot));
    Ok(names.all(|name| nodes.contains(&name)))
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
