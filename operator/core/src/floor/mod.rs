//! What is where, what may go where, and whose turn it is.
//!
//! ```text
//!            ask                      a node has room                   pod is made
//!  (job) ─────────► waits in a line ──────────────────► room is kept ───────────────► pod on its node
//!                     ▲    │ withdraw, or asks for less      │ withdraw                │ ends, is gone
//!                     │    ▼                                 ▼                         ▼
//!                     └── (nothing) ◄──────────────────────────────────── the next one is looked at
//! ```
//!
//! A job asks with each look for all that it wants to start, and gets what there is room for now. What it does not get
//! waits in a line; when there is room, it is kept for the job, and the job is named, so that it is looked at and asks again.
//! Nothing of this is stored: after a start of the operator all jobs are looked at once ([`Floor::settle`]) before the first
//! gets anything, so that who asks first has no advantage.

mod heard;
mod queue;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use vk_cmd_crds::Reason;

use self::queue::{Queue, Rank};
use crate::fleet::Fleets;
use crate::place::{Amounts, Demand, NodeSeen, Nodes, Sums, why};
use crate::plan::Start;
use crate::pods::{Owner, Pods};
use crate::validate::ValidJob;

/// The node that was found for an attempt, or why there is none.
pub type Placed = Result<String, (Reason, Arc<str>)>;

/// What is where, what may go where, and whose turn it is.
#[derive(Debug, Default)]
pub struct Floor {
    nodes: Nodes,
    fleets: Fleets,
    pods: Pods,
    /// Pods on vk-nodes that are not those of jobs, by UID: their nodes, and what they take there.
    strangers: HashMap<String, (String, Amounts)>,
    /// What is in use or kept on each node.
    used: Sums,
    /// What the jobs of each namespace use, or have kept for them.
    parts: Sums,
    /// What all nodes have.
    whole: Amounts,
    queue: Queue,
    /// Room that is kept for attempts whose pods are not there yet, by the UIDs of their jobs.
    kept: HashMap<String, BTreeMap<(u32, u32), Kept>>,
    beginning: Beginning,
}

/// Whether all jobs have been looked at since the operator's start.
#[derive(Debug, Default)]
enum Beginning {
    /// Nobody has said yet which jobs there are.
    #[default]
    Unknown,
    /// Those of these UIDs have not.
    Looking(HashSet<String>),
    /// They have.
    Over,
}

#[derive(Clone, Debug)]
struct Kept {
    node: String,
    demand: Arc<Demand>,
}

impl Floor {
    /// The nodes.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The fleets.
    pub fn fleets(&self) -> &Fleets {
        &self.fleets
    }

    /// What is in use on a node, or kept for somebody.
    pub fn used(&self, node: &str) -> &Amounts {
        self.used.of(node)
    }

    /// What waits for room, of the demands that are meant: how many attempts of each.
    pub fn waiting_for(&self, is_meant: impl Fn(&Demand) -> bool) -> Vec<(Arc<Demand>, usize)> {
        let meant = self.queue.counts().filter(|(demand, _)| is_meant(demand));
        meant.map(|(demand, count)| (Arc::clone(demand), count)).collect()
    }

    /// How many jobs wait for room, of the demands that are meant.
    pub fn jobs_waiting_for(&self, is_meant: impl Fn(&Demand) -> bool) -> usize {
        self.queue.jobs(is_meant)
    }

    /// The pods of jobs.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// How many jobs wait for room.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Nothing is given to anybody until these jobs have been looked at. Only the first call does anything.
    pub fn settle(&mut self, jobs: impl FnOnce() -> HashSet<String>) {
        if matches!(self.beginning, Beginning::Unknown) {
            self.beginning = Beginning::Looking(jobs());
            self.begin_if_all_are_looked_at();
        }
    }

    /// Whether all jobs have been looked at since the operator's start, so that room is given.
    pub fn has_begun(&self) -> bool {
        matches!(self.beginning, Beginning::Over)
    }

    /// A job has been looked at, or is gone. When it was the last one, names all jobs that wait: those for which there is room now,
    /// and those that have not been told yet why there is none.
    pub fn looked(&mut self, job: &str, now: Timestamp) -> Vec<Owner> {
        let Beginning::Looking(unlooked) = &mut self.beginning else { return Vec::new() };
        unlooked.remove(job);
        self.begin_if_all_are_looked_at();
        let mut named = self.give(now);
        if self.has_begun() {
            named.extend(self.queue.owners());
        }
        named
    }

    /// All jobs were listed anew: those that are not `known` are gone, though nobody has told of each. Names the jobs for which
    /// there is room now, and those of [`Floor::looked`].
    pub fn keep(&mut self, known: impl Fn(&str) -> bool, now: Timestamp) -> Vec<Owner> {
        let mut gone: BTreeSet<String> = self.kept.keys().cloned().collect();
        gone.extend(self.queue.owners().map(|owner| owner.uid));
        if let Beginning::Looking(unlooked) = &self.beginning {
            gone.extend(unlooked.iter().cloned());
        }
        gone.retain(|uid| !known(uid));
        let forget = |uid: &String| [self.withdraw(uid, now), self.looked(uid, now)].concat();
        gone.iter().flat_map(forget).collect()
    }

    fn begin_if_all_are_looked_at(&mut self) {
        if matches!(&self.beginning, Beginning::Looking(unlooked) if unlooked.is_empty()) {
            self.beginning = Beginning::Over;
            self.queue.stir_all();
        }
    }

    /// A job wants to make these attempts, and no others: what has become of each, and the jobs for which there is room now. None:
    /// it is too early to say, and the job will be named.
    pub fn ask_for(
        &mut self,
        job: &ValidJob<'_>,
        starts: &[Start],
        now: Timestamp,
    ) -> (Option<Vec<Placed>>, Vec<Owner>) {
        let owner = Owner {
            namespace: job.object.namespace.to_owned(),
            name: job.object.name.to_owned(),
            uid: job.object.uid.to_owned(),
        };
        let rank = Rank::new(job.priority, job.created.unwrap_or(now), &owner);
        let any = Arc::new(Demand::of(job));
        let at = |node: &Option<String>| match node {
            Some(node) => Arc::new(any.at(node)),
            None => Arc::clone(&any),
        };
        let wanted = starts.iter().map(|start| (start.clone(), at(&start.node)));
        self.ask(&owner, &rank, &wanted.collect::<Vec<_>>(), now)
    }

    /// A job wants to make these attempts, and no others. None: it is too early to say, and the job will be named.
    fn ask(
        &mut self,
        owner: &Owner,
        rank: &Rank,
        wanted: &[(Start, Arc<Demand>)],
        now: Timestamp,
    ) -> (Option<Vec<Placed>>, Vec<Owner>) {
        let mut kept = self.kept.remove(&owner.uid).unwrap_or_default();
        let mut still = BTreeMap::new();
        let mut waiting = BTreeMap::<Arc<Demand>, VecDeque<Start>>::new();
        for (start, demand) in wanted {
            let key = (start.index, start.attempt);
            let fits = kept.get(&key).is_some_and(|kept| kept.demand == *demand && self.stands(kept, now));
            // What does not fit any more is given back below.
            match fits.then(|| kept.remove(&key)).flatten() {
                Some(kept) => drop(still.insert(key, kept)),
                None => waiting.entry(Arc::clone(demand)).or_default().push_back(start.clone()),
            }
        }
        if !still.is_empty() {
            self.kept.insert(owner.uid.clone(), still);
        }
        self.queue.set(owner, rank, waiting);
        kept.into_values().for_each(|kept| self.free(&kept));
        let mut named = self.give(now);
        named.retain(|named| named.uid != owner.uid);
        if !self.has_begun() && !wanted.is_empty() {
            return (None, named);
        }
        let kept = self.kept.get(&owner.uid);
        let mut reasons = BTreeMap::<&Demand, (Reason, Arc<str>)>::new();
        let why = |demand| {
            let (reason, text) = why(demand, &self.nodes, &self.fleets, &self.used, now);
            (reason, Arc::from(text))
        };
        let placed =
            wanted.iter().map(|(start, demand)| match kept.and_then(|kept| kept.get(&(start.index, start.attempt))) {
                Some(kept) => Ok(kept.node.clone()),
                None => Err(reasons.entry(demand).or_insert_with(|| why(demand)).clone()),
            });
        (Some(placed.collect()), named)
    }

    /// A job wants nothing any more. Names the jobs for which there is room now.
    pub fn withdraw(&mut self, job: &str, now: Timestamp) -> Vec<Owner> {
        self.queue.remove(job);
        let kept = self.kept.remove(job).unwrap_or_default();
        kept.into_values().for_each(|kept| self.free(&kept));
        self.give(now)
    }

    /// Gives room to those whose turn it is, as long as there is some. Names their jobs.
    fn give(&mut self, now: Timestamp) -> Vec<Owner> {
        let mut named = Vec::<Owner>::new();
        if !self.has_begun() {
            return named;
        }
        while let Some(demand) = self.queue.first(|namespace| self.parts.of(namespace).part_of(&self.whole)) {
            let Some(node) = demand.best(&self.nodes, &self.used, now).map(str::to_owned) else {
                self.queue.stick(&demand);
                continue;
            };
            let Some((owner, start)) = self.queue.pop(&demand) else { break };
            self.parts.add(&demand.namespace, &demand.amounts);
            self.used.add(&node, &demand.amounts);
            let kept = Kept { node, demand };
            self.kept.entry(owner.uid.clone()).or_default().insert((start.index, start.attempt), kept);
            if named.last() != Some(&owner) {
                named.push(owner);
            }
        }
        named
    }

    /// Whether room that was kept can still be used: its node is still one that takes it.
    fn stands(&self, kept: &Kept, now: Timestamp) -> bool {
        let takes = |node: &NodeSeen| {
            // What is in use is this among other things.
            let fits = kept.demand.fits(node, &Amounts::default(), now);
            kept.demand.target.means(&kept.node, &node.labels) && fits.is_ok()
        };
        self.nodes.get(&kept.node).is_some_and(takes)
    }

    fn free(&mut self, kept: &Kept) {
        self.parts.take(&kept.demand.namespace, &kept.demand.amounts);
        self.free_node(&kept.node, &kept.demand.amounts);
    }

    fn free_node(&mut self, node: &str, amounts: &Amounts) {
        self.used.take(node, amounts);
        self.stir(node);
    }

    /// Those that this node may take now are looked at again.
    fn stir(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else { return };
        let used = self.used.of(name);
        // Time only takes away what a node can be used for, so that the end of the node can be left out here.
        self.queue.stir(name, node, |demand| demand.fits(node, used, Timestamp::MIN).is_ok());
    }
}

#[cfg(test)]
mod tests;
