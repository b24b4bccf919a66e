//! The facts, put together: which pilots and nodes there are, and how many are lacking.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::pause::Failures;
use super::pilot::Life;
use super::wanted::{Needed, needed};
use super::{Facts, Memory, NodeOfPilot, PilotSeen, Wishes, many};
use crate::cordon::By;
use crate::place::NodeState;

/// How long a node that is not heard from counts as one that is there: a restart takes less.
pub(super) const SILENCE: SignedDuration = SignedDuration::from_secs(20);

/// How a node of a pilot is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It takes work.
    Serving,
    /// The operator has cordoned it, to end it.
    Released,
    /// It takes no work because its fleet takes none: when nothing runs there it can go.
    Shut,
    /// It takes no work, for another reason: it ends soon, somebody has cordoned it, it is not heard from.
    Closed,
}

/// A pilot with what is known of its nodes.
pub(super) struct PilotView<'a> {
    pub(super) seen: &'a PilotSeen,
    pub(super) nodes: Vec<(NodeOfPilot<'a>, Use)>,
    /// How many of its nodes have not been seen yet.
    pub(super) to_come: u32,
}

/// The facts, put together.
pub(super) struct View<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) pilots: Vec<PilotView<'a>>,
    pub(super) failures: Failures,
    /// Nodes that take work.
    pub(super) serving: u32,
    /// Nodes of live pilots that take none.
    pub(super) closed: u32,
    /// Nodes of pilots that are being cancelled: they are there, or may come yet, until the batch system says otherwise.
    pub(super) leaving: u32,
    /// Nodes that live pilots are to bring yet.
    pub(super) to_come: u32,
    pub(super) needed: Needed,
}

impl<'a> View<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, memory: &Memory) -> Self {
        let mut by_pilot = BTreeMap::<&str, Vec<(NodeOfPilot<'a>, Use)>>::new();
        for node in &facts.nodes {
            by_pilot.entry(node.pilot).or_default().push((*node, facts.use_of(node)));
        }
        let npp = facts.launcher.nodes_per_pilot;
        let mut pilots: Vec<PilotView<'a>> = facts
            .pilots
            .iter()
            .map(|seen| {
                let nodes = by_pilot.remove(&*seen.name).unwrap_or_default();
                let come = if facts.launcher.comes_back { many(nodes.len()) } else { memory.appeared(&seen.name) };
                let to_come = npp.saturating_sub(come);
                PilotView { seen, nodes, to_come: if seen.is_live() { to_come } else { 0 } }
            })
            .collect();
        pilots.sort_by_key(|pilot| std::cmp::Reverse(pilot.seen.number));
        let live = || pilots.iter().filter(|pilot| pilot.seen.is_live());
        let count = |wanted: fn(Use) -> bool| {
            total(live().map(|pilot| many(pilot.nodes.iter().filter(|(_, how)| wanted(*how)).count())))
        };
        let serving = count(|how| how == Use::Serving);
        let closed = count(|how| how != Use::Serving);
        let leaves = pilots.iter().filter(|pilot| pilot.seen.life == Life::Leaving);
        let leaving = total(leaves.map(|pilot| many(pilot.nodes.len()).max(npp)));
        let to_come = total(live().map(|pilot| pilot.to_come));
        let failures = Failures::of(&facts.pilots, &facts.launcher.digest, memory.good(), |pilot| {
            memory.appeared(&pilot.name) > 0
        });
        let mut this = Self { facts, pilots, failures, serving, closed, leaving, to_come, needed: Needed::default() };
        this.needed = this.need(memory);
        this
    }

    /// How many new nodes the queue needs, those that are to come included.
    fn need(&self, memory: &Memory) -> Needed {
        let Facts { launcher, wishes, waiting, .. } = self.facts;
        let most = wishes.max.unwrap_or(u32::MAX).saturating_sub(self.serving);
        let time = launcher.walltime.saturating_sub(wishes.margin).max(SignedDuration::ZERO);
        match launcher.node_resources.as_ref().or(memory.shape()) {
            Some(shape) => needed(waiting, shape, time, most),
            // One is sent ahead.
            None => Needed { nodes: u32::from(!waiting.is_empty()).min(most), misfits: 0 },
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &PilotView<'a>> {
        self.pilots.iter().filter(|pilot| pilot.seen.is_live())
    }

    /// How many nodes there are to be if that is said, and not left to the queue.
    pub(super) fn said(&self) -> Option<u32> {
        let Wishes { replicas, min, max, .. } = self.facts.wishes;
        replicas.map(|replicas| replicas.max(min).min(max.unwrap_or(u32::MAX)))
    }

    /// How many nodes are lacking, whether there may be so many or not.
    pub(super) fn lacking(&self) -> u32 {
        let coming = self.serving.saturating_add(self.to_come);
        match self.said() {
            Some(said) => said.saturating_sub(coming),
            None => {
                let by_queue = self.needed.nodes.saturating_sub(self.to_come);
                by_queue.max(self.facts.wishes.min.saturating_sub(coming))
            }
        }
    }

    /// How many more nodes there may be. A limit is a limit: those that take nothing any more count, too, as long as they are there.
    pub(super) fn room(&self) -> u32 {
        let there = [self.serving, self.to_come, self.closed, self.leaving].into_iter();
        self.facts.wishes.max.map_or(u32::MAX, |max| max.saturating_sub(total(there)))
    }
}

impl PilotView<'_> {
    pub(super) fn serving(&self) -> u32 {
        self.count(Use::Serving)
    }

    /// How many of its nodes are to be counted so.
    pub(super) fn count(&self, wanted: Use) -> u32 {
        many(self.nodes.iter().filter(|(_, how)| *how == wanted).count())
    }
}

impl Facts<'_> {
    fn use_of(&self, node: &NodeOfPilot<'_>) -> Use {
        let ends_soon = node.seen.ends.is_some_and(|ends| ends.duration_since(self.now) <= self.wishes.margin);
        let is_released = node.seen.about.cordon.is_by(By::Released);
        match &node.seen.state {
            _ if is_released => Use::Released,
            NodeState::Ready if !ends_soon => Use::Serving,
            NodeState::NotReady { since: Some(since), .. }
                if self.now.duration_since(*since) < SILENCE && !ends_soon =>
            {
                Use::Serving
            }
            NodeState::Cordoned if node.seen.about.cordon.is_by(By::Fleet) => Use::Shut,
            NodeState::Ready | NodeState::NotReady { .. } | NodeState::Cordoned | NodeState::Tainted(_) => Use::Closed,
        }
    }
}

pub(super) fn total(all: impl Iterator<Item = u32>) -> u32 {
    all.fold(0, u32::saturating_add)
}
