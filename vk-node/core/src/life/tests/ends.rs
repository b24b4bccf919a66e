//! How containers come to their ends by themselves, and what is told of it.

use k8s_openapi::api::core::v1::PodCondition;
use vk_cmd_crds::amounts::Amounts;
use vk_task::Signal;

use super::*;
use crate::room::Room;

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

/// As Kubernetes' pod garbage collector does to the pods of a Node object that is gone.
fn give_up(world: &mut World) {
    world.published.phase = Some("Failed".into());
    world.published.conditions.get_or_insert_default().push(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some("DeletionByPodGC".into()),
        ..PodCondition::default()
    });
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
}

#[test]
fn of_what_was_given_up_while_the_node_was_gone_the_end_is_told() {
    // Before it was started; or after, and before that was published.
    let mut world = World::new("Never", None);
    give_up(&mut world);
    world.settle();
    let ended = world.state().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert_eq!((world.phase(), world.started.len()), ("Failed", 0));

    let mut world = World::new("Never", None);
    world.settle();
    world.open_gate();
    world.end(&End::Exited { code: 5 });
    give_up(&mut world);
    world.settle();
    assert_eq!(world.state().terminated.unwrap().exit_code, 5);
}

#[test]
fn the_backoff_is_the_kubelets() {
    let mut world = World::new("Always", None);
    let mut waits = vec![];
    for _ in 0..9 {
        let due = world.settle();
        let due = due.filter(|_| world.active().is_empty());
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
fn a_refused_pod_says_why_and_is_never_started() {
    let mut world = World::new("Never", None);
    world.admitted = Err(unsupported());
    world.settle();
    world.settle();
    assert_eq!((world.phase(), world.writes), ("Failed", 1));
    assert!(world.published.message.as_ref().unwrap().contains("spec.volumes: none"));
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    assert!(world.removed && world.started.is_empty());
}

#[test]
fn a_pod_without_room_is_told_of_in_the_kubelets_words() {
    let mut world = World::new("Never", None);
    let lack = Room::default().fits(&Amounts::of_pod(&Pod::default()), &Amounts::NOTHING).unwrap_err();
    world.admitted = Err(lack.into());
    assert!(world.decide().is_over, "others need not wait until it is told of");
    world.settle();
    assert_eq!((world.phase(), world.writes, world.published.reason.as_deref()), ("Failed", 1, Some("OutOfpods")));
    let told = "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 0, capacity: 0";
    assert_eq!(world.published.message.as_deref(), Some(told));
    assert!(world.started.is_empty());
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
fn a_run_that_lasted_starts_the_backoff_anew() {
    let mut world = World::new("Always", None);
    for _ in 0..5 {
        world.now = world.settle().unwrap_or(world.now);
        world.go();
        world.exit("c", 1);
    }
    world.now = world.settle().unwrap_or(world.now);
    world.go();
    world.pass(601);
    world.exit("c", 1);
    world.settle();
    assert_eq!(world.active(), ["c"], "at once");
    for (n, wait) in [10, 20, 40].into_iter().enumerate() {
        world.open_gate();
        world.exit("c", 1);
        if n == 1 {
            world.settle();
            world.collect();
        }
        let due = world.settle().unwrap();
        assert_eq!(due, world.now + seconds(wait));
        world.now = due;
        world.settle();
    }
    // A node that has forgotten it waits longer, not shorter.
    world.open_gate();
    world.exit("c", 1);
    world.restart_node();
    assert_eq!(world.settle(), Some(world.now + seconds(300)));
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
