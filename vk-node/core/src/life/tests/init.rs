//! The order of containers: init containers, sidecars, main containers, and what becomes of sidecars at the end.

use super::*;

/// `a`, the sidecar `s`, `b`, then the main containers `c` and `d`.
fn world(policy: &str) -> World {
    World::of(json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 30,
        "initContainers": [container("a"), sidecar("s"), container("b")],
        "containers": [container("c"), container("d")],
    }))
}

/// The same, with its main containers running.
fn initialised(policy: &str) -> World {
    let mut world = world(policy);
    world.go();
    world.exit("a", 0);
    world.go();
    world.go();
    world.exit("b", 0);
    world.go();
    assert_eq!(world.active(), ["c", "d", "s"]);
    world
}

#[test]
fn each_comes_in_its_turn() {
    let mut world = world("Never");
    world.go();
    assert_eq!((world.active(), world.phase()), (vec!["a"], "Pending"));
    assert_eq!(world.status("c").state.clone().unwrap().waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
    assert_eq!(
        world.condition("Initialized"),
        ("False", "ContainersNotInitialized", "containers with incomplete status: [a s b]")
    );
    world.exit("a", 0);
    world.settle();
    assert_eq!(world.active(), ["s"]);
    world.open_gate();
    world.settle();
    assert_eq!(world.active(), ["b", "s"], "a sidecar without a probe is up when it runs");
    world.open_gate();
    world.settle();
    assert!(world.status("a").ready && world.status("s").started == Some(true) && !world.status("b").ready);
    world.exit("b", 0);
    world.go();
    assert_eq!((world.active(), world.phase()), (vec!["c", "d", "s"], "Running"));
    assert_eq!(world.condition("Initialized"), ("True", "", ""));
    assert_eq!(world.condition("Ready"), ("True", "", ""));
}

#[test]
fn a_failed_init_container_fails_the_pod_and_ends_the_sidecars() {
    let mut world = world("Never");
    world.go();
    world.exit("a", 0);
    world.go();
    world.go();
    world.exit("b", 7);
    world.settle();
    assert_eq!((world.active(), world.phase()), (vec!["s"], "Pending"));
    assert_eq!(world.kill_at("s"), Some(world.now + seconds(30)));
    world.exit("s", 0);
    world.settle();
    assert_eq!((world.phase(), world.started.len()), ("Failed", 3));
    assert_eq!(world.status("b").state.clone().unwrap().terminated.unwrap().exit_code, 7);
    assert_eq!(world.condition("Initialized").0, "False");
    assert!(!world.status("c").ready && world.status("c").container_id.is_none());
}

#[test]
fn a_failed_init_container_is_run_again_with_back_off() {
    let mut world = world("Always");
    world.go();
    world.exit("a", 1);
    world.go();
    world.exit("a", 1);
    let due = world.settle().unwrap();
    assert_eq!((due, world.active()), (world.now + seconds(10), vec![]));
    let waiting = world.status("a").state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(waiting.message.as_deref(), Some("back-off 10s restarting failed container=a pod=p_n(u)"));
    assert_eq!((world.status("a").restart_count, world.phase()), (1, "Pending"));
    world.now = due;
    world.go();
    world.exit("a", 0);
    world.go();
    assert_eq!(world.active(), ["b", "s"], "a success is one, whatever the policy");
}

#[test]
fn sidecars_are_run_again_while_the_pod_lives() {
    let mut world = world("Never");
    world.go();
    world.exit("a", 0);
    world.go();
    world.go();
    world.exit("s", 0);
    world.go();
    assert_eq!(world.active(), ["b", "s"], "also while init goes on");
    assert_eq!(world.status("s").restart_count, 1);
    world.exit("b", 0);
    world.go();
    world.exit("s", 3);
    let due = world.settle().unwrap();
    assert_eq!((due, world.active()), (world.now + seconds(10), vec!["c", "d"]));
    assert_eq!((world.phase(), world.condition("Initialized").0), ("Running", "True"));
    assert_eq!(world.condition("Ready"), ("False", "ContainersNotReady", "containers with unready status: [s]"));
    world.now = due;
    world.go();
    assert_eq!(world.active(), ["c", "d", "s"]);
}

#[test]
fn sidecars_end_after_the_main_containers_and_have_no_say() {
    let mut world = initialised("OnFailure");
    world.exit("c", 0);
    world.settle();
    assert_eq!(world.kill_at("s"), None, "d runs");
    world.exit("d", 0);
    world.settle();
    assert_eq!(world.kill_at("s"), Some(world.now + seconds(30)));
    assert_eq!(world.phase(), "Running");
    world.exit("s", 143);
    world.settle();
    assert_eq!((world.phase(), world.condition("Ready").1), ("Succeeded", "PodCompleted"));
    assert_eq!(world.condition("Initialized"), ("True", "PodCompleted", ""));
    assert_eq!(world.status("s").state.clone().unwrap().terminated.unwrap().exit_code, 143);
    assert!(world.tasks.iter().all(|task| task.reported));
}

#[test]
fn sidecars_of_a_deleted_pod_end_one_by_one_from_the_last() {
    let mut world = World::of(json!({
        "terminationGracePeriodSeconds": 30, "initContainers": [sidecar("s"), sidecar("t")], "containers": [container("c")],
    }));
    for _ in 0..3 {
        world.go();
    }
    assert_eq!(world.active(), ["c", "s", "t"]);
    let kill_at = world.now + seconds(30);
    world.deletion = Deletion::Asked { grace: seconds(30) };
    assert_eq!(world.settle(), Some(kill_at));
    assert_eq!((world.kill_at("c"), world.kill_at("s"), world.kill_at("t")), (Some(kill_at), None, None));
    world.pass(5);
    world.exit("c", 0);
    world.settle();
    assert_eq!((world.kill_at("s"), world.kill_at("t")), (None, Some(kill_at)), "the grace is that of all");
    world.now = kill_at;
    world.settle();
    assert_eq!(world.kill_at("s"), Some(world.now + seconds(2)), "its time has come, whoever else still runs");
    world.exit("t", 0);
    world.exit("s", 0);
    world.settle();
    assert!(world.removed);
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn a_deadline_ends_the_sidecars_too() {
    let mut world = World::of(json!({
        "restartPolicy": "Never", "activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5,
        "initContainers": [sidecar("s")], "containers": [container("c")],
    }));
    world.go();
    world.go();
    world.pass(60);
    world.settle();
    world.exit("c", 0);
    world.settle();
    assert_eq!(world.kill_at("s"), Some(world.now + seconds(5)));
    world.exit("s", 0);
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
}

#[test]
fn a_deadline_may_be_moved() {
    let with = |deadline: u32| {
        json!({
            "restartPolicy": "Never", "activeDeadlineSeconds": deadline, "containers": [container("c")],
        })
    };
    let mut world = World::of(with(600));
    world.go();
    world.pass(10);
    world.change(&with(5));
    world.settle();
    assert!(world.kill_at("c").is_some());
}

#[test]
fn what_was_done_before_the_main_containers_is_not_done_again_when_its_records_are_gone() {
    let mut world = initialised("Always");
    world.settle();
    world.collect();
    // Not even the status tells of them.
    world.published.init_container_statuses = None;
    world.tasks.retain(|task| task.id.as_str() != "u_s_0");
    world.started.remove(&TaskId::new("u_s_0".to_owned()).unwrap());
    world.go();
    assert_eq!(world.active(), ["c", "d", "s"]);
}

#[test]
fn a_containers_own_policy_and_rules_come_first() {
    let mut world = World::of(json!({
        "restartPolicy": "Never",
        "containers": [
            container_with("c", &json!({
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            })),
            container_with("d", &json!({"restartPolicy": "OnFailure"})),
        ],
    }));
    world.go();
    world.exit("c", 42);
    world.exit("d", 1);
    world.go();
    assert_eq!(world.active(), ["c", "d"]);
    world.exit("c", 1);
    world.exit("d", 0);
    world.settle();
    assert_eq!((world.phase(), world.started.len()), ("Failed", 4));
}
