//! The world and what happens in it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{from_value, json};
use vk_cmd_crds::{CmdJob, labels};

use crate::api::{Api, Key, Stop};
use crate::cluster::{node_object, says};
use crate::fair::Fair;
use crate::jobs::{Spec, jobs, jobs_of_fleet};
use crate::laws::Holds;
use crate::mutation::Mutation;
use crate::node::Machine;
use crate::objects::{key_of, prefix_of};
use crate::operator::Operator;
use crate::script::{Event, Fault, Kind, Link};
use crate::site::{GATEWAY, Site, fleet};

/// All there is.
pub(crate) struct World {
    pub(crate) api: Api,
    /// Of which the first one leads.
    pub(crate) operators: [Operator; 2],
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: BTreeMap<String, (Link, Timestamp)>,
    pub(crate) specs: Vec<Spec>,
    /// All CmdJobs that were ever made, by UID.
    pub(crate) ever: BTreeMap<String, Ever>,
    /// Names of pods whose machine is gone for good.
    pub(crate) lost: BTreeSet<String>,
    /// Names of pods whose Node object was deleted; and of those whose machine ran on so for longer than anybody waits.
    pub(crate) cut: BTreeSet<String>,
    pub(crate) cut_for_long: BTreeSet<String>,
    /// Nodes whose Node object was deleted, and that came back.
    returns: BTreeSet<String>,
    /// Whether all that is broken is put right in the end.
    pub(crate) heals: bool,
    incarnations: u32,
    pub(crate) mutation: Mutation,
    /// What machines that are gone have started, and how it ended.
    pub(crate) started: Vec<String>,
    pub(crate) over: Vec<(String, u8)>,
    /// The site of a fleet with a launcher, where there is one.
    pub(crate) site: Option<Site>,
    /// Who has waited for room, and what each namespace has used, when all were last at rest.
    pub(crate) fair: Fair,
    /// How much of `api.made` has been looked at.
    pub(crate) checked: usize,
}

/// A CmdJob that was made.
pub(crate) struct Ever {
    pub(crate) key: Key,
    /// How the names of its pods begin.
    pub(crate) prefix: String,
    /// The most that its parallelism ever was.
    pub(crate) most: u32,
    /// Whether somebody has taken its finalizers by force.
    pub(crate) forced: bool,
    /// How it ended, whether well, if it has.
    pub(crate) ended: Option<bool>,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Mutation, is_read: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let specs = jobs(&mut rng);
        let heals = rng.bool();
        Self::on_nodes(specs, heals, mutation, is_read)
    }

    /// One with these jobs.
    pub(crate) fn of_jobs(specs: Vec<Spec>, mutation: Mutation) -> Self {
        Self::on_nodes(specs, true, mutation, false)
    }

    /// On three nodes that are there.
    fn on_nodes(specs: Vec<Spec>, heals: bool, mutation: Mutation, is_read: bool) -> Self {
        let machines: Vec<Machine> = (0..3).map(|n| Machine::new(&format!("vk-{n}"), mutation)).collect();
        let mut api = Api::new(is_read);
        for machine in &machines {
            api.set_node(&machine.name, Some(node(&machine.name, Link::Up, api.now)));
        }
        Self::of(api, machines, specs, heals, mutation)
    }

    /// One with a fleet of pilots, and nothing beside it but their gateway.
    pub(crate) fn of_fleet(seed: u64, mutation: Mutation, is_read: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (specs, fleet) = (jobs_of_fleet(&mut rng), fleet(&mut rng));
        let gateway = Machine::new(GATEWAY, mutation);
        let mut api = Api::new(is_read);
        api.say(|| format!("the fleet: {}", serde_json::to_string(&fleet.spec).unwrap()));
        api.set_node(GATEWAY, Some(node_object(GATEWAY, json!({}), json!({}))));
        let site = Site::new(&fleet);
        api.put_fleet(fleet);
        let mut world = Self::of(api, vec![gateway], specs, true, mutation);
        world.site = Some(site);
        world
    }

    fn of(api: Api, machines: Vec<Machine>, specs: Vec<Spec>, heals: bool, mutation: Mutation) -> Self {
        let links = machines.iter().map(|machine| (machine.name.clone(), (Link::Up, api.now))).collect();
        let operators = [Operator::new(&api, true, 0, mutation), Operator::new(&api, false, 1, mutation)];
        let mut world = Self {
            api,
            operators,
            machines,
            links,
            specs,
            ever: BTreeMap::new(),
            lost: BTreeSet::new(),
            cut: BTreeSet::new(),
            cut_for_long: BTreeSet::new(),
            returns: BTreeSet::new(),
            heals,
            incarnations: 1,
            mutation,
            started: Vec::new(),
            over: Vec::new(),
            site: None,
            fair: Fair::default(),
            checked: 0,
        };
        for n in 0..world.specs.len() {
            world.make(n);
        }
        world
    }

    /// Runs a script to its end. The history is in `api`, whatever comes of it.
    pub(crate) fn run(&mut self, script: &[Event]) -> Holds {
        if self.site.is_some() {
            self.goes_on(30)?;
        }
        for event in script {
            let now = self.api.now;
            self.api.say(|| format!("{now} {event:?}"));
            self.happen(*event)?;
            self.check()?;
        }
        self.calm()
    }

    pub(crate) fn make(&mut self, n: usize) {
        let spec = self.specs[n].clone();
        // Who makes one for somebody else to run may have copied one of ours, whole.
        let finalizers = spec.spec.get("managedBy").map(|_| [labels::FINALIZER]);
        let job: CmdJob = from_value(json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "spec": spec.spec,
            "metadata": {"namespace": spec.namespace, "name": spec.name, "finalizers": finalizers},
        }))
        .unwrap();
        let key = key_of(&job.metadata);
        if self.api.jobs.contains_key(&key) {
            return;
        }
        self.api.say(|| format!("  somebody makes {}/{}: {}", key.0, key.1, spec.spec));
        if spec.unreadable {
            self.api.unreadable.insert(key.clone());
        }
        self.api.create_job(job);
        self.note_new();
    }

    /// Notes the CmdJobs that were made.
    pub(crate) fn note_new(&mut self) {
        if self.ever.len() == self.api.jobs_made {
            return;
        }
        for (key, job) in &self.api.jobs {
            let (uid, prefix, most) = (job.metadata.uid.clone().unwrap(), prefix_of(job), most(job));
            let new = || Ever { key: key.clone(), prefix, most, forced: false, ended: None };
            self.ever.entry(uid).or_insert_with(new);
        }
    }

    pub(crate) fn strangers_go(&mut self) {
        let of_nobody = |pod: &Pod| crate::objects::owner(pod).is_none();
        let pods: Vec<_> = self.api.pods.values().filter(|pod| of_nobody(pod)).cloned().collect();
        for pod in pods {
            let _ = self.api.delete_pod(&key_of(&pod.metadata), pod.metadata.uid.as_ref().unwrap(), Some(0));
        }
    }

    /// A node is heard from, or not; its Node object is there, or not.
    pub(crate) fn link(&mut self, name: &str, link: Link) {
        let now = self.api.now;
        let (before, _) = self.links[name];
        if before == link {
            return;
        }
        if before == Link::Removed {
            self.returns.insert(name.to_owned());
            self.note_cut();
        }
        self.links.insert(name.to_owned(), (link, now));
        if link == Link::Removed {
            self.api.set_node(name, None);
            self.api.give_up();
            self.note_cut();
            return;
        }
        self.note_cut();
        self.api.set_node(name, Some(node(name, link, now)));
    }

    /// Notes which processes nobody can hear of any more.
    fn note_cut(&mut self) {
        let now = self.api.now;
        for machine in &self.machines {
            let (link, since) = self.links[&machine.name];
            if link == Link::Removed {
                // By the deletion of the Node object somebody has said that they are no more, those too that are yet to start.
                let there = self.api.pods.iter().filter(|(_, pod)| crate::objects::node_of(pod) == Some(&machine.name));
                let there = there.map(|((_, name), _)| name.as_str());
                let all: Vec<String> = machine.alive().chain(there).map(str::to_owned).collect();
                // Operators may hear late that it is back: the time until then counts, too.
                if now.duration_since(since) >= SignedDuration::from_mins(10) || self.returns.contains(&machine.name) {
                    self.cut_for_long.extend(all.iter().cloned());
                }
                self.cut.extend(all);
            }
        }
    }

    pub(crate) fn is_heard(&self, n: usize) -> bool {
        matches!(self.links[&self.machines[n].name].0, Link::Up | Link::Cordoned)
    }

    pub(crate) fn operator_looks(&mut self, key: &Key, fault: Fault) -> Holds {
        self.api.fault = fault;
        let done = self.operators[0].look(key, &mut self.api)?;
        self.after_look(&done);
        Ok(())
    }

    pub(crate) fn after_look(&mut self, done: &Result<(), Stop>) {
        self.api.fault = Fault::None;
        if *done == Err(Stop::Killed) {
            self.restart_operator();
        }
    }

    pub(crate) fn restart_operator(&mut self) {
        self.incarnations += 1;
        self.operators[0] = Operator::new(&self.api, true, self.incarnations, self.mutation);
        let now = self.api.now;
        self.operators[0].lead(now);
    }

    pub(crate) fn handover(&mut self) {
        self.incarnations += 1;
        self.operators.swap(0, 1);
        self.operators[1] = Operator::new(&self.api, false, self.incarnations, self.mutation);
        let now = self.api.now;
        self.operators[0].lead(now);
    }

    pub(crate) fn node_looks(&mut self, n: usize, fault: Fault) -> Option<Stop> {
        // A node that is not heard from does not hear either.
        if !self.is_heard(n) {
            return None;
        }
        self.api.fault = fault;
        let done = self.machines[n].look(&mut self.api);
        self.api.fault = Fault::None;
        if done == Err(Stop::Killed) {
            self.machines[n].restart(&self.api);
        }
        done.err()
    }

    pub(crate) fn pass(&mut self, length: SignedDuration) {
        self.api.now += length;
        let now = self.api.now;
        self.note_cut();
        self.machines.iter_mut().for_each(|machine| machine.kill(now));
        self.time_is_over();
    }
}

/// How many attempts of a job may be open.
pub(crate) fn most(job: &CmdJob) -> u32 {
    let default = if job.spec.every_node { i32::MAX } else { 1 };
    job.spec.parallelism.unwrap_or(default).cast_unsigned()
}

/// A node with room for two processes, with such a link to it. One has no end and takes all; one ends in two hours; one takes not all
/// namespaces.
pub(crate) fn node(name: &str, link: Link, now: Timestamp) -> Node {
    let zone = if name == "vk-0" { "a" } else { "b" };
    let labels = match name {
        "vk-1" => json!({"zone": zone}),
        _ => json!({"zone": zone, labels::FLEET: "f"}),
    };
    let annotations = match name {
        "vk-1" => json!({labels::ENDS_AT: "2026-01-02T03:12:00Z", labels::WALLTIME_MARGIN: "60"}),
        "vk-2" => json!({labels::NAMESPACES: r#"{"deny": ["shop"]}"#}),
        _ => json!({}),
    };
    let mut node = node_object(name, labels, annotations);
    if link == Link::Cordoned {
        node.spec.get_or_insert_default().unschedulable = Some(true);
    }
    if link == Link::Silent {
        says(&mut node, "Ready", "Unknown", None, now);
    }
    node
}

impl World {
    /// Both operators hear all that has happened.
    pub(crate) fn operators_hear(&mut self) -> bool {
        let mut heard = false;
        for operator in &mut self.operators {
            for kind in [Kind::Jobs, Kind::Pods, Kind::Nodes, Kind::Fleets] {
                heard |= operator.hears(kind, u8::MAX, &self.api);
            }
        }
        heard
    }
}
