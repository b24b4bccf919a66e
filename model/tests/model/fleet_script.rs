//! What happens to a fleet of pilots and at its site.

use fastrand::Rng;
use jiff::SignedDuration;
use vk_cmd_crds::Scheduling;

use crate::api::Key;
use crate::desk::Keeper;
use crate::laws::Holds;
use crate::script::{Event, Fault, Kind, event, fault};
use crate::site::{FLEET, GATEWAY, PILOTS, Phase};
use crate::world::World;

/// Numbers pick one of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FleetEvent {
    /// A keeper of the operator that leads looks, though it is not its time.
    Keeps(Keeper, Fault),
    /// It looks at a Node.
    KeepsNode(u8, Fault),
    /// A pilot's script takes a step.
    Script(u8, Fault),
    /// An allocation begins, for so many seconds.
    Begins(u8, u16),
    /// A node of it comes up.
    Boots(u8),
    /// It fails.
    Fails(u8),
    /// Somebody at the site has it end; or run again.
    Ends(u8, bool),
    /// Nodes that are to go, go.
    Leave,
    /// The batch system does not answer, or does again; takes nothing, or does again.
    Away(bool),
    Refuses(bool),
    /// A node, or the gateway, is heard from, or not.
    Heard(u8, bool),
    /// Somebody cordons or uncordons a node.
    Cordon(u8, bool),
    /// Somebody changes the fleet.
    Schedules(Scheduling),
    Max(Option<u8>),
    Replicas(Option<u8>),
    /// Somebody deletes the CmdJob of a pilot.
    DeletePilot(u8),
    /// Everybody does what is expected of them, for so many seconds.
    GoesOn(u8),
}

fn fleet_event(rng: &mut Rng) -> FleetEvent {
    let n = rng.u8(..);
    match rng.u8(0..50) {
        0..=7 => FleetEvent::Keeps(Keeper::Pilots, fault(rng)),
        8..=10 => FleetEvent::Keeps(Keeper::Fleets, fault(rng)),
        11 if n.is_multiple_of(2) => FleetEvent::GoesOn(n % 16),
        11..=14 => FleetEvent::KeepsNode(n, fault(rng)),
        15..=23 => FleetEvent::Script(n, if rng.u8(0..3) > 0 { Fault::None } else { fault(rng) }),
        24..=28 => FleetEvent::Begins(n, if rng.bool() { rng.u16(60..400) } else { rng.u16(400..3000) }),
        29..=33 => FleetEvent::Boots(n),
        34 => FleetEvent::Fails(n),
        35 => FleetEvent::Ends(n, rng.bool()),
        36..=38 => FleetEvent::Leave,
        39 => FleetEvent::Away(rng.u8(0..3) == 0),
        40 => FleetEvent::Refuses(rng.u8(0..3) == 0),
        41..=43 => FleetEvent::Heard(n, rng.u8(0..3) > 0),
        44 => FleetEvent::Cordon(n, rng.bool()),
        45 | 46 => FleetEvent::Schedules(
            *rng.choice(&[Scheduling::Active, Scheduling::Active, Scheduling::Cordoned, Scheduling::Draining]).unwrap(),
        ),
        47 => FleetEvent::Max((rng.u8(0..4) > 0).then(|| rng.u8(2..5))),
        48 => FleetEvent::Replicas((rng.u8(0..3) == 0).then(|| rng.u8(0..3))),
        _ => FleetEvent::DeletePilot(n),
    }
}

/// The script of a seed with a fleet.
pub(crate) fn fleet_script(rng: &mut Rng) -> Vec<Event> {
    let length = rng.usize(30..250);
    let one = |rng: &mut Rng| match rng.u8(0..12) {
        0..=5 => Event::Fleet(fleet_event(rng)),
        6 => Event::Hears(rng.u8(..), Kind::Fleets, if rng.bool() { 255 } else { 1 }),
        _ => match event(rng) {
            // Those are of nodes that are there without anybody's doing.
            Event::Node(n, _) => Event::Fleet(FleetEvent::Boots(n)),
            Event::Gone(n) | Event::Stranger(n) | Event::Squats(n, _) => Event::Fleet(FleetEvent::Begins(n, 2000)),
            Event::ForceJob(n) => Event::Fleet(FleetEvent::Script(n, Fault::None)),
            Event::DeletePod(n, _) => Event::DeletePod(n, false),
            other => other,
        },
    };
    (0..length).map(|_| one(rng)).collect()
}

fn pick<T: Clone>(n: u8, all: &[T]) -> Option<T> {
    all.get(usize::from(n) % all.len().max(1)).cloned()
}

impl World {
    /// The allocations in this phase.
    fn in_phase(&self, phase: Phase) -> Vec<usize> {
        let all = self.site.as_ref().unwrap().allocations.iter().enumerate();
        all.filter(|(_, one)| one.phase == phase).map(|(id, _)| id).collect()
    }

    pub(crate) fn operator_keeps(&mut self, keeper: Keeper, fault: Fault) {
        self.api.fault = fault;
        self.api.say(|| format!("  {keeper:?} are looked after"));
        let done = self.operators[0].keep(keeper, &mut self.api);
        self.after_look(&done);
    }

    pub(crate) fn operator_keeps_node(&mut self, name: &str, fault: Fault) {
        self.api.fault = fault;
        let done = self.operators[0].keep_node(name, &mut self.api);
        self.after_look(&done);
    }

    pub(crate) fn fleet_happens(&mut self, event: FleetEvent) -> Holds {
        match event {
            FleetEvent::Keeps(keeper, fault) => self.operator_keeps(keeper, fault),
            FleetEvent::KeepsNode(n, fault) => {
                let names: Vec<String> = self.operators[0].desk.nodes.keys().cloned().collect();
                if let Some(name) = pick(n, &names) {
                    self.operator_keeps_node(&name, fault);
                }
            }
            FleetEvent::Script(n, fault) => {
                if let Some(task) = pick(n, &self.scripts()) {
                    self.script_goes_on(&task, fault);
                }
            }
            FleetEvent::Begins(n, seconds) => {
                if let Some(id) = pick(n, &self.in_phase(Phase::Waiting)) {
                    self.begin(id, SignedDuration::from_secs(seconds.into()));
                }
            }
            FleetEvent::Boots(n) => {
                if let Some(id) = pick(n, &self.in_phase(Phase::Running)) {
                    self.boot(id);
                }
            }
            FleetEvent::Fails(n) => {
                if let Some(id) = pick(n, &self.in_phase(Phase::Running)) {
                    self.fail(id);
                }
            }
            FleetEvent::Ends(n, again) => {
                let all = [self.in_phase(Phase::Running), self.in_phase(Phase::Waiting)].concat();
                let launcher = self.api.fleets[FLEET].spec.launcher.as_ref().unwrap();
                let may_again = launcher.slurm.as_ref().is_some_and(|slurm| slurm.requeue);
                if let Some(id) = pick(n, &all) {
                    self.tell_to_end(id, again && may_again);
                    self.time_is_over();
                }
            }
            FleetEvent::Leave => drop(self.nodes_leave()),
            FleetEvent::Away(is_away) => self.site.as_mut().unwrap().is_away = is_away,
            FleetEvent::Refuses(refuses) => self.site.as_mut().unwrap().refuses = refuses,
            FleetEvent::Heard(n, is_heard) => {
                let names: Vec<String> = self.links.keys().cloned().collect();
                if let Some(name) = pick(n, &names) {
                    self.hear(&name, is_heard);
                }
            }
            FleetEvent::Cordon(n, cordons) => {
                let names: Vec<String> = self.api.nodes.keys().filter(|name| *name != GATEWAY).cloned().collect();
                if let Some(name) = pick(n, &names) {
                    self.person_cordons(&name, cordons);
                }
            }
            FleetEvent::Schedules(scheduling) => self.change_fleet(|spec| spec.scheduling = scheduling),
            FleetEvent::Max(max) => {
                let npp = self.api.fleets[FLEET].spec.launcher.as_ref().unwrap().nodes_per_pilot;
                self.change_fleet(|spec| spec.max_nodes = max.map(|max| i32::from(max).max(npp)));
            }
            FleetEvent::Replicas(replicas) => self.change_fleet(|spec| spec.replicas = replicas.map(i32::from)),
            FleetEvent::GoesOn(seconds) => self.goes_on(seconds)?,
            FleetEvent::DeletePilot(n) => {
                let pilots: Vec<Key> = self.api.jobs.keys().filter(|key| key.0 == PILOTS).cloned().collect();
                if let Some(key) = pick(n, &pilots) {
                    let _ = self.api.delete_job(crate::objects::at(&key), None, None);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn change_fleet(&mut self, change: impl FnOnce(&mut vk_cmd_crds::CmdFleetSpec)) {
        let mut fleet = vk_cmd_crds::CmdFleet::clone(&self.api.fleets[FLEET]);
        change(&mut fleet.spec);
        self.site.as_mut().unwrap().note(&fleet);
        self.api.put_fleet(fleet);
    }

    /// As kubectl does it: what is so already is left as it is.
    fn person_cordons(&mut self, name: &str, cordons: bool) {
        let node = &self.api.nodes[name];
        let (is_so, is_ours) = {
            let cordon = vk_operator_core::cordon::Cordon::of(node);
            (cordon.unschedulable == cordons, cordon.is_ours())
        };
        if is_so {
            return;
        }
        let site = self.site.as_mut().unwrap();
        match cordons {
            // While a word of ours stands, it leaves no trace.
            true if !is_ours => drop(site.by_person.insert(name.to_owned())),
            true => {}
            false => drop(site.by_person.remove(name)),
        }
        self.api.change_node(name, |node| {
            node.spec.get_or_insert_default().unschedulable = cordons.then_some(true);
        });
    }
}
