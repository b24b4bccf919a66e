//! The laws of fleets with pilots.

use std::collections::BTreeSet;

use vk_cmd_crds::{CmdJob, State};
use vk_operator_core::place::{Amounts, Demand, NodeSeen, Nodes};
use vk_operator_core::validate;

use crate::cluster::{is_unschedulable, pilot_of};
use crate::laws::{Holds, Law, holds};
use crate::site::{Came, FLEET, PILOTS, Phase, Site, WALLTIME};
use crate::world::World;

impl World {
    /// What holds at every moment.
    pub(crate) fn check_fleet(&mut self) -> Holds {
        let Some(site) = &mut self.site else { return Ok(()) };
        let nodes = &self.api.nodes;
        site.by_person.retain(|name| nodes.contains_key(name));
        let uncordoned = site.by_person.iter().find(|name| !is_unschedulable(&nodes[*name]));
        holds(Law::Cordons, uncordoned.is_none(), || format!("a person has cordoned {}", uncordoned.unwrap()))?;
        let busy = self.api.cancelled_busy.first();
        holds(Law::CancelsIdle, busy.is_none(), || {
            format!("there is a pod on {}, whose pilot is cancelled", busy.unwrap())
        })?;
        let site = self.site.as_ref().unwrap();
        self.check_submitted(site)?;
        self.check_limits(site)
    }

    fn check_submitted(&self, site: &Site) -> Holds {
        let mut names = BTreeSet::new();
        for one in &site.allocations {
            // A pilot that was deleted and made again under its name is another one.
            let (job, _) = self.ever.iter().find(|(_, ever)| one.pod.starts_with(&ever.prefix)).unwrap();
            holds(Law::SubmittedOnce, names.insert((&one.name, job)), || format!("{} was submitted twice", one.pilot))?;
        }
        Ok(())
    }

    /// The pilots that there are, and may come to have an allocation or have one, are within what the fleet has ever allowed.
    fn check_limits(&self, site: &Site) -> Holds {
        let npp = self.api.fleets[FLEET].spec.launcher.as_ref().unwrap().nodes_per_pilot.cast_unsigned();
        let is_over = |job: &CmdJob| {
            let state = job.status.as_ref().and_then(|status| status.state);
            matches!(state, Some(State::Complete | State::Failed | State::Invalid))
        };
        let open: Vec<&str> = self
            .api
            .jobs
            .iter()
            .filter(|((namespace, _), job)| namespace == PILOTS && !is_over(job))
            .map(|((_, name), _)| name.as_str())
            .collect();
        let (mut nodes, mut pilots, mut waiting) = (0, 0, 0);
        for pilot in &open {
            let last = site.allocations.iter().rfind(|one| one.pilot == *pilot);
            if last.is_some_and(|one| one.is_over()) {
                continue;
            }
            let gone = last.map_or(0, |one| one.nodes.iter().filter(|came| **came == Came::Gone).count());
            nodes += npp - u32::try_from(gone).unwrap();
            pilots += 1;
            let is_deleted =
                self.api.jobs[&(PILOTS.to_owned(), (*pilot).to_owned())].metadata.deletion_timestamp.is_some();
            let has_come = last.is_some_and(|one| one.nodes.iter().any(|came| *came != Came::NotYet));
            let has_node = self.api.nodes.values().any(|node| pilot_of(node).is_some_and(|of| of == pilot));
            waiting += u32::from(!is_deleted && !has_come && !has_node);
        }
        let [most_nodes, most_pilots, most_waiting] = site.most;
        for (what, count, most) in [
            ("nodes", nodes, most_nodes),
            ("pilots", pilots, most_pilots),
            ("pilots without a node", waiting, most_waiting),
        ] {
            holds(Law::Limits, most.is_none_or(|most| count <= most), || {
                format!(
                    "there are {count} {what}, or may come, and the fleet never allowed more than {most:?}: {open:?}"
                )
            })?;
        }
        Ok(())
    }

    /// In the end: nothing waits for a node that the fleet could have, there are as many nodes as are wanted, and no more.
    pub(crate) fn fleet_ends_well(&self) -> Holds {
        let Some(site) = &self.site else { return Ok(()) };
        let fleet = &self.api.fleets[FLEET];
        let launcher = fleet.spec.launcher.as_ref().unwrap();
        let said = || format!("{:?}", fleet.status.as_ref().map(|status| (&status.message, &status.pilots)));
        let npp = usize::try_from(launcher.nodes_per_pilot).unwrap();
        let count = |n: i32| usize::try_from(n).unwrap();
        let min = count(fleet.spec.min_nodes);
        let wanted = fleet.spec.replicas.map_or(min, |replicas| count(replicas).max(min));
        let most_pilots = launcher.max_pilots.map_or(usize::MAX, count);
        let most = fleet.spec.max_nodes.map_or(usize::MAX, count).min(most_pilots.saturating_mul(npp)) / npp * npp;
        let wanted = wanted.min(most);
        let up: Vec<String> = self.pilot_nodes();
        // A pilot comes as a whole.
        holds(Law::AsWanted, up.len() >= wanted && up.len() < wanted + npp, || {
            format!("{wanted} nodes are wanted, and there are {up:?}; it says {}", said())
        })?;
        let waits = site
            .allocations
            .iter()
            .find(|one| one.phase == Phase::Waiting || !one.is_over() && one.nodes.contains(&Came::NotYet));
        holds(Law::AsWanted, waits.is_none(), || format!("{waits:?} is still to come"))?;
        let closed: Vec<&String> = up.iter().filter(|name| is_unschedulable(&self.api.nodes[*name])).collect();
        holds(Law::AsWanted, closed.is_empty(), || format!("{closed:?} take nothing; it says {}", said()))?;
        let left: Vec<&String> = self
            .api
            .nodes
            .iter()
            .filter(|(name, node)| pilot_of(node).is_some() && !up.contains(name))
            .map(|(name, _)| name)
            .collect();
        holds(Law::NothingLeft, left.is_empty(), || format!("the Node objects {left:?} are left"))?;
        if most == 0 || fleet.spec.replicas.is_some() {
            return Ok(());
        }
        // A node as they come.
        let seen = NodeSeen { ends: Some(self.api.now + WALLTIME), ..self.fresh_node() };
        for (key, job) in self.api.jobs.iter().filter(|(key, _)| key.0 != PILOTS) {
            let reason = job.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default();
            let state = job.status.as_ref().and_then(|status| status.state);
            let Ok(valid) = validate(job) else { continue };
            let waits = state == Some(State::Waiting)
                && matches!(
                    reason,
                    "NoRoom" | "NoNodeFits" | "NodeMissing" | "NodeNotReady" | "NodeCordoned" | "NoNodes"
                );
            let could = Demand::of(&valid).fits(&seen, &Amounts::default(), self.api.now).is_ok();
            holds(Law::AsWanted, !waits || !could, || {
                format!("{key:?} waits for a node: {reason}; it says {}", said())
            })?;
        }
        Ok(())
    }

    fn fresh_node(&self) -> NodeSeen {
        let labels = serde_json::json!({"vk-cmd.io/fleet": FLEET});
        let mut node = NodeSeen::of(&crate::cluster::node_object("vk-f-x-0", labels, serde_json::json!({})));
        vk_operator_core::fleet::Fleets::of([&*self.api.fleets[FLEET]]).settle(&mut node);
        node
    }

    /// The nodes, with what their fleet makes of them.
    pub(crate) fn nodes_as_meant(&self) -> Nodes {
        let fleets = vk_operator_core::fleet::Fleets::of(self.api.fleets.values().map(|fleet| &**fleet));
        let mut nodes = self.api.nodes_seen();
        nodes.values_mut().for_each(|node| fleets.settle(node));
        nodes
    }
}
