//! What each event of a script does.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{from_value, json};
use vk_cmd_crds::{CompletionMode, OnUnknown};
use vk_task::End;

use crate::api::Key;
use crate::jobs::NAMESPACES;
use crate::laws::Holds;
use crate::objects::at;
use crate::script::{Edit, Event};
use crate::site::{GATEWAY, PILOTS};
use crate::world::{World, most};

impl World {
    pub(crate) fn happen(&mut self, event: Event) -> Holds {
        // What happens to pilots is told apart.
        let jobs: Vec<Key> = self.api.jobs.keys().filter(|key| key.0 != PILOTS).cloned().collect();
        let job = |n: u8| jobs.get(usize::from(n) % jobs.len().max(1)).cloned();
        let machine = |n: u8, world: &Self| usize::from(n) % world.machines.len().max(1);
        match event {
            Event::Hears(n, kind, most) => {
                self.operators[usize::from(n % 4 == 0)].hears(kind, most, &self.api);
            }
            Event::Relists(n, kind) => self.operators[usize::from(n % 4 == 0)].relists(kind, &self.api),
            Event::Looks(n, fault) => {
                let due = self.operators[0].due(self.api.now);
                if let Some(key) = due.get(usize::from(n) % due.len().max(1)) {
                    self.operator_looks(key, fault)?;
                }
            }
            Event::LooksAnyway(n, fault) => {
                let known = self.operators[0].known();
                if let Some(key) = known.get(usize::from(n) % known.len().max(1)) {
                    self.operator_looks(key, fault)?;
                }
            }
            Event::LooksForStrays(fault) => {
                self.api.fault = fault;
                let done = self.operators[0].strays(&mut self.api).map(drop);
                self.after_look(&done);
            }
            Event::Handover => self.handover(),
            Event::Pass(seconds) => self.pass(SignedDuration::from_secs(seconds.into())),
            Event::Edit(n, edit) => {
                if let Some(key) = job(n) {
                    self.edit(&key, edit);
                }
            }
            Event::Upgrade(n, taken) => {
                if let Some(key) = job(n) {
                    self.api.take_job(&key, taken);
                }
            }
            Event::DeleteJob(n) => {
                if let Some(key) = job(n) {
                    let _ = self.api.delete_job(at(&key), None, None);
                }
            }
            Event::MakeJob(n) => self.make(usize::from(n) % self.specs.len()),
            Event::ForceJob(n) => {
                if let Some(key) = job(n) {
                    let uid = self.api.jobs[&key].metadata.uid.clone().unwrap();
                    self.ever.get_mut(&uid).unwrap().forced = true;
                    self.api.force_job(&key);
                }
            }
            Event::DeletePod(n, forced) => {
                let pods: Vec<_> =
                    self.api.pods.iter().map(|(key, pod)| (key.clone(), pod.metadata.uid.clone())).collect();
                if let Some((key, uid)) = pods.get(usize::from(n) % pods.len().max(1)) {
                    let _ = self.api.delete_pod(key, uid.as_ref().unwrap(), forced.then_some(0));
                }
            }
            Event::PodGc => self.api.give_up(),
            Event::Closes(n, why) => drop(self.api.closed.insert(NAMESPACES[usize::from(n % 2)].to_owned(), why)),
            Event::Opens(n) => drop(self.api.closed.remove(NAMESPACES[usize::from(n % 2)])),
            Event::Squats(n, attempt) => {
                if let Some(key) = job(n) {
                    let uid = self.api.jobs[&key].metadata.uid.as_ref().unwrap();
                    let name = format!("{}{}-{attempt}", self.ever[uid].prefix, n % 3);
                    let _ = self.api.create_pod(&stranger(&key.0, &name, None));
                }
            }
            Event::Stranger(n) => {
                let name = format!("stranger-{n}");
                let _ = self.api.create_pod(&stranger("other", &name, Some(&format!("vk-{}", n % 3))));
            }
            Event::StrangersGo => self.strangers_go(),
            _ if self.machines.is_empty() => {}
            Event::NodeHears(n, most) => {
                let n = machine(n, self);
                if self.is_heard(n) {
                    self.machines[n].hears(most, &self.api);
                }
            }
            Event::NodeLooks(n, fault) => drop(self.node_looks(machine(n, self), fault)),
            Event::GatesOpen(n) => {
                let n = machine(n, self);
                self.machines[n].gates_open(self.api.now);
            }
            Event::Exits(n, code) => {
                let (now, at) = (self.api.now, machine(n, self));
                if self.machines[at].name == GATEWAY {
                    return Ok(());
                }
                let all: Vec<String> = self.machines[at].alive().map(str::to_owned).collect();
                if let Some(pod) = all.get(usize::from(n / 3) % all.len().max(1)) {
                    let running = |task: &vk_task::TaskView| {
                        matches!(task.state, vk_task::TaskState::Running { .. })
                            && task.origin.run().is_some_and(|run| run.pod == *pod)
                    };
                    self.machines[at].end(now, &End::Exited { code }, running);
                }
            }
            Event::Collects(n) => {
                let n = machine(n, self);
                self.machines[n].collects();
            }
            Event::Node(n, link) => {
                let name = self.machines[machine(n, self)].name.clone();
                self.link(&name, link);
            }
            Event::Gone(n) => {
                let gone = self.machines.remove(machine(n, self));
                self.links.remove(&gone.name);
                self.lost.extend(gone.ended.iter().map(|(pod, _)| pod.clone()));
                self.lost.extend(gone.started.iter().cloned());
                self.api.set_node(&gone.name, None);
                self.api.give_up();
            }
            Event::Fleet(event) => self.fleet_happens(event)?,
        }
        Ok(())
    }

    fn edit(&mut self, key: &Key, edit: Edit) {
        self.api.edit(key, |job| {
            let spec = &mut job.spec;
            match edit {
                Edit::Suspend(suspend) => spec.suspend = suspend,
                Edit::Parallelism(n) => spec.parallelism = Some(i32::from(n)),
                Edit::Completions(n) => {
                    // What the rules of the resource let through.
                    let is_elastic = spec.completions.is_some() && spec.completions == spec.parallelism;
                    if is_elastic && spec.completion_mode == CompletionMode::Indexed && spec.success_policy.is_none() {
                        (spec.completions, spec.parallelism) = (Some(i32::from(n)), Some(i32::from(n)));
                    }
                }
                Edit::BackoffLimit(n) => spec.backoff_limit = Some(i32::from(n)),
                Edit::Deadline(n) => spec.active_deadline_seconds = Some(i64::from(n)),
                Edit::Ttl(n) => spec.ttl_seconds_after_finished = Some(i32::from(n)),
                Edit::Priority(n) => spec.priority = i32::from(n),
                Edit::Retry(retry) => spec.on_unknown = if retry { OnUnknown::Retry } else { OnUnknown::Fail },
            }
        });
        let job = &self.api.jobs.get(key);
        if let Some(job) = job {
            let ever = self.ever.get_mut(job.metadata.uid.as_ref().unwrap()).unwrap();
            ever.most = ever.most.max(most(job));
        }
    }
}

/// A pod that is not that of a CmdJob.
fn stranger(namespace: &str, name: &str, node: Option<&str>) -> Pod {
    from_value(json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]},
    }))
    .unwrap()
}
