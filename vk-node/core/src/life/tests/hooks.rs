//! `postStart` and `preStop`.

use super::*;

const POST: HookKind = HookKind::PostStart;
const PRE: HookKind = HookKind::PreStop;

fn hooked(name: &str, hook: &str) -> Value {
    container_with(name, &json!({"lifecycle": {hook: {"exec": {"command": ["hook"]}}}}))
}

fn world(policy: &str, containers: &[Value]) -> World {
    World::of(json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 30, "containers": containers}))
}

#[test]
fn a_container_has_not_come_up_before_its_post_start_is_done() {
    let mut world = world("Always", &[hooked("c", "postStart"), container("d")]);
    world.go();
    assert_eq!(world.active(), ["c"], "the next one waits");
    let status = world.status("c");
    assert!(status.state.as_ref().unwrap().running.is_some() && status.started == Some(false) && !status.ready);
    assert_eq!(world.phase(), "Pending");
    world.hook_ends("c", POST, None);
    world.go();
    assert_eq!((world.active(), world.phase()), (vec!["c", "d"], "Running"));
    assert!(world.status("c").ready);
}

#[test]
fn a_post_start_that_fails_ends_the_container() {
    let mut world = world("Always", &[hooked("c", "postStart")]);
    world.go();
    world.hook_ends("c", POST, Some("no"));
    world.settle();
    let stop = world.tasks[0].stop.clone().unwrap();
    assert_eq!((stop.reason.as_str(), stop.kill_at), ("FailedPostStartHook: no", world.now + seconds(30)));
    world.exit("c", 1);
    world.go();
    assert_eq!(world.status("c").restart_count, 1);
    assert!(matches!(world.hooks["c"], HookFacts { restart: 1, post_start: Hook::Running { .. }, .. }));
}

#[test]
fn a_restarted_node_does_a_post_start_again_only_where_it_may_not_have_been_done() {
    let mut world = world("Always", &[hooked("c", "postStart")]);
    world.go();
    world.restart_node();
    world.settle();
    assert!(matches!(world.hooks["c"].post_start, Hook::Running { .. }));
    world.hook_ends("c", POST, None);
    world.settle();
    let before = world.published.clone();
    world.restart_node();
    world.settle();
    assert!(world.hooks.is_empty() && world.published == before);
}

#[test]
fn a_pre_stop_comes_before_the_signal_and_within_the_grace() {
    let mut world = world("Always", &[hooked("c", "preStop"), container("d")]);
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    let kill_at = world.now + seconds(30);
    assert_eq!(world.settle(), Some(kill_at));
    assert_eq!((world.kill_at("c"), world.kill_at("d")), (None, Some(kill_at)));
    world.pass(20);
    world.hook_ends("c", PRE, Some("its failure changes nothing"));
    world.settle();
    assert_eq!(world.kill_at("c"), Some(kill_at));
}

#[test]
fn a_pre_stop_that_takes_too_long_is_not_waited_for() {
    let mut world = world("Always", &[hooked("c", "preStop")]);
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    world.pass(30);
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(2)));
    // What comes of it later is of no interest.
    world.pass(1);
    world.hook_ends("c", PRE, None);
    world.settle();
    world.exit("c", 0);
    world.settle();
    assert!(world.removed);
}

#[test]
fn without_a_grace_there_is_no_pre_stop() {
    let mut world = world("Always", &[hooked("c", "preStop")]);
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(0) };
    world.settle();
    assert!(world.hooks.is_empty());
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(2)));
}

#[test]
fn a_shorter_grace_cuts_a_pre_stop_short() {
    let mut world = world("Always", &[hooked("c", "preStop")]);
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    world.pass(10);
    world.deletion = Deletion::Asked { grace: seconds(5) };
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(2)));
}

#[test]
fn the_hooks_of_sidecars_are_done_at_once_and_their_signals_in_turn() {
    let mut sidecar = hooked("s", "preStop");
    sidecar["restartPolicy"] = json!("Always");
    let mut world = World::of(json!({
        "terminationGracePeriodSeconds": 30, "initContainers": [sidecar], "containers": [container("c")],
    }));
    world.go();
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    world.hook_ends("s", PRE, None);
    world.settle();
    assert_eq!(world.kill_at("s"), None, "the main container runs");
    world.exit("c", 0);
    world.settle();
    assert!(world.kill_at("s").is_some());
}

#[test]
fn a_pre_stop_in_progress_is_begun_again_by_a_restarted_node() {
    let mut world = world("Always", &[hooked("c", "preStop")]);
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(30) };
    world.settle();
    world.restart_node();
    world.settle();
    assert!(matches!(world.hooks["c"].pre_stop, Hook::Running { .. }));
    assert_eq!(world.kill_at("c"), None);
}
