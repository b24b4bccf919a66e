//! The operator: the deciding code is the real one. The order of its effects is that of `operator/src/{reconcile,apply,
//! observe,report,strays}.rs`, which are async: whoever changes it there changes it here.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::floor::Floor;
use vk_operator_core::place::Nodes;
use vk_operator_core::pods::Owner;
use vk_operator_core::status::{self, Outcome};
use vk_operator_core::{Seen, Sight, Start, Step, ValidJob, dependencies, patch, plan, pod, validate};

use crate::api::{Api, Stop, owner};
use crate::script::Kind;

/// What the operator holds in memory.
#[derive(Default)]
pub(crate) struct Operator {
    jobs: BTreeMap<String, CmdJob>,
    pods: BTreeMap<String, Pod>,
    floor: Floor,
    /// The answers to its last writes of a status.
    written: HashMap<String, CmdJob>,
}

impl Operator {
    /// One that has just been started: its caches are filled before it acts.
    pub(crate) fn new(api: &Api, nodes: &Nodes) -> Self {
        let mut operator = Self::default();
        for kind in [Kind::Jobs, Kind::Pods, Kind::Nodes] {
            operator.hears(kind, api, nodes);
        }
        operator.floor.settle(|| operator.jobs.values().filter_map(|job| job.metadata.uid.clone()).collect());
        operator
    }

    /// A cache catches up.
    pub(crate) fn hears(&mut self, kind: Kind, api: &Api, nodes: &Nodes) {
        let now = api.now;
        match kind {
            Kind::Jobs => {
                for gone in self.jobs.values().filter(|job| is_gone(job, api)) {
                    let uid = gone.metadata.uid.as_deref().unwrap();
                    self.floor.looked(uid, now);
                    self.floor.withdraw(uid, now);
                }
                self.jobs = api.jobs.clone();
            }
            Kind::Pods => {
                // Beside those of the cache there are those that it has made itself: they are in the floor only.
                let known: Vec<String> = self.floor.pods().iter().map(|(_, pod)| pod.uid.clone()).collect();
                let is_known = |pod: &&Pod| known.contains(pod.metadata.uid.as_ref().unwrap());
                for (name, pod) in self.pods.iter().filter(|(_, pod)| is_known(pod)) {
                    if api.pods.get(name).is_none_or(|now| now.metadata.uid != pod.metadata.uid) {
                        self.floor.remove_pod(pod, now);
                    }
                }
                for pod in api.pods.values() {
                    self.floor.put_pod(pod, now);
                }
                self.pods = api.pods.clone();
            }
            Kind::Nodes => {
                let gone: Vec<_> =
                    self.floor.nodes().keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
                for name in gone {
                    self.floor.put_node(&name, None, now);
                }
                for (name, node) in nodes {
                    self.floor.put_node(name, Some(node.clone()), now);
                }
            }
        }
    }

    /// One look at one CmdJob.
    pub(crate) fn look(&mut self, name: &str, api: &mut Api) -> Result<(), Stop> {
        let Some(cached) = self.jobs.get(name).cloned() else { return Ok(()) };
        let done = self.look_at(&cached, api);
        self.floor.looked(cached.metadata.uid.as_deref().unwrap(), api.now);
        done
    }

    fn look_at(&mut self, cached: &CmdJob, api: &mut Api) -> Result<(), Stop> {
        let now = api.now;
        let uid = cached.metadata.uid.clone().unwrap();
        let job = self.written.get(&uid).filter(|written| version(written) > version(cached)).unwrap_or(cached).clone();
        let recorded = job.status.clone().unwrap_or_default();
        let valid = match validate(&job) {
            Ok(valid) => valid,
            Err(problems) => {
                self.floor.withdraw(&uid, now);
                let wanted = status::invalid(&recorded, job.metadata.generation, &problems, now);
                return self.report(&job, &wanted, api);
            }
        };
        let plan = plan(&valid, &recorded, &self.observe(&valid), now);
        let version = job.metadata.resource_version.as_deref();
        for step in &plan.steps {
            act(step, &valid, version, api)?;
        }
        let Some(placed) = self.floor.ask_for(&valid, &plan.starts, now).0 else { return Ok(()) };
        let mut outcomes = Vec::new();
        for (start, placed) in plan.starts.iter().zip(placed) {
            outcomes.push(match placed {
                Ok(node) => self.create(&valid, start, &node, api)?,
                Err((reason, why)) => Outcome::NotPlaced(reason, why),
            });
        }
        self.report(&job, &status::status(&valid, &recorded, &plan, &outcomes, now), api)
    }

    fn observe(&self, job: &ValidJob<'_>) -> Seen {
        let after = dependencies::all(job.name, job.after, &|name| self.jobs.get(name).map(dependencies::State::of));
        Seen::of(job, self.floor.pods().of_job(job.uid), self.floor.nodes(), after)
    }

    fn create(&mut self, job: &ValidJob<'_>, start: &Start, node: &str, api: &mut Api) -> Result<Outcome, Stop> {
        let pod = pod::build(job, start.index, start.attempt, node);
        let name = pod.metadata.name.clone().unwrap();
        api.effect(&format!("create pod {name} for {node}"), |api| {
            api.create_pod(&pod);
            Ok(())
        })?;
        let there = api.pods.get(&name).ok_or(Stop::Conflict)?;
        Ok(match Sight::of(there, job.uid) {
            Sight::Ours(seen) => {
                self.floor.put_pod(there, api.now);
                self.pods.insert(name, there.clone());
                Outcome::Made(seen)
            }
            Sight::Foreign => Outcome::NameTaken(name),
        })
    }

    fn report(&mut self, job: &CmdJob, wanted: &vk_cmd_crds::CmdJobStatus, api: &mut Api) -> Result<(), Stop> {
        let recorded = job.status.clone().unwrap_or_default();
        let (name, uid) = (job.metadata.name.clone().unwrap(), job.metadata.uid.clone().unwrap());
        let version = job.metadata.resource_version.as_deref();
        let Some(patch) = patch::status(&recorded, wanted, &uid, version).unwrap() else { return Ok(()) };
        let what = format!("write status of {name}: {}", patch["status"]);
        if let Some(answer) = api.effect(&what, |api| api.patch_job(&name, &patch))? {
            self.written.insert(uid, answer);
        }
        Ok(())
    }

    /// Lets pods go whose CmdJob is gone.
    pub(crate) fn strays(&mut self, api: &mut Api) -> Result<(), Stop> {
        let known = |owner: &Owner| self.jobs.values().any(|job| job.metadata.uid.as_ref() == Some(&owner.uid));
        for (owner, pod) in self.floor.pods().strays(known) {
            if api.jobs.get(&owner.name).is_none_or(|job| job.metadata.uid.as_ref() != Some(&owner.uid)) {
                release_pod(&pod.name, &pod.uid, api)?;
            }
        }
        Ok(())
    }
}

fn act(step: &Step, job: &ValidJob<'_>, version: Option<&str>, api: &mut Api) -> Result<(), Stop> {
    match step {
        Step::HoldJob => {
            let patch = patch::hold(job.finalizers, job.uid, version);
            api.effect(&format!("hold {}", job.name), |api| api.patch_job(job.name, &patch).map(drop))
        }
        Step::DeletePod { name, uid } => api.effect(&format!("delete pod {name}"), |api| {
            api.delete_pod(name, uid, None);
            Ok(())
        }),
        Step::ReleasePod { name, uid } => release_pod(name, uid, api),
        Step::DeleteJob => {
            api.effect(&format!("delete {}", job.name), |api| api.delete_job(job.name, Some(job.uid), version))
        }
        Step::ReleaseJob => {
            let is_held = |pod: &Pod| owner(pod).as_deref() == Some(job.uid) && pod.metadata.finalizers.is_some();
            if api.pods.values().any(is_held) {
                return Ok(());
            }
            let patch = patch::release(job.finalizers, job.uid, None);
            api.effect(&format!("release {}", job.name), |api| api.patch_job(job.name, &patch).map(drop))
        }
    }
}

fn release_pod(name: &str, uid: &str, api: &mut Api) -> Result<(), Stop> {
    api.effect(&format!("release pod {name}"), |api| {
        api.change_pod(name, uid, |pod| {
            let others = pod.metadata.finalizers.take().unwrap_or_default();
            let others: Vec<_> = others.into_iter().filter(|finalizer| finalizer != labels::FINALIZER).collect();
            pod.metadata.finalizers = (!others.is_empty()).then_some(others);
        });
        Ok(())
    })
}

fn is_gone(job: &CmdJob, api: &Api) -> bool {
    api.jobs.values().all(|there| there.metadata.uid != job.metadata.uid)
}

fn version(job: &CmdJob) -> Option<u64> {
    job.metadata.resource_version.as_deref()?.parse().ok()
}
