//! The laws that hold at every moment, and how each job is to be in the end.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::{AttemptState, CmdJob, CmdJobStatus, State, When, labels};
use vk_operator_core::effects::Refusal;
use vk_operator_core::indexes::IndexSet;
use vk_operator_core::place::{Amounts, Demand, NodeSeen, Nodes, Sums};
use vk_operator_core::seen::Life;
use vk_operator_core::{PodSeen, validate};

use crate::api::Key;
use crate::laws::{Holds, Law, holds};
use crate::node::Machine;
use crate::objects::{key_of, node_of, owner, phase};
use crate::script::Link;
use crate::site::{GATEWAY, PILOTS};
use crate::world::{Ever, World};

impl World {
    /// What holds at every moment.
    pub(crate) fn check(&mut self) -> Holds {
        self.note_new();
        self.check_starts()?;
        self.check_fleet()?;
        self.check_made()?;
        let mut alive = BTreeMap::<&str, Vec<&str>>::new();
        for pod in self.machines.iter().flat_map(Machine::alive) {
            // By the job's part of the name, up to its UID.
            alive.entry(pod.rsplitn(3, '-').nth(2).unwrap()).or_default().push(pod);
        }
        for (uid, ever) in &self.ever {
            let alive = alive.get(ever.prefix.trim_end_matches('-')).map(Vec::as_slice).unwrap_or_default();
            let there = self.api.jobs.get(&ever.key).filter(|job| job.metadata.uid.as_ref() == Some(uid));
            self.check_indexes(alive)?;
            match there {
                Some(job) => self.check_job(ever, job, alive)?,
                None => {
                    let alive: Vec<_> = alive.iter().filter(|pod| !ever.forced && !self.cut.contains(**pod)).collect();
                    holds(Law::StillWhenOver, alive.is_empty(), || {
                        format!("{:?} is gone, but {alive:?} runs", ever.key)
                    })?;
                }
            }
        }
        self.note_ends();
        Ok(())
    }

    fn check_starts(&self) -> Holds {
        let mut names = BTreeSet::new();
        for pod in self.machines.iter().flat_map(|machine| &machine.started).chain(&self.started) {
            holds(Law::StartedOnce, names.insert(pod), || format!("the attempt {pod} was started twice"))?;
        }
        Ok(())
    }

    fn check_indexes(&self, alive: &[&str]) -> Holds {
        let mut indexes = BTreeSet::new();
        for pod in alive.iter().filter(|pod| !self.cut_for_long.contains(**pod)) {
            let index = pod.rsplit('-').nth(1);
            holds(Law::OneAtATime, indexes.insert(index), || format!("two of an index run: {alive:?}"))?;
        }
        Ok(())
    }

    /// Pods that were made since the last look: where they are, and whether their time had come.
    fn check_made(&mut self) -> Holds {
        let made = self.api.made.split_off(self.checked);
        for (name, uid) in &made {
            let ever = &self.ever[uid];
            let (Some(job), Some(pod)) =
                (self.api.jobs.get(&ever.key), self.api.pods.get(&(ever.key.0.clone(), name.clone())))
            else {
                continue;
            };
            let node = node_of(pod).unwrap();
            let Some(rules) = self.rules_of(node) else { continue };
            let ends = rules.ends.map(|ends| ends.duration_since(self.api.now).as_secs());
            let fits =
                ends.is_none_or(|left| left >= job.spec.walltime_seconds.unwrap_or_default() + rules.margin.as_secs());
            let target = &job.spec.target;
            let is_meant = target.node.as_ref().is_none_or(|only| only == node)
                && target.fleet.as_ref().is_none_or(|fleet| rules.labels.get("vk-cmd.io/fleet") == Some(fleet))
                && target.node_selector.iter().flatten().all(|(k, v)| rules.labels.get(k) == Some(v));
            let may = rules.namespaces.permits(&ever.key.0) && fits && is_meant;
            holds(Law::Place, may, || format!("{name} was made for {node}, where it may not go"))?;
            for after in job.spec.after.iter().flatten() {
                let on = (ever.key.0.clone(), after.name.clone());
                let ended = |other: &&Ever| {
                    other.key == on
                        && match after.when {
                            When::Complete => other.ended == Some(true),
                            When::Failed => other.ended == Some(false),
                            When::Finished => other.ended.is_some(),
                        }
                };
                holds(Law::Order, self.ever.values().any(|other| ended(&other)), || {
                    format!("{name} was made, but {on:?} has not come to be {}", after.when)
                })?;
            }
        }
        self.api.made.extend(made);
        self.checked = self.api.made.len();
        Ok(())
    }

    /// What a node says of itself, whether it is there or not; none: nobody knows any more.
    fn rules_of(&self, name: &str) -> Option<NodeSeen> {
        match &self.site {
            None => Some(NodeSeen::of(&crate::world::node(name, Link::Up, self.api.now))),
            Some(_) => self.api.nodes.get(name).map(|node| NodeSeen::of(node)),
        }
    }

    fn note_ends(&mut self) {
        for job in self.api.jobs.values() {
            if let Some(state @ (State::Complete | State::Failed)) = job.status.as_ref().and_then(|status| status.state)
            {
                let ever = self.ever.get_mut(job.metadata.uid.as_ref().unwrap()).unwrap();
                ever.ended = Some(state == State::Complete);
            }
        }
    }

    /// The status tells the truth.
    fn check_job(&self, ever: &Ever, job: &CmdJob, alive: &[&str]) -> Holds {
        let (name, uid) = (&ever.key, job.metadata.uid.as_ref().unwrap());
        let none = CmdJobStatus::default();
        let status = job.status.as_ref().unwrap_or(&none);
        let must_be_still = match status.state {
            Some(State::Complete | State::Failed) => true,
            // A status that is of an older spec says nothing of what has happened since.
            Some(State::Suspended) => status.observed_generation == job.metadata.generation,
            _ => false,
        };
        let heard: Vec<_> = alive.iter().filter(|pod| !self.cut_for_long.contains(**pod)).collect();
        // Who has taken its finalizer by force has taken this promise with it.
        let is_still = heard.is_empty() || ever.forced;
        holds(Law::StillWhenOver, !must_be_still || is_still, || {
            format!("{name:?} is {:?}, but {heard:?} runs", status.state)
        })?;

        let is_open = |pod: &&std::sync::Arc<Pod>| {
            owner(pod).as_ref() == Some(uid)
                && pod.metadata.deletion_timestamp.is_none()
                && !matches!(phase(pod), "Succeeded" | "Failed")
        };
        let open = self.api.pods.values().filter(is_open).count();
        let most = usize::try_from(ever.most).unwrap();
        holds(Law::Parallelism, open <= most, || format!("{open} attempts of {name:?} are open, not {most}"))?;

        let ended = self.machines.iter().flat_map(|machine| &machine.ended).chain(&self.over);
        let well = ended.filter(|(pod, code)| pod.starts_with(&ever.prefix) && *code == 0).map(|(pod, _)| pod);
        let well = well.chain(self.lost.iter().filter(|pod| pod.starts_with(&ever.prefix)));
        let indexes: BTreeSet<u32> = well.filter_map(|pod| pod.rsplit('-').nth(1)?.parse().ok()).collect();
        let succeeded = usize::try_from(status.succeeded).unwrap();
        holds(Law::Truth, succeeded <= indexes.len(), || {
            format!("{name:?} says {succeeded} succeeded, but only {indexes:?} did")
        })?;
        let made = self.api.made.iter().filter(|(_, owner)| owner == uid).count();
        let counted = succeeded + usize::try_from(status.failed).unwrap();
        holds(Law::Truth, counted <= made, || format!("{name:?} counts {counted} ends of {made} attempts"))?;
        if let Some(done) = &status.completed_indexes {
            let done: Vec<u32> = IndexSet::parse(done).unwrap().iter().collect();
            holds(Law::Truth, done.iter().all(|n| indexes.contains(n)), || {
                format!("{name:?} says {done:?} are done, not {indexes:?}")
            })?;
        }
        Ok(())
    }

    /// In the end: what is over is over, each job is as it should be, and nothing is left.
    pub(crate) fn ends_well(&self) -> Holds {
        let is_heard =
            |name: &String| self.links.get(name).is_some_and(|(link, _)| matches!(link, Link::Up | Link::Cordoned));
        for machine in self.machines.iter().filter(|machine| is_heard(&machine.name)) {
            // Pilots go on as long as their allocations.
            let alive: Vec<_> = machine.alive().filter(|_| machine.name != GATEWAY).collect();
            holds(Law::NothingLeft, alive.is_empty(), || format!("still runs: {alive:?}"))?;
            let records: Vec<_> = machine
                .tasks
                .iter()
                .filter(|task| task.state.is_final() && !task.reported)
                .filter(|task| task.origin.run().is_none_or(|run| !self.is_kept(&run.pod)))
                .map(|task| task.id.clone())
                .collect();
            holds(Law::NothingLeft, records.is_empty(), || format!("nobody asks for these records: {records:?}"))?;
        }
        let mut used = Sums::default();
        for (key, pod) in &self.api.pods {
            let Some(job) = owner(pod) else {
                if let Some(node) = node_of(pod) {
                    used.add(node, &Amounts::of_pod(pod));
                }
                continue;
            };
            let has_job = self.api.jobs.values().any(|there| there.metadata.uid.as_ref() == Some(&job));
            let is_silent =
                node_of(pod).is_some_and(|node| self.links.get(node).is_some_and(|(link, _)| *link == Link::Silent));
            holds(Law::NothingLeft, has_job || is_silent, || format!("{key:?} is left behind"))?;
            if !has_ended(pod) {
                used.add(node_of(pod).unwrap(), &Amounts::of_pod(pod));
            }
        }
        let nodes = self.nodes_as_meant();
        for (key, job) in self.api.jobs.iter().filter(|(key, _)| key.0 != PILOTS) {
            let as_it_should = self.is_as_it_should_be(key, job, &used, &nodes);
            holds(Law::EndsWell, as_it_should.is_ok(), || {
                let status = job.status.clone().unwrap_or_default();
                let said = format!("{:?}, {:?}: {:?}", status.state, status.reason, status.message);
                format!("{key:?} {}; it says {said}", as_it_should.unwrap_err())
            })?;
        }
        Ok(())
    }

    /// Whether a pod stays for its end to be counted, which waits for its job to be one that an operator takes.
    fn is_kept(&self, name: &str) -> bool {
        let job_of = |pod: &Pod| self.api.jobs.values().find(|job| job.metadata.uid == owner(pod));
        let jobs = self.api.pods.values().filter(|pod| pod.metadata.name.as_deref() == Some(name));
        jobs.filter_map(|pod| job_of(pod)).any(|job| {
            let is_taken = !self.api.unreadable.contains(&key_of(&job.metadata)) && validate(job).is_ok();
            !is_taken && job.metadata.deletion_timestamp.is_none()
        })
    }

    fn is_as_it_should_be(&self, key: &Key, job: &CmdJob, used: &Sums, nodes: &Nodes) -> Result<(), String> {
        let so = |is_so: bool, what: &str| if is_so { Ok(()) } else { Err(what.to_owned()) };
        let status = job.status.clone().unwrap_or_default();
        let now = self.api.now;
        // Of a node that is not heard from nobody knows.
        let waits_for_node = self.api.pods.values().any(|pod| {
            owner(pod) == job.metadata.uid
                && !has_ended(pod)
                && self.links.get(node_of(pod).unwrap()).is_some_and(|(link, _)| *link == Link::Silent)
        });
        let is_to_go = job.metadata.deletion_timestamp.is_some();
        so(!is_to_go || waits_for_node, "is deleted, and does not go")?;
        let refused = if is_to_go { State::Terminating } else { State::Invalid };
        if self.api.unreadable.contains(key) {
            return so(status.state == Some(refused), "cannot be read, and does not say so");
        }
        if job.spec.managed_by.is_some() {
            // But from those who could not read that it is.
            let is_left_alone = status.state.is_none_or(|state| state == State::Invalid);
            return so(is_left_alone, "is somebody else's, but has a status");
        }
        let state = status.state.ok_or("has no state")?;
        let generation = status.observed_generation == job.metadata.generation;
        so(generation, "says nothing of its present spec")?;
        let is_held = |meta: &ObjectMeta| meta.finalizers.iter().flatten().any(|name| name == labels::FINALIZER);
        let mut own = self.api.pods.values().filter(|pod| owner(pod) == job.metadata.uid);
        let held = is_held(&job.metadata) || own.any(|pod| is_held(&pod.metadata));
        let is_finished = matches!(state, State::Complete | State::Failed);
        let is_over = is_finished || state == State::Suspended;
        so(!is_over || !held || waits_for_node, "is finished or suspended, and is not let go, or its pods are not")?;
        let valid = match validate(job) {
            Ok(valid) => valid,
            Err(_) => return so(is_finished || state == refused, "is not valid, and does not say so"),
        };
        let deadline = valid.deadline.zip(status.start_time.as_ref()).map(|(length, start)| start.0 + length);
        let is_late = deadline.is_some_and(|at| at < now);
        match state {
            State::Complete | State::Failed => {
                so(valid.ttl.is_none() || waits_for_node, "is finished, and its time is over, but it is not deleted")?;
                let open = status.attempts.iter().any(|attempt| !attempt.state.is_final());
                so(!open, "is finished, but shows attempts that are not")
            }
            State::Suspended => so(job.spec.suspend, "is not to be suspended"),
            State::Invalid => so(self.refuses(key), "is valid"),
            _ if is_late && !waits_for_node => Err("is over its deadline".to_owned()),
            State::Running | State::Terminating | State::Pending => {
                let runs = status.attempts.iter().any(|attempt| attempt.state != AttemptState::Pending);
                so(waits_for_node && (runs || state != State::Running), "should have gone on")
            }
            State::Waiting => match status.reason.as_deref().unwrap_or_default() {
                "NoParallelism" => so(job.spec.parallelism == Some(0), "has parallelism"),
                "Dependency" => so(self.waits(key, job), "waits for what is there"),
                "DependencyCycle" => so(self.is_in_circle(key), "is in no circle"),
                "PodRefused" => so(self.refuses(key), "is refused by nobody"),
                "NameTaken" => so(!self.heals, "has its names"),
                "NoRoom" | "NoNodeFits" | "NodeMissing" | "NodeNotReady" | "NodeCordoned" => {
                    let any = Demand::of(&valid);
                    let mut demands: Vec<Demand> = status.nodes.iter().map(|node| any.at(node)).collect();
                    if demands.is_empty() {
                        demands.push(any);
                    }
                    // Of a job for every node one that waits may be another than the one that could go.
                    let could = demands.iter().any(|demand| demand.best(nodes, used, now).is_some());
                    so(!could || !status.nodes.is_empty(), "could go on")
                }
                "NoNodes" => {
                    let target = vk_operator_core::place::targets(&valid.target, nodes);
                    so(target.is_empty(), "could go on: there are nodes")
                }
                other => Err(format!("waits for nothing: {other}")),
            },
        }
    }

    /// Whether the API server takes no pods of a job, whatever they are held to.
    fn refuses(&self, key: &Key) -> bool {
        self.api.closed.get(&key.0).is_some_and(|why| *why != Refusal::PodSecurity)
    }

    /// Whether a job waits for one that is not finished, or not there.
    fn waits(&self, key: &Key, job: &CmdJob) -> bool {
        let is_open = |name: &String| {
            let there = self.api.jobs.get(&(key.0.clone(), name.clone()));
            let status = there.and_then(|job| job.status.as_ref()).and_then(|status| status.state);
            !matches!(status, Some(State::Complete | State::Failed))
        };
        job.spec.after.iter().flatten().any(|after| is_open(&after.name))
    }

    fn is_in_circle(&self, key: &Key) -> bool {
        let mut next = key.clone();
        for _ in 0..self.api.jobs.len() {
            let Some(after) = self.api.jobs.get(&next).and_then(|job| job.spec.after.as_ref()?.first()) else {
                return false;
            };
            next = (key.0.clone(), after.name.clone());
            if next == *key {
                return true;
            }
        }
        false
    }
}

fn has_ended(pod: &Pod) -> bool {
    matches!(PodSeen::of(pod).unwrap().life, Life::Ended(_))
}
