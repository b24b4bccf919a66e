//! What is known of a fleet when it is decided about its pilots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_cmd_crds::amounts::Amounts;
use vk_cmd_crds::{CmdFleet, PilotsStatus, Scheduling, labels};

use super::{PilotSeen, ValidLauncher, name};
use crate::floor::Floor;
use crate::place::{Demand, Meant, NodeSeen};

/// What somebody wants of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// So many nodes; none: as many as the queue needs.
    pub replicas: Option<u32>,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: Option<u32>,
    /// So long before its end a node takes nothing any more.
    pub margin: SignedDuration,
}

/// A node of a pilot.
#[derive(Clone, Copy, Debug)]
pub struct NodeOfPilot<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pilot that it runs in.
    pub pilot: &'a str,
    /// What it says.
    pub seen: &'a NodeSeen,
    /// What is in use there, or kept for somebody.
    pub used: &'a Amounts,
}

/// What a fleet's status has kept of its pilots for whoever begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the last pilot.
    pub last_number: Option<u64>,
    /// The number of the last one of this launcher that has ended as it should, or worked until it was given back.
    pub last_good: Option<u64>,
    /// What the nodes of this launcher have had.
    pub shape: Option<Amounts>,
}

/// All that is known.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The launcher.
    pub launcher: &'a ValidLauncher<'a>,
    /// What is wanted.
    pub wishes: Wishes,
    /// The pilots of the fleet.
    pub pilots: Vec<PilotSeen>,
    /// Their nodes.
    pub nodes: Vec<NodeOfPilot<'a>>,
    /// What waits for nodes like these: how many attempts of each kind.
    pub waiting: Vec<(Arc<Demand>, usize)>,
    /// What was written down.
    pub recorded: Recorded,
    /// The time.
    pub now: Timestamp,
    /// The time since the operator was started, by a clock that nobody can set.
    pub uptime: Duration,
}

impl<'a> Facts<'a> {
    /// Of a fleet: its pilots, and what there is on the floor. `uptime`: the time since the operator's start.
    pub fn of(
        fleet: &CmdFleet,
        launcher: &'a ValidLauncher<'a>,
        pilots: Vec<PilotSeen>,
        floor: &'a Floor,
        now: Timestamp,
        uptime: Duration,
    ) -> Self {
        let labels = launcher.labels();
        let is_meant = |target: &Meant| match target {
            Meant::Fleet(_) | Meant::Labels(_) => target.means("", &labels),
            // Those are there, or will never be.
            Meant::Node(_) | Meant::Each(_) => false,
        };
        let status = fleet.status.as_ref().and_then(|status| status.pilots.as_ref());
        Self {
            launcher,
            wishes: Wishes::of(fleet),
            pilots,
            nodes: nodes_of(launcher.fleet, floor),
            waiting: floor.waiting_for(|demand| is_meant(&demand.target)),
            recorded: status.map(|status| Recorded::of(status, &launcher.digest)).unwrap_or_default(),
            now,
            uptime,
        }
    }
}

impl Recorded {
    /// What a status says of the launcher of this digest. What was another launcher's says nothing of this one.
    pub fn of(status: &PilotsStatus, digest: &str) -> Self {
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let is_same = status.launcher.as_deref() == Some(digest);
        let resources = status.node_resources.iter().map(|(name, amount)| (name, Quantity(amount.clone())));
        let resources: BTreeMap<&String, Quantity> = resources.collect();
        Self {
            last_number: number(status.last_number),
            last_good: number(status.last_good_number).filter(|_| is_same),
            shape: (is_same && !resources.is_empty()).then(|| Amounts::read(resources.iter().map(|(k, v)| (*k, v)))),
        }
    }
}

/// The nodes of the pilots of a fleet. Their names begin with the fleet's, so that the others are not looked at.
fn nodes_of<'a>(fleet: &str, floor: &'a Floor) -> Vec<NodeOfPilot<'a>> {
    let prefix = name::nodes_of(fleet);
    let named = floor.nodes().range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
    let of_pilots = named.filter_map(|(name, seen)| Some((name, seen, seen.labels.get(labels::PILOT)?)));
    of_pilots
        .filter(|(name, _, pilot)| name::is_node_of(name, pilot) && name::number(pilot, fleet).is_some())
        .map(|(name, seen, pilot)| NodeOfPilot { name, pilot, seen, used: floor.used(name) })
        .collect()
}

impl Wishes {
    /// Of a fleet.
    pub fn of(fleet: &CmdFleet) -> Self {
        let spec = &fleet.spec;
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        let wishes = Self {
            replicas: spec.replicas.map(count),
            min: count(spec.min_nodes),
            max: spec.max_nodes.map(count),
            margin: SignedDuration::from_secs(spec.walltime_margin_seconds),
        };
        match spec.scheduling {
            Scheduling::Active => wishes,
            // What takes no work is not asked for; what is there stays until it is idle.
            Scheduling::Cordoned | Scheduling::Draining => Self { replicas: None, min: 0, max: Some(0), ..wishes },
        }
    }
}
