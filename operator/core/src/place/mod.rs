//! Which node an attempt can go to: one that is meant, takes pods, has room and is there for long enough; of several, the one
//! that is the least used. [`crate::floor`] says when it is whose turn.

mod amounts;
mod by_target;
mod node;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use vk_cmd_crds::labels;

use crate::validate::{Target, ValidJob};
use crate::work;

pub use self::amounts::Sums;
pub(crate) use self::by_target::ByTarget;
pub use self::node::{About, NodeSeen, NodeState, Nodes};
pub(crate) use self::node::{margin_of, says_ending};
pub use self::why::why;
pub use vk_cmd_crds::amounts::Amounts;

/// What an attempt asks of a node. Two of the same demand can go to the same nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// The namespace of its job.
    pub namespace: String,
    /// Which nodes are meant.
    pub target: Meant,
    /// What it takes there.
    pub amounts: Amounts,
    /// How long it may take.
    pub walltime: Option<SignedDuration>,
}

/// Which nodes are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meant {
    /// The one of this name, and it is chosen by the user.
    Node(String),
    /// The one of this name, because each node of the target gets an attempt.
    Each(String),
    /// Those of this fleet.
    Fleet(String),
    /// Those with these labels.
    Labels(BTreeMap<String, String>),
}

/// What keeps an attempt from a node that is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The node is not ready; what it says about that.
    NotReady(Option<String>),
    /// It is cordoned.
    Cordoned,
    /// Its site has drained it.
    Drained,
    /// It says that it ends, and not when.
    Leaves,
    /// It has a taint of this key.
    Tainted(String),
    /// Its site takes no pods of the namespace.
    Namespace,
    /// Its fleet, of this name, takes no pods of the namespace.
    FleetNamespace(String),
    /// It ends before the attempt may.
    Ends(Timestamp),
    /// It ends so soon after the attempt may that it is kept free from this time on, by its own margin or its fleet's.
    Margin(Timestamp),
    /// It has less of this resource, in all.
    Lacks(String),
    /// It has less of this resource now: others use it.
    Busy(String),
}

impl Meant {
    fn of(target: &Target<'_>) -> Self {
        match target {
            Target::Node(node) => Self::Node(node.as_str().to_owned()),
            Target::Fleet(fleet) => Self::Fleet((*fleet).to_owned()),
            Target::Labels(wanted) => Self::Labels((*wanted).clone()),
        }
    }

    /// Those of the nodes that are meant.
    pub fn among<'n>(&self, nodes: &'n Nodes) -> impl Iterator<Item = (&'n String, &'n NodeSeen)> {
        let (only, all) = match self {
            Self::Node(only) | Self::Each(only) => (nodes.get_key_value(only), None),
            Self::Fleet(_) | Self::Labels(_) => (None, Some(nodes)),
        };
        let all = all.into_iter().flatten().filter(|(name, node)| self.means(name, &node.labels));
        only.into_iter().inspect(|_| work::done()).chain(all)
    }

    /// Whether a node of this name and these labels is meant.
    pub fn means(&self, name: &str, found: &BTreeMap<String, String>) -> bool {
        work::done();
        match self {
            Self::Node(only) | Self::Each(only) => only == name,
            Self::Fleet(fleet) => found.get(labels::FLEET) == Some(fleet),
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| found.get(key) == Some(value)),
        }
    }
}

impl Demand {
    /// Of an attempt of a job.
    pub fn of(job: &ValidJob<'_>) -> Self {
        Self {
            namespace: job.object.namespace.to_owned(),
            target: Meant::of(&job.target),
            amounts: Amounts::of_single(
                job.resources.and_then(|r| r.limits.as_ref()),
                job.resources.and_then(|r| r.requests.as_ref()),
            ),
            walltime: job.walltime,
        }
    }

    /// The same, of one that must be on this node.
    #[must_use]
    pub fn at(&self, node: &str) -> Self {
        Self { target: Meant::Each(node.to_owned()), ..self.clone() }
    }

    /// Whether a node that is meant takes it, with so much of it in use.
    pub fn fits(&self, node: &NodeSeen, used: &Amounts, now: Timestamp) -> Result<(), Obstacle> {
        match &node.state {
            NodeState::NotReady { why, .. } => return Err(Obstacle::NotReady(why.clone())),
            // That it was cordoned for that is no news.
            _ if node.is_ending && node.about.is_drained => return Err(Obstacle::Drained),
            _ if node.is_ending => return Err(node.ends.map_or(Obstacle::Leaves, Obstacle::Ends)),
            NodeState::Cordoned => return Err(Obstacle::Cordoned),
            NodeState::Tainted(key) => return Err(Obstacle::Tainted(key.clone())),
            NodeState::Ready => {}
        }
        if !node.namespaces.permits(&self.namespace) {
            return Err(Obstacle::Namespace);
        }
        if let Some(terms) = node.terms.as_ref().filter(|terms| !terms.namespaces.permits(&self.namespace)) {
            return Err(Obstacle::FleetNamespace(terms.fleet.clone()));
        }
        let needed = self.walltime.unwrap_or(SignedDuration::ZERO);
        let is_short = |until: &Timestamp| until.duration_since(now) < needed;
        if let Some(ends) = node.ends.filter(is_short) {
            return Err(Obstacle::Ends(ends));
        }
        if let Some(until) = node.until().filter(is_short) {
            return Err(Obstacle::Margin(until));
        }
        let lacks = self.amounts.iter().find(|(name, asked)| node.allocatable.get(name) < *asked);
        if let Some((name, _)) = lacks {
            return Err(Obstacle::Lacks(name.to_owned()));
        }
        let is_short = |(name, asked): &(&str, u64)| node.allocatable.get(name).saturating_sub(used.get(name)) < *asked;
        match self.amounts.iter().find(is_short) {
            Some((name, _)) => Err(Obstacle::Busy(name.to_owned())),
            None => Ok(()),
        }
    }

    /// When a node that is meant will have become too short for it though nothing happens: what is said of it changes then.
    pub fn changes_at(&self, nodes: &Nodes, now: Timestamp) -> Option<Timestamp> {
        let meant = self.target.among(nodes);
        // A moment after the last one at which there is time enough.
        let needed = self.walltime.unwrap_or(SignedDuration::ZERO).saturating_sub(SignedDuration::from_secs(1));
        let last = meant.flat_map(|(_, node)| [node.ends, node.until()]);
        let last = last.filter_map(|end| end?.checked_sub(needed).ok());
        last.filter(|at| *at > now).min()
    }

    /// The node for it: of those that take it, the one that is the least used then.
    pub fn best<'n>(&self, nodes: &'n Nodes, used: &Sums, now: Timestamp) -> Option<&'n str> {
        let fit = self.target.among(nodes).filter(|(name, node)| self.fits(node, used.of(name), now).is_ok());
        let use_then = |name: &str, node: &NodeSeen| {
            let mut then = used.of(name).clone();
            then.add(&self.amounts);
            then.part_of(&node.allocatable)
        };
        let (name, _) = fit.min_by_key(|(name, node)| (use_then(name, node), used.of(name).get("pods"), *name))?;
        Some(name)
    }
}

/// The names of the nodes that a target means.
pub fn targets(target: &Target<'_>, nodes: &Nodes) -> BTreeSet<String> {
    let target = Meant::of(target);
    target.among(nodes).map(|(name, _)| name.clone()).collect()
}
