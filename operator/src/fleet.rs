//! Keeps fleets: cordons and uncordons their nodes, evicts what is to go, says how it is with each. Decided in
//! [`vk_operator_core::fleet`], [`vk_operator_core::cordon`] and [`vk_operator_core::fleet::drain`].
//!
//! ```text
//!   something has changed ──▶ a moment, for more of it ──▶ all fleets are looked at ──▶ what differs is written ──┐
//!        ▲                                                                                                      │
//!        └──────────────────── or: a time has come (a node ends soon, evictions, a call that failed) ◀───────────┘
//! ```
//!
//! While nothing changes nothing is looked at, and nothing written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::Patch;
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};
use vk_api_client::chain;
use vk_cmd_crds::amounts::PODS;
use vk_cmd_crds::{CmdFleet, Scheduling};
use vk_operator_core::cordon::By;
use vk_operator_core::fleet::{Drained, Look, cordons, is_urgent, look, nodes_of};
use vk_operator_core::floor::Floor;
use vk_operator_core::{backoff, patch};

use crate::api::{CallError, call, patch_params};
use crate::cordon::cordon;
use crate::drain::Drainer;
use crate::reconcile::Context;
use crate::tolerance::unless_panicked;

/// How long changes are waited for before they are looked at: so often at most is a fleet's status written.
const COALESCE: Duration = Duration::from_secs(1);
/// The shortest time between two writes of a status that only tell how much runs and waits.
const CALM: Duration = Duration::from_secs(5);
/// The longest time between two looks at the clock, should it jump.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How many nodes are cordoned side by side.
const SIDE_BY_SIDE: usize = 16;

/// Keeps them, for ever.
pub async fn run(context: Arc<Context>) {
    if !context.caches.filled().await {
        return;
    }
    let mut stirred = context.caches.stirred();
    let mut keeper = Keeper { context, drains: HashMap::new(), written: HashMap::new(), failures: 0 };
    loop {
        stirred.borrow_and_update();
        let again = keeper.look().await;
        // Cancel-safe: a change that comes meanwhile stays marked as unseen. The sender lives as long as the caches.
        let _ = timeout_at(again, stirred.changed()).await;
        sleep(COALESCE).await;
    }
}

struct Keeper {
    context: Arc<Context>,
    /// What is evicted, by the fleet's UID.
    drains: HashMap<String, Drain>,
    /// When a status was last written, by the fleet's UID.
    written: HashMap<String, Instant>,
    /// How many looks in a row have failed in part.
    failures: u32,
}

/// The evictions of one fleet.
struct Drain {
    drainer: Drainer,
    /// The nodes and how many pods each had at the last evictions: when that changes there is more to do.
    there: BTreeMap<String, u64>,
    drained: Drained,
}

impl Keeper {
    /// Looks at all fleets. Says when to look again though nothing changes.
    async fn look(&mut self) -> Instant {
        let fleets: Vec<CmdFleet> = self.readable();
        let mut failed = self.cordon().await;
        let mut times = Vec::new();
        let uids: BTreeSet<String> = fleets.iter().filter_map(|fleet| fleet.metadata.uid.clone()).collect();
        self.drains.retain(|uid, _| uids.contains(uid));
        self.written.retain(|uid, _| uids.contains(uid));
        for fleet in &fleets {
            // A mistake that this one brings out does not concern the others.
            match unless_panicked(self.keep(fleet, &mut times)).await {
                Err(text) => {
                    failed = true;
                    warn!(
                        fleet = fleet.name_any(),
                        "the look has panicked, which is a mistake in vk-operator (please report it): {text}"
                    );
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_conflict() || error.is_not_found() => {
                    debug!(fleet = fleet.name_any(), "{error}")
                }
                Ok(Err(error)) => {
                    failed = true;
                    warn!(fleet = fleet.name_any(), "{}; trying again", chain(&error));
                }
            }
        }
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        if failed {
            times.push(backoff::after_reconcile(self.failures));
        }
        Instant::now() + times.into_iter().min().unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    /// One look at one fleet.
    async fn keep(&mut self, fleet: &CmdFleet, times: &mut Vec<Duration>) -> Result<(), CallError> {
        times.extend(self.drain(fleet).await);
        times.extend(self.write(fleet).await?);
        Ok(())
    }

    /// Those that can be read.
    fn readable(&self) -> Vec<CmdFleet> {
        let all = self.context.caches.fleets.state();
        all.iter().filter_map(|fleet| fleet.0.as_ref().ok().cloned()).collect()
    }

    /// Cordons and uncordons nodes. Whether a call has failed.
    async fn cordon(&self) -> bool {
        let all = self.context.caches.floor(|floor| cordons(floor, Timestamp::now()));
        let one = async |(node, by, wanted): (String, By, bool)| match self.cordon_one(&node, by, wanted).await {
            Ok(()) => false,
            // It has changed meanwhile, or is gone: the watch tells of it.
            Err(error) if error.is_conflict() || error.is_not_found() => false,
            Err(error) => {
                warn!(node, "{}; trying again", chain(&error));
                true
            }
        };
        let failed: Vec<bool> = stream::iter(all).map(one).buffer_unordered(SIDE_BY_SIDE).collect().await;
        failed.contains(&true)
    }

    async fn cordon_one(&self, name: &str, by: By, wanted: bool) -> Result<(), CallError> {
        let Some(change) = cordon(&self.context.client, name, by, wanted).await? else { return Ok(()) };
        info!(
            node = name,
            unschedulable = change.unschedulable,
            "cordon: reason {:?} {}",
            by.word(),
            if wanted { "has come" } else { "is gone" }
        );
        Ok(())
    }

    /// Evicts what is to go from a fleet's nodes, if it is time for that. When to do it again.
    async fn drain(&mut self, fleet: &CmdFleet) -> Option<Duration> {
        let uid = fleet.metadata.uid.clone()?;
        if fleet.spec.scheduling != Scheduling::Draining {
            self.drains.remove(&uid);
            return None;
        }
        let there = self.context.caches.floor(|floor| there(&fleet.name_any(), floor));
        let known = self.drains.remove(&uid);
        let is_new = known.as_ref().is_none_or(|drain| drain.there != there);
        let mut drain = known.unwrap_or_else(|| Drain {
            drainer: Drainer::new(self.context.once.clone()),
            there: BTreeMap::new(),
            drained: Drained::default(),
        });
        if is_new || drain.drainer.is_due() {
            drain.drained = drain.drainer.round(there.keys(), &drain.drained).await;
            drain.there = there;
        }
        let again = drain.drainer.again();
        self.drains.insert(uid, drain);
        again
    }

    /// Says how it is with a fleet, if that is news. When to look again though nothing changes.
    async fn write(&mut self, fleet: &CmdFleet) -> Result<Option<Duration>, CallError> {
        let uid = fleet.metadata.uid.clone().unwrap_or_default();
        let drained = self.drains.get(&uid).map(|drain| &drain.drained);
        let now = Timestamp::now();
        let told = self.context.launchers.of(&uid);
        let pilots = told.as_ref();
        let looked = self.context.caches.floor(|floor| look(Look { fleet, floor, drained, pilots, now }));
        let recorded = fleet.status.clone().unwrap_or_default();
        let version = fleet.metadata.resource_version.as_deref();
        let again = looked.again.map(|at| from_now(at, now));
        let Ok(Some(patch)) = patch::status(&recorded, &looked.status, &uid, version) else { return Ok(again) };
        let pause = self.written.get(&uid).map(|at| CALM.saturating_sub(at.elapsed())).unwrap_or_default();
        if !is_urgent(&recorded, &looked.status) && !pause.is_zero() {
            return Ok(Some(again.map_or(pause, |again| again.min(pause))));
        }
        let fleets: Api<CmdFleet> = Api::all(self.context.client.clone());
        let (name, params, patch) = (fleet.name_any(), patch_params(), Patch::Merge(patch));
        call("write the status of a CmdFleet", fleets.patch_status(&name, &params, &patch)).await?;
        self.written.insert(uid, Instant::now());
        Ok(again)
    }
}

/// The nodes of a fleet, and how many pods each has.
fn there(fleet: &str, floor: &Floor) -> BTreeMap<String, u64> {
    let pods = |name: &str| (name.to_owned(), floor.used(name).get(PODS));
    nodes_of(fleet, floor).into_iter().map(|(name, _)| pods(name)).collect()
}

fn from_now(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
