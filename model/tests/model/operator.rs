//! An operator: what decides is the real code, from the first effect of a look to the last (`vk_operator_core::look`). What acts
//! is here the world in memory. Its queue is that of kube-runtime: a job that is named is looked at once, however often; one that
//! is to be looked at later, at the earliest of the times.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::fleet::Fleets;
use vk_operator_core::floor::Floor;
use vk_operator_core::interests::Interests;
use vk_operator_core::look::{Failed, Found, Why, look, stray};
use vk_operator_core::memory::Memory;
use vk_operator_core::pilots::Known;
use vk_operator_core::place::NodeSeen;
use vk_operator_core::pods::{Owner, Pods, is_open};

use crate::api::{Api, Change, Key, Stop};
use crate::desk::Desk;
use crate::hands::{Hands, at_once};
use crate::laws::{Broken, Law};
use crate::mutation::Mutation;
use crate::objects::{at, key_of, node_of};
use crate::script::Kind;

/// What an operator holds in memory.
pub(crate) struct Operator {
    pub(crate) jobs: BTreeMap<Key, Arc<CmdJob>>,
    pub(crate) unreadable: HashSet<Key>,
    interests: Interests,
    pub(crate) floor: Floor,
    pub(crate) memory: Memory,
    /// How much of the API server's log each watch has told of.
    heard: [usize; 4],
    /// What it keeps fleets, their pilots and the Node objects by.
    pub(crate) desk: Desk,
    leads: bool,
    /// When jobs are looked at, and whether something has changed for them or time has passed only.
    queue: BTreeMap<Key, (Timestamp, By)>,
    /// How often each has been looked at since something has changed for it, and how often after too short a pause.
    idle: BTreeMap<Key, (u32, u32)>,
    pub(crate) looks: BTreeMap<Key, u32>,
    /// The number of this operator: each process has another.
    pub(crate) incarnation: u32,
    pub(crate) mutation: Mutation,
}

/// So many pauses may be shorter than they should be, while nothing changes.
const SHORT: u32 = 3;

/// Why a job is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Change,
    Timer,
}

impl Operator {
    /// One that has just been started.
    pub(crate) fn new(api: &Api, leads: bool, incarnation: u32, mutation: Mutation) -> Self {
        let mut operator = Self {
            jobs: BTreeMap::new(),
            unreadable: HashSet::new(),
            interests: Interests::default(),
            floor: Floor::default(),
            memory: Memory::default(),
            heard: [0; 4],
            desk: Desk::default(),
            leads,
            queue: BTreeMap::new(),
            idle: BTreeMap::new(),
            looks: BTreeMap::new(),
            incarnation,
            mutation,
        };
        for kind in [Kind::Fleets, Kind::Nodes, Kind::Pods, Kind::Jobs] {
            operator.relists(kind, api);
        }
        operator
    }

    /// It leads from now on, by what its caches say.
    pub(crate) fn lead(&mut self, now: Timestamp) {
        self.leads = true;
        self.all(now);
    }

    fn all(&mut self, now: Timestamp) {
        for key in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.name(&key, now);
        }
    }

    /// Something has changed for a job.
    fn name(&mut self, key: &Key, now: Timestamp) {
        if self.leads {
            self.idle.remove(key);
            self.queue.insert(key.clone(), (now, By::Change));
        }
    }

    pub(crate) fn named(&mut self, owners: Vec<Owner>, now: Timestamp) {
        for owner in owners {
            self.name(&(owner.namespace, owner.name), now);
        }
    }

    /// A watch was cut: it lists everything anew.
    pub(crate) fn relists(&mut self, kind: Kind, api: &Api) {
        self.heard[kind as usize] = api.log.len();
        match kind {
            Kind::Jobs => {
                self.jobs = api.jobs.clone();
                self.unreadable = api.unreadable.iter().cloned().collect();
                self.interests = Interests::default();
                self.desk.known = Known::default();
                for (_, job) in self.jobs.iter().filter(|(key, _)| !self.unreadable.contains(*key)) {
                    self.interests.put(job);
                    self.desk.known.put(job);
                }
                self.keep_known(api.now);
            }
            Kind::Pods => {
                let mut pods = Pods::default();
                api.pods.values().filter(|pod| is_of_job(pod)).for_each(|pod| drop(pods.put(pod)));
                self.floor.replace_pods(pods);
                let strangers = api.pods.values().filter(|pod| !is_of_job(pod)).map(|pod| &**pod);
                let named = self.floor.replace_strangers(strangers, api.now);
                self.named(named, api.now);
            }
            Kind::Nodes => {
                let nodes = api.nodes_seen();
                self.floor.replace_nodes(
                    nodes.iter().map(|(name, node)| (name.clone(), self.mutation.of_node(node))).collect(),
                );
                self.desk.changed = api.nodes.keys().cloned().collect();
                self.desk.nodes = api.nodes.clone();
            }
            Kind::Fleets => {
                self.desk.fleets = api.fleets.clone();
                self.read_fleets(api.now);
            }
        }
        self.desk.stir();
        self.all(api.now);
    }

    /// After a list: jobs that are gone have no event of their own.
    fn keep_known(&mut self, now: Timestamp) {
        let known: HashSet<&str> = self.jobs.values().filter_map(|job| job.metadata.uid.as_deref()).collect();
        let named = self.floor.keep(|uid| known.contains(uid), now);
        self.named(named, now);
    }

    /// A watch tells of so many more changes. Whether there were any.
    pub(crate) fn hears(&mut self, kind: Kind, most: u8, api: &Api) -> bool {
        let mut told = 0;
        let from = self.heard[kind as usize];
        for (n, change) in api.log.iter().enumerate().skip(from) {
            if told == most && most < u8::MAX {
                break;
            }
            self.heard[kind as usize] = n + 1;
            let is_told = match (kind, change) {
                (Kind::Jobs, Change::Job(job)) => self.hears_of_job(job, api),
                (Kind::Jobs, Change::JobGone(job)) => self.hears_of_end(job, api.now),
                (Kind::Pods, Change::Pod(pod)) => self.hears_of_pod(pod, api.now),
                (Kind::Pods, Change::PodGone(pod)) => self.hears_of_pods_end(pod, api.now),
                (Kind::Nodes, Change::Node(name, node)) => self.hears_of_node(name, node.as_ref(), api.now),
                (Kind::Fleets, Change::Fleet(fleet)) => {
                    self.desk.fleets.insert(fleet.metadata.name.clone().unwrap(), Arc::clone(fleet));
                    self.read_fleets(api.now);
                    true
                }
                _ => continue,
            };
            told = told.saturating_add(u8::from(is_told));
        }
        if told > 0 && kind != Kind::Jobs {
            self.desk.stir();
        }
        told > 0
    }

    fn read_fleets(&mut self, now: Timestamp) {
        let named = self.floor.put_fleets(Fleets::of(self.desk.fleets.values().map(|fleet| &**fleet)), now);
        self.named(named, now);
    }

    fn hears_of_job(&mut self, job: &Arc<CmdJob>, api: &Api) -> bool {
        let key = key_of(&job.metadata);
        if let Some(before) = self.jobs.get(&key).filter(|before| before.metadata.uid != job.metadata.uid).cloned() {
            self.hears_of_end(&before, api.now);
        }
        self.jobs.insert(key.clone(), Arc::clone(job));
        if self.desk.known.put(job) {
            self.desk.stir();
        }
        let waiting = if api.unreadable.contains(&key) {
            self.unreadable.insert(key.clone());
            self.interests.remove(&key.0, &key.1)
        } else {
            self.unreadable.remove(&key);
            self.interests.put(job)
        };
        self.named(waiting, api.now);
        self.name(&key, api.now);
        true
    }

    fn hears_of_end(&mut self, job: &CmdJob, now: Timestamp) -> bool {
        let key = key_of(&job.metadata);
        let uid = job.metadata.uid.as_deref().unwrap();
        self.jobs.remove(&key);
        self.desk.known.remove(&key.0, &key.1);
        self.desk.stir();
        self.memory.gone(at(&key));
        let mut named = self.floor.looked(uid, now);
        named.extend(self.floor.withdraw(uid, now));
        named.extend(self.interests.remove(&key.0, &key.1));
        self.named(named, now);
        true
    }

    fn hears_of_pod(&mut self, pod: &Pod, now: Timestamp) -> bool {
        let named = if is_of_job(pod) {
            self.floor.put_pod(&self.mutation.of_pod(pod), now)
        } else if node_of(pod).is_some() {
            self.floor.put_stranger(pod, now)
        } else {
            Vec::new()
        };
        self.named(named, now);
        true
    }

    fn hears_of_pods_end(&mut self, pod: &Pod, now: Timestamp) -> bool {
        let named = if is_of_job(pod) {
            self.floor.remove_pod(pod, now)
        } else {
            self.floor.remove_stranger(pod.metadata.uid.as_deref().unwrap(), now)
        };
        self.named(named, now);
        true
    }

    fn hears_of_node(&mut self, name: &str, node: Option<&Arc<Node>>, now: Timestamp) -> bool {
        match node {
            Some(node) => {
                self.desk.changed.insert(name.to_owned());
                self.desk.nodes.insert(name.to_owned(), Arc::clone(node));
            }
            None => {
                self.desk.changed.remove(name);
                self.desk.nodes.remove(name);
            }
        }
        let seen = node.map(|node| NodeSeen::of(node));
        let before = seen.as_ref().or_else(|| self.floor.nodes().get(name)).map(|node| node.labels.clone());
        let node = seen.map(|node| self.mutation.of_node(&node));
        let (is_news, mut named) = self.floor.put_node(name, node, now);
        if is_news {
            // With what its fleet makes of them.
            let known = self.floor.nodes().get(name).map(|node| node.labels.clone());
            let labels = known.or(before).unwrap_or_default();
            named.extend(self.interests.may_go(name, &labels));
            let there = self.floor.pods().iter().filter(|(_, pod)| *pod.node == *name && is_open(pod));
            named.extend(there.map(|(owner, _)| owner.clone()));
        }
        self.named(named, now);
        true
    }

    /// The jobs that are to be looked at by this time.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Key> {
        self.queue.iter().filter(|(_, (time, _))| *time <= now).map(|(key, _)| key.clone()).collect()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.queue.values().map(|(time, _)| *time).min()
    }

    /// Whether nothing is due any more but what is refused again and again.
    pub(crate) fn only_retries(&self) -> bool {
        self.queue.keys().all(|key| self.idle.get(key).is_some_and(|(idle, _)| *idle > 12))
    }

    /// All jobs are looked at, as if each were named.
    pub(crate) fn look_at_all(&mut self, now: Timestamp) {
        self.all(now);
    }

    pub(crate) fn known(&self) -> Vec<Key> {
        self.jobs.keys().cloned().collect()
    }

    /// One look at one CmdJob.
    pub(crate) fn look(&mut self, key: &Key, api: &mut Api) -> Result<Result<(), Stop>, Broken> {
        // One that is looked at before its time is so because somebody wants it.
        let by = self.queue.remove(key).filter(|(time, _)| *time <= api.now).map_or(By::Change, |(_, by)| by);
        let Some(job) = self.jobs.get(key).cloned() else {
            self.memory.gone(at(key));
            return Ok(Ok(()));
        };
        *self.looks.entry(key.clone()).or_default() += 1;
        let all = self.jobs.values().filter_map(|job| job.metadata.uid.clone()).collect();
        self.floor.settle(|| all);
        let is_readable = !self.unreadable.contains(key);
        let cached = self.mutation.of_job(&job, is_readable);
        let found = match is_readable {
            false => Found::Unreadable { metadata: &cached.metadata, why: "it does not fit" },
            true => Found::Job(&cached),
        };
        api.say(|| format!("  looks at {}/{} ({by:?})", key.0, key.1));
        let done = at_once(look(found, &mut Hands { operator: self, api }));
        let (again, stop) = match done {
            Ok(again) => (again, Ok(())),
            Err(Failed { why: Why::Call(stop), again }) => (Some(again), Err(stop)),
            Err(Failed { again, .. }) => (Some(again), Ok(())),
        };
        if let Some(pause) = self.mutation.pause(again) {
            self.again_in(key, pause, by, api.now)?;
        }
        Ok(stop)
    }

    /// A job is to be looked at again after a pause. While nothing changes for it, the pauses grow: to a minute, in twelve steps. A few
    /// are shorter: when what a node will do comes to its time, and where a status waits for the next one.
    fn again_in(&mut self, key: &Key, pause: Duration, by: By, now: Timestamp) -> Result<(), Broken> {
        let (idle, short) = self.idle.entry(key.clone()).or_default();
        *idle += u32::from(by == By::Timer);
        let least = Duration::from_millis(25).saturating_mul(1 << (*idle).min(12)).min(Duration::from_secs(60));
        *short += u32::from(pause < least);
        if *short > SHORT {
            let how = format!("{key:?} is looked at again after {pause:?}, the {idle}. time since something changed");
            return Err(Broken { law: Law::NoHotLoop, how });
        }
        let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::from_hours(1000));
        let time = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let sooner = self.queue.get(key).filter(|(before, _)| *before <= time).is_some();
        if !sooner {
            self.queue.insert(key.clone(), (time, By::Timer));
        }
        Ok(())
    }

    /// Lets pods go whose CmdJob is gone. Whether there were any.
    pub(crate) fn strays(&mut self, api: &mut Api) -> Result<bool, Stop> {
        if self.mutation == Mutation::NoStrays {
            return Ok(false);
        }
        let known: HashSet<&String> = self.jobs.values().filter_map(|job| job.metadata.uid.as_ref()).collect();
        let strays = self.floor.pods().strays(|owner| known.contains(&owner.uid));
        for (owner, pod) in &strays {
            at_once(stray(owner, pod, &mut Hands { operator: self, api }))?;
        }
        Ok(!strays.is_empty())
    }
}

fn is_of_job(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(labels::JOB))
}
