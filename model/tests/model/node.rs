//! A node with its pipe. The deciding code is the real one; the order of effects is that of `vk-node/src/pods/{reconcile,act,
//! memory,orphans}.rs`. Of the pipe its promise is modelled: a task is started once at most, and its records survive.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{from_value, json};
use vk_node_core::admit::{AdmittedPod, Refusal, admit};
use vk_node_core::facts::{Deletion, Facts, NodeFacts};
use vk_node_core::life::{Decision, OUR_CONDITIONS, Step, decide};
use vk_task::clock::Steps;
use vk_task::{End, Origin, Signal, StopRequest, TaskId, TaskState, TaskView};

use crate::api::{Api, Stop};

/// A machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    /// The tasks that the pipe has records of.
    pub(crate) tasks: Vec<TaskView>,
    pods: BTreeMap<String, Pod>,
    memory: HashMap<String, Remembered>,
    /// Every start of a process: the pod's name, and the UID that the pod had.
    pub(crate) started: Vec<(String, String)>,
    /// How processes ended: the pod's name and the exit code.
    pub(crate) ended: Vec<(String, u8)>,
}

struct Remembered {
    admitted: Result<AdmittedPod, Refusal>,
    stopping_since: Option<Timestamp>,
    latest: Option<Pod>,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tasks: Vec::new(),
            pods: BTreeMap::new(),
            memory: HashMap::new(),
            started: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn facts(&self) -> NodeFacts {
        let allocatable = from_value(json!({"pods": "110", "cpu": "8", "memory": "64Gi"})).unwrap();
        NodeFacts { name: self.name.clone(), address: "10.0.0.7".into(), allocatable, ..NodeFacts::default() }
    }

    /// The watch catches up.
    pub(crate) fn hears(&mut self, api: &Api) {
        let ours = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.as_ref() == Some(&self.name);
        let pods = api.pods.iter().filter(|(_, pod)| ours(pod));
        self.pods = pods.map(|(_, pod)| (pod.metadata.uid.clone().unwrap(), pod.clone())).collect();
        self.memory.retain(|uid, _| self.pods.contains_key(uid));
    }

    /// The node is started anew, and lists its pods; the pipe goes on.
    pub(crate) fn restart(&mut self, api: &Api) {
        self.memory.clear();
        self.hears(api);
    }

    /// One look at each pod, and at what runs without one.
    pub(crate) fn look(&mut self, api: &mut Api) -> Result<Option<Timestamp>, Stop> {
        let mut again: Option<Timestamp> = None;
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            let at = self.look_at(&uid, api)?;
            again = again.into_iter().chain(at).min();
        }
        self.end_orphans(api)?;
        Ok(again)
    }

    fn look_at(&mut self, uid: &str, api: &mut Api) -> Result<Option<Timestamp>, Stop> {
        let (facts, now) = (self.facts(), api.now);
        let cached = &self.pods[uid];
        let entry = self.memory.entry(uid.to_owned()).or_insert_with(|| Remembered {
            admitted: admit(cached, &facts),
            stopping_since: None,
            latest: None,
        });
        let pod = entry.latest.as_ref().filter(|latest| version(latest) > version(cached)).unwrap_or(cached).clone();
        let tasks: Vec<TaskView> =
            self.tasks.iter().filter(|t| t.origin.run().is_some_and(|run| run.uid == uid)).cloned().collect();
        let deletion = pod.metadata.deletion_timestamp.as_ref().map_or(Deletion::NotAsked, |_| Deletion::Asked {
            grace: SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default()),
        });
        let Decision { steps, again_at, is_stopping } = decide(&Facts {
            admitted: entry.admitted.as_ref(),
            deletion,
            published: &pod.status.clone().unwrap_or_default(),
            tasks: &tasks,
            troubles: &BTreeMap::new(),
            hooks: &BTreeMap::new(),
            back_off_from: &BTreeMap::new(),
            evicted: None,
            stopping_since: entry.stopping_since,
            probed: &BTreeMap::new(),
            node: &facts,
            now,
            steps: &Steps::default(),
        });
        entry.stopping_since = is_stopping.then(|| entry.stopping_since.unwrap_or(now));
        for step in steps {
            self.act(step, &pod, uid, api)?;
        }
        Ok(again_at)
    }

    fn act(&mut self, step: Step, pod: &Pod, uid: &str, api: &mut Api) -> Result<(), Stop> {
        let name = pod.metadata.name.clone().unwrap();
        match step {
            Step::Start { container, restart, .. } => {
                let container = self.memory[uid].admitted.as_ref().unwrap().containers[container].name.clone();
                let id = TaskId::for_container(uid, &container, restart).unwrap();
                api.effect(&format!("{}: start {name}", self.name), |api| {
                    self.start(id, &name, uid, &container, restart, api.now);
                    Ok(())
                })
            }
            Step::RunHook { .. } => Ok(()),
            Step::Stop { id, request } => api.effect(&format!("{}: stop {name}", self.name), |api| {
                self.stop(&id, request, api.now);
                Ok(())
            }),
            Step::Publish(status) => {
                let what = format!("{}: publish {name}: {:?}", self.name, status.phase);
                let answer = api.effect(&what, |api| {
                    Ok(api.change_pod(&name, uid, |pod| {
                        let before = pod.status.take().unwrap_or_default();
                        pod.status = Some(merged(&before, *status));
                    }))
                })?;
                if let Some(entry) = self.memory.get_mut(uid) {
                    entry.latest = answer.or(entry.latest.take());
                }
                Ok(())
            }
            Step::Remove => api.effect(&format!("{}: remove {name}", self.name), |api| {
                api.delete_pod(&name, uid, Some(0));
                Ok(())
            }),
            Step::Forget(id) => api.effect(&format!("{}: forget {id}", self.name), |_| {
                self.tasks.retain(|task| task.id != id);
                Ok(())
            }),
            Step::Reported(id) => api.effect(&format!("{}: told of {id}", self.name), |_| {
                self.tasks.iter_mut().filter(|task| task.id == id).for_each(|task| task.reported = true);
                Ok(())
            }),
        }
    }

    /// The pipe's part: what was asked for before is not started again.
    fn start(&mut self, id: TaskId, pod: &str, uid: &str, container: &str, restart: u32, now: Timestamp) {
        if self.tasks.iter().any(|task| task.id == id) {
            return;
        }
        self.started.push((pod.to_owned(), uid.to_owned()));
        let run = json!({"namespace": "lab", "pod": pod, "uid": uid, "container": container, "restart": restart});
        self.tasks.push(TaskView {
            id,
            origin: Origin::Pod(from_value(run).unwrap()),
            state: TaskState::Accepted { at: now },
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        });
    }

    fn stop(&mut self, id: &TaskId, request: StopRequest, now: Timestamp) {
        for task in self.tasks.iter_mut().filter(|task| task.id == *id && !task.state.is_final()) {
            // As with the pipe, the earlier time stands.
            if task.stop.as_ref().is_none_or(|before| request.kill_at < before.kill_at) {
                task.stop = Some(request.clone());
            }
        }
        self.kill(now);
    }

    /// What runs without a pod, by the API server's own word, is ended, and its records go.
    fn end_orphans(&mut self, api: &mut Api) -> Result<(), Stop> {
        let of_none = |task: &&TaskView| {
            let uid = task.origin.run().map(|run| run.uid.clone());
            !self.pods.values().any(|pod| pod.metadata.uid == uid)
                && !api.pods.values().any(|pod| pod.metadata.uid == uid)
        };
        let orphans: Vec<TaskView> = self.tasks.iter().filter(of_none).cloned().collect();
        for task in orphans {
            if task.state.is_final() {
                api.effect(&format!("{}: forget orphan {}", self.name, task.id), |_| {
                    self.tasks.retain(|other| other.id != task.id);
                    Ok(())
                })?;
            } else if task.stop.is_none() {
                let kill_at = api.now + SignedDuration::from_secs(30);
                let request = StopRequest { kill_at, reason: "it has no pod".into() };
                api.effect(&format!("{}: stop orphan {}", self.name, task.id), |api| {
                    self.stop(&task.id, request, api.now);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn gates_open(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if let TaskState::Accepted { .. } = task.state {
                task.state = TaskState::Running { pid: 7, started_at: now };
            }
        }
    }

    /// What was to be killed by now is.
    pub(crate) fn kill(&mut self, now: Timestamp) {
        self.end(now, &End::Signaled { signal: Signal(9), core_dumped: false }, |task| {
            task.stop.as_ref().is_some_and(|stop| stop.kill_at <= now)
        });
    }

    /// What runs and is meant ends.
    pub(crate) fn end(&mut self, now: Timestamp, end: &End, which: impl Fn(&TaskView) -> bool) {
        for task in self.tasks.iter_mut().filter(|task| !task.state.is_final() && which(task)) {
            let started_at = match task.state {
                TaskState::Running { started_at, .. } => started_at,
                _ => now,
            };
            let code = match end {
                End::Exited { code } => *code,
                _ => 137,
            };
            self.ended.push((task.origin.run().unwrap().pod.clone(), code));
            task.state = TaskState::Ended { started_at, finished_at: now, end: end.clone(), exceeded: None };
        }
    }

    /// The pods with a process.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().filter(|task| !task.state.is_final()).filter_map(|task| Some(task.origin.run()?.pod.as_str()))
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
