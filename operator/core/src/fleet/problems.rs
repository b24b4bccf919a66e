//! What somebody should look at, in plain words.

use std::collections::{BTreeMap, BTreeSet};

use vk_cmd_crds::CmdFleet;
use vk_site::Pattern;
use vk_words::counted;

use super::Fleets;
use crate::place::{NodeSeen, NodeState};

/// How many are told of.
const MANY: usize = 10;
/// How many names are told in one.
const NAMES: usize = 5;

/// All that is wrong with what the object says; nothing if all is well.
pub(super) fn of_spec(fleet: &CmdFleet) -> Vec<String> {
    let mut problems = super::rule(fleet).err().unwrap_or_default();
    let bad = fleet.name_patterns().into_iter().filter_map(|text| Pattern::new(&text).err());
    problems.extend(bad.map(|why| format!("spec.nodeNames: {why}")));
    problems
}

/// What is to be looked at of these nodes of the fleet.
pub(super) fn of_nodes(fleet: &CmdFleet, fleets: &Fleets, nodes: &[(&str, &NodeSeen)]) -> Vec<String> {
    let own = fleet.metadata.name.as_deref().unwrap_or_default();
    let mut problems = Vec::new();
    let silent = nodes.iter().filter(|(_, node)| matches!(node.state, NodeState::NotReady { .. }));
    if let Some(names) = named(silent.map(|(name, _)| *name)) {
        problems.push(format!("not ready: {names}; see at the site whether vk-node runs there"));
    }
    let by_person = nodes.iter().filter(|(_, node)| node.about.cordon.unschedulable && !node.about.cordon.is_ours());
    if let Some(names) = named(by_person.map(|(name, _)| *name)) {
        problems.push(format!("cordoned by somebody, and not by the operator: {names} (kubectl uncordon NODE)"));
    }
    let mut taints = BTreeMap::<&str, Vec<&str>>::new();
    for (name, node) in nodes {
        if let NodeState::Tainted(key) = &node.state {
            taints.entry(key).or_default().push(name);
        }
    }
    for (key, names) in taints {
        let names = named(names.into_iter()).unwrap_or_default();
        problems.push(format!("the taint {key} keeps CmdJobs away from {names}"));
    }
    let mut others = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (name, node) in nodes {
        for other in fleets.others(own, &node.labels) {
            others.entry(other).or_default().insert(name);
        }
    }
    for (other, names) in others {
        let names = named(names.into_iter()).unwrap_or_default();
        problems.push(format!("the fleet {other} selects nodes of this fleet too, and does not get them: {names}"));
    }
    if let Some(max) = fleet.spec.max_nodes.filter(|max| usize::try_from(*max).is_ok_and(|max| nodes.len() > max)) {
        let there_are = counted(nodes.len(), "node is there", "nodes are there");
        problems.push(format!("{there_are}, and spec.maxNodes is {max}"));
    }
    problems.truncate(MANY);
    problems
}

/// Some names, and how many more there are; none where there is none.
fn named<'a>(all: impl Iterator<Item = &'a str>) -> Option<String> {
    let all: Vec<&str> = all.collect();
    let shown = all.get(..NAMES.min(all.len())).unwrap_or_default().join(", ");
    match all.len().saturating_sub(NAMES) {
        0 => (!all.is_empty()).then_some(shown),
        more => Some(format!("{shown} and {more} more")),
    }
}
