//! The attempts that wait for room, in order.
//!
//! Between namespaces the one comes first that uses the smallest part of what there is; within a namespace the job of the
//! higher priority, then the older one. A job that nothing can take now holds up nobody behind it: what is free is used. Attempts of the
//! same demand stand in one line, and only the first of each line is looked at: a thousand jobs that wait for the same
//! cost no more than one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::place::{ByTarget, Demand, NodeSeen};
use crate::plan::Start;
use crate::pods::Owner;
use crate::work;

/// Where a job stands among those of its namespace: the lesser comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// The higher comes first.
    priority: std::cmp::Reverse<i32>,
    /// When the job was made.
    created: Timestamp,
    name: String,
    uid: String,
}

impl Rank {
    /// Of a job.
    pub(super) fn new(priority: i32, created: Timestamp, owner: &Owner) -> Self {
        Self { priority: std::cmp::Reverse(priority), created, name: owner.name.clone(), uid: owner.uid.clone() }
    }
}

/// What one job has in one line.
#[derive(Debug)]
struct Waiting {
    owner: Owner,
    /// The most wanted first; not empty.
    starts: VecDeque<Start>,
}

/// Those of the same demand, the first first; not empty.
#[derive(Debug, Default)]
struct Line {
    jobs: BTreeMap<Rank, Waiting>,
    /// How many attempts they have in it together.
    attempts: usize,
}

impl Line {
    fn insert(&mut self, rank: &Rank, waiting: Waiting) {
        self.attempts = self.attempts.saturating_add(waiting.starts.len());
        self.jobs.insert(rank.clone(), waiting);
    }

    fn remove(&mut self, rank: &Rank) {
        let starts = self.jobs.remove(rank).map_or(0, |waiting| waiting.starts.len());
        self.attempts = self.attempts.saturating_sub(starts);
    }
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Arc<Demand>, Line>,
    /// The lines that a node may take something of. Those that are not here are stuck: no node takes any of them, and only a
    /// node that has changed since may.
    open: BTreeSet<Arc<Demand>>,
    /// The lines by the nodes that they mean.
    by_target: ByTarget<Arc<Demand>>,
    /// The lines that a job stands in, by its UID.
    by_job: HashMap<String, (Rank, BTreeSet<Arc<Demand>>)>,
}

impl Queue {
    /// A job waits for these, and for nothing else.
    pub(super) fn set(&mut self, owner: &Owner, rank: &Rank, wanted: BTreeMap<Arc<Demand>, VecDeque<Start>>) {
        self.remove(&owner.uid);
        if wanted.is_empty() {
            return;
        }
        let mut demands = BTreeSet::new();
        for (demand, starts) in wanted {
            // One of them for all that wait for the same.
            let demand = match self.lines.get_key_value(&demand) {
                Some((known, _)) => Arc::clone(known),
                None => {
                    self.open.insert(Arc::clone(&demand));
                    self.by_target.insert(&demand.target, Arc::clone(&demand));
                    demand
                }
            };
            let waiting = Waiting { owner: owner.clone(), starts };
            self.lines.entry(Arc::clone(&demand)).or_default().insert(rank, waiting);
            demands.insert(demand);
        }
        self.by_job.insert(owner.uid.clone(), (rank.clone(), demands));
    }

    /// A job waits for nothing.
    pub(super) fn remove(&mut self, job: &str) {
        let Some((rank, demands)) = self.by_job.remove(job) else { return };
        for demand in demands {
            self.drop_from(&demand, &rank);
        }
    }

    fn drop_from(&mut self, demand: &Arc<Demand>, rank: &Rank) {
        if let Some(line) = self.lines.get_mut(demand) {
            line.remove(rank);
            if line.jobs.is_empty() {
                self.lines.remove(demand);
                self.open.remove(demand);
                self.by_target.remove(&demand.target, demand);
            }
        }
    }

    /// A node has changed, or has more room: those that it may take are looked at again.
    pub(super) fn stir(&mut self, name: &str, node: &NodeSeen, takes: impl Fn(&Demand) -> bool) {
        let meant = self.by_target.of_node(name, &node.labels).inspect(|_| work::done());
        let stirred = meant.filter(|demand| !self.open.contains(*demand) && takes(demand));
        let stirred: Vec<_> = stirred.cloned().collect();
        self.open.extend(stirred);
    }

    /// All are looked at again.
    pub(super) fn stir_all(&mut self) {
        self.open = self.lines.keys().cloned().collect();
    }

    /// The demand whose turn it is, by the parts that the namespaces use.
    pub(super) fn first(&self, part: impl Fn(&str) -> u64) -> Option<Arc<Demand>> {
        let ranked = self.open.iter().inspect(|_| work::done()).filter_map(|demand| {
            let (rank, _) = self.lines.get(demand)?.jobs.first_key_value()?;
            Some(((part(&demand.namespace), rank), demand))
        });
        ranked.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, demand)| Arc::clone(demand))
    }

    /// Nothing takes this demand now.
    pub(super) fn stick(&mut self, demand: &Demand) {
        self.open.remove(demand);
    }

    /// Takes the first attempt of a line.
    pub(super) fn pop(&mut self, demand: &Arc<Demand>) -> Option<(Owner, Start)> {
        let line = self.lines.get_mut(demand)?;
        let mut first = line.jobs.first_entry()?;
        let start = first.get_mut().starts.pop_front()?;
        line.attempts = line.attempts.saturating_sub(1);
        let (owner, rank) = (first.get().owner.clone(), first.key().clone());
        if first.get().starts.is_empty() {
            self.drop_from(demand, &rank);
            if let Some((_, demands)) = self.by_job.get_mut(&owner.uid) {
                demands.remove(demand);
                if demands.is_empty() {
                    self.by_job.remove(&owner.uid);
                }
            }
        }
        Some((owner, start))
    }

    /// The jobs that wait. One that waits for several nodes is named for each.
    pub(super) fn owners(&self) -> impl Iterator<Item = Owner> {
        self.lines.values().flat_map(|line| line.jobs.values()).map(|waiting| waiting.owner.clone())
    }

    /// How many attempts stand in each line.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Arc<Demand>, usize)> {
        self.lines.iter().inspect(|_| work::done()).map(|(demand, line)| (demand, line.attempts))
    }

    /// How many jobs stand in the lines that are meant.
    pub(super) fn jobs(&self, is_meant: impl Fn(&Demand) -> bool) -> usize {
        let lines = self.lines.iter().filter(|(demand, _)| is_meant(demand));
        let owners = lines.flat_map(|(_, line)| line.jobs.values().map(|waiting| waiting.owner.uid.as_str()));
        owners.collect::<BTreeSet<_>>().len()
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.by_job.len()
    }
}
