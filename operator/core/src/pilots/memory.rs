//! What is remembered of a fleet's pilots between two looks. All of it may be lost: then it is noticed again, and takes longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vk_cmd_crds::amounts::Amounts;

use super::Facts;

/// The memory of one fleet.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when nothing has been on a node, by the operator's uptime.
    idle: BTreeMap<String, Duration>,
    /// The nodes of each pilot that have ever been seen: one that has gone is not to come any more.
    appeared: BTreeMap<String, BTreeSet<String>>,
    /// What the nodes of the fleet have had.
    shape: Option<Amounts>,
    /// Since when more pilots wait than anybody needs.
    too_many: Option<Duration>,
}

impl Memory {
    /// Takes in what is there now.
    pub(super) fn notice(&mut self, facts: &Facts<'_>) {
        let names: BTreeSet<&str> = facts.nodes.iter().map(|node| node.name).collect();
        self.idle.retain(|name, _| names.contains(&**name));
        for node in &facts.nodes {
            if *node.used == Amounts::NOTHING {
                self.idle.entry(node.name.to_owned()).or_insert(facts.uptime);
            } else {
                self.idle.remove(node.name);
            }
            if node.seen.allocatable != Amounts::NOTHING {
                self.shape = Some(node.seen.allocatable.clone());
            }
        }
        let pilots: BTreeSet<&str> = facts.pilots.iter().map(|pilot| &*pilot.name).collect();
        self.appeared.retain(|name, _| pilots.contains(&**name));
        for node in facts.nodes.iter().filter(|node| pilots.contains(node.pilot)) {
            self.appeared.entry(node.pilot.to_owned()).or_default().insert(node.name.to_owned());
        }
    }

    /// How many nodes of a pilot have been seen.
    pub(super) fn appeared(&self, pilot: &str) -> u32 {
        self.appeared.get(pilot).map_or(0, |nodes| super::many(nodes.len()))
    }

    /// What a node of the fleet has, if there has been one.
    pub(super) fn shape(&self) -> Option<&Amounts> {
        self.shape.as_ref()
    }

    /// How long there has been nothing on a node; none: there is something.
    pub(super) fn idle(&self, node: &str, uptime: Duration) -> Option<Duration> {
        self.idle.get(node).map(|since| uptime.saturating_sub(*since))
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
