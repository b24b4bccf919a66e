//! Pilots: how many nodes a fleet with a launcher is to have, which allocations are asked for and which are given back.
//!
//! ```text
//!   the queue needs it, or replicas, or minNodes
//!      │ Submit: a CmdJob on the gateway, FLEET-NUMBER
//!      ▼
//!   Waiting ────▶ Pending ─────────▶ Running ───────────────▶ Ended     its allocation is over
//!   gateway is    it has submitted,  a node with the label
//!   not there     no node yet        vk-cmd.io/pilot is seen
//!      │             │    │             │  idle for idleSeconds, or too many
//!      │ nobody needs it  │             ▼
//!      │ for idleSeconds  │          Releasing: its nodes are cordoned; what runs there goes on
//!      ▼             ▼    │             │  all of them seen cordoned, nothing on them or kept for them
//!   Cancelling: the CmdJob is deleted, its script cancels the allocation and stays until that is gone ──▶ (nothing)
//!      ▲                  │
//!      │ the fleet is     └──▶ Failed: not taken by the batch system, or its allocation has failed
//!        deleted                  │
//!                                 └─ the next one after 10 s, 20 s … 30 min; from the third one on: LauncherPaused
//! ```
//!
//! Pure: all that [`decide`] knows it is told, and what it wants done comes out as [`Step`]s. What it remembers ([`Memory`]) may be
//! lost: then nodes stay idle a while longer.

pub mod job;
pub mod launcher;
mod memory;
pub mod name;
mod pause;
pub mod pilot;
pub mod script;
mod status;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use vk_cmd_crds::PilotsStatus;
use vk_cmd_crds::amounts::Amounts;

pub use self::launcher::ValidLauncher;
pub use self::memory::Memory;
use self::pause::Failures;
pub use self::pilot::PilotSeen;
pub use self::status::{Paused, invalid};
use self::wanted::{Needed, needed};
use crate::cordon::By;
use crate::place::{Demand, NodeSeen, NodeState};

/// How long a node that is not heard from counts as one that is there: a restart takes less.
const SILENCE: SignedDuration = SignedDuration::from_secs(20);
/// How many pilots that have ended are kept, to be looked at, and to tell whether pilots work.
const KEPT: usize = 10;

/// What somebody wants of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// So many nodes; none: as many as the queue needs.
    pub replicas: Option<u32>,
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: Option<u32>,
    /// So long before its end a node takes nothing any more.
    pub margin: SignedDuration,
}

/// A node of a pilot.
#[derive(Clone, Copy, Debug)]
pub struct NodeOfPilot<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pilot that it runs in.
    pub pilot: &'a str,
    /// What it says.
    pub seen: &'a NodeSeen,
    /// What is in use there, or kept for somebody.
    pub used: &'a Amounts,
}

/// All that is known.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The launcher.
    pub launcher: &'a ValidLauncher<'a>,
    /// What is wanted.
    pub wishes: Wishes,
    /// The pilots of the fleet.
    pub pilots: Vec<PilotSeen>,
    /// Their nodes.
    pub nodes: Vec<NodeOfPilot<'a>>,
    /// What waits for nodes like these: how many attempts of each kind.
    pub waiting: Vec<(Arc<Demand>, usize)>,
    /// The number of the last pilot, as it was written down.
    pub last_number: Option<u64>,
    /// The time.
    pub now: Timestamp,
    /// The time since the operator was started, by a clock that nobody can set.
    pub uptime: Duration,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the CmdJob of the pilot of this number.
    Submit(u64),
    /// Cordon a node, because its pilot is to end.
    Release {
        /// The node.
        node: String,
        /// Its pilot.
        pilot: String,
    },
    /// Delete the CmdJob of a pilot, unless there is a pod on one of these nodes after all.
    Cancel {
        /// The pilot.
        pilot: String,
        /// The UID of its CmdJob.
        uid: String,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// Delete the CmdJob of a pilot that ended long ago.
    Forget {
        /// The pilot.
        pilot: String,
        /// The UID of its CmdJob.
        uid: String,
    },
}

/// What a fleet is to say of its pilots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// How it is with them.
    pub status: Option<PilotsStatus>,
    /// Why nothing is submitted, if that needs somebody's eyes.
    pub paused: Option<Paused>,
}

/// What is to be done, and what is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// For the fleet's status.
    pub status: PilotsStatus,
    /// Why nothing is submitted, if that needs somebody's eyes.
    pub paused: Option<Paused>,
}

/// Decides.
pub fn decide(facts: &Facts<'_>, memory: &mut Memory) -> Decision {
    memory.notice(facts);
    let view = View::new(facts, memory);
    let mut steps = view.cancels();
    steps.extend(view.surplus(memory, facts.uptime));
    // What is given back is not asked for again in the same breath.
    if steps.is_empty() {
        steps.extend(view.submits());
    }
    steps.extend(view.forgets());
    let (status, paused) = status::of(&view, &steps);
    Decision { steps, status, paused }
}

/// How a node of a pilot is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It takes work.
    Serving,
    /// The operator has cordoned it, to end it.
    Released,
    /// It takes no work, for another reason: it ends soon, somebody has cordoned it, it is not heard from.
    Closed,
}

/// A pilot with what is known of its nodes.
struct PilotView<'a> {
    seen: &'a PilotSeen,
    nodes: Vec<(NodeOfPilot<'a>, Use)>,
    /// How many of its nodes have not been seen yet.
    to_come: u32,
}

/// The facts, put together.
struct View<'a> {
    facts: &'a Facts<'a>,
    pilots: Vec<PilotView<'a>>,
    failures: Failures,
    /// Nodes that take work.
    serving: u32,
    /// Nodes of live pilots that take none.
    closed: u32,
    /// Nodes that live pilots are to bring yet.
    to_come: u32,
    needed: Needed,
}

impl<'a> View<'a> {
    fn new(facts: &'a Facts<'a>, memory: &Memory) -> Self {
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
        let to_come = total(live().map(|pilot| pilot.to_come));
        let failures = Failures::of(&facts.pilots, &facts.launcher.digest, |pilot| memory.appeared(&pilot.name) > 0);
        let mut this = Self { facts, pilots, failures, serving, closed, to_come, needed: Needed::default() };
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

    fn live(&self) -> impl Iterator<Item = &PilotView<'a>> {
        self.pilots.iter().filter(|pilot| pilot.seen.is_live())
    }

    /// How many nodes there are to be if that is said, and not left to the queue.
    fn said(&self) -> Option<u32> {
        let Wishes { replicas, min, max, .. } = self.facts.wishes;
        replicas.map(|replicas| replicas.max(min).min(max.unwrap_or(u32::MAX)))
    }

    /// How many nodes are lacking.
    fn lacking(&self) -> u32 {
        let coming = self.serving.saturating_add(self.to_come);
        let wanted = match self.said() {
            Some(said) => said.saturating_sub(coming),
            None => {
                let by_queue = self.needed.nodes.saturating_sub(self.to_come);
                by_queue.max(self.facts.wishes.min.saturating_sub(coming))
            }
        };
        // A limit is a limit: nodes that take nothing any more count, too, as long as they are there.
        let most = self.facts.wishes.max.map(|max| max.saturating_sub(coming.saturating_add(self.closed)));
        wanted.min(most.unwrap_or(u32::MAX))
    }

    /// What is submitted now.
    fn submits(&self) -> Vec<Step> {
        let launcher = self.facts.launcher;
        if self.failures.pauses(self.facts.now) {
            return Vec::new();
        }
        let waiting = many(self.live().filter(|pilot| pilot.nodes.is_empty() && pilot.to_come > 0).count());
        // After a failure one is tried, before there are more of them.
        let most_waiting = if self.failures.count > 0 { 1 } else { launcher.max_pending_pilots };
        let most = launcher.max_pilots.map(|max| max.saturating_sub(many(self.live().count())));
        let pilots = self
            .lacking()
            .div_ceil(launcher.nodes_per_pilot)
            .min(most_waiting.saturating_sub(waiting))
            .min(most.unwrap_or(u32::MAX));
        let newest = self.facts.pilots.iter().map(|pilot| pilot.number).chain(self.facts.last_number).max();
        let first = newest.map_or(0, |newest| newest.saturating_add(1));
        (first..first.saturating_add(u64::from(pilots))).map(Step::Submit).collect()
    }

    /// Pilots that were released, and are empty now.
    fn cancels(&self) -> Vec<Step> {
        let is_empty = |(node, how): &(NodeOfPilot<'_>, Use)| {
            // Seen so: from then on nothing is placed there.
            let takes_nothing = !matches!(node.seen.state, NodeState::Ready);
            *how == Use::Released && takes_nothing && *node.used == Amounts::NOTHING
        };
        let released = self.live().filter(|pilot| !pilot.nodes.is_empty() && pilot.nodes.iter().all(is_empty));
        released.map(PilotView::cancel).collect()
    }

    /// Pilots that nobody needs: those that wait are cancelled, those with nodes released.
    fn surplus(&self, memory: &mut Memory, uptime: Duration) -> Vec<Step> {
        let idle = Duration::try_from(self.facts.launcher.idle).unwrap_or_default();
        // What somebody has asked for is done at once.
        let patience = if self.said().is_some() { Duration::ZERO } else { idle };
        let Wishes { min, .. } = self.facts.wishes;
        let mut kept = self.serving.saturating_add(self.to_come);
        let mut steps = Vec::new();
        let too_many = match self.said() {
            Some(said) => kept.saturating_sub(said),
            None => self.to_come.saturating_sub(self.needed.nodes.max(min.saturating_sub(self.serving))),
        };
        let mut waiting_too_many = too_many.min(self.to_come);
        if memory.too_many(waiting_too_many > 0, uptime) >= patience {
            for pilot in self.live().filter(|pilot| pilot.nodes.is_empty() && pilot.to_come > 0) {
                if pilot.to_come <= waiting_too_many {
                    waiting_too_many = waiting_too_many.saturating_sub(pilot.to_come);
                    kept = kept.saturating_sub(pilot.to_come);
                    steps.push(pilot.cancel());
                }
            }
        }
        let floor = self.said().unwrap_or(min);
        let by_use = |pilot: &&PilotView<'a>| {
            total(pilot.nodes.iter().map(|(node, _)| many(usize::from(*node.used != Amounts::NOTHING))))
        };
        let mut with_nodes: Vec<&PilotView<'a>> = self.live().filter(|pilot| pilot.serving() > 0).collect();
        with_nodes.sort_by_key(by_use);
        for pilot in with_nodes {
            let is_idle = pilot.nodes.iter().all(|(node, _)| {
                *node.used == Amounts::NOTHING && memory.idle(node.name, uptime).is_some_and(|since| since >= patience)
            });
            // Somebody has asked for fewer nodes than are busy: those go when they are empty.
            let may_go = is_idle || self.said().is_some();
            let brings = pilot.serving().saturating_add(pilot.to_come);
            if may_go && kept >= floor.saturating_add(brings) {
                kept = kept.saturating_sub(brings);
                steps.extend(pilot.release());
            }
        }
        // Half a pilot that was released is released to its end, whatever was lost meanwhile.
        let begun =
            self.live().filter(|pilot| pilot.serving() > 0 && pilot.nodes.iter().any(|(_, how)| *how == Use::Released));
        for step in begun.flat_map(PilotView::release) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    /// What has ended, but for the last ones.
    fn forgets(&self) -> Vec<Step> {
        let ended =
            self.pilots.iter().filter(|pilot| matches!(pilot.seen.life, pilot::Life::Ended | pilot::Life::Failed(_)));
        ended
            .skip(KEPT)
            .map(|pilot| Step::Forget { pilot: pilot.seen.name.clone(), uid: pilot.seen.uid.clone() })
            .collect()
    }
}

impl PilotView<'_> {
    fn serving(&self) -> u32 {
        many(self.nodes.iter().filter(|(_, how)| *how == Use::Serving).count())
    }

    fn cancel(&self) -> Step {
        let nodes = self.nodes.iter().map(|(node, _)| node.name.to_owned()).collect();
        Step::Cancel { pilot: self.seen.name.clone(), uid: self.seen.uid.clone(), nodes }
    }

    fn release(&self) -> Vec<Step> {
        let left = self.nodes.iter().filter(|(_, how)| *how == Use::Serving);
        left.map(|(node, _)| Step::Release { node: node.name.to_owned(), pilot: self.seen.name.clone() }).collect()
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
            NodeState::Ready | NodeState::NotReady { .. } | NodeState::Cordoned | NodeState::Tainted(_) => Use::Closed,
        }
    }
}

fn many(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn total(all: impl Iterator<Item = u32>) -> u32 {
    all.fold(0, u32::saturating_add)
}
