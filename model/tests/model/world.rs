//! The world, what happens in it, and the laws that hold at every moment and at the end.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;
use vk_cmd_crds::{CmdJob, State, labels};
use vk_operator_core::PodSeen;
use vk_operator_core::indexes::IndexSet;
use vk_operator_core::place::{Amounts, NodeSeen, NodeState, Nodes};
use vk_task::End;

use crate::api::{Api, Stop};
use crate::node::Machine;
use crate::operator::Operator;
use crate::script::{Event, Fault, Kind, jobs};

/// All there is.
pub(crate) struct World {
    pub(crate) api: Api,
    nodes: Nodes,
    operator: Operator,
    machines: Vec<Machine>,
    specs: Vec<Value>,
    /// Names of pods whose machine is gone.
    lost: BTreeSet<String>,
}

/// How many rounds it takes until all has been said about what has happened. An attempt is made, is written down, is started
/// by its node, is ended and counted and let go, for a chain of three jobs.
const AT_MOST: u32 = 20;

type Law = Result<(), String>;

fn holds(is_so: bool, otherwise: impl FnOnce() -> String) -> Law {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let specs = jobs(&mut Rng::with_seed(seed));
        let machines: Vec<Machine> = (0..3).map(|n| Machine::new(&format!("vk-{n}"))).collect();
        let nodes: Nodes = machines.iter().map(|machine| (machine.name.clone(), node(NodeState::Ready))).collect();
        let api = Api::new(&specs);
        let operator = Operator::new(&api, &nodes);
        Self { api, nodes, operator, machines, specs, lost: BTreeSet::new() }
    }

    /// Runs a script to its end. The history is in `api`, whatever comes of it.
    pub(crate) fn run(&mut self, script: &[Event]) -> Law {
        for spec in self.specs.clone() {
            self.api.say(format!("{}: {}", spec["metadata"]["name"], spec["spec"]));
        }
        for event in script {
            self.api.say(format!("{} {event:?}", self.api.now));
            self.happen(*event);
            self.check()?;
        }
        self.come_to_rest()
    }

    fn happen(&mut self, event: Event) {
        let jobs: Vec<String> = self.api.jobs.keys().cloned().collect();
        let job = |n: u8| jobs.get(usize::from(n) % jobs.len().max(1)).cloned();
        let machine = |n: u8, world: &Self| usize::from(n) % world.machines.len().max(1);
        match event {
            Event::OperatorHears(kind) => self.operator.hears(kind, &self.api, &self.nodes),
            Event::OperatorLooks(n, fault) => {
                if let Some(name) = job(n) {
                    self.operator_looks(&name, fault);
                }
            }
            Event::OperatorLooksForStrays(fault) => {
                self.api.fault = fault;
                let done = self.operator.strays(&mut self.api);
                self.after_look(&done);
            }
            Event::Pass(seconds) => self.pass(i64::from(seconds)),
            Event::Suspend(n, suspend) => {
                if let Some(name) = job(n) {
                    self.api.edit(&name, |job| job.spec.suspend = suspend);
                }
            }
            Event::Parallelism(n, wanted) => {
                if let Some(name) = job(n) {
                    self.api.edit(&name, |job| job.spec.parallelism = Some(i32::from(wanted)));
                }
            }
            Event::DeleteJob(n) => {
                if let Some(name) = job(n) {
                    let _ = self.api.delete_job(&name, None, None);
                }
            }
            Event::DeletePod { pod, forced } => {
                let pods: Vec<_> = self.api.pods.values().map(|pod| pod.metadata.clone()).collect();
                if let Some(meta) = pods.get(usize::from(pod) % pods.len().max(1)) {
                    let (name, uid) = (meta.name.as_ref().unwrap(), meta.uid.as_ref().unwrap());
                    self.api.delete_pod(name, uid, forced.then_some(0));
                }
            }
            _ if self.machines.is_empty() => {}
            Event::NodeHears(n) => {
                let n = machine(n, self);
                self.machines[n].hears(&self.api);
            }
            Event::NodeLooks(n, fault) => self.node_looks(machine(n, self), fault),
            Event::GatesOpen(n) => {
                let n = machine(n, self);
                self.machines[n].gates_open(self.api.now);
            }
            Event::Exits(n, code) => {
                let (now, at) = (self.api.now, machine(n, self));
                let all: Vec<String> = self.machines[at].alive().map(str::to_owned).collect();
                if let Some(pod) = all.get(usize::from(n / 3) % all.len().max(1)) {
                    let running = |task: &vk_task::TaskView| {
                        matches!(task.state, vk_task::TaskState::Running { .. })
                            && task.origin.run().is_some_and(|run| run.pod == *pod)
                    };
                    self.machines[at].end(now, &End::Exited { code }, running);
                }
            }
            Event::Collects(n) => {
                let n = machine(n, self);
                self.machines[n].tasks.retain(|task| !(task.reported && task.state.is_final()));
            }
            Event::Heard(n, heard) => {
                let name = self.machines[machine(n, self)].name.clone();
                let since = Some(self.api.now);
                let state = if heard { NodeState::Ready } else { NodeState::NotReady { why: None, since } };
                self.nodes.insert(name, node(state));
            }
            Event::Gone(n) => {
                let gone = self.machines.remove(machine(n, self));
                self.nodes.remove(&gone.name);
                self.lost.extend(gone.ended.iter().map(|(pod, _)| pod.clone()));
                self.lost.extend(gone.started.iter().map(|(pod, _)| pod.clone()));
                self.api.give_up(&gone.name);
            }
        }
    }

    fn operator_looks(&mut self, name: &str, fault: Fault) {
        self.api.fault = fault;
        let done = self.operator.look(name, &mut self.api);
        self.after_look(&done);
    }

    fn after_look(&mut self, done: &Result<(), Stop>) {
        self.api.fault = Fault::None;
        if *done == Err(Stop::Killed) {
            self.operator = Operator::new(&self.api, &self.nodes);
        }
    }

    fn node_looks(&mut self, n: usize, fault: Fault) {
        // A node that is not heard from does not hear either.
        let name = &self.machines[n].name;
        if !matches!(self.nodes[name].state, NodeState::Ready) {
            return;
        }
        self.api.fault = fault;
        let done = self.machines[n].look(&mut self.api);
        self.api.fault = Fault::None;
        if done == Err(Stop::Killed) {
            self.machines[n].restart(&self.api);
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.api.now += SignedDuration::from_secs(seconds);
        let now = self.api.now;
        self.machines.iter_mut().for_each(|machine| machine.kill(now));
    }

    /// The pods of a job that have a process, by the tail of their names: the job's UID, the index, and the attempt.
    fn alive_of(&self, job: &CmdJob) -> Vec<&str> {
        let name = job.metadata.name.as_ref().unwrap();
        self.machines.iter().flat_map(Machine::alive).filter(|pod| pod.starts_with(&format!("{name}-"))).collect()
    }

    /// What holds at every moment.
    fn check(&self) -> Law {
        let mut names = BTreeSet::new();
        for (pod, _) in self.machines.iter().flat_map(|machine| &machine.started) {
            holds(names.insert(pod), || format!("the attempt {pod} was started twice"))?;
        }
        for job in self.specs.iter() {
            let name = job["metadata"]["name"].as_str().unwrap();
            let Some(job) = self.api.jobs.get(name) else {
                let prefix = format!("{name}-");
                let alive: Vec<_> =
                    self.machines.iter().flat_map(Machine::alive).filter(|p| p.starts_with(&prefix)).collect();
                holds(alive.is_empty(), || format!("{name} is gone, but {alive:?} runs"))?;
                continue;
            };
            self.check_status(name, job)?;
        }
        Ok(())
    }

    /// The status tells the truth.
    fn check_status(&self, name: &str, job: &CmdJob) -> Law {
        let status = job.status.clone().unwrap_or_default();
        let alive = self.alive_of(job);
        let must_be_still = match status.state {
            Some(State::Complete | State::Failed) => true,
            // A status that is of an older spec says nothing of what has happened since.
            Some(State::Suspended) => status.observed_generation == job.metadata.generation,
            _ => false,
        };
        holds(!must_be_still || alive.is_empty(), || format!("{name} is {:?}, but {alive:?} runs", status.state))?;
        let prefix = format!("{name}-");
        let ended = self.machines.iter().flat_map(|machine| &machine.ended);
        let well = ended.filter(|(pod, code)| pod.starts_with(&prefix) && *code == 0).map(|(pod, _)| pod);
        let well: BTreeSet<&String> = well.chain(self.lost.iter().filter(|pod| pod.starts_with(&prefix))).collect();
        let indexes: BTreeSet<u32> = well.iter().filter_map(|pod| pod.rsplit('-').nth(1)?.parse().ok()).collect();
        let succeeded = usize::try_from(status.succeeded).unwrap();
        holds(succeeded <= indexes.len(), || format!("{name} says {succeeded} succeeded, but only {indexes:?} did"))?;
        let made = self.api.made.iter().filter(|pod| pod.starts_with(&prefix)).count();
        let counted = succeeded + usize::try_from(status.failed).unwrap();
        holds(counted <= made, || format!("{name} counts {counted} ends of {made} attempts"))?;
        if let Some(done) = &status.completed_indexes {
            let done: Vec<u32> = IndexSet::parse(done).unwrap().iter().collect();
            holds(done.iter().all(|n| indexes.contains(n)), || {
                format!("{name} says {done:?} are done, not {indexes:?}")
            })?;
        }
        Ok(())
    }

    /// One round in which everybody hears everything and does what there is to do.
    fn round(&mut self) {
        for kind in [Kind::Jobs, Kind::Pods, Kind::Nodes] {
            self.operator.hears(kind, &self.api, &self.nodes);
        }
        for name in self.api.jobs.keys().cloned().collect::<Vec<_>>() {
            self.operator_looks(&name, Fault::None);
        }
        let _ = self.operator.strays(&mut self.api);
        // Kubernetes does so for ever: a pod may have been made for a node that was gone already.
        for name in (0..3).map(|n| format!("vk-{n}")).filter(|name| !self.nodes.contains_key(name)).collect::<Vec<_>>()
        {
            self.api.give_up(&name);
        }
        for n in 0..self.machines.len() {
            self.machines[n].hears(&self.api);
            self.node_looks(n, Fault::None);
        }
    }

    /// While no time passes and no process does anything, everybody has soon said all that there is to say.
    fn fall_silent(&mut self) -> Law {
        let mut before = self.api.writes;
        for _ in 0..AT_MOST {
            self.api.say("a round in which nothing happens".into());
            self.round();
            self.check()?;
            if self.api.writes == before {
                return Ok(());
            }
            before = self.api.writes;
        }
        Err(format!("after {AT_MOST} rounds in which nothing happens there are still writes"))
    }

    /// From now on nothing bad happens: all comes to rest, is silent then, and stays so after everybody has lost their memory.
    fn come_to_rest(&mut self) -> Law {
        self.api.say("everybody does what is expected of them".into());
        for machine in &self.machines {
            self.nodes.insert(machine.name.clone(), node(NodeState::Ready));
        }
        self.fall_silent()?;
        // A pause is longer than any that the operator waits: the back-off and what a lost node is given are ten minutes.
        for _ in 0..24 {
            let quiet = self.api.history.len();
            self.api.say(format!("{} a round", self.api.now));
            self.round();
            if self.api.history.len() == quiet + 1 {
                self.api.history.pop();
            }
            self.check()?;
            let now = self.api.now;
            for machine in &mut self.machines {
                machine.gates_open(now);
                machine.end(now, &End::Exited { code: 0 }, |_| true);
            }
            self.pass(601);
        }
        for what in ["it should be at rest", "it repeats itself", "after a restart"] {
            if what == "after a restart" {
                self.operator = Operator::new(&self.api, &self.nodes);
                let api = &self.api;
                self.machines.iter_mut().for_each(|machine| machine.restart(api));
            }
            let before = self.api.writes;
            self.api.say(what.into());
            self.round();
            holds(self.api.writes == before, || format!("writes though nothing has happened: {what}"))?;
        }
        let alive: Vec<_> = self.machines.iter().flat_map(Machine::alive).collect();
        holds(alive.is_empty(), || format!("still runs: {alive:?}"))?;
        for pod in self.api.pods.values() {
            let seen = PodSeen::of(pod).unwrap();
            let has_job = self.api.jobs.values().any(|job| job.metadata.uid == crate::api::owner(pod));
            holds(has_job, || format!("{} is left behind: {}", seen.name, labels::FINALIZER))?;
        }
        for (name, job) in &self.api.jobs {
            holds(job.metadata.deletion_timestamp.is_none(), || format!("{name} does not go"))?;
        }
        Ok(())
    }
}

/// A node with room for two processes.
fn node(state: NodeState) -> NodeSeen {
    let amounts = [("pods".to_owned(), Quantity("110".into())), ("cpu".to_owned(), Quantity("2".into()))];
    NodeSeen {
        labels: [(labels::FLEET.to_owned(), "f".to_owned())].into(),
        state,
        allocatable: Amounts::read(amounts.iter().map(|(name, amount)| (name, amount))),
        ends: None,
        namespaces: vk_site::Rule::default(),
    }
}
