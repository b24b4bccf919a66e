//! The rules of a pod's life, on a world in memory: the deciding code is the real one, the pipe and the API server
//! are a list and a value.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerState, Pod, PodCondition};
use k8s_openapi::serde_json::{from_value, json};
use proptest::prelude::*;
use vk_task::{ContainerRun, End, LimitKind, Lingering, Origin, Signal, TaskState, TaskView};

use super::*;
use crate::admit::admit;
use crate::facts::{NodeFacts, Trouble};

/// A pod, the pipe and the API server.
struct World {
    admitted: Result<AdmittedPod, Refusal>,
    deletion: Deletion,
    published: PodStatus,
    tasks: Vec<TaskView>,
    troubles: BTreeMap<String, Trouble>,
    now: Timestamp,
    /// Every task that was ever started.
    started: BTreeSet<TaskId>,
    writes: usize,
    removed: bool,
    /// Whether the site's policy denies what is to be started.
    denies: bool,
    /// How many lines were written to the FIFO by the pod.
    lines: usize,
}

impl World {
    fn new(restart_policy: &str, deadline: Option<u32>) -> Self {
        let pod: Pod = from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "u", "generation": 1},
            "spec": {
                "restartPolicy": restart_policy, "activeDeadlineSeconds": deadline,
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}],
            },
        }))
        .unwrap();
        Self {
            admitted: admit(&pod, &NodeFacts::default()),
            deletion: Deletion::NotAsked,
            published: PodStatus { phase: Some("Pending".into()), ..PodStatus::default() },
            tasks: vec![],
            troubles: BTreeMap::new(),
            now: Timestamp::from_second(1000).unwrap(),
            started: BTreeSet::new(),
            writes: 0,
            removed: false,
            denies: false,
            lines: 0,
        }
    }

    /// With a second container.
    fn with_two_containers(restart_policy: &str) -> Self {
        let pod: Pod = from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "u", "generation": 1},
            "spec": {
                "restartPolicy": restart_policy,
                "containers": [
                    {"name": "c", "image": "vk-cmd.io/host", "command": ["true"]},
                    {"name": "d", "image": "vk-cmd.io/host", "command": ["true"]},
                ],
            },
        }))
        .unwrap();
        Self { admitted: admit(&pod, &NodeFacts::default()), ..Self::new(restart_policy, None) }
    }

    fn decide(&self) -> Decision {
        let node = NodeFacts { name: "vk-a".into(), address: "10.0.0.7".into(), ..NodeFacts::default() };
        decide(&Facts {
            admitted: self.admitted.as_ref(),
            deletion: self.deletion,
            published: &self.published,
            tasks: &self.tasks,
            troubles: &self.troubles,
            probed: &BTreeMap::new(),
            node: &node,
            now: self.now,
        })
    }

    /// Decides and does, until nothing is left to do now.
    fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..10 {
            if self.removed {
                return None;
            }
            let Decision { steps, again_at } = self.decide();
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
            Step::Start { container, restart } => {
                let name = self.admitted.as_ref().unwrap().containers[container].name.clone();
                if self.denies {
                    let message = "the site does not allow sh".to_owned();
                    let trouble = Trouble { reason: "DeniedBySitePolicy".into(), message, retry: Retry::Never };
                    assert!(self.troubles.insert(name, trouble).is_none(), "what was denied is not asked for again");
                    return;
                }
                let id = TaskId::for_container("u", &name, restart).unwrap();
                assert!(self.started.insert(id.clone()), "{id} was started twice");
                self.tasks.push(task(id, Origin::Pod(container_run(&name, restart)), self.now));
            }
            Step::Stop { id, request } => {
                let task = self.tasks.iter_mut().find(|t| t.id == id).unwrap();
                assert!(task.stop.as_ref().is_none_or(|s| request.kill_at < s.kill_at));
                task.stop = Some(request);
            }
            Step::Publish(status) => {
                assert!(!is_terminal(&self.published), "a terminal status is never changed");
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
                if let Origin::Pod(_) = task.origin {
                    let told = format!("{:?}", self.published.container_statuses);
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
            }
        }
    }

    fn state(&self) -> ContainerState {
        self.published.container_statuses.as_ref().unwrap()[0].state.clone().unwrap()
    }

    fn phase(&self) -> &str {
        self.published.phase.as_deref().unwrap()
    }
}

fn container_run(container: &str, restart: u32) -> ContainerRun {
    ContainerRun {
        namespace: "n".into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: "default".into(),
        container: container.into(),
        restart,
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
    for new in patch.conditions.iter().flatten() {
        match conditions.iter_mut().find(|c| c.type_ == new.type_) {
            Some(old) => *old = new.clone(),
            None => conditions.push(new.clone()),
        }
    }
    let mut merged = PodStatus { conditions: Some(conditions), ..patch };
    for container in merged.container_statuses.iter_mut().flatten() {
        container.last_state.get_or_insert_default();
    }
    merged
}

#[test]
fn what_was_published_is_not_published_again() {
    let mut world = World::new("Never", None);
    let scheduled = PodCondition { type_: "PodScheduled".into(), status: "True".into(), ..PodCondition::default() };
    let foreign = PodCondition { type_: "DisruptionTarget".into(), status: "False".into(), ..PodCondition::default() };
    world.published.conditions = Some(vec![scheduled]);
    world.settle();
    world.open_gate();
    world.settle();
    world.published.conditions.as_mut().unwrap().push(foreign);
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert_eq!((world.phase(), world.writes), ("Succeeded", 2));
    assert_eq!(world.published.conditions.as_ref().unwrap().len(), 6);
}

#[test]
fn a_task_that_has_ended_before_the_first_look_takes_one_write() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.end(&End::Exited { code: 5 });
    world.settle();
    assert_eq!((world.phase(), world.writes), ("Failed", 1));
    let ended = world.state().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (5, Some("Error")));
}

#[test]
fn a_signal_is_named() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.end(&End::Signaled { signal: Signal(9), core_dumped: false });
    world.settle();
    let ended = world.state().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.signal), (137, Some(9)));
    assert_eq!(ended.message.as_deref(), Some("killed by SIGKILL (signal 9)"));
}

#[test]
fn a_deleted_pod_goes_after_its_processes() {
    let mut world = World::new("Always", None);
    world.settle();
    world.open_gate();
    world.settle();
    world.deletion = Deletion::Asked { grace: SignedDuration::from_secs(30) };
    world.settle();
    assert!(!world.removed);
    assert_eq!(world.tasks[0].stop.as_ref().unwrap().kill_at, world.now + SignedDuration::from_secs(30));
    // A second delete with a shorter grace brings the kill forward.
    world.deletion = Deletion::Asked { grace: SignedDuration::from_secs(1) };
    world.settle();
    assert_eq!(world.tasks[0].stop.as_ref().unwrap().kill_at, world.now + SignedDuration::from_secs(1));
    world.end(&End::Signaled { signal: Signal(15), core_dumped: false });
    world.settle();
    assert!(world.removed);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_pod_deleted_before_it_ran_goes_at_once() {
    let mut world = World::new("Never", None);
    world.deletion = Deletion::Asked { grace: SignedDuration::from_secs(30) };
    world.settle();
    assert!(world.removed && world.started.is_empty() && world.writes == 0);
}

#[test]
fn what_was_published_as_running_and_is_not_recorded_is_unknown_and_not_run_again() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.settle();
    world.tasks.clear();
    world.settle();
    assert_eq!(world.state().terminated.unwrap().reason.as_deref(), Some("ContainerStatusUnknown"));
    assert_eq!((world.phase(), world.started.len()), ("Failed", 1));
}

#[test]
fn the_backoff_is_the_kubelets() {
    let mut world = World::new("Always", None);
    let mut waits = vec![];
    for _ in 0..9 {
        let due = world.settle();
        waits.push(due.map_or(0, |due| due.duration_since(world.now).as_secs()));
        world.now = due.unwrap_or(world.now);
        world.settle();
        world.open_gate();
        world.end(&End::Exited { code: 1 });
    }
    assert_eq!(waits, [0, 0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(world.tasks.len(), 2, "only the last runs are kept: {:?}", world.tasks);
}

#[test]
fn a_deadline_ends_the_pod() {
    let mut world = World::new("Always", Some(60));
    world.settle();
    world.open_gate();
    let again = world.settle();
    assert_eq!(again, Some(world.now + SignedDuration::from_secs(60)));
    world.pass(60);
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.end(&End::Signaled { signal: Signal(15), core_dumped: false });
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
    assert_eq!(world.state().terminated.unwrap().exit_code, 143);
    world.pass(1000);
    world.settle();
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_refused_pod_says_why_and_is_never_started() {
    let mut world = World::new("Never", None);
    world.admitted = Err(Refusal(vec![crate::admit::Problem { field: "spec.volumes".into(), message: "none".into() }]));
    world.settle();
    world.settle();
    assert_eq!((world.phase(), world.writes), ("Failed", 1));
    assert!(world.published.message.as_ref().unwrap().contains("spec.volumes: none"));
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    assert!(world.removed && world.started.is_empty());
}

#[test]
fn trouble_is_told_while_the_pod_waits() {
    let mut world = World::new("Never", None);
    let retry_at = world.now + SignedDuration::from_secs(5);
    let message = "secret \"s\" not found".to_owned();
    let trouble = Trouble { reason: "CreateContainerConfigError".into(), message, retry: Retry::At(retry_at) };
    world.troubles.insert("c".into(), trouble);
    let decision = world.decide();
    assert_eq!(decision.again_at, Some(retry_at));
    let [Step::Publish(status)] = &decision.steps[..] else { panic!("{decision:?}") };
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let waiting = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    world.pass(5);
    assert!(matches!(world.decide().steps[..], [Step::Start { .. }, Step::Publish(_)]));
}

#[test]
fn a_denied_pod_has_failed_at_once_and_says_why() {
    let mut world = World::new("Always", None);
    world.denies = true;
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeniedBySitePolicy")));
    assert_eq!(world.published.message.as_deref(), Some("the site does not allow sh"));
    assert_eq!((world.writes, world.started.len()), (1, 0));
    // It is not asked again, also when the policy has changed.
    world.denies = false;
    world.pass(1000);
    assert_eq!(world.settle(), None);
    assert!(world.started.is_empty());
}

#[test]
fn a_denied_container_does_not_kill_the_others() {
    let mut world = World::with_two_containers("Always");
    world.settle();
    world.open_gate();
    world.settle();
    world.end_if(&End::Exited { code: 0 }, None, |task| task.id.as_str() == "u_c_0");
    world.denies = true;
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert!(world.tasks.iter().all(|task| task.stop.is_none()), "{:?}", world.tasks);
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeniedBySitePolicy")));
    assert_eq!(world.started.len(), 2);
}

#[test]
fn a_run_past_a_limit_has_failed_and_says_which() {
    let killed = End::Signaled { signal: Signal(9), core_dumped: false };
    for (limit, end, reason, code) in [
        (LimitKind::Memory, killed.clone(), "OOMKilled", 137),
        // It took its leave in an orderly way, and was ended all the same.
        (LimitKind::WallTime, End::Exited { code: 0 }, "WalltimeExceeded", 0),
        (LimitKind::Processes, killed.clone(), "TooManyProcesses", 137),
        (LimitKind::Output, killed, "OutputLimitExceeded", 137),
    ] {
        let mut world = World::new("Never", None);
        world.settle();
        world.open_gate();
        world.end_if(&end, Some(limit), |_| true);
        world.settle();
        let ended = world.state().terminated.unwrap();
        assert_eq!((ended.reason.as_deref(), ended.exit_code, world.phase()), (Some(reason), code, "Failed"));
        let message = ended.message.unwrap();
        assert!(message.contains(&limit.to_string()), "{message}");
    }
}

#[test]
fn an_end_is_reported_once_the_api_server_has_it() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.settle();
    world.end(&End::Exited { code: 3 });
    let steps = world.decide().steps;
    assert!(matches!(steps[..], [Step::Publish(_)]), "not before it is written: {steps:?}");
    world.settle();
    assert!(world.tasks[0].reported);
    // What the pipe collects then, under a pod that is still there, changes nothing.
    let (published, writes) = (world.published.clone(), world.writes);
    world.collect();
    world.settle();
    assert!(world.tasks.is_empty());
    assert_eq!((&world.published, world.writes, world.started.len()), (&published, writes, 1));
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    assert!(world.removed);
}

#[test]
fn a_collected_record_is_no_reason_to_run_a_container_again() {
    let mut world = World::with_two_containers("OnFailure");
    world.settle();
    world.open_gate();
    world.settle();
    world.end_if(&End::Exited { code: 0 }, None, |task| task.id.as_str() == "u_c_0");
    world.settle();
    let writes = world.writes;
    world.collect();
    assert_eq!(world.tasks.len(), 1, "that of the other container");
    world.settle();
    assert_eq!((world.phase(), world.writes, world.started.len()), ("Running", writes, 2));
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert_eq!((world.phase(), world.started.len()), ("Succeeded", 2));
}

#[test]
fn lines_of_a_pod_outlive_its_containers_and_not_the_pod() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.write_line();
    world.settle();
    world.end_if(&End::Exited { code: 0 }, None, |task| !is_line(task));
    world.settle();
    assert_eq!(world.phase(), "Succeeded", "a line has no say in it");
    assert!(world.tasks.iter().any(|task| is_line(task) && task.stop.is_none() && !task.state.is_final()));
    // That is what the API server makes of a deletion of a pod that has ended.
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    let line = world.tasks.iter().find(|task| is_line(task)).unwrap();
    let pods_grace = SignedDuration::from_secs(5);
    assert_eq!(line.stop.as_ref().unwrap().kill_at, world.now + pods_grace, "it has the pod's grace all the same");
    assert!(!world.removed, "the object goes after the line's processes");
    world.end(&End::Signaled { signal: Signal(15), core_dumped: false });
    world.settle();
    assert!(world.removed);
}

#[test]
fn lines_of_a_pod_past_its_deadline_end_with_it() {
    let mut world = World::new("Never", Some(60));
    world.settle();
    world.open_gate();
    world.write_line();
    world.settle();
    world.pass(60);
    world.settle();
    assert!(world.tasks.iter().all(|task| task.stop.is_some()));
    world.end_if(&End::Exited { code: 0 }, None, |task| !is_line(task));
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
    assert!(world.tasks.iter().all(|task| task.reported), "the line's end is for nobody to wait for");
}

#[test]
fn processes_that_do_not_end_are_told_and_hold_the_pod() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.settle();
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    let lingering = Lingering { pid: 77, name: "dd".into(), why: "it waits in the kernel".into() };
    world.tasks[0].lingering = vec![lingering];
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Running", Some(FAILED_KILL_POD)));
    let message = world.published.message.clone().unwrap();
    assert!(message.contains("77 (dd): it waits in the kernel"), "{message}");
    assert!(!world.removed);
    world.tasks[0].lingering.clear();
    world.end(&End::Signaled { signal: Signal(9), core_dumped: false });
    world.settle();
    assert!(world.removed);
    assert_eq!(world.published.message, None);
}

#[test]
fn a_refused_pod_that_something_runs_of_is_left_to_end() {
    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.settle();
    // A node of an older version, which refuses what a newer one has started.
    world.admitted = Err(Refusal(vec![crate::admit::Problem { field: "spec.volumes".into(), message: "none".into() }]));
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    assert!(world.tasks[0].stop.is_some() && !world.removed);
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert!(world.removed);
}

#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    OpenGate,
    Exit(u8),
    Kill,
    LoseRecords,
    Delete(i64),
    WriteLine,
    EndLines,
    Collect,
    Deny,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (1..700_i64).prop_map(Happening::Pass),
        Just(Happening::OpenGate),
        Just(Happening::OpenGate),
        (0..3_u8).prop_map(Happening::Exit),
        Just(Happening::Kill),
        Just(Happening::LoseRecords),
        (0..60_i64).prop_map(Happening::Delete),
        Just(Happening::WriteLine),
        Just(Happening::EndLines),
        Just(Happening::Collect),
        Just(Happening::Deny),
    ]
}

proptest! {
    /// Whatever happens: no run is started twice, the object outlives the processes, a terminal status stays as it is
    /// (all three asserted where the world acts), and the world settles each time.
    #[test]
    fn the_rules_hold_whatever_happens(
        policy in prop_oneof![Just("Never"), Just("OnFailure"), Just("Always")],
        deadline in proptest::option::of(1..1000_u32),
        happenings in proptest::collection::vec(happening(), 0..40),
    ) {
        let mut world = World::new(policy, deadline);
        world.settle();
        for happening in happenings {
            match happening {
                Happening::Pass(seconds) => world.pass(seconds),
                Happening::OpenGate => world.open_gate(),
                Happening::Exit(code) => world.end(&End::Exited { code }),
                Happening::Kill => world.end(&End::Signaled { signal: Signal(9), core_dumped: false }),
                // Records are lost only with their processes, and only after their start was published.
                Happening::LoseRecords => {
                    world.settle();
                    let published = world.published.container_statuses.is_some();
                    if published && world.tasks.iter().all(|t| !matches!(t.state, TaskState::Accepted { .. })) {
                        world.tasks.clear();
                    }
                }
                // A line is written by a process of the pod.
                Happening::WriteLine => {
                    if world.tasks.iter().any(|t| matches!(t.state, TaskState::Running { .. })) {
                        world.write_line();
                    }
                }
                Happening::EndLines => world.end_if(&End::Exited { code: 0 }, None, is_line),
                // What is collected was told of: it changes neither what is published nor what is to be done.
                Happening::Collect => {
                    let due = world.settle();
                    let (published, writes) = (world.published.clone(), world.writes);
                    world.collect();
                    prop_assert_eq!(world.settle(), due);
                    prop_assert_eq!((&world.published, world.writes), (&published, writes));
                }
                Happening::Deny => world.denies = true,
                Happening::Delete(grace) => {
                    world.deletion = Deletion::Asked { grace: SignedDuration::from_secs(grace) };
                }
            }
            world.settle();
        }
        if policy == "Never" {
            prop_assert!(world.started.len() <= 1);
        }
        // With the processes gone, a deleted pod goes.
        world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
        world.settle();
        world.open_gate();
        world.end(&End::Exited { code: 0 });
        world.settle();
        prop_assert!(world.removed);
    }
}
