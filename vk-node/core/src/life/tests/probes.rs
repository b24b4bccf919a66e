//! What probes say of a container, and what comes of it.

use super::*;
use crate::facts::Probe;

fn probed(name: &str, kinds: &[&str]) -> Value {
    let mut container = container(name);
    for kind in kinds {
        container[*kind] = json!({"exec": {"command": ["probe"]}, "terminationGracePeriodSeconds": null});
    }
    container
}

fn world(policy: &str, kinds: &[&str]) -> World {
    World::of(json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 30, "containers": [probed("c", kinds)],
    }))
}

fn failure() -> Probe {
    Probe::Failure { message: "no answer".into() }
}

impl World {
    fn tell(&mut self, container: &str, restart: u32, startup: Probe, liveness: Probe, readiness: Probe) {
        self.probed.insert(container.into(), Probed { restart, startup, liveness, readiness });
    }
}

#[test]
fn a_container_is_started_and_ready_as_its_probes_say() {
    let mut world = world("Always", &["startupProbe", "readinessProbe"]);
    world.go();
    assert_eq!((world.status("c").started, world.status("c").ready), (Some(false), false));
    world.tell("c", 0, Probe::Success, Probe::Unknown, Probe::Unknown);
    world.settle();
    assert_eq!((world.status("c").started, world.status("c").ready), (Some(true), false));
    assert_eq!(world.condition("Ready"), ("False", "ContainersNotReady", "containers with unready status: [c]"));
    world.tell("c", 0, Probe::Success, Probe::Unknown, Probe::Success);
    world.settle();
    assert_eq!((world.status("c").ready, world.condition("Ready").0), (true, "True"));
    world.tell("c", 0, Probe::Success, Probe::Unknown, failure());
    world.settle();
    assert_eq!((world.status("c").ready, world.phase()), (false, "Running"));
    assert!(world.kill_at("c").is_none(), "nothing is killed for not being ready");
}

#[test]
fn a_restarted_node_believes_what_was_published() {
    let mut world = world("Always", &["startupProbe", "readinessProbe", "livenessProbe"]);
    world.go();
    world.tell("c", 0, Probe::Success, Probe::Success, Probe::Success);
    world.settle();
    let (before, writes) = (world.published.clone(), world.writes);
    world.restart_node();
    world.settle();
    assert_eq!((&world.published, world.writes), (&before, writes));
    assert!(world.kill_at("c").is_none());
}

#[test]
fn a_new_run_begins_with_nothing_said() {
    let mut world = world("Always", &["readinessProbe"]);
    world.go();
    world.tell("c", 0, Probe::Unknown, Probe::Unknown, Probe::Success);
    world.settle();
    world.exit("c", 1);
    world.go();
    assert_eq!((world.status("c").restart_count, world.status("c").ready), (1, false));
}

#[test]
fn a_container_that_is_not_alive_is_ended_and_run_again() {
    for (policy, runs) in [("Always", 2), ("OnFailure", 2), ("Never", 1)] {
        let mut world = world(policy, &["livenessProbe"]);
        world.go();
        world.tell("c", 0, Probe::Unknown, failure(), Probe::Unknown);
        world.settle();
        let stop = world.tasks[0].stop.clone().unwrap();
        assert_eq!(stop.reason, "Liveness probe failed: no answer");
        assert_eq!(stop.kill_at, world.now + seconds(30));
        // It takes its leave in an orderly way.
        world.exit("c", 0);
        world.go();
        assert_eq!(world.started.len(), runs, "{policy}");
        let last = if runs == 2 { world.status("c").last_state.clone() } else { world.status("c").state.clone() };
        let message = last.unwrap().terminated.unwrap().message;
        assert_eq!(message.as_deref(), Some("Liveness probe failed: no answer"), "{policy}");
    }
}

#[test]
fn a_run_that_was_ended_for_a_probe_is_run_again_although_its_records_are_gone() {
    let mut world = world("OnFailure", &["livenessProbe"]);
    world.go();
    world.exit("c", 1);
    world.go();
    world.tell("c", 1, Probe::Unknown, failure(), Probe::Unknown);
    world.settle();
    world.exit("c", 0);
    let due = world.settle().unwrap();
    world.collect();
    world.settle();
    world.now = due;
    world.go();
    assert_eq!((world.active(), world.status("c").restart_count), (vec!["c"], 2));
}

#[test]
fn a_probe_may_have_a_grace_of_its_own() {
    let mut container = probed("c", &["startupProbe"]);
    container["startupProbe"]["terminationGracePeriodSeconds"] = json!(3);
    let mut world = World::of(json!({"terminationGracePeriodSeconds": 30, "containers": [container]}));
    world.go();
    world.tell("c", 0, failure(), Probe::Unknown, Probe::Unknown);
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(3)));
    assert!(world.tasks[0].stop.as_ref().unwrap().reason.starts_with("Startup probe failed"));
}

#[test]
fn a_sidecars_startup_probe_holds_the_next_one_up() {
    let mut sidecar = probed("s", &["startupProbe"]);
    sidecar["restartPolicy"] = json!("Always");
    let mut world = World::of(json!({"initContainers": [sidecar], "containers": [container("c")]}));
    world.go();
    assert_eq!(world.active(), ["s"]);
    world.tell("s", 0, Probe::Success, Probe::Unknown, Probe::Unknown);
    world.go();
    assert_eq!(world.active(), ["c", "s"]);
}
