//! The end of a history: from now on nothing bad happens, everybody hears everything at once and does what there is to do when
//! it is due. Time goes from one thing that is due to the next.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use vk_operator_core::effects::Refusal;
use vk_task::{End, TaskState};

use crate::api::Key;
use crate::desk::Keeper;
use crate::laws::{Holds, Law, holds};
use crate::script::{Fault, Link};
use crate::site::{GATEWAY, WALLTIME};
use crate::world::World;

/// How long a process runs by itself.
const RUNS: SignedDuration = SignedDuration::from_secs(7);
/// What happens at one moment comes to an end within so many rounds. An attempt is made, is written down, is started by its node,
/// is ended and counted and let go, for a chain of jobs.
const ROUNDS: u32 = 40;
/// So often a job is looked at in an hour in which nothing happens, if it is refused all the time: the pauses grow to a minute.
const LOOKS: u32 = 100;
/// And so often for each of its attempts.
const LOOKS_EACH: u32 = 30;
/// So often its status is written in that time, and for each of its attempts.
const WRITES: u32 = 12;
const WRITES_EACH: u32 = 6;

/// Whether processes start and end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Stands,
    GoesOn,
}

impl World {
    pub(crate) fn calm(&mut self) -> Holds {
        self.api.say(|| "everybody does what is expected of them, and no process does anything".into());
        self.heal();
        let before = self.counts();
        self.go_on(self.api.now + SignedDuration::from_hours(1), Life::Stands)?;
        self.few(&before)?;
        // An API server is not in trouble for ever.
        self.api.closed.retain(|_, why| *why != Refusal::Trouble);
        self.api.say(|| "processes start, and end".into());
        self.begin_fair();
        // The longest that is waited for by itself is a deadline, a back-off of ten minutes, and a node that is lost.
        for _ in 0..30 {
            self.go_on(self.api.now + SignedDuration::from_hours(1), Life::GoesOn)?;
            if self.next(Life::GoesOn).is_none() || self.operators[0].only_retries() && self.machines_rest() {
                break;
            }
        }
        self.ends_well()?;
        self.fleet_ends_well()?;
        self.rests()
    }

    /// Puts right what is broken. Otherwise it stays so.
    fn heal(&mut self) {
        if !self.heals {
            return;
        }
        for name in self.links.keys().filter(|_| self.site.is_none()).cloned().collect::<Vec<_>>() {
            self.link(&name, Link::Up);
        }
        self.api.closed.clear();
        self.strangers_go();
        if let Some(site) = &mut self.site {
            site.gives = WALLTIME;
            (site.is_away, site.refuses) = (false, false);
            for name in self.links.keys().cloned().collect::<Vec<_>>() {
                self.hear(&name, true);
            }
            self.change_fleet(|spec| spec.scheduling = vk_cmd_crds::Scheduling::Active);
        }
    }

    /// Everybody does what is expected of them for a while, and no process ends.
    pub(crate) fn goes_on(&mut self, seconds: u8) -> Holds {
        self.go_on(self.api.now + SignedDuration::from_secs(seconds.into()), Life::Stands)
    }

    /// Everybody acts, until this time.
    fn go_on(&mut self, until: Timestamp, life: Life) -> Holds {
        loop {
            let mut rounds = 0;
            while self.round(life)? {
                self.check()?;
                rounds += 1;
                holds(Law::NoHotLoop, rounds < ROUNDS, || {
                    format!("after {ROUNDS} rounds at one moment there is still something to do")
                })?;
            }
            if life == Life::GoesOn {
                self.check_fair()?;
            }
            let Some(next) = self.next(life).filter(|next| *next <= until) else { break };
            self.pass(next.duration_since(self.api.now));
            let now = self.api.now;
            self.api.say(|| format!("{now}"));
        }
        self.pass(until.duration_since(self.api.now));
        Ok(())
    }

    /// Everybody hears everything, and does what is due. Whether there was anything.
    fn round(&mut self, life: Life) -> Result<bool, crate::laws::Broken> {
        let mut some = false;
        self.api.collect();
        self.api.give_up();
        if life == Life::GoesOn {
            some |= self.processes();
        }
        some |= self.site_goes_on();
        some |= self.operators_hear();
        for key in self.operators[0].due(self.api.now) {
            self.operator_looks(&key, Fault::None)?;
            some = true;
        }
        some |= self.operators[0].strays(&mut self.api).unwrap_or(true);
        some |= self.keepers_look();
        for n in 0..self.machines.len() {
            if self.is_heard(n) {
                some |= self.machines[n].hears(u8::MAX, &self.api);
                if self.machines[n].is_due(self.api.now) {
                    self.node_looks(n, Fault::None);
                    some = true;
                }
            }
        }
        Ok(some)
    }

    /// Those who keep fleets, pilots and Node objects look when it is their time. Whether it was.
    fn keepers_look(&mut self) -> bool {
        if self.site.is_none() {
            return false;
        }
        let mut some = false;
        let now = self.api.now;
        while let Some((_, name)) = self.operators[0].desk.next_node().filter(|(at, _)| *at <= now) {
            self.operator_keeps_node(&name, Fault::None);
            some = true;
        }
        for keeper in [Keeper::Fleets, Keeper::Pilots] {
            if self.operators[0].desk.next(keeper).is_some_and(|at| at <= now) {
                self.operator_keeps(keeper, Fault::None);
                some = true;
            }
        }
        some
    }

    /// Processes start at once, and end after a while, some of them badly.
    fn processes(&mut self) -> bool {
        let now = self.api.now;
        for machine in &mut self.machines {
            machine.gates_open(now);
            // What runs there are pilots.
            if machine.name == GATEWAY {
                continue;
            }
            for code in [0, 1] {
                machine.end(now, &End::Exited { code }, |task| {
                    let is_bad = task.origin.run().is_some_and(|run| run.pod.len() % 3 == 0 && run.pod.ends_with('0'));
                    matches!(task.state, TaskState::Running { started_at, .. } if started_at + RUNS <= now)
                        && is_bad == (code == 1)
                });
            }
        }
        false
    }

    /// When something is due.
    fn next(&self, life: Life) -> Option<Timestamp> {
        let heard = (0..self.machines.len()).filter(|n| self.is_heard(*n)).filter_map(|n| self.machines[n].next_due());
        let ends = self
            .machines
            .iter()
            .filter(|machine| machine.name != GATEWAY)
            .flat_map(|machine| &machine.tasks)
            .filter_map(|task| match task.state {
                TaskState::Running { started_at, .. } if life == Life::GoesOn => Some(started_at + RUNS),
                _ => None,
            });
        let desk = &self.operators[0].desk;
        let keepers = [Keeper::Fleets, Keeper::Pilots].into_iter().filter_map(|keeper| desk.next(keeper));
        let keepers = keepers.chain(desk.next_node().map(|(at, _)| at)).filter(|_| self.site.is_some());
        let all = heard.chain(ends).chain(self.operators[0].next_due()).chain(keepers).chain(self.site_next());
        all.filter(|at| *at > self.api.now).min()
    }

    fn machines_rest(&self) -> bool {
        (0..self.machines.len()).all(|n| !self.is_heard(n) || self.machines[n].next_due().is_none())
    }

    /// Of each job: how often it was looked at, how often its status was written, and how many attempts it has.
    fn counts(&self) -> BTreeMap<Key, [u32; 3]> {
        let of = |key: &Key| {
            let job = &self.api.jobs[key];
            let uid = job.metadata.uid.as_ref().unwrap();
            let made = self.api.made.iter().filter(|(_, owner)| owner == uid).count();
            let looks = self.operators[0].looks.get(key).copied().unwrap_or_default();
            [looks, self.api.told.get(uid).copied().unwrap_or_default(), u32::try_from(made).unwrap()]
        };
        self.api.jobs.keys().map(|key| (key.clone(), of(key))).collect()
    }

    /// In an hour in which nobody did anything and no process ended by itself, there was little to do.
    fn few(&self, before: &BTreeMap<Key, [u32; 3]>) -> Holds {
        for (key, [looks, writes, attempts]) in self.counts() {
            let Some([looks_before, writes_before, before]) = before.get(&key) else { continue };
            let (looks, writes) = (looks - looks_before, writes - writes_before);
            // Those that were open may have been ended.
            let attempts = attempts - before + before.min(&6);
            let (most_looks, most_writes) = (LOOKS + LOOKS_EACH * attempts, WRITES + WRITES_EACH * attempts);
            holds(Law::NoHotLoop, looks <= most_looks, || format!("{key:?} was looked at {looks} times in an hour"))?;
            holds(Law::FewWrites, writes <= most_writes, || {
                format!("the status of {key:?} was written {writes} times in an hour, for {attempts} attempts")
            })?;
        }
        Ok(())
    }

    /// At rest nothing is written: not as time passes, not when everybody looks again, and not after all have lost their memory.
    fn rests(&mut self) -> Holds {
        // Those who are refused take each other's room for a moment when all ask at once, and say so.
        let silent = |world: &Self, writes: u32, law: Law, when: &str| {
            let are_refused = law != Law::Silent && !world.api.closed.is_empty();
            holds(law, are_refused || world.api.writes == writes, || format!("there are writes {when}"))
        };
        self.api.say(|| "all should be at rest".into());
        let (writes, before) = (self.api.writes, self.counts());
        self.go_on(self.api.now + SignedDuration::from_hours(1), Life::GoesOn)?;
        silent(self, writes, Law::Silent, "though nothing happens")?;
        for (key, [looks, ..]) in self.counts() {
            let looks = looks - before[&key][0];
            holds(Law::NoHotLoop, looks <= 61, || format!("{key:?} was looked at {looks} times in an hour of rest"))?;
        }
        self.api.say(|| "everything is looked at again".into());
        self.operators[0].look_at_all(self.api.now);
        self.operators[0].desk.stir();
        self.operators[0].desk.changed = self.api.nodes.keys().cloned().collect();
        self.pass(SignedDuration::from_secs(1));
        self.go_on(self.api.now, Life::GoesOn)?;
        silent(self, writes, Law::Idempotent, "when everything is looked at again")?;
        self.api.say(|| "everybody starts anew".into());
        self.restart_operator();
        let api = &self.api;
        self.machines.iter_mut().for_each(|machine| machine.restart(api));
        self.pass(SignedDuration::from_secs(1));
        self.go_on(self.api.now, Life::GoesOn)?;
        silent(self, writes, Law::RestartBlind, "after a restart")
    }
}
