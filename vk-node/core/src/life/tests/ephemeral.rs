//! Ephemeral containers: once, at any time, and without a say.

use super::*;

fn with(ephemeral: &[Value]) -> Value {
    json!({"restartPolicy": "Never", "containers": [container("c")], "ephemeralContainers": ephemeral})
}

#[test]
fn one_is_started_when_it_appears_and_ends_with_the_pod() {
    let mut world = World::of(with(&[]));
    world.go();
    world.change(&with(&[container("debug")]));
    world.go();
    assert_eq!(world.active(), ["c", "debug"]);
    assert_eq!(world.published.observed_generation, Some(2));
    let status = world.status("debug");
    assert!(status.state.as_ref().unwrap().running.is_some() && status.started.is_none() && !status.ready);
    assert_eq!(world.condition("Ready").0, "True", "it has no say");
    world.exit("c", 0);
    world.settle();
    assert!(world.kill_at("debug").is_some());
    world.exit("debug", 1);
    world.settle();
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn it_is_not_run_again() {
    let mut world = World::of(with(&[container("debug")]));
    world.go();
    world.exit("debug", 1);
    world.settle();
    world.collect();
    world.pass(1000);
    world.settle();
    assert_eq!((world.active(), world.phase()), (vec!["c"], "Running"));
    assert_eq!(world.published.ephemeral_container_statuses.as_ref().unwrap().len(), 1);
}

#[test]
fn one_does_not_wait_for_init_containers() {
    let mut spec = with(&[container("debug")]);
    spec["initContainers"] = json!([container("a")]);
    let mut world = World::of(spec);
    world.go();
    assert_eq!(world.active(), ["a", "debug"]);
}

#[test]
fn one_that_cannot_be_run_says_why_and_harms_nobody() {
    let mut world = World::of(with(&[]));
    world.go();
    world.change(&with(&[json!({"name": "debug", "image": "busybox"})]));
    world.settle();
    let waiting = world.status("debug").state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("UnsupportedPodSpec"));
    assert!(waiting.message.unwrap().starts_with("spec.ephemeralContainers[0].command"));
    world.exit("c", 0);
    world.settle();
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn one_that_is_denied_does_not_fail_the_pod() {
    let mut world = World::of(with(&[]));
    world.go();
    world.denies = true;
    world.change(&with(&[container("debug")]));
    world.settle();
    assert_eq!((world.active(), world.phase()), (vec!["c"], "Running"));
    let waiting = world.status("debug").state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("DeniedBySitePolicy"));
}
