//! A site: its batch system, the scripts of pilots on the gateway, and what comes of allocations. A pilot's script is that of
//! `operator/core/src/pilots/script/frame.sh`, step by step; the batch system takes, refuses, delays, runs and ends what it is given.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{from_value, json};
use vk_cmd_crds::CmdFleet;
use vk_operator_core::pilots::name::{PilotName, number};
use vk_task::{End, Signal, TaskId, TaskState, TaskView};

use crate::script::Fault;
use crate::world::World;

/// The node from which the batch system is spoken to.
pub(crate) const GATEWAY: &str = "vk-gw";
/// Where the pilots are.
pub(crate) const PILOTS: &str = "pilots";
/// The fleet, and its UID.
pub(crate) const FLEET: &str = "f";
const FLEET_UID: &str = "f1ee7000-5e6f-4000-8000-000000000000";
/// How long after TERM the batch system sends KILL.
pub(crate) const KILL_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// What is asked for, and given where nothing bad happens: longer than a history.
pub(crate) const WALLTIME: SignedDuration = SignedDuration::from_hours(500);
/// So long before its end a node is Ending.
pub(crate) const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// The site.
pub(crate) struct Site {
    /// All that there ever were.
    pub(crate) allocations: Vec<Allocation>,
    /// What pilots have written down, by their names.
    homes: BTreeMap<String, Home>,
    /// The scripts that have told the batch system to cancel.
    told: BTreeSet<TaskId>,
    /// The batch system does not answer.
    pub(crate) is_away: bool,
    /// It takes nothing.
    pub(crate) refuses: bool,
    /// How long an allocation lasts that begins by itself.
    pub(crate) gives: SignedDuration,
    /// Nodes that a person has cordoned.
    pub(crate) by_person: BTreeSet<String>,
    /// Nodes that have died, and when Kubernetes notices.
    pub(crate) dead: BTreeMap<String, Timestamp>,
    /// The most that the fleet has ever allowed: nodes, pilots, pilots that wait.
    pub(crate) most: [Option<u32>; 3],
}

/// What is in a pilot's directory.
#[derive(Clone, Copy, Debug, Default)]
struct Home {
    submitting: bool,
    id: Option<usize>,
}

/// An allocation.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    /// What it is called in the batch system.
    pub(crate) name: String,
    pub(crate) pilot: String,
    /// The number of the pod that has submitted it.
    pub(crate) pod: String,
    pub(crate) phase: Phase,
    pub(crate) ends: Timestamp,
    /// When it was told to end.
    pub(crate) term: Option<Timestamp>,
    /// Whether it is run again after that.
    pub(crate) again: bool,
    /// Whether something in it went wrong.
    pub(crate) is_bad: bool,
    pub(crate) nodes: Vec<Came>,
}

/// Where an allocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Running,
    Over,
    /// Cancelled before it began.
    Removed,
}

/// Whether a node of an allocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    NotYet,
    Here,
    Gone,
}

impl Allocation {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Removed)
    }

    /// The name of one of its nodes.
    pub(crate) fn node(&self, index: usize) -> String {
        format!("vk-{}-{index}", self.pilot)
    }
}

/// The fleet of a seed.
pub(crate) fn fleet(rng: &mut Rng) -> CmdFleet {
    let npp = if rng.u8(0..4) == 0 { 2 } else { 1 };
    let mut launcher = json!({
        "gateway": {"node": GATEWAY}, "namespace": PILOTS, "walltimeSeconds": WALLTIME.as_secs(), "nodesPerPilot": npp,
        "idleSeconds": rng.u8(10..100), "cancelSeconds": 300, "slurm": {"requeue": rng.u8(0..4) == 0},
        "maxPendingPilots": rng.u8(1..4),
    });
    let mut spec = json!({"walltimeMarginSeconds": MARGIN.as_secs(), "minNodes": 0});
    if rng.u8(0..3) > 0 {
        launcher["nodeResources"] = json!({"cpu": "2", "pods": "110"});
    }
    if rng.u8(0..3) == 0 {
        launcher["maxPilots"] = json!(rng.u8(1..4));
    }
    if rng.u8(0..3) > 0 {
        spec["maxNodes"] = json!(rng.u8(npp..5));
    }
    if rng.u8(0..3) == 0 {
        spec["minNodes"] = json!(1);
    }
    spec["launcher"] = launcher;
    from_value(json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": FLEET, "uid": FLEET_UID}, "spec": spec,
    }))
    .unwrap()
}

impl Site {
    pub(crate) fn new(fleet: &CmdFleet) -> Self {
        let mut site = Self {
            allocations: Vec::new(),
            homes: BTreeMap::new(),
            told: BTreeSet::new(),
            is_away: false,
            refuses: false,
            gives: SignedDuration::from_mins(20),
            by_person: BTreeSet::new(),
            dead: BTreeMap::new(),
            most: [Some(0); 3],
        };
        site.note(fleet);
        site
    }

    /// Notes what the fleet allows.
    pub(crate) fn note(&mut self, fleet: &CmdFleet) {
        let launcher = fleet.spec.launcher.as_ref().unwrap();
        let count = |n: i32| u32::try_from(n).unwrap();
        let now =
            [fleet.spec.max_nodes.map(count), launcher.max_pilots.map(count), Some(count(launcher.max_pending_pilots))];
        for (most, now) in self.most.iter_mut().zip(now) {
            *most = most.zip(now).map(|(most, now)| most.max(now));
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.allocations.iter().rposition(|allocation| allocation.name == name)
    }

    /// What the batch system cancels.
    fn cancel(&mut self, id: usize, now: Timestamp) {
        let allocation = &mut self.allocations[id];
        match allocation.phase {
            Phase::Waiting => allocation.phase = Phase::Removed,
            Phase::Running => drop(allocation.term.get_or_insert(now)),
            Phase::Over | Phase::Removed => {}
        }
    }
}

/// What a pilot's script does next.
enum Act {
    Nothing,
    Goes,
    Exits(u8),
    Dies,
}

impl World {
    /// The scripts of pilots that run.
    pub(crate) fn scripts(&self) -> Vec<TaskView> {
        let gateway = self.machines.iter().find(|machine| machine.name == GATEWAY);
        let tasks = gateway.into_iter().flat_map(|machine| &machine.tasks);
        tasks.filter(|task| matches!(task.state, TaskState::Running { .. })).cloned().collect()
    }

    /// One step of a pilot's script. Where it is hit, it is killed before the step, or before it has written down what came of it.
    /// Whether there was anything to do.
    pub(crate) fn script_goes_on(&mut self, task: &TaskView, fault: Fault) -> bool {
        let pod = task.origin.run().unwrap().pod.clone();
        let pilot = self.ever.values().find(|ever| pod.starts_with(&ever.prefix)).unwrap().key.1.clone();
        let Some(number) = number(&pilot, FLEET) else { return false };
        let name = PilotName::new(FLEET, FLEET_UID, number).in_batch_system().to_owned();
        let nodes = self.api.fleets[FLEET].spec.launcher.as_ref().unwrap().nodes_per_pilot;
        let (now, forgets) = (self.api.now, self.mutation == crate::mutation::Mutation::ForgetsWhatItSubmitted);
        let site = self.site.as_mut().unwrap();
        let is_cancelled = task.stop.is_some();
        let mut home = site.homes.get(&pilot).copied().unwrap_or_default();
        let act = match home.id {
            _ if matches!(fault, Fault::Crash(_)) => Act::Dies,
            None if home.submitting && site.is_away => Act::Nothing,
            None if home.submitting && !forgets && site.find(&name).is_some() => {
                home.id = site.find(&name);
                Act::Goes
            }
            None if is_cancelled => Act::Exits(0),
            None if !home.submitting => {
                home.submitting = true;
                Act::Goes
            }
            None if site.refuses => Act::Exits(11),
            None => {
                let nodes = vec![Came::NotYet; usize::try_from(nodes).unwrap()];
                let ends = Timestamp::MAX;
                site.allocations.push(Allocation {
                    name: name.clone(),
                    pilot: pilot.clone(),
                    pod: pod.clone(),
                    phase: Phase::Waiting,
                    ends,
                    term: None,
                    again: false,
                    is_bad: false,
                    nodes,
                });
                if fault == Fault::None {
                    home.id = Some(site.allocations.len() - 1);
                    Act::Goes
                } else {
                    Act::Dies
                }
            }
            Some(_) if site.is_away => Act::Nothing,
            Some(id) if is_cancelled && site.told.insert(task.id.clone()) => {
                site.cancel(id, now);
                Act::Goes
            }
            Some(id) => match site.allocations[id].phase {
                Phase::Waiting | Phase::Running => Act::Nothing,
                Phase::Over if is_cancelled || !site.allocations[id].is_bad => Act::Exits(0),
                Phase::Over => Act::Exits(10),
                Phase::Removed => Act::Exits(if is_cancelled { 0 } else { 12 }),
            },
        };
        match act {
            Act::Exits(0) => drop(site.homes.remove(&pilot)),
            _ => drop(site.homes.insert(pilot.clone(), home)),
        }
        let (end, what) = match act {
            Act::Nothing => return false,
            Act::Goes => (None, "goes on".to_owned()),
            Act::Exits(code) => (Some(End::Exited { code }), format!("exits with {code}")),
            Act::Dies => (Some(End::Signaled { signal: Signal(9), core_dumped: false }), "is KILLED".to_owned()),
        };
        self.api.say(|| format!("  the script of {pilot} {what}: {home:?}"));
        let gateway = self.machines.iter_mut().find(|machine| machine.name == GATEWAY);
        if let (Some(end), Some(gateway)) = (end, gateway) {
            gateway.end(now, &end, |other| other.id == task.id);
        }
        true
    }
}
