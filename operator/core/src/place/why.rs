//! Why nothing takes an attempt, in plain words, the nodes of one reason together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use vk_cmd_crds::Reason;

use super::amounts::Worded;
use super::{Demand, Meant, Nodes, Obstacle, Sums};
use crate::fleet::Fleets;
use crate::words;

/// Why no node takes it now. What it says changes only with the nodes, and not from minute to minute: it is written into the
/// status of every job that waits.
pub fn why(demand: &Demand, nodes: &Nodes, fleets: &Fleets, used: &Sums, now: Timestamp) -> (Reason, String) {
    let meant = demand.target.among(nodes);
    let obstacles: Vec<(&str, Obstacle)> = meant
        .map(|(name, node)| {
            let found = demand.fits(node, used.of(name), now);
            // Its turn has not come: as if others had it.
            (name.as_str(), found.err().unwrap_or_else(|| Obstacle::Busy("pods".to_owned())))
        })
        .collect();
    match (obstacles.as_slice(), &demand.target) {
        ([], Meant::Each(node)) => (Reason::NodeMissing, format!("node {node}, on which the job is to run, is gone")),
        ([], Meant::Node(node)) => (Reason::NodeMissing, words::no_node(node)),
        ([], Meant::Fleet(fleet)) => (Reason::NoNodes, words::no_fleet(fleet, fleets.has(fleet))),
        ([], Meant::Labels(wanted)) => (Reason::NoNodes, words::no_labels(wanted)),
        ([(name, obstacle)], _) => one(demand, name, obstacle),
        (several, _) => of_several(demand, several),
    }
}

/// Of the only node that is meant.
fn one(demand: &Demand, node: &str, obstacle: &Obstacle) -> (Reason, String) {
    match obstacle {
        Obstacle::NotReady(why) => (
            Reason::NodeNotReady,
            format!(
                "node {node} is not ready{}: the job starts when it is; see at the site whether \"vk-node run --node-name \
                 {node}\" is running",
                why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
            ),
        ),
        Obstacle::Cordoned => (
            Reason::NodeCordoned,
            format!("node {node} is cordoned and takes no new work: the job starts after \"kubectl uncordon {node}\""),
        ),
        Obstacle::Drained => (
            Reason::NodeCordoned,
            format!(
                "node {node} was drained by its site and takes no new work: the job starts after \"vk-node drain --undo\" there"
            ),
        ),
        Obstacle::Busy(_) => {
            (Reason::NoRoom, format!("node {node} {}: the job waits for its turn", say(demand, obstacle, 1)))
        }
        Obstacle::Tainted(_)
        | Obstacle::Namespace
        | Obstacle::FleetNamespace(_)
        | Obstacle::Leaves
        | Obstacle::Ends(_)
        | Obstacle::Margin(_)
        | Obstacle::Lacks(_) => (Reason::NoNodeFits, format!("node {node} {}", say(demand, obstacle, 1))),
    }
}

fn of_several(demand: &Demand, obstacles: &[(&str, Obstacle)]) -> (Reason, String) {
    let latest = |time: fn(&Obstacle) -> Option<Timestamp>| {
        obstacles.iter().filter_map(|(_, obstacle)| time(obstacle)).max().unwrap_or(Timestamp::MAX)
    };
    let last_end = latest(|obstacle| if let Obstacle::Ends(at) = obstacle { Some(*at) } else { None });
    let last_until = latest(|obstacle| if let Obstacle::Margin(at) = obstacle { Some(*at) } else { None });
    let mut groups = BTreeMap::<Obstacle, usize>::new();
    for (_, obstacle) in obstacles {
        // What each says of itself would make a group of each.
        let group = match obstacle {
            Obstacle::NotReady(_) => Obstacle::NotReady(None),
            Obstacle::Ends(_) => Obstacle::Ends(last_end),
            Obstacle::Margin(_) => Obstacle::Margin(last_until),
            Obstacle::Cordoned
            | Obstacle::Drained
            | Obstacle::Leaves
            | Obstacle::Tainted(_)
            | Obstacle::Namespace
            | Obstacle::FleetNamespace(_)
            | Obstacle::Lacks(_)
            | Obstacle::Busy(_) => obstacle.clone(),
        };
        let count = groups.entry(group).or_default();
        *count = count.saturating_add(1);
    }
    let is_busy = groups.keys().any(|obstacle| matches!(obstacle, Obstacle::Busy(_)));
    let total: usize = groups.values().sum();
    let said = |(obstacle, count): (&Obstacle, &usize)| format!("{count} {}", say(demand, obstacle, *count));
    let said: Vec<String> = groups.iter().map(said).collect();
    let all = format!("none of {total} nodes takes it now: {}", said.join("; "));
    match is_busy {
        true => (Reason::NoRoom, all),
        false => (Reason::NoNodeFits, all),
    }
}

/// What is said of so many nodes.
fn say(demand: &Demand, obstacle: &Obstacle, count: usize) -> String {
    let verb = |one: &'static str, several: &'static str| if count == 1 { one } else { several };
    let (is, has) = (verb("is", "are"), verb("has", "have"));
    let asked = |name: &str| Worded(name, demand.amounts.get(name)).to_string();
    match obstacle {
        Obstacle::NotReady(_) => format!("{is} not ready"),
        Obstacle::Cordoned => format!("{is} cordoned"),
        Obstacle::Drained => format!("{} drained by {} site", verb("was", "were"), verb("its", "their")),
        Obstacle::Leaves => format!("{is} about to end"),
        Obstacle::Tainted(key) => format!("{has} the taint {key}, which keeps CmdJobs away"),
        Obstacle::Namespace => {
            format!("{} no pods of the namespace {}", verb("takes", "take"), demand.namespace)
        }
        Obstacle::FleetNamespace(fleet) => {
            let belongs = verb("belongs", "belong");
            format!("{belongs} to the fleet {fleet}, which takes no CmdJobs of the namespace {}", demand.namespace)
        }
        Obstacle::Margin(at) => {
            let sooner = verb("", " or sooner");
            format!(
                "{is} to be free from {at}{sooner} on, the margin before {} end, before {}",
                verb("its", "their"),
                walltime(demand)
            )
        }
        Obstacle::Ends(at) => {
            format!("{} at {at}{}, before {}", verb("ends", "end"), verb("", " or sooner"), walltime(demand))
        }
        Obstacle::Lacks(name) => format!("{} {}", verb("lacks", "lack"), asked(name)),
        Obstacle::Busy(name) => format!("{has} no room for {} at present", asked(name)),
    }
}

fn walltime(demand: &Demand) -> String {
    match demand.walltime {
        Some(walltime) => format!("the {walltime:#} that it may take have passed"),
        None => "it could start".to_owned(),
    }
}
