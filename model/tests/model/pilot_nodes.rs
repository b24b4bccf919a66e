//! The nodes of pilots: they come out of allocations, get near their end, leave, or die. How far a node is on the way to its end is
//! decided by the real code (`vk_node_core::ending`).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use vk_cmd_crds::labels;
use vk_node_core::ending::{self, EndFacts, EndPlan, Ends, NodeEnd, OnTerm, Source, Told};

use crate::cluster::{annotate, node_object, says};
use crate::launch::has_pods;
use crate::node::Machine;
use crate::script::Link;
use crate::site::{Came, FLEET, GATEWAY, KILL_WAIT, MARGIN, Phase};
use crate::world::World;

/// How long Kubernetes waits for a node that is not heard from.
const GRACE: SignedDuration = SignedDuration::from_secs(40);

/// The end of a node.
pub(crate) struct OwnEnd {
    ends: Timestamp,
    term: Option<Timestamp>,
    /// How far it has told that it is.
    told: ending::Phase,
}

impl OwnEnd {
    fn end(&self) -> NodeEnd {
        let plan = EndPlan {
            margin: Duration::try_from(MARGIN).unwrap(),
            kill_wait: Duration::try_from(KILL_WAIT).unwrap(),
            on_term: OnTerm::End,
            ..EndPlan::default()
        };
        let ends = Ends { at: since_boot(self.ends), source: Source::Squeue };
        let told = Told { notice: None, term: self.term.map(since_boot), preempted: false };
        NodeEnd::of(&plan, Some(ends), told).unwrap()
    }

    pub(crate) fn facts(&self, now: Timestamp) -> EndFacts {
        EndFacts::of(&self.end(), None, since_boot(now), wall)
    }

    /// When it is further on its way than it has told.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let end = self.end();
        match self.told {
            ending::Phase::Serving => Some(wall(end.ending_from)),
            ending::Phase::Ending => Some(wall(end.closes_at)),
            ending::Phase::Closing => None,
        }
    }
}

/// Machines were started long ago.
fn since_boot(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap()
}

fn wall(boot: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::try_from(boot).unwrap()
}

impl World {
    /// An allocation begins, for so long.
    pub(crate) fn begin(&mut self, id: usize, length: SignedDuration) {
        let now = self.api.now;
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        if allocation.phase == Phase::Waiting {
            (allocation.phase, allocation.ends, allocation.term) = (Phase::Running, now + length, None);
            let what = format!("  allocation {id} of {} begins, until {}", allocation.pilot, allocation.ends);
            self.api.say(|| what);
        }
    }

    /// A node of an allocation comes up. Whether there was one to come.
    pub(crate) fn boot(&mut self, id: usize) -> bool {
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        let next = allocation.nodes.iter().position(|came| *came == Came::NotYet);
        let Some(index) = next.filter(|_| allocation.phase == Phase::Running && allocation.term.is_none()) else {
            return false;
        };
        allocation.nodes[index] = Came::Here;
        let (name, pilot, ends) = (allocation.node(index), allocation.pilot.clone(), allocation.ends);
        let mut machine = Machine::new(&name, self.mutation);
        machine.end = Some(OwnEnd { ends, term: None, told: ending::Phase::Serving });
        let now = self.api.now;
        let fresh = node_object(&name, json!({labels::FLEET: FLEET, labels::PILOT: pilot}), json!({}));
        // One that is there again under its name takes its object over.
        let mut node = self.api.nodes.get(&name).map_or(fresh, |known| k8s_openapi::api::core::v1::Node::clone(known));
        annotate(&mut node, labels::ENDS_AT, Some(ends.to_string()));
        annotate(&mut node, labels::WALLTIME_MARGIN, Some(MARGIN.as_secs().to_string()));
        annotate(&mut node, labels::LEFT, None);
        says(&mut node, "Ready", "True", None, now);
        says(&mut node, labels::ENDING, "False", None, now);
        self.api.say(|| format!("  node {name} comes up"));
        self.api.set_node(&name, Some(node));
        machine.restart(&self.api);
        self.machines.push(machine);
        self.links.insert(name.clone(), (Link::Up, now));
        self.site.as_mut().unwrap().dead.remove(&name);
        true
    }

    /// The batch system tells an allocation to end; or has it run again later.
    pub(crate) fn tell_to_end(&mut self, id: usize, again: bool) {
        let now = self.api.now;
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        match allocation.phase {
            Phase::Waiting if !again => allocation.phase = Phase::Removed,
            Phase::Running => {
                allocation.term.get_or_insert(now);
                allocation.again |= again;
            }
            Phase::Waiting | Phase::Over | Phase::Removed => {}
        }
    }

    /// An allocation fails: nothing of it runs any more, and nobody was told.
    pub(crate) fn fail(&mut self, id: usize) {
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        if allocation.phase == Phase::Running {
            allocation.is_bad = true;
            self.die(id);
        }
    }

    fn die(&mut self, id: usize) {
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        let names: Vec<String> = (0..allocation.nodes.len()).map(|index| allocation.node(index)).collect();
        allocation.nodes.fill(Came::Gone);
        for name in names {
            if self.remove_machine(&name) {
                let at = self.api.now + GRACE;
                self.api.say(|| format!("  node {name} is killed"));
                self.site.as_mut().unwrap().dead.insert(name, at);
            }
        }
        self.is_over(id);
    }

    fn remove_machine(&mut self, name: &str) -> bool {
        let Some(at) = self.machines.iter().position(|machine| machine.name == name) else { return false };
        let gone = self.machines.remove(at);
        self.links.remove(name);
        self.started.extend(gone.started);
        self.over.extend(gone.ended);
        true
    }

    /// An allocation of which no node is left is over, or waits again.
    fn is_over(&mut self, id: usize) {
        let allocation = &mut self.site.as_mut().unwrap().allocations[id];
        if allocation.phase == Phase::Running && allocation.nodes.iter().all(|came| *came == Came::Gone) {
            if allocation.again && !allocation.is_bad {
                (allocation.phase, allocation.again) = (Phase::Waiting, false);
                allocation.nodes.fill(Came::NotYet);
            } else {
                allocation.phase = Phase::Over;
            }
            let what = format!("  allocation {id} of {} is {:?}", allocation.pilot, allocation.phase);
            self.api.say(|| what);
        }
    }

    /// What the batch system and Kubernetes do by the clock.
    pub(crate) fn time_is_over(&mut self) {
        let Some(site) = &mut self.site else { return };
        let now = self.api.now;
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let mut killed = Vec::new();
        for (id, allocation) in site.allocations.iter_mut().enumerate().filter(|(_, one)| one.phase == Phase::Running) {
            if allocation.term.is_some() {
                // What has not come yet does not come any more.
                let late = allocation.nodes.iter_mut().filter(|came| **came == Came::NotYet);
                late.for_each(|came| *came = Came::Gone);
            }
            if allocation.ends <= now || is_due(allocation.term.map(|term| term + KILL_WAIT)) {
                killed.push(id);
            }
        }
        let silent: Vec<String> =
            site.dead.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        site.dead.retain(|_, at| *at > now);
        for id in killed {
            self.die(id);
        }
        for name in silent {
            self.api.change_node(&name, |node| says(node, "Ready", "Unknown", Some("NodeStatusUnknown"), now));
        }
        for id in 0..self.site.as_ref().unwrap().allocations.len() {
            self.is_over(id);
        }
        self.notice_ends();
    }

    /// When the batch system or Kubernetes does something by the clock.
    pub(crate) fn site_next(&self) -> Option<Timestamp> {
        let site = self.site.as_ref()?;
        let running = site.allocations.iter().filter(|one| one.phase == Phase::Running);
        let kills = running.flat_map(|one| [Some(one.ends), one.term.map(|term| term + KILL_WAIT)]).flatten();
        kills.chain(site.dead.values().copied()).filter(|at| *at > self.api.now).min()
    }

    /// Nodes tell how far they are on the way to their end. Whether any did.
    pub(crate) fn notice_ends(&mut self) -> bool {
        let Some(site) = &self.site else { return false };
        let now = self.api.now;
        let terms = |name: &str| {
            let of_node = |one: &&crate::site::Allocation| (0..one.nodes.len()).any(|index| one.node(index) == name);
            site.allocations.iter().rev().filter(|one| one.phase == Phase::Running).find(of_node)?.term
        };
        let mut news = Vec::new();
        for machine in &mut self.machines {
            let Some(end) = &mut machine.end else { continue };
            let term = terms(&machine.name);
            let is_told = term != end.term;
            end.term = term;
            machine.news |= is_told;
            let phase = end.end().phase(since_boot(now));
            let is_heard = self.links.get(&machine.name).is_some_and(|(link, _)| *link == Link::Up);
            if is_heard && phase != end.told {
                end.told = phase;
                machine.news = true;
                news.push((machine.name.clone(), phase));
            }
        }
        for (name, phase) in &news {
            self.api.say(|| format!("  node {name} is {phase:?}"));
            let status = if *phase == ending::Phase::Serving { "False" } else { "True" };
            self.api.change_node(name, |node| says(node, labels::ENDING, status, Some("WalltimeNearlyOver"), now));
        }
        !news.is_empty()
    }

    /// Nodes that are to go, and have nothing left to run or to tell, leave. Whether any did.
    pub(crate) fn nodes_leave(&mut self) -> bool {
        let is_clear = |machine: &&Machine| {
            let has_told = machine.tasks.iter().all(|task| task.state.is_final() && task.reported);
            let is_closing = machine.end.as_ref().is_some_and(|end| end.told == ending::Phase::Closing);
            let is_heard = self.links.get(&machine.name).is_some_and(|(link, _)| *link == Link::Up);
            is_closing && is_heard && has_told && !has_pods(&self.api, &machine.name)
        };
        let leave: Vec<String> = self.machines.iter().filter(is_clear).map(|machine| machine.name.clone()).collect();
        let now = self.api.now;
        for name in &leave {
            self.api.say(|| format!("  node {name} leaves"));
            self.remove_machine(name);
            self.api.change_node(name, |node| {
                annotate(node, labels::LEFT, Some(now.to_string()));
                says(node, "Ready", "False", Some("NodeShutdown"), now);
            });
            let site = self.site.as_mut().unwrap();
            let all = site.allocations.iter_mut().enumerate().rev().filter(|(_, one)| one.phase == Phase::Running);
            let found = all.flat_map(|(id, one)| {
                let here = (0..one.nodes.len()).find(|index| one.node(*index) == *name);
                here.map(|index| {
                    one.nodes[index] = Came::Gone;
                    id
                })
            });
            let ids: Vec<usize> = found.take(1).collect();
            ids.into_iter().for_each(|id| self.is_over(id));
        }
        !leave.is_empty()
    }

    /// A node of a pilot, or the gateway, is heard from, or not.
    pub(crate) fn hear(&mut self, name: &str, is_heard: bool) {
        let now = self.api.now;
        let Some((link, _)) = self.links.get(name).copied() else { return };
        let new = if is_heard { Link::Up } else { Link::Silent };
        if link != new {
            self.links.insert(name.to_owned(), (new, now));
            let status = if is_heard { "True" } else { "Unknown" };
            self.api.change_node(name, |node| says(node, "Ready", status, None, now));
            self.notice_ends();
        }
    }

    /// Everybody at the site does what is expected of them. Whether there was anything to do.
    pub(crate) fn site_goes_on(&mut self) -> bool {
        if self.site.is_none() {
            return false;
        }
        let mut some = self.notice_ends() | self.nodes_leave();
        for task in self.scripts() {
            some |= self.script_goes_on(&task, crate::script::Fault::None);
        }
        for id in 0..self.site.as_ref().unwrap().allocations.len() {
            let one = &self.site.as_ref().unwrap().allocations[id];
            if !one.is_over() && !self.has_pilot(id) {
                // Somebody at the site sees to what nobody has waited for until it was gone.
                self.tell_to_end(id, false);
                self.time_is_over();
            }
            if self.site.as_ref().unwrap().allocations[id].phase == Phase::Waiting {
                self.begin(id, self.site.as_ref().unwrap().gives);
                some = true;
            }
            some |= self.boot(id);
        }
        self.time_is_over();
        some
    }

    /// Whether the pilot of an allocation is there still.
    pub(crate) fn has_pilot(&self, id: usize) -> bool {
        let pod = &self.site.as_ref().unwrap().allocations[id].pod;
        let of_pilot = self.ever.iter().find(|(_, ever)| pod.starts_with(&ever.prefix));
        of_pilot.is_some_and(|(uid, ever)| {
            self.api.jobs.get(&ever.key).is_some_and(|job| job.metadata.uid.as_ref() == Some(uid))
        })
    }

    /// The names of the nodes of pilots that are up.
    pub(crate) fn pilot_nodes(&self) -> Vec<String> {
        let all = self.machines.iter().map(|machine| machine.name.clone());
        all.filter(|name| name != GATEWAY).collect()
    }
}
