//! How an operator looks after the pilots of its fleets: the lines of `operator/src/pilots.rs` around what decides.

use vk_cmd_crds::{CmdFleet, CmdJob, labels};
use vk_operator_core::cordon::By;
use vk_operator_core::effects::Refusal;
use vk_operator_core::pilots::{
    Decision, Facts, PilotSeen, Step, Told, ValidLauncher, are_known, decide, invalid, job,
};

use crate::api::{Api, Stop};
use crate::cluster::pilot_of;
use crate::desk::{Keeper, unless_changed};
use crate::mutation::Mutation;
use crate::objects::{at, node_of, phase};
use crate::operator::Operator;

impl Operator {
    pub(crate) fn keep_pilots(&mut self, api: &mut Api) -> Result<(), Stop> {
        for fleet in self.desk.fleets.values().cloned().collect::<Vec<_>>() {
            self.look_at_pilots(&fleet, api)?;
        }
        Ok(())
    }

    fn look_at_pilots(&mut self, fleet: &CmdFleet, api: &mut Api) -> Result<(), Stop> {
        let (name, uid) = (fleet.metadata.name.as_deref().unwrap(), fleet.metadata.uid.as_deref().unwrap());
        let Some(launcher) = &fleet.spec.launcher else { return Ok(()) };
        let valid = match ValidLauncher::read(name, uid, launcher) {
            Ok(valid) => valid,
            Err(problems) => {
                self.tell_of_pilots(uid, Told { status: None, paused: Some(invalid(&problems)) });
                return Ok(());
            }
        };
        let pilots = self.desk.known.of(uid, valid.namespace);
        let mut memory = self.desk.memories.remove(uid).unwrap_or_default();
        let wanted = self.mutation.of_fleet(fleet);
        let uptime = Self::uptime(api.now);
        let facts = Facts::of(&wanted, &valid, pilots.clone(), &self.floor, api.now, uptime);
        let Decision { steps, status, paused, again } = decide(&facts, &mut memory);
        self.desk.memories.insert(uid.to_owned(), memory);
        let done = self.take_all(&valid, &pilots, steps, api);
        self.tell_of_pilots(uid, Told { status: Some(status), paused });
        self.desk.again(Keeper::Pilots, again.and_then(|again| api.now.checked_add(again).ok()));
        done
    }

    fn tell_of_pilots(&mut self, fleet: &str, told: Told) {
        if self.desk.told.insert(fleet.to_owned(), told.clone()).as_ref() != Some(&told) {
            self.desk.stir();
        }
    }

    fn take_all(
        &mut self,
        launcher: &ValidLauncher<'_>,
        pilots: &[PilotSeen],
        steps: Vec<Step>,
        api: &mut Api,
    ) -> Result<(), Stop> {
        let mut are_sure = self.mutation == Mutation::TrustsItsCache;
        for step in self.mutation.of_steps(steps) {
            if matches!(step, Step::Submit(_)) && !are_sure {
                let there = api.jobs.values().filter(|job| is_of(job, launcher));
                if !are_known(launcher, pilots, there.map(|job| &job.metadata)) {
                    continue;
                }
                are_sure = true;
            }
            self.take(launcher, &step, api)?;
        }
        Ok(())
    }

    fn take(&mut self, launcher: &ValidLauncher<'_>, step: &Step, api: &mut Api) -> Result<(), Stop> {
        match step {
            Step::Submit(number) => {
                let job = job::of(launcher, *number).unwrap();
                let name = job.metadata.name.clone().unwrap();
                let made = api.effect(|| format!("make pilot {name}"), |api| api.make_job(job));
                match made {
                    Err(Stop::No(Refusal::AlreadyExists)) => Ok(()),
                    other => other,
                }
            }
            Step::Release { pilot, node } if self.mutation == Mutation::CancelsAtOnce => {
                let all = self.desk.known.of(launcher.fleet_uid, launcher.namespace);
                let uid = all.into_iter().find(|seen| seen.name == *pilot).map(|seen| seen.uid).unwrap();
                self.take(launcher, &Step::Cancel { pilot: pilot.clone(), uid, nodes: vec![node.clone()] }, api)
            }
            Step::Release { node, .. } => self.cordon(node, By::Released, true, api),
            Step::Cancel { pilot, uid, nodes } => {
                let of_pilot = api.nodes.values().filter(|node| pilot_of(node) == Some(pilot));
                let mut names = of_pilot.map(|node| node.metadata.name.clone().unwrap());
                let is_blind = self.mutation == Mutation::CancelsAtOnce;
                let are_all = is_blind || names.all(|name| nodes.contains(&name));
                let has_pods = !is_blind && nodes.iter().any(|node| has_pods(api, node));
                if !are_all || has_pods {
                    return Ok(());
                }
                let key = (launcher.namespace.to_owned(), pilot.clone());
                let cancel = |api: &mut Api| {
                    api.delete_job(at(&key), Some(uid), None)?;
                    let of_pilot = api.nodes.iter().filter(|(_, node)| pilot_of(node) == Some(pilot));
                    let busy: Vec<String> =
                        of_pilot.map(|(name, _)| name.clone()).filter(|name| self::has_pods(api, name)).collect();
                    api.cancelled_busy.extend(busy);
                    Ok(())
                };
                unless_changed(api.effect(|| format!("cancel pilot {pilot}"), cancel))
            }
            Step::Forget { pilot, uid } => {
                let key = (launcher.namespace.to_owned(), pilot.clone());
                let what = || format!("forget pilot {pilot}");
                unless_changed(api.effect(what, |api| api.delete_job(at(&key), Some(uid), None)))
            }
        }
    }
}

fn is_of(job: &CmdJob, launcher: &ValidLauncher<'_>) -> bool {
    let meta = &job.metadata;
    meta.namespace.as_deref() == Some(launcher.namespace)
        && meta.labels.as_ref().and_then(|all| all.get(labels::FLEET)).is_some_and(|fleet| fleet == launcher.fleet)
}

/// Whether there are pods on a node that have not ended.
pub(crate) fn has_pods(api: &Api, node: &str) -> bool {
    let is_open = |pod: &k8s_openapi::api::core::v1::Pod| !matches!(phase(pod), "Succeeded" | "Failed");
    api.pods.values().any(|pod| node_of(pod).is_some_and(|there| there == node) && is_open(pod))
}
