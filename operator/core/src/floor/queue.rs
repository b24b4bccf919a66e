//! The attempts that wait for room, in order.
//!
//! Between namespaces the one comes first that uses the smallest part of what there is; within a namespace the job of the
//! higher priority, then the older one. A job that nothing can take now holds up nobody behind it: what is free is used. Attempts of the
//! same demand stand in one line, and only the first of each line is looked at: a thousand jobs that wait for the same
//! cost no more than one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;

use crate::place::{Demand, NodeSeen};
use crate::plan::Start;
use crate::pods::Owner;

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

/// Those of the same demand.
#[derive(Debug, Default)]
struct Line {
    jobs: BTreeMap<Rank, Waiting>,
    /// No node takes any of them; only a node that has changed since may.
    stuck: bool,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Demand, Line>,
    /// The lines that a job stands in, by its UID.
    by_job: HashMap<String, (Rank, BTreeSet<Demand>)>,
}

impl Queue {
    /// A job waits for these, and for nothing else.
    pub(super) fn set(&mut self, owner: &Owner, rank: &Rank, wanted: BTreeMap<Demand, VecDeque<Start>>) {
        self.remove(&owner.uid);
        if wanted.is_empty() {
            return;
        }
        self.by_job.insert(owner.uid.clone(), (rank.clone(), wanted.keys().cloned().collect()));
        for (demand, starts) in wanted {
            let waiting = Waiting { owner: owner.clone(), starts };
            self.lines.entry(demand).or_default().jobs.insert(rank.clone(), waiting);
        }
    }

    /// A job waits for nothing.
    pub(super) fn remove(&mut self, job: &str) {
        let Some((rank, demands)) = self.by_job.remove(job) else { return };
        for demand in demands {
            self.drop_from(&demand, &rank);
        }
    }

    fn drop_from(&mut self, demand: &Demand, rank: &Rank) {
        if let Some(line) = self.lines.get_mut(demand) {
            line.jobs.remove(rank);
            if line.jobs.is_empty() {
                self.lines.remove(demand);
            }
        }
    }

    /// A node has changed, or has more room: those that it may take are looked at again.
    pub(super) fn stir(&mut self, name: &str, node: &NodeSeen, takes: impl Fn(&Demand) -> bool) {
        for (demand, line) in &mut self.lines {
            if line.stuck && demand.target.means(name, &node.labels) && takes(demand) {
                line.stuck = false;
            }
        }
    }

    /// All are looked at again.
    pub(super) fn stir_all(&mut self) {
        self.lines.values_mut().for_each(|line| line.stuck = false);
    }

    /// The demand whose turn it is, by the parts that the namespaces use.
    pub(super) fn first(&self, part: impl Fn(&str) -> u64) -> Option<Demand> {
        let open = self.lines.iter().filter(|(_, line)| !line.stuck);
        let ranked = open.filter_map(|(demand, line)| {
            let (rank, _) = line.jobs.first_key_value()?;
            Some(((part(&demand.namespace), rank), demand))
        });
        ranked.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, demand)| demand.clone())
    }

    /// Nothing takes this demand now.
    pub(super) fn stick(&mut self, demand: &Demand) {
        if let Some(line) = self.lines.get_mut(demand) {
            line.stuck = true;
        }
    }

    /// Takes the first attempt of a line.
    pub(super) fn pop(&mut self, demand: &Demand) -> Option<(Owner, Start)> {
        let line = self.lines.get_mut(demand)?;
        let mut first = line.jobs.first_entry()?;
        let start = first.get_mut().starts.pop_front()?;
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

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.by_job.len()
    }
}
