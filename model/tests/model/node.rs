//! A node with its pipe. The deciding code is the real one; the order of effects is that of `vk-node/src/pods/{reconcile,act,
//! memory,orphans}.rs`. Of the pipe its promise is modelled: a task is started once at most, and its records survive.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{from_value, json, to_value};
use vk_cmd_crds::amounts::Amounts;
use vk_node_core::admit::{AdmittedPod, Refusal, admit};
use vk_node_core::ending::JobTerm;
use vk_node_core::facts::{Deletion, Facts, NodeFacts, SiteUser};
use vk_node_core::life::{Decision, OUR_CONDITIONS, Step, decide};
use vk_node_core::room::{Arrival, Room};
use vk_task::clock::Steps;
use vk_task::{End, Signal, StopRequest, TaskId, TaskState, TaskView};

use crate::api::{Api, Change, Stop};
use crate::mutation::Mutation;
use crate::objects::{key_of, node_of, owner};
use crate::pilot_nodes::OwnEnd;

/// A machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    facts: NodeFacts,
    /// The tasks that the pipe has records of.
    pub(crate) tasks: Vec<TaskView>,
    /// The pods that the watch has told of, by UID.
    pods: BTreeMap<String, Arc<Pod>>,
    memory: HashMap<String, Remembered>,
    room: Room,
    /// How much of the API server's log the watch has told of.
    heard: usize,
    /// Whether there is something to look at, and when there will be.
    pub(crate) news: bool,
    again: Option<Timestamp>,
    /// Every start of a process, by the pod's name.
    pub(crate) started: Vec<String>,
    /// How processes ended: the pod's name and the exit code.
    pub(crate) ended: Vec<(String, u8)>,
    /// When it ends, if that is known.
    pub(crate) end: Option<OwnEnd>,
    pub(crate) mutation: Mutation,
}

struct Remembered {
    admitted: Result<AdmittedPod, Refusal>,
    stopping_since: Option<Timestamp>,
    latest: Option<Arc<Pod>>,
}

impl Machine {
    pub(crate) fn new(name: &str, mutation: Mutation) -> Self {
        let allocatable = from_value(json!({"pods": "110", "cpu": "2"})).unwrap();
        let facts = NodeFacts {
            name: name.to_owned(),
            address: "10.0.0.7".into(),
            user: SiteUser::Known { uid: 1000, gid: 1000 },
            allocatable,
            ..NodeFacts::default()
        };
        Self {
            name: name.to_owned(),
            facts,
            tasks: Vec::new(),
            pods: BTreeMap::new(),
            memory: HashMap::new(),
            room: Room::default(),
            heard: 0,
            news: false,
            again: None,
            started: Vec::new(),
            ended: Vec::new(),
            end: None,
            mutation,
        }
    }

    fn runs(&self, pod: &Pod) -> bool {
        // The model's machines run nothing but attempts.
        node_of(pod) == Some(&self.name) && owner(pod).is_some()
    }

    /// The watch tells of so many more changes.
    pub(crate) fn hears(&mut self, most: u8, api: &Api) -> bool {
        let mut told = 0;
        for (n, change) in api.log.iter().enumerate().skip(self.heard) {
            if told == most && most < u8::MAX {
                break;
            }
            self.heard = n + 1;
            match change {
                Change::Pod(pod) if self.runs(pod) => {
                    self.pods.insert(pod.metadata.uid.clone().unwrap(), Arc::clone(pod));
                }
                Change::PodGone(pod) if self.runs(pod) => {
                    let uid = pod.metadata.uid.as_ref().unwrap();
                    self.pods.remove(uid);
                    self.memory.remove(uid);
                    self.room.free(uid);
                }
                _ => continue,
            }
            told = told.saturating_add(1);
        }
        self.news |= told > 0;
        told > 0
    }

    /// The node is started anew, and lists its pods; the pipe goes on.
    pub(crate) fn restart(&mut self, api: &Api) {
        self.memory.clear();
        self.room = Room::default();
        self.heard = api.log.len();
        let ours = api.pods.values().filter(|pod| self.runs(pod));
        self.pods = ours.map(|pod| (pod.metadata.uid.clone().unwrap(), Arc::clone(pod))).collect();
        self.news = true;
    }

    /// Whether there is something to look at by this time.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.news || self.again.is_some_and(|at| at <= now)
    }

    /// When there will be something to look at, or something happens to a process.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let kills = self
            .tasks
            .iter()
            .filter(|task| !task.state.is_final())
            .filter_map(|task| Some(task.stop.as_ref()?.kill_at));
        self.again.into_iter().chain(kills).chain(self.end.as_ref().and_then(OwnEnd::next)).min()
    }

    /// One look at each pod, and at what runs without one.
    pub(crate) fn look(&mut self, api: &mut Api) -> Result<(), Stop> {
        (self.news, self.again) = (false, None);
        self.take_in(api.now);
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            let done = self.look_at(&uid, api);
            // It tries again.
            self.news |= done.is_err();
            self.again = self.again.into_iter().chain(done?).min();
        }
        let done = self.end_orphans(api);
        self.news |= done.is_err();
        done
    }

    /// Lets in the pods that are new, as far as there is room.
    fn take_in(&mut self, now: Timestamp) {
        let new: Vec<(&String, &Arc<Pod>)> =
            self.pods.iter().filter(|(uid, _)| !self.memory.contains_key(*uid)).collect();
        let tasks: Vec<Vec<TaskView>> = new.iter().map(|(uid, _)| self.tasks_of(uid)).collect();
        let arrivals: Vec<_> =
            new.iter().zip(&tasks).map(|((_, pod), tasks)| Arrival { pod, tasks, is_meant: true }).collect();
        let end = self.end.as_ref().map(|end| end.facts(now));
        // Only what is new is asked whether there is time for it.
        let has_time = |arrival: &Arrival<'_>, pod: &AdmittedPod| match &end {
            Some(end) if arrival.is_at_the_door() => end.takes(pod.deadline_seconds, pod.grace, now),
            Some(_) | None => Ok(()),
        };
        let looked: Vec<Result<AdmittedPod, Refusal>> = arrivals
            .iter()
            .map(|arrival| {
                let admitted = admit(arrival.pod, &self.facts).map_err(Refusal::from)?;
                has_time(arrival, &admitted)?;
                Ok(admitted)
            })
            .collect();
        let answers = self.room.take_in(&arrivals, &Amounts::read(&self.facts.allocatable));
        for (((uid, _), answer), admitted) in new.into_iter().zip(answers).zip(looked) {
            let admitted = admitted.and_then(|admitted| answer.map(|()| admitted));
            self.memory.insert(uid.clone(), Remembered { admitted, stopping_since: None, latest: None });
        }
    }

    fn tasks_of(&self, uid: &str) -> Vec<TaskView> {
        self.tasks.iter().filter(|t| t.origin.run().is_some_and(|run| run.uid == uid)).cloned().collect()
    }

    fn look_at(&mut self, uid: &str, api: &mut Api) -> Result<Option<Timestamp>, Stop> {
        let (facts, now) = (&self.facts, api.now);
        let cached = &self.pods[uid];
        let mut tasks = self.tasks_of(uid);
        let end = self.end.as_ref().map(|end| end.facts(now));
        let entry = self.memory.get_mut(uid).unwrap();
        let pod = entry.latest.as_ref().filter(|latest| version(latest) > version(cached)).unwrap_or(cached).clone();
        if self.mutation == Mutation::AskedIsEnded {
            let asked = tasks.iter_mut().filter(|task| task.stop.is_some() && !task.state.is_final());
            let end = End::Signaled { signal: Signal(15), core_dumped: false };
            asked.for_each(|task| {
                task.state = TaskState::Ended { started_at: now, finished_at: now, end: end.clone(), exceeded: None };
            });
        }
        let deletion = pod.metadata.deletion_timestamp.as_ref().map_or(Deletion::NotAsked, |_| Deletion::Asked {
            grace: SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default()),
        });
        let Decision { steps, again_at, is_stopping, is_over } = decide(&Facts {
            admitted: entry.admitted.as_ref(),
            deletion,
            published: &pod.status.clone().unwrap_or_default(),
            tasks: &tasks,
            troubles: &BTreeMap::new(),
            hooks: &BTreeMap::new(),
            back_off_from: &BTreeMap::new(),
            evicted: None,
            end: end.as_ref(),
            // Nobody tells its tasks but the node itself.
            job_term: &JobTerm::default(),
            warned: &BTreeMap::new(),
            stopping_since: entry.stopping_since,
            probed: &BTreeMap::new(),
            node: facts,
            now,
            steps: &Steps::default(),
        });
        if is_over {
            self.room.free(uid);
        }
        entry.stopping_since = is_stopping.then(|| entry.stopping_since.unwrap_or(now));
        for step in steps {
            self.act(step, &pod, uid, api)?;
        }
        Ok(again_at)
    }

    fn act(&mut self, step: Step, pod: &Pod, uid: &str, api: &mut Api) -> Result<(), Stop> {
        let key = key_of(&pod.metadata);
        let name = &key.1;
        match step {
            Step::Start { container, restart, .. } => {
                let container = self.memory[uid].admitted.as_ref().unwrap().containers[container].name.clone();
                let id = TaskId::for_container(uid, &container, restart).unwrap();
                let machine = self.name.clone();
                api.effect(
                    || format!("{machine}: start {name}"),
                    |api| {
                        self.start(id, &key, uid, &container, restart, api.now);
                        Ok(())
                    },
                )
            }
            Step::RunHook { .. } | Step::Warn { .. } => Ok(()),
            Step::Stop { id, request } => {
                let machine = self.name.clone();
                api.effect(
                    || format!("{machine}: stop {name}"),
                    |api| {
                        self.stop(&id, request, api.now);
                        Ok(())
                    },
                )
            }
            Step::Publish(status) => {
                let what = || format!("{}: publish {name}: {:?}", self.name, status.phase);
                // As by the API server: times lose their fractions.
                let written: PodStatus = from_value(to_value(&*status).unwrap()).unwrap();
                let answer = api.effect(what, |api| {
                    Ok(api.change_pod(&key, uid, |pod| {
                        let before = pod.status.take().unwrap_or_default();
                        pod.status = Some(merged(&before, written));
                    }))
                })?;
                if let Some(entry) = self.memory.get_mut(uid) {
                    entry.latest = answer.or(entry.latest.take());
                }
                Ok(())
            }
            Step::Remove => api.effect(
                || format!("{}: remove {name}", self.name),
                |api| {
                    // Gone, or another pod by now.
                    let _ = api.delete_pod(&key, uid, Some(0));
                    Ok(())
                },
            ),
            Step::Forget(id) => {
                let machine = self.name.clone();
                api.effect(
                    || format!("{machine}: forget {id}"),
                    |_| {
                        self.tasks.retain(|task| task.id != id);
                        Ok(())
                    },
                )
            }
            Step::Reported(id) => {
                let machine = self.name.clone();
                api.effect(
                    || format!("{machine}: told of {id}"),
                    |_| {
                        self.tasks.iter_mut().filter(|task| task.id == id).for_each(|task| task.reported = true);
                        Ok(())
                    },
                )
            }
        }
    }

    /// What runs without a pod, by the API server's own word, is ended, and its records go.
    fn end_orphans(&mut self, api: &mut Api) -> Result<(), Stop> {
        if self.mutation == Mutation::NoOrphans {
            return Ok(());
        }
        let of_none = |task: &&TaskView| {
            let Some(run) = task.origin.run() else { return false };
            let key = (run.namespace.clone(), run.pod.clone());
            !self.pods.contains_key(&run.uid)
                && api.pods.get(&key).is_none_or(|pod| pod.metadata.uid.as_ref() != Some(&run.uid))
        };
        let orphans: Vec<TaskView> = self.tasks.iter().filter(of_none).cloned().collect();
        for task in orphans {
            let machine = self.name.clone();
            if task.state.is_final() {
                api.effect(
                    || format!("{machine}: forget orphan {}", task.id),
                    |_| {
                        self.tasks.retain(|other| other.id != task.id);
                        Ok(())
                    },
                )?;
            } else if task.stop.is_none() {
                let kill_at = api.now + SignedDuration::from_secs(2);
                let request = StopRequest { kill_at, reason: "it has no pod".into() };
                api.effect(
                    || format!("{machine}: stop orphan {}", task.id),
                    |api| {
                        self.stop(&task.id, request, api.now);
                        Ok(())
                    },
                )?;
            }
        }
        Ok(())
    }
}

fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}

/// The strategic merge of a status: the conditions of others stay.
fn merged(before: &PodStatus, new: PodStatus) -> PodStatus {
    let mut conditions = before.conditions.clone().unwrap_or_default();
    let is_kept = |kind: &str| new.conditions.iter().flatten().any(|c| c.type_ == kind);
    conditions.retain(|c| !OUR_CONDITIONS.contains(&c.type_.as_str()) || is_kept(&c.type_));
    for said in new.conditions.iter().flatten() {
        match conditions.iter_mut().find(|c| c.type_ == said.type_) {
            Some(old) => *old = said.clone(),
            None => conditions.push(said.clone()),
        }
    }
    PodStatus { conditions: Some(conditions), ..new }
}
