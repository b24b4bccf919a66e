//! What is ended because the pod is: deletion, deadline, lines of the FIFO; and what is never ended.

use vk_task::{Lingering, Signal};

use super::*;

#[test]
fn a_deleted_pod_goes_after_its_processes() {
    let mut world = World::new("Always", None);
    world.settle();
    world.open_gate();
    world.settle();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    assert!(!world.removed);
    assert_eq!(world.tasks[0].stop.as_ref().unwrap().kill_at, world.now + seconds(30));
    // A second delete with a shorter grace brings the kill forward.
    world.deletion = Deletion::Asked { grace: seconds(1) };
    world.settle();
    assert_eq!(world.tasks[0].stop.as_ref().unwrap().kill_at, world.now + seconds(2), "the kubelet's least");
    world.end(&End::Signaled { signal: Signal(15), core_dumped: false });
    world.settle();
    assert!(world.removed);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_pod_that_uses_too_much_is_evicted_even_if_the_node_is_restarted_in_between() {
    let mut world = World::with_two_containers("Always");
    world.go();
    world.write_line();
    world.evicted = Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ".to_owned());
    world.settle();
    assert!(world.tasks.iter().all(|task| task.stop.as_ref().unwrap().kill_at == world.now + seconds(2)));
    world.restart_node();
    world.settle();
    world.end(&End::Signaled { signal: Signal(15), core_dumped: false });
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("Evicted")));
    let message = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    assert_eq!(world.published.message.as_deref(), Some(message));
    assert_eq!((world.status("c").restart_count, world.started.len()), (0, 2), "nothing is run again");
}

#[test]
fn what_runs_of_a_pod_that_somebody_else_calls_over_is_ended_and_its_phase_left_alone() {
    for phase in ["Failed", "Succeeded"] {
        let mut world = World::new("Always", None);
        world.go();
        world.write_line();
        world.published.phase = Some(phase.to_owned());
        world.published.reason = Some("NodeLost".to_owned());
        world.settle();
        assert_eq!(world.kill_at("c"), Some(world.now + seconds(5)));
        assert!(world.tasks.iter().any(|task| is_line(task) && task.stop.is_none()), "a line goes on");
        let writes = world.writes;
        world.end_if(&End::Signaled { signal: Signal(15), core_dumped: false }, None, |task| !is_line(task));
        world.settle();
        assert_eq!((world.phase(), world.published.reason.as_deref()), (phase, Some("NodeLost")));
        assert_eq!(world.state().terminated.unwrap().exit_code, 143);
        assert_eq!((world.started.len(), world.writes, world.removed), (1, writes + 1, false));
    }
}

#[test]
fn the_signal_that_ends_a_container_is_told_where_the_pod_names_one() {
    let named = container_with("c", &json!({"lifecycle": {"stopSignal": "SIGIOT"}}));
    let mut world = World::of(json!({"containers": [named, container("d")]}));
    world.go();
    assert_eq!(world.status("c").stop_signal.as_deref(), Some("SIGABRT"));
    assert_eq!(world.status("d").stop_signal, None);
}

#[test]
fn a_pod_deleted_before_it_ran_goes_at_once() {
    let mut world = World::new("Never", None);
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    // Whoever holds the object by a finalizer has to hear that nothing of it will ever run.
    assert_eq!(world.published.phase.as_deref(), Some("Failed"));
    assert!(world.removed && world.started.is_empty() && world.writes == 1);
}

#[test]
fn a_container_whose_image_is_changed_is_run_again_as_that() {
    let spec = |image: &str| {
        json!({
            "restartPolicy": "Never", "containers": [container_with("c", &json!({"image": image})), container("d")],
        })
    };
    let mut world = World::of(spec("vk-cmd.io/host:1"));
    world.go();
    world.change(&spec("vk-cmd.io/host:2"));
    world.settle();
    assert!(world.kill_at("c").is_some() && world.kill_at("d").is_none());
    assert_eq!(world.status("c").image, "vk-cmd.io/host:1", "that is what runs");
    world.exit("c", 143);
    world.go();
    assert_eq!((world.active(), world.status("c").image.as_str()), (vec!["c", "d"], "vk-cmd.io/host:2"));
    assert_eq!((world.status("c").restart_count, world.kill_at("c")), (1, None));
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
    world.admitted = Err(unsupported());
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.deletion = Deletion::Asked { grace: SignedDuration::ZERO };
    world.settle();
    assert!(world.tasks[0].stop.is_some() && !world.removed);
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert!(world.removed);
}
