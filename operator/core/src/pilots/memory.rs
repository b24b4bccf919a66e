//! What is remembered of a fleet's pilots between two looks. All of it may be lost: then it is noticed again, and takes longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vk_cmd_crds::amounts::Amounts;

use super::pilot::Life;
use super::{Facts, PilotSeen};

/// The memory of one fleet.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when nothing has been on a node, by the operator's uptime.
    idle: BTreeMap<String, Duration>,
    /// The nodes of each pilot that have ever been seen: one that has gone is not to come any more.
    appeared: BTreeMap<String, BTreeSet<String>>,
    /// The launcher that the next two are about.
    launcher: String,
    /// What the nodes of its pilots have had.
    shape: Option<Amounts>,
    /// The number of the last pilot that has ended as it should, or worked until it was given back.
    good: Option<u64>,
    /// Since when more pilots wait than anybody needs.
    too_many: Option<Duration>,
}

impl Memory {
    /// Takes in what is there now.
    pub(super) fn notice(&mut self, facts: &Facts<'_>) {
        if self.launcher != facts.launcher.digest {
            self.launcher.clone_from(&facts.launcher.digest);
            (self.shape, self.good) = (None, None);
        }
        let names: BTreeSet<&str> = facts.nodes.iter().map(|node| node.name).collect();
        self.idle.retain(|name, _| names.contains(&**name));
        for node in &facts.nodes {
            if *node.used == Amounts::NOTHING {
                self.idle.entry(node.name.to_owned()).or_insert(facts.uptime);
            } else {
                self.idle.remove(node.name);
            }
            let is_of_launcher = |pilot: &PilotSeen| pilot.name == node.pilot && pilot.digest == self.launcher;
            if node.seen.allocatable != Amounts::NOTHING && facts.pilots.iter().any(is_of_launcher) {
                self.shape = Some(node.seen.allocatable.clone());
            }
        }
        if self.shape.is_none() {
            self.shape.clone_from(&facts.recorded.shape);
        }
        let pilots: BTreeSet<&str> = facts.pilots.iter().map(|pilot| &*pilot.name).collect();
        self.appeared.retain(|name, _| pilots.contains(&**name));
        for node in facts.nodes.iter().filter(|node| pilots.contains(node.pilot)) {
            self.appeared.entry(node.pilot.to_owned()).or_default().insert(node.name.to_owned());
        }
        let has_worked = |pilot: &&PilotSeen| match pilot.life {
            Life::Ended => true,
            Life::Leaving => self.appeared(&pilot.name) > 0,
            Life::Waiting | Life::Submitted | Life::Failed(_) => false,
        };
        let own = facts.pilots.iter().filter(|pilot| pilot.digest == self.launcher);
        let good = own.filter(has_worked).map(|pilot| pilot.number).chain(facts.recorded.last_good).max();
        self.good = self.good.max(good);
    }

    /// How many nodes of a pilot have been seen.
    pub(super) fn appeared(&self, pilot: &str) -> u32 {
        self.appeared.get(pilot).map_or(0, |nodes| super::many(nodes.len()))
    }

    /// The number of the last pilot that has ended as it should, or worked until it was given back.
    pub(super) fn good(&self) -> Option<u64> {
        self.good
    }

    /// What a node of the fleet has, if there has been one.
    pub(super) fn shape(&self) -> Option<&Amounts> {
        self.shape.as_ref()
    }

    /// How long there has been nothing on a node; none: there is something.
    pub(super) fn idle(&self, node: &str, uptime: Duration) -> Option<Duration> {
        self.idle.get(node).map(|since| uptime.saturating_sub(*since))
    }

    /// How long too many pilots have waited; none: they do not.
    pub(super) fn too_many_for(&self, uptime: Duration) -> Option<Duration> {
        self.too_many.map(|since| uptime.saturating_sub(since))
    }

    /// Notes whether too many pilots wait, and says for how long that has been so.
    pub(super) fn too_many(&mut self, are: bool, uptime: Duration) -> Duration {
        if !are {
            self.too_many = None;
        }
        let since = if are { *self.too_many.get_or_insert(uptime) } else { uptime };
        uptime.saturating_sub(since)
    }
}
