//! How it is with a fleet: a pure function of what it wants, its nodes, what runs there, what waits, and the time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::amounts::{Amounts, PODS};
use vk_cmd_crds::fleet_status::{CmdFleetStatus, EndingNode, FleetQueue, NodeVersion};
use vk_cmd_crds::{CmdFleet, FleetReason, PilotsStatus, Scheduling};
use vk_words::counted;

use super::amounts::quantities;
use super::conditions::{self, Say};
use super::drain::Drained;
use super::problems;
use crate::cordon::By;
use crate::floor::Floor;
use crate::pilots::Told;
use crate::place::{Meant, NodeSeen, NodeState};

/// Which nodes end soon: those that take nothing any more, and those to which that happens within this time.
const SOON: SignedDuration = SignedDuration::from_mins(15);
/// How many of a kind are listed.
const LISTED: usize = 10;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The fleet.
    pub fleet: &'a CmdFleet,
    /// All nodes, what runs there, and what waits.
    pub floor: &'a Floor,
    /// What was left after the last evictions, if there were any since the fleet is to be drained.
    pub drained: Option<&'a Drained>,
    /// What there is to say of its pilots, if that was found out.
    pub pilots: Option<&'a Told>,
    /// The time.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The status.
    pub status: CmdFleetStatus,
    /// When it will be another though nothing happens.
    pub again: Option<Timestamp>,
}

/// Whether a change of the status is written at once. What only tells how much runs and waits may wait a moment, for the next such
/// change is often near.
pub fn is_urgent(recorded: &CmdFleetStatus, wanted: &CmdFleetStatus) -> bool {
    let words = |status: &CmdFleetStatus| -> Vec<(String, String, String)> {
        let all = status.conditions.iter();
        all.map(|condition| (condition.type_.clone(), condition.status.clone(), condition.reason.clone())).collect()
    };
    let counts = |status: &CmdFleetStatus| {
        (status.observed_generation, status.wanted_nodes, status.total_nodes, status.ready_nodes, status.cordoned_nodes)
    };
    counts(recorded) != counts(wanted) || words(recorded) != words(wanted) || recorded.problems != wanted.problems
}

/// The nodes of a fleet, by name.
pub fn nodes_of<'a>(fleet: &str, floor: &'a Floor) -> Vec<(&'a str, &'a NodeSeen)> {
    let is_of = |node: &NodeSeen| node.terms.as_ref().is_some_and(|terms| terms.fleet == fleet);
    floor.nodes().iter().filter(|(_, node)| is_of(node)).map(|(name, node)| (name.as_str(), node)).collect()
}

/// Looks at a fleet.
pub fn look(look: Look<'_>) -> Looked {
    let Look { fleet, floor, now, .. } = look;
    let name = fleet.metadata.name.as_deref().unwrap_or_default();
    let recorded = fleet.status.clone().unwrap_or_default();
    let nodes = nodes_of(name, floor);
    let tally = Tally::of(&nodes, floor);
    let meant = Meant::Fleet(name.to_owned());
    let queue = FleetQueue {
        waiting_jobs: number(floor.jobs_waiting_for(|demand| demand.target == meant)),
        waiting_pods: number(floor.waiting_for(|demand| demand.target == meant).iter().map(|(_, count)| count).sum()),
    };
    let margin = SignedDuration::from_secs(fleet.spec.walltime_margin_seconds.max(0)).saturating_add(SOON);
    let (ending, later): (Vec<_>, Vec<_>) = nodes
        .iter()
        .filter_map(|(name, node)| Some((node.ends?, *name)))
        .partition(|(ends, _)| ends.duration_since(now) <= margin);
    // Until its pilots have been looked at, what was written holds.
    let pilots = fleet.spec.launcher.as_ref().and_then(|_| match look.pilots {
        Some(told) => told.status.clone(),
        None => recorded.pilots.clone(),
    });
    let by_hand = fleet.spec.replicas.unwrap_or(fleet.spec.min_nodes);
    let wanted = pilots.as_ref().map_or(by_hand, |pilots| pilots.wanted_nodes);
    let paused = look.pilots.and_then(|told| told.paused.as_ref());
    let say = say(look, &nodes, &tally, wanted, queue, pilots.as_ref());
    let generation = fleet.metadata.generation;
    let status = CmdFleetStatus {
        observed_generation: generation,
        replicas: number(nodes.len()),
        selector: Some(selector(&fleet.node_labels())),
        wanted_nodes: wanted,
        total_nodes: number(nodes.len()),
        ready_nodes: number(tally.ready),
        busy_nodes: number(tally.busy),
        idle_nodes: number(tally.ready.saturating_sub(tally.busy)),
        cordoned_nodes: number(tally.closed),
        ending_nodes: number(ending.len()),
        allocatable: quantities(&tally.allocatable),
        used: quantities(&tally.used),
        free: quantities(&tally.free),
        nodes_ending_soon: first_of(ending),
        versions: versions(&nodes),
        queue,
        pilots,
        problems: problems::of_nodes(fleet, floor.fleets(), &nodes),
        conditions: conditions::of(&recorded, &say, paused, generation, now),
        message: Some(say.message),
    };
    let enters = later.into_iter().filter_map(|(ends, _)| ends.checked_sub(margin).ok());
    let closes = nodes.iter().filter_map(|(_, node)| node.until());
    Looked { status, again: enters.chain(closes).filter(|at| *at > now).min() }
}

/// The nodes that shall be cordoned by now, and those that shall not be any more, for these two reasons. Of all nodes, for those of a
/// fleet that is gone are set free.
pub fn cordons(floor: &Floor, now: Timestamp) -> Vec<(String, By, bool)> {
    let wants = |(name, node): (&String, &NodeSeen)| {
        let terms = node.terms.as_ref();
        let is_closed = terms.is_some_and(|terms| terms.scheduling != Scheduling::Active);
        let is_over = terms.is_some() && node.until().is_some_and(|until| until <= now);
        let name = name.clone();
        [(By::Fleet, is_closed), (By::Margin, is_over)]
            .into_iter()
            .filter(|(by, wanted)| node.about.cordon.want(*by, *wanted).is_some())
            .map(move |(by, wanted)| (name.clone(), by, wanted))
            .collect::<Vec<_>>()
    };
    floor.nodes().iter().flat_map(wants).collect()
}

/// What there is, counted.
#[derive(Default)]
struct Tally {
    ready: usize,
    busy: usize,
    closed: usize,
    /// Those that take pods.
    open: usize,
    allocatable: Amounts,
    used: Amounts,
    free: Amounts,
}

impl Tally {
    fn of(nodes: &[(&str, &NodeSeen)], floor: &Floor) -> Self {
        let mut tally = Self::default();
        for (name, node) in nodes {
            let used = floor.used(name);
            let is_closed = match node.state {
                NodeState::NotReady { .. } => {
                    tally.closed += usize::from(node.about.cordon.unschedulable);
                    continue;
                }
                NodeState::Cordoned | NodeState::Tainted(_) => true,
                NodeState::Ready => false,
            };
            tally.ready += 1;
            tally.closed += usize::from(is_closed);
            tally.busy += usize::from(used.get(PODS) > 0);
            tally.allocatable.add(&node.allocatable);
            tally.used.add(used);
            if !is_closed {
                tally.open += 1;
                let mut free = node.allocatable.clone();
                free.take(used);
                tally.free.add(&free);
            }
        }
        tally
    }
}

fn say(
    look: Look<'_>,
    nodes: &[(&str, &NodeSeen)],
    tally: &Tally,
    wanted: i32,
    queue: FleetQueue,
    pilots: Option<&PilotsStatus>,
) -> Say {
    let of = |reason, message: String| Say { reason, message };
    let spec = &look.fleet.spec;
    let problems = problems::of_spec(look.fleet);
    if !problems.is_empty() {
        return of(
            FleetReason::Invalid,
            format!("its nodes take no CmdJobs until this is mended: {}", problems.join("; ")),
        );
    }
    let open = nodes.iter().filter(|(_, node)| !node.about.cordon.unschedulable).count();
    let total = nodes.len();
    match spec.scheduling {
        Scheduling::Draining => return draining(look, total, open),
        Scheduling::Cordoned if open > 0 => {
            return of(FleetReason::Cordoning, format!("{open} of {} are not cordoned yet", of_nodes(total)));
        }
        Scheduling::Cordoned => {
            let message = format!("{} cordoned, {} busy: {}", of_nodes(total), tally.busy, TO_RESUME);
            return of(FleetReason::Cordoned, message);
        }
        Scheduling::Active => {}
    }
    let left = nodes.iter().filter(|(_, node)| node.about.cordon.is_by(By::Fleet)).count();
    if left > 0 {
        return of(FleetReason::Uncordoning, format!("{left} of {} are still cordoned", of_nodes(total)));
    }
    let waits = match (queue.waiting_jobs, tally.open) {
        (0, _) => String::new(),
        (jobs, 0) => format!("; {} for a node", wait(jobs)),
        (jobs, _) => format!("; {} for room", wait(jobs)),
    };
    let ready = number(tally.ready);
    if ready < wanted {
        if look.fleet.spec.launcher.is_some() {
            let said = pilots.and_then(|pilots| pilots.message.clone()).map(|words| format!("; {words}"));
            let message = format!(
                "{ready} of {wanted} wanted nodes ready{waits}; {} no node yet{}",
                counted(pilots.map_or(0, |pilots| pilots.pending), "pilot has", "pilots have"),
                said.unwrap_or_default(),
            );
            return of(FleetReason::TooFewNodes, message);
        }
        let message = format!(
            "{ready} of {} ready{waits}: start more at the site (vk-operator join-token --fleet {} makes the line for it)",
            counted(wanted, "wanted node is", "wanted nodes are"),
            look.fleet.metadata.name.as_deref().unwrap_or_default(),
        );
        return of(FleetReason::TooFewNodes, message);
    }
    let message = format!("{ready} of {} ready, {} busy{waits}", of_nodes(total), tally.busy);
    of(FleetReason::NodesReady, message)
}

/// How a fleet takes pods again.
const TO_RESUME: &str = "it takes CmdJobs again with spec.scheduling: Active";

fn draining(look: Look<'_>, total: usize, open: usize) -> Say {
    let of = |reason, message: String| Say { reason, message };
    if open > 0 {
        return of(FleetReason::Draining, format!("{open} of {} are not cordoned yet", of_nodes(total)));
    }
    let Some(Drained { left }) = look.drained else {
        return of(FleetReason::Draining, format!("{} cordoned; what runs there is being evicted", of_nodes(total)));
    };
    if left.is_empty() {
        return of(FleetReason::Drained, format!("{} drained: {TO_RESUME}", of_nodes(total)));
    }
    let shown: Vec<String> = left.iter().take(LISTED / 2).map(ToString::to_string).collect();
    let more = match left.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    of(FleetReason::Draining, format!("{} left: {}{more}", counted(left.len(), "pod", "pods"), shown.join("; ")))
}

fn of_nodes(total: usize) -> String {
    counted(total, "node", "nodes")
}

fn wait(jobs: i32) -> String {
    counted(jobs, "job waits", "jobs wait")
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn first_of(mut ending: Vec<(Timestamp, &str)>) -> Vec<EndingNode> {
    ending.sort_unstable();
    let node = |(ends, node): (Timestamp, &str)| EndingNode { node: node.to_owned(), ends_at: Time(ends) };
    ending.into_iter().take(LISTED).map(node).collect()
}

fn versions(nodes: &[(&str, &NodeSeen)]) -> Vec<NodeVersion> {
    let mut counts = BTreeMap::<&str, i32>::new();
    for (_, node) in nodes.iter().filter(|(_, node)| !node.about.version.is_empty()) {
        let count = counts.entry(&node.about.version).or_default();
        *count = count.saturating_add(1);
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(version, nodes)| (std::cmp::Reverse(*nodes), *version));
    let one = |(version, nodes): (&str, i32)| NodeVersion { version: version.to_owned(), nodes };
    all.into_iter().take(LISTED).map(one).collect()
}
