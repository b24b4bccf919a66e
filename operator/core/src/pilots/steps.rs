//! What is to be done, by what lacks and what is too many.

use std::time::Duration;

use vk_cmd_crds::amounts::Amounts;

use super::pilot::Life;
use super::view::{PilotView, Use, View, total};
use super::{KEPT, Memory, NodeOfPilot, Step, Wishes, many};
use crate::place::NodeState;

impl<'a> View<'a> {
    /// What is submitted now.
    pub(super) fn submits(&self) -> Vec<Step> {
        let launcher = self.facts.launcher;
        if self.failures.pauses(self.facts.now) {
            return Vec::new();
        }
        let waiting = many(self.live().filter(|pilot| pilot.nodes.is_empty() && pilot.to_come > 0).count());
        // After a failure one is tried, before there are more of them.
        let most_waiting = if self.failures.count > 0 { 1 } else { launcher.max_pending_pilots };
        // One that is being cancelled has its allocation until it is gone.
        let there = self.pilots.iter().filter(|pilot| pilot.seen.is_live() || pilot.seen.life == Life::Leaving);
        let most = launcher.max_pilots.map(|max| max.saturating_sub(many(there.count())));
        let pilots = self
            .lacking()
            .div_ceil(launcher.nodes_per_pilot)
            .min(self.room().checked_div(launcher.nodes_per_pilot).unwrap_or_default())
            .min(most_waiting.saturating_sub(waiting))
            .min(most.unwrap_or(u32::MAX));
        let newest = self.facts.pilots.iter().map(|pilot| pilot.number).chain(self.facts.recorded.last_number).max();
        let first = newest.map_or(0, |newest| newest.saturating_add(1));
        (first..first.saturating_add(u64::from(pilots))).map(Step::Submit).collect()
    }

    /// Pilots that were released, and are empty now.
    pub(super) fn cancels(&self) -> Vec<Step> {
        let is_empty = |(node, how): &(NodeOfPilot<'_>, Use)| {
            // Seen so: from then on nothing is placed there.
            let takes_nothing = !matches!(node.seen.state, NodeState::Ready);
            *how == Use::Released && takes_nothing && *node.used == Amounts::NOTHING
        };
        let released = self.live().filter(|pilot| !pilot.nodes.is_empty() && pilot.nodes.iter().all(is_empty));
        released.map(PilotView::cancel).collect()
    }

    /// Pilots that nobody needs: those that wait are cancelled, those with nodes released.
    pub(super) fn surplus(&self, memory: &mut Memory, uptime: Duration) -> Vec<Step> {
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
        let is_idle = |pilot: &PilotView<'_>| {
            pilot.nodes.iter().all(|(node, _)| {
                *node.used == Amounts::NOTHING && memory.idle(node.name, uptime).is_some_and(|since| since >= patience)
            })
        };
        for pilot in with_nodes {
            // Somebody has asked for fewer nodes than are busy: those go when they are empty.
            let may_go = is_idle(pilot) || self.said().is_some();
            let brings = pilot.serving().saturating_add(pilot.to_come);
            if may_go && kept >= floor.saturating_add(brings) {
                kept = kept.saturating_sub(brings);
                steps.extend(pilot.release());
            }
        }
        // Of a fleet that takes nothing, none is kept.
        let shut = self.live().filter(|pilot| pilot.count(Use::Shut) > 0 && pilot.serving() == 0 && is_idle(pilot));
        // Half a pilot that was released is released to its end, whatever was lost meanwhile; and one that somebody has uncordoned
        // is cordoned again.
        let begun = self.live().filter(|pilot| pilot.count(Use::Released) > 0);
        for step in shut.chain(begun).flat_map(PilotView::release) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }

    /// What has ended, but for the last ones.
    pub(super) fn forgets(&self) -> Vec<Step> {
        let ended = self.pilots.iter().filter(|pilot| matches!(pilot.seen.life, Life::Ended | Life::Failed(_)));
        ended
            .skip(KEPT)
            .map(|pilot| Step::Forget { pilot: pilot.seen.name.clone(), uid: pilot.seen.uid.clone() })
            .collect()
    }
}

impl PilotView<'_> {
    fn cancel(&self) -> Step {
        let nodes = self.nodes.iter().map(|(node, _)| node.name.to_owned()).collect();
        Step::Cancel { pilot: self.seen.name.clone(), uid: self.seen.uid.clone(), nodes }
    }

    fn release(&self) -> Vec<Step> {
        let is_open = |node: &NodeOfPilot<'_>| !node.seen.about.cordon.unschedulable;
        let left = self.nodes.iter().filter(|(node, how)| match how {
            Use::Serving | Use::Shut => true,
            Use::Released => is_open(node),
            Use::Closed => false,
        });
        left.map(|(node, _)| Step::Release { node: node.name.to_owned(), pilot: self.seen.name.clone() }).collect()
    }
}
