//! What an operator keeps fleets, their pilots and Node objects by, and how it acts on them. What decides is the real code
//! (`vk_operator_core::{fleet, cordon, nodes, pilots}`); the few lines around it are those of `operator/src/{fleet,drain,nodes,pilots}.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use vk_cmd_crds::{CmdFleet, Scheduling};
use vk_operator_core::cordon::{By, Cordon};
use vk_operator_core::effects::Refusal;
use vk_operator_core::fleet::drain::{Held, Left, Verdict, verdict};
use vk_operator_core::fleet::{Drained, Look, cordons, is_urgent, look, nodes_of};
use vk_operator_core::nodes::{self, DEAD_AFTER};
use vk_operator_core::patch;
use vk_operator_core::pilots::{Known, Memory, Told};

use crate::api::{Api, Stop};
use crate::mutation::Mutation;
use crate::objects::{key_of, node_of};
use crate::operator::Operator;

/// How long changes are waited for before they are looked at.
const COALESCE: SignedDuration = SignedDuration::from_secs(1);
/// The shortest time between two writes of a fleet's status that only tell how much runs and waits.
const CALM: SignedDuration = SignedDuration::from_secs(5);
/// The wait after an error about a node.
const PAUSE: SignedDuration = SignedDuration::from_secs(2);
/// The pause between two rounds of evictions, and the longest one.
const ROUND: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_ROUND: SignedDuration = SignedDuration::from_secs(40);

/// One of those who look when something has changed, or a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    Fleets,
    Pilots,
}

/// What it has in memory for that.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) fleets: BTreeMap<String, Arc<CmdFleet>>,
    pub(crate) nodes: BTreeMap<String, Arc<Node>>,
    /// The nodes that have changed and were not looked at since.
    pub(crate) changed: BTreeSet<String>,
    /// When nodes are looked at again.
    node_times: BTreeMap<String, Timestamp>,
    pub(crate) known: Known,
    pub(crate) memories: BTreeMap<String, Memory>,
    pub(crate) told: BTreeMap<String, Told>,
    drains: BTreeMap<String, Drain>,
    written: BTreeMap<String, Timestamp>,
    keepers: [Turn; 2],
}

/// When a keeper looks.
#[derive(Clone, Copy, Default)]
struct Turn {
    is_stirred: bool,
    last: Option<Timestamp>,
    again: Option<Timestamp>,
}

/// The evictions of one fleet.
#[derive(Clone, Default)]
struct Drain {
    there: BTreeMap<String, u64>,
    drained: Drained,
    next: Option<Timestamp>,
    pause: SignedDuration,
}

impl Desk {
    /// Something has changed.
    pub(crate) fn stir(&mut self) {
        self.keepers.iter_mut().for_each(|turn| turn.is_stirred = true);
    }

    /// When a keeper looks next.
    pub(crate) fn next(&self, keeper: Keeper) -> Option<Timestamp> {
        let Turn { is_stirred, last, again } = self.keepers[keeper as usize];
        let soon = is_stirred.then(|| last.map_or(Timestamp::MIN, |last| last + COALESCE));
        soon.into_iter().chain(again).min()
    }

    /// When a node is looked at next.
    pub(crate) fn next_node(&self) -> Option<(Timestamp, String)> {
        let changed = self.changed.iter().map(|name| (Timestamp::MIN, name.clone()));
        changed.chain(self.node_times.iter().map(|(name, at)| (*at, name.clone()))).min()
    }

    fn begin(&mut self, keeper: Keeper, now: Timestamp) {
        self.keepers[keeper as usize] = Turn { is_stirred: false, last: Some(now), again: None };
    }

    /// A keeper looks again then, though nothing changes.
    pub(crate) fn again(&mut self, keeper: Keeper, at: Option<Timestamp>) {
        let turn = &mut self.keepers[keeper as usize];
        turn.again = turn.again.into_iter().chain(at).min();
    }
}

/// What the API server refuses because it has changed meanwhile is looked at again when that is heard of.
pub(crate) fn unless_changed(done: Result<(), Stop>) -> Result<(), Stop> {
    match done {
        Err(Stop::No(Refusal::Conflict | Refusal::NotFound)) => Ok(()),
        other => other,
    }
}

impl Operator {
    /// One look of a keeper.
    pub(crate) fn keep(&mut self, keeper: Keeper, api: &mut Api) -> Result<(), Stop> {
        self.desk.begin(keeper, api.now);
        let done = match keeper {
            Keeper::Fleets => self.keep_fleets(api),
            Keeper::Pilots => self.keep_pilots(api),
        };
        if done.is_err() {
            let again = api.now + COALESCE;
            self.desk.again(keeper, Some(again));
        }
        done
    }

    /// One look at one Node object.
    pub(crate) fn keep_node(&mut self, name: &str, api: &mut Api) -> Result<(), Stop> {
        self.desk.changed.remove(name);
        self.desk.node_times.remove(name);
        let Some(node) = self.desk.nodes.get(name).cloned() else { return Ok(()) };
        let nodes::Decision { deed, again } = nodes::decide(&node, DEAD_AFTER, api.now);
        let done = deed.map_or(Ok(()), |deed| match deed.patch(&node) {
            Some(patch) => api.effect(|| format!("patch node {name}: {patch}"), |api| api.patch_node(name, &patch)),
            None => api.effect(|| format!("remove node {name}: {deed:?}"), |api| api.remove_node(&node)),
        });
        let again = if done.is_err() { Some(api.now + PAUSE) } else { again };
        again.map(|again| self.desk.node_times.insert(name.to_owned(), again));
        unless_changed(done)
    }

    /// Has a reason for which a node is cordoned stand, or not.
    pub(crate) fn cordon(&mut self, name: &str, by: By, wanted: bool, api: &mut Api) -> Result<(), Stop> {
        let Some(node) = api.nodes.get(name).cloned() else { return Ok(()) };
        let change = match self.mutation {
            Mutation::TakesCordonsForOwn if Cordon::of(&node).unschedulable => {
                Cordon::default().after(Cordon::default().want(By::Fleet, true).as_ref()).want(By::Fleet, wanted)
            }
            _ => Cordon::of(&node).want(by, wanted),
        };
        let Some(change) = change else { return Ok(()) };
        let patch = change.patch(node.metadata.resource_version.as_deref());
        let what = || format!("patch node {name}, for {by:?} is {wanted}: {patch}");
        unless_changed(api.effect(what, |api| api.patch_node(name, &patch)))
    }

    fn keep_fleets(&mut self, api: &mut Api) -> Result<(), Stop> {
        let mut all = cordons(&self.floor, api.now);
        if self.mutation == Mutation::TakesCordonsForOwn {
            let cordoned = self.floor.nodes().iter().filter(|(_, node)| node.about.cordon.unschedulable);
            all.extend(cordoned.map(|(name, _)| (name.clone(), By::Fleet, false)));
        }
        for (node, by, wanted) in all {
            self.cordon(&node, by, wanted, api)?;
        }
        for fleet in self.desk.fleets.values().cloned().collect::<Vec<_>>() {
            self.drain(&fleet, api)?;
            self.tell_of(&fleet, api)?;
        }
        Ok(())
    }

    /// Evicts what is to go from a fleet's nodes, if it is time for that.
    fn drain(&mut self, fleet: &CmdFleet, api: &mut Api) -> Result<(), Stop> {
        let (name, uid) = (fleet.metadata.name.as_deref().unwrap(), fleet.metadata.uid.as_deref().unwrap());
        if fleet.spec.scheduling != Scheduling::Draining {
            self.desk.drains.remove(uid);
            return Ok(());
        }
        let pods = |node: &str| self.floor.used(node).get("pods");
        let there: BTreeMap<String, u64> =
            nodes_of(name, &self.floor).into_iter().map(|(node, _)| (node.to_owned(), pods(node))).collect();
        let is_new = self.desk.drains.get(uid).is_none_or(|drain| drain.there != there);
        let mut drain = self.desk.drains.remove(uid).unwrap_or_default();
        if is_new || drain.next.is_some_and(|next| next <= api.now) {
            let before = std::mem::take(&mut drain.drained);
            drain.drained.left = evict(there.keys(), api)?;
            let is_same = drain.drained == before;
            drain.pause = if is_same { (drain.pause * 2).clamp(ROUND, LONGEST_ROUND) } else { ROUND };
            drain.next = (!drain.drained.left.is_empty()).then(|| api.now + drain.pause);
            drain.there = there;
        }
        self.desk.again(Keeper::Fleets, drain.next);
        self.desk.drains.insert(uid.to_owned(), drain);
        Ok(())
    }

    /// Says how it is with a fleet, if that is news.
    fn tell_of(&mut self, fleet: &CmdFleet, api: &mut Api) -> Result<(), Stop> {
        let (name, uid) = (fleet.metadata.name.as_deref().unwrap(), fleet.metadata.uid.as_deref().unwrap());
        let drained = self.desk.drains.get(uid).map(|drain| &drain.drained);
        let (pilots, now) = (self.desk.told.get(uid), api.now);
        let looked = look(Look { fleet, floor: &self.floor, drained, pilots, now });
        self.desk.again(Keeper::Fleets, looked.again);
        let recorded = fleet.status.clone().unwrap_or_default();
        let version = fleet.metadata.resource_version.as_deref();
        let Ok(Some(patch)) = patch::status(&recorded, &looked.status, uid, version) else { return Ok(()) };
        let calm = self.desk.written.get(uid).map(|at| *at + CALM).filter(|at| *at > now);
        if let Some(calm) = calm.filter(|_| !is_urgent(&recorded, &looked.status)) {
            self.desk.again(Keeper::Fleets, Some(calm));
            return Ok(());
        }
        let what = || format!("write status of fleet {name}: {}", patch["status"]);
        unless_changed(api.effect(what, |api| api.patch_fleet(name, &patch)))?;
        self.desk.written.insert(uid.to_owned(), now);
        Ok(())
    }

    /// The time since the operator's start, or longer: only its differences count.
    pub(crate) fn uptime(now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap()
    }
}

/// Asks for the eviction of all that is to go from these nodes. What is left.
fn evict<'a>(nodes: impl Iterator<Item = &'a String>, api: &mut Api) -> Result<Vec<Left>, Stop> {
    let mut left = Vec::new();
    for node in nodes {
        let there: Vec<_> = api.pods.values().filter(|pod| node_of(pod) == Some(node)).cloned().collect();
        for pod in there {
            let key = key_of(&pod.metadata);
            let held = match verdict(&pod) {
                Verdict::Ignore => continue,
                Verdict::Wait => Held::Ending,
                Verdict::Unmanaged => Held::Unmanaged,
                Verdict::Evict => {
                    let uid = pod.metadata.uid.as_deref().unwrap();
                    let evicted = api.effect(|| format!("evict {}", key.1), |api| api.delete_pod(&key, uid, None));
                    unless_changed(evicted)?;
                    Held::Ending
                }
            };
            left.push(Left { held, pod: format!("{}/{}", key.0, key.1) });
        }
    }
    left.sort();
    Ok(left)
}
