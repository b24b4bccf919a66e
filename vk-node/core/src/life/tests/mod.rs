//! The rules of a pod's life, on a world in memory: the deciding code is the real one, the pipe and the API server
//! are a list and a value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod clock;
mod conditions;
mod end_of_node;
mod ends;
mod ephemeral;
mod hooks;
mod init;
mod model;
mod probes;
mod rules;
mod stops;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::serde_json::{Value, from_value, json};
use vk_task::clock::{Reading, Steps};
use vk_task::{ContainerRun, End, LimitKind, Origin, TaskState, TaskView};

use super::course::is_terminal;
use super::*;
use crate::admit::{Problem, Problems, Role, admit};
use crate::ending::{Came, EndFacts, JobTerm, TERMINATED};
use crate::facts::{Hook, HookFacts, NodeFacts, Probed, Retry, Trouble};
use crate::runs::{ID_SCHEME, all_published, published_of};

/// A pod, the pipe and the API server.
struct World {
    admitted: Result<AdmittedPod, Refusal>,
    deletion: Deletion,
    published: PodStatus,
    tasks: Vec<TaskView>,
    troubles: BTreeMap<String, Trouble>,
    probed: BTreeMap<String, Probed>,
    hooks: BTreeMap<String, HookFacts>,
    back_off_from: BTreeMap<String, u32>,
    evicted: Option<String>,
    end: Option<EndFacts>,
    /// Whether TERM comes to all processes, and when the node was told to end by it, since the host was started.
    shares_term: bool,
    told: Option<Duration>,
    warned: BTreeMap<TaskId, Duration>,
    /// How often each task was warned.
    warnings: Vec<(String, StopSignal)>,
    stopping_since: Option<Timestamp>,
    /// Whether its room was given to others.
    is_over: bool,
    now: Timestamp,
    /// What the clock would have shown when the host was started, and the steps that were seen.
    zero: Timestamp,
    steps: Steps,
    /// Every task that was ever started.
    started: BTreeSet<TaskId>,
    /// The containers of which a run ended with success.
    succeeded: BTreeSet<String>,
    writes: usize,
    removed: bool,
    /// Whether the site's policy denies what is to be started.
    denies: bool,
    /// How many lines were written to the FIFO by the pod.
    lines: usize,
    node: NodeFacts,
}

impl World {
    /// A pod of one container, `c`.
    fn new(restart_policy: &str, deadline: Option<u32>) -> Self {
        Self::of(json!({
            "restartPolicy": restart_policy, "activeDeadlineSeconds": deadline, "terminationGracePeriodSeconds": 5,
            "containers": [container("c")],
        }))
    }

    /// With a second container.
    fn with_two_containers(restart_policy: &str) -> Self {
        Self::of(json!({"restartPolicy": restart_policy, "containers": [container("c"), container("d")]}))
    }

    /// A pod of this specification.
    fn of(spec: Value) -> Self {
        Self {
            admitted: admitted(&spec, 1),
            deletion: Deletion::NotAsked,
            published: PodStatus { phase: Some("Pending".into()), ..PodStatus::default() },
            tasks: vec![],
            troubles: BTreeMap::new(),
            probed: BTreeMap::new(),
            hooks: BTreeMap::new(),
            back_off_from: BTreeMap::new(),
            evicted: None,
            end: None,
            shares_term: false,
            told: None,
            warned: BTreeMap::new(),
            warnings: vec![],
            stopping_since: None,
            is_over: false,
            now: Timestamp::from_second(1000).unwrap(),
            zero: Timestamp::UNIX_EPOCH,
            steps: Steps::default(),
            started: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            writes: 0,
            removed: false,
            denies: false,
            lines: 0,
            node: NodeFacts { name: "vk-a".into(), address: "10.0.0.7".into(), ..NodeFacts::default() },
        }
    }

    /// Somebody has changed the specification.
    fn change(&mut self, spec: &Value) {
        let generation = self.admitted.as_ref().unwrap().generation.unwrap() + 1;
        self.admitted = admitted_at(spec, generation, &self.node);
    }

    /// The node is restarted: what it only remembered is gone.
    fn restart_node(&mut self) {
        self.troubles.clear();
        self.probed.clear();
        self.hooks.clear();
        self.back_off_from.clear();
        self.evicted = None;
        self.warned.clear();
        self.stopping_since = None;
    }

    fn decide(&self) -> Decision {
        let mut steps = self.steps.clone();
        steps.note(self.reading());
        let came = self.told.map(|told| Came {
            at: self.zero + told,
            until: None,
            reason: TERMINATED,
            message: "the node was told to end".into(),
        });
        decide(&Facts {
            job_term: &JobTerm { is_shared: self.shares_term, came },
            admitted: self.admitted.as_ref(),
            deletion: self.deletion,
            published: &self.published,
            tasks: &self.tasks,
            troubles: &self.troubles,
            probed: &self.probed,
            hooks: &self.hooks,
            back_off_from: &self.back_off_from,
            evicted: self.evicted.as_deref(),
            end: self.end.as_ref(),
            warned: &self.warned,
            stopping_since: self.stopping_since,
            node: &self.node,
            now: self.now,
            steps: &steps,
        })
    }

    /// Decides and does, until nothing is left to do now.
    fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..20 {
            if self.removed {
                return None;
            }
            let Decision { steps, again_at, is_stopping, is_over } = self.decide();
            assert!(is_over || !self.is_over, "another may have its room by now");
            self.is_over = is_over;
            self.stopping_since = is_stopping.then(|| self.stopping_since.unwrap_or(self.now));
            if steps.is_empty() {
                return again_at;
            }
            for step in steps {
                self.act(step);
            }
        }
        panic!("never settles: {:?}", self.decide());
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Start { container, restart, anew } => {
                let name = self.admitted.as_ref().unwrap().containers[container].name.clone();
                if self.denies {
                    let message = "the site does not allow sh".to_owned();
                    let trouble = Trouble { reason: "DeniedBySitePolicy".into(), message, retry: Retry::Never };
                    assert!(self.troubles.insert(name, trouble).is_none(), "what was denied is not asked for again");
                    return;
                }
                self.check_start(container, restart);
                if anew {
                    self.back_off_from.insert(name.clone(), restart);
                }
                let id = TaskId::for_container("u", &name, restart).unwrap();
                assert!(self.started.insert(id.clone()), "{id} was started twice");
                self.tasks.push(task(id, Origin::Pod(container_run(&name, restart)), self.now));
            }
            Step::Stop { id, request } => {
                let mut steps = self.steps.clone();
                steps.note(self.reading());
                let task = self.tasks.iter_mut().find(|t| t.id == id).unwrap();
                assert!(!task.state.is_final() && request.kill_at > self.now);
                assert!(task.stop.as_ref().is_none_or(|s| request.kill_at < steps.present(s.kill_at)));
                task.stop = Some(request);
            }
            Step::Warn { id, signal } => {
                let task = self.tasks.iter().find(|task| task.id == id).unwrap();
                assert!(matches!(task.state, TaskState::Running { .. }) && task.stop.is_none(), "{task:?}");
                self.warnings.push((task.origin.run().unwrap().container.clone(), signal));
                self.warned.insert(id, self.end.as_ref().unwrap().at_boot);
            }
            Step::RunHook { container, restart, hook } => {
                let container = &self.admitted.as_ref().unwrap().containers[container];
                assert!(container.hooks.get(hook).is_some(), "there is none");
                let id = TaskId::for_container("u", &container.name, restart).unwrap();
                let task = self.tasks.iter().find(|task| task.id == id).unwrap();
                assert!(matches!(task.state, TaskState::Running { .. }) && task.stop.is_none(), "{task:?}");
                let facts = self.hooks.entry(container.name.clone()).or_default();
                if facts.restart != restart {
                    *facts = HookFacts { restart, ..HookFacts::default() };
                }
                assert_eq!(*facts.get(hook), Hook::Unknown, "it is begun once");
                facts.set(hook, Hook::Running { since: self.now });
            }
            Step::Publish(status) => {
                self.check_status(&status);
                self.published = merged(&self.published, *status);
                self.writes += 1;
            }
            Step::Remove => {
                assert!(self.tasks.iter().all(|t| t.state.is_final()), "the object went before its processes");
                self.removed = true;
            }
            Step::Forget(id) => self.tasks.retain(|t| t.id != id),
            Step::Reported(id) => {
                let task = self.tasks.iter_mut().find(|t| t.id == id).unwrap();
                assert!(task.state.is_final() && !task.reported, "{task:?}");
                if let Origin::Pod(_) = task.origin
                    && !is_terminal(&self.published)
                {
                    let told = format!("{:?}", self.published);
                    assert!(told.contains(&format!("{ID_SCHEME}{id}")), "{id} is not in {told}");
                }
                task.reported = true;
            }
        }
    }

    /// The pod's process writes a line to the FIFO, which is run.
    fn write_line(&mut self) {
        self.lines += 1;
        let id = TaskId::new(format!("fifo-{}", self.lines)).unwrap();
        let mut line = task(id, Origin::Fifo { writer: Some(container_run("c", 0)) }, self.now);
        line.state = TaskState::Running { pid: 9, started_at: self.now };
        self.tasks.push(line);
    }

    /// The pipe removes records whose ends were told of.
    fn collect(&mut self) {
        self.tasks.retain(|task| !(task.reported && task.state.is_final()));
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.now, boot: self.now.duration_since(self.zero) }
    }

    /// Somebody sets the clock.
    fn step(&mut self, seconds: i64) {
        self.steps.note(self.reading());
        self.now += SignedDuration::from_secs(seconds);
        self.zero += SignedDuration::from_secs(seconds);
        self.steps.note(self.reading());
    }

    fn open_gate(&mut self) {
        let now = self.now;
        for task in &mut self.tasks {
            if let TaskState::Accepted { at } = task.state {
                task.state = TaskState::Running { pid: 7, started_at: at.max(now) };
            }
        }
    }

    fn end(&mut self, end: &End) {
        self.end_if(end, None, |_| true);
    }

    fn end_if(&mut self, end: &End, exceeded: Option<LimitKind>, which: impl Fn(&TaskView) -> bool) {
        for task in self.tasks.iter_mut().filter(|task| which(task)) {
            if let TaskState::Running { started_at, .. } = task.state {
                task.state = TaskState::Ended { started_at, finished_at: self.now, end: end.clone(), exceeded };
                if *end == (End::Exited { code: 0 })
                    && exceeded.is_none()
                    && let Origin::Pod(run) = &task.origin
                {
                    self.succeeded.insert(run.container.clone());
                }
            }
        }
    }

    /// The running process of a container exits.
    fn exit(&mut self, container: &str, code: u8) {
        let which = |task: &TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == container);
        self.end_if(&End::Exited { code }, None, which);
    }

    /// A hook of the last run that has one of this container comes to its end.
    fn hook_ends(&mut self, container: &str, kind: HookKind, failure: Option<&str>) {
        let facts = self.hooks.get_mut(container).unwrap();
        let since = facts.get(kind).since().unwrap();
        facts.set(
            kind,
            match failure {
                None => Hook::Done { since },
                Some(message) => Hook::Failed { since, message: message.into() },
            },
        );
    }

    /// Decides and does, has all that was started run, and decides and does again.
    fn go(&mut self) -> Option<Timestamp> {
        self.settle();
        self.open_gate();
        self.settle()
    }

    /// The tasks that have not ended, by their containers' names, in order.
    fn active(&self) -> Vec<&str> {
        let active = self.tasks.iter().filter(|task| !task.state.is_final());
        let mut names: Vec<&str> = active.filter_map(|task| Some(task.origin.run()?.container.as_str())).collect();
        names.sort_unstable();
        names
    }

    /// When the last run of a container is to be killed, if that is asked for.
    fn kill_at(&self, container: &str) -> Option<Timestamp> {
        let own = |task: &&TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == container);
        self.tasks.iter().rfind(own).unwrap().stop.as_ref().map(|stop| stop.kill_at)
    }

    /// The published status of a container.
    fn status(&self, container: &str) -> &ContainerStatus {
        published_of(&self.published, container).unwrap()
    }

    /// Status, reason and message of a condition.
    fn condition(&self, kind: &str) -> (&str, &str, &str) {
        let all = self.published.conditions.as_deref().unwrap();
        let found = all.iter().find(|condition| condition.type_ == kind).unwrap();
        (&found.status, found.reason.as_deref().unwrap_or_default(), found.message.as_deref().unwrap_or_default())
    }

    fn state(&self) -> ContainerState {
        self.status("c").state.clone().unwrap()
    }

    fn phase(&self) -> &str {
        self.published.phase.as_deref().unwrap()
    }
}

/// A refusal for what this node cannot do.
fn unsupported() -> Refusal {
    Problems(vec![Problem { field: "spec.volumes".into(), message: "none".into() }]).into()
}

fn admitted(spec: &Value, generation: i64) -> Result<AdmittedPod, Refusal> {
    admitted_at(spec, generation, &NodeFacts::default())
}

fn admitted_at(spec: &Value, generation: i64, node: &NodeFacts) -> Result<AdmittedPod, Refusal> {
    let metadata = json!({"namespace": "n", "name": "p", "uid": "u", "generation": generation});
    let pod: Pod = from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    Ok(admit(&pod, node)?)
}

/// A container of this name.
fn container(name: &str) -> Value {
    json!({"name": name, "image": "vk-cmd.io/host", "command": ["true"]})
}

/// A container of this name, with more fields.
fn container_with(name: &str, fields: &Value) -> Value {
    let mut container = container(name);
    for (field, value) in fields.as_object().unwrap() {
        container[field] = value.clone();
    }
    container
}

/// An init container that is a sidecar.
fn sidecar(name: &str) -> Value {
    container_with(name, &json!({"restartPolicy": "Always"}))
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn container_run(container: &str, restart: u32) -> ContainerRun {
    ContainerRun {
        namespace: "n".into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: "default".into(),
        container: container.into(),
        restart,
        node: None,
    }
}

fn task(id: TaskId, origin: Origin, at: Timestamp) -> TaskView {
    let state = TaskState::Accepted { at };
    TaskView { id, origin, state, stop: None, lingering: vec![], reported: false, termination_message: None }
}

fn is_line(task: &TaskView) -> bool {
    matches!(task.origin, Origin::Fifo { .. })
}

/// What the API server makes of a strategic merge patch of a status: conditions keep the order in which they came, new
/// ones go last, and a container without a last state gets an empty one.
fn merged(before: &PodStatus, patch: PodStatus) -> PodStatus {
    let mut conditions = before.conditions.clone().unwrap_or_default();
    // Those of ours that are left out are taken back.
    let is_kept = |kind: &str| patch.conditions.iter().flatten().any(|c| c.type_ == kind);
    conditions.retain(|c| !OUR_CONDITIONS.contains(&c.type_.as_str()) || is_kept(&c.type_));
    for new in patch.conditions.iter().flatten() {
        match conditions.iter_mut().find(|c| c.type_ == new.type_) {
            Some(old) => *old = new.clone(),
            None => conditions.push(new.clone()),
        }
    }
    let mut merged = PodStatus { conditions: Some(conditions), ..patch };
    let PodStatus { init_container_statuses, container_statuses, ephemeral_container_statuses, .. } = &mut merged;
    let all = [init_container_statuses, container_statuses, ephemeral_container_statuses];
    for container in all.into_iter().flatten().flatten() {
        container.last_state.get_or_insert_default();
    }
    merged
}
