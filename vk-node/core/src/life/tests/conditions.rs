//! What the status tells of the pod as a whole, and the last words of its containers.

use k8s_openapi::api::core::v1::PodCondition;

use vk_task::MountNamespaces;

use super::*;
use crate::facts::SiteUser;

#[test]
fn readiness_gates_are_waited_for() {
    let mut world = World::of(json!({
        "containers": [container("c")], "readinessGates": [{"conditionType": "example.org/lb"}],
    }));
    world.go();
    assert_eq!(world.condition("ContainersReady").0, "True");
    let missing = "corresponding condition of pod readiness gate \"example.org/lb\" does not exist.";
    assert_eq!(world.condition("Ready"), ("False", "ReadinessGatesNotReady", missing));
    let gate = |status: &str| PodCondition {
        type_: "example.org/lb".into(),
        status: status.into(),
        ..PodCondition::default()
    };
    world.published.conditions.as_mut().unwrap().push(gate("False"));
    world.settle();
    let not_true = "the status of pod readiness gate \"example.org/lb\" is not \"True\", but False";
    assert_eq!(world.condition("Ready"), ("False", "ReadinessGatesNotReady", not_true));
    *world.published.conditions.as_mut().unwrap().last_mut().unwrap() = gate("True");
    world.pass(100);
    world.settle();
    assert_eq!(world.condition("Ready").0, "True");
}

#[test]
fn conditions_carry_the_generation_and_the_time_of_their_last_change() {
    let spec = |deadline: u32| json!({"activeDeadlineSeconds": deadline, "containers": [container("c")]});
    let mut world = World::of(spec(1000));
    world.go();
    let began = world.now;
    world.pass(100);
    world.change(&spec(2000));
    world.settle();
    assert_eq!(world.published.observed_generation, Some(2));
    for condition in world.published.conditions.as_ref().unwrap() {
        assert_eq!(condition.observed_generation, Some(2), "{condition:?}");
        assert_eq!(condition.last_transition_time.as_ref().unwrap().0, began, "{condition:?}");
    }
}

#[test]
fn the_class_of_service_is_left_as_the_api_server_wrote_it() {
    let mut world = World::new("Never", None);
    world.go();
    assert_eq!(world.published.qos_class.as_deref(), Some("BestEffort"));
    let mut world = World::new("Never", None);
    world.published.qos_class = Some("Burstable".into());
    world.go();
    assert_eq!(world.published.qos_class.as_deref(), Some("Burstable"));
}

#[test]
fn the_program_has_the_last_word_unless_there_is_something_to_explain() {
    for (exceeded, message) in
        [(None, "my last words"), (Some(LimitKind::Memory), "the task was ended because it exceeded its memory limit")]
    {
        let mut world = World::new("Never", None);
        world.go();
        world.tasks[0].termination_message = Some("my last words".into());
        world.end_if(&End::Exited { code: 1 }, exceeded, |_| true);
        world.settle();
        let told = world.state().terminated.unwrap().message.unwrap();
        assert!(told.starts_with(message) || exceeded.is_some() && told.contains("exceeded"), "{told}");
    }
}

#[test]
fn all_containers_share_what_a_pod_may_say() {
    let containers: Vec<Value> = (0..6).map(|n| container(&format!("c{n}"))).collect();
    let mut world = World::of(json!({"restartPolicy": "Never", "containers": containers}));
    world.go();
    for task in &mut world.tasks {
        task.termination_message = Some("ü".repeat(2000));
    }
    world.end(&End::Exited { code: 1 });
    world.settle();
    for status in all_published(&world.published) {
        let message = status.state.clone().unwrap().terminated.unwrap().message.unwrap();
        assert_eq!(message.len(), 2048);
    }
}

#[test]
fn a_pod_is_pending_until_all_main_containers_have_begun() {
    let mut world = World::with_two_containers("Always");
    let retry_at = world.now + seconds(5);
    let message = "secret \"s\" not found".to_owned();
    let trouble = Trouble { reason: "CreateContainerConfigError".into(), message, retry: Retry::At(retry_at) };
    world.troubles.insert("d".into(), trouble);
    world.go();
    assert_eq!((world.active(), world.phase()), (vec!["c"], "Pending"));
    world.troubles.clear();
    world.go();
    assert_eq!(world.phase(), "Running");
}

#[test]
fn resources_are_told_as_they_were_asked_for() {
    let resources = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
    let mut world = World::of(json!({"containers": [container_with("c", &json!({"resources": resources}))]}));
    world.go();
    let status = world.status("c");
    assert_eq!(status.resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0, "1");
    assert_eq!(status.allocated_resources.as_ref().unwrap()["cpu"].0, "500m");
    // What is asked for later, the next run is given.
    let more = json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}});
    world.change(&json!({"containers": [container_with("c", &json!({"resources": more}))]}));
    world.settle();
    assert_eq!(world.status("c").allocated_resources.as_ref().unwrap()["cpu"].0, "500m");
    world.exit("c", 1);
    world.go();
    assert_eq!(world.status("c").allocated_resources.as_ref().unwrap()["cpu"].0, "2");
}

#[test]
fn a_resize_waits_for_the_next_run_and_says_so() {
    let spec = |cpu: &str| {
        let limits = json!({"resources": {"limits": {"cpu": cpu, "memory": "1Gi"}}});
        json!({"restartPolicy": "Always", "containers": [container_with("c", &limits), container("d")]})
    };
    let mut world = World::of(spec("1"));
    world.go();
    let pending = |world: &World| {
        let all = world.published.conditions.clone().unwrap();
        let found = all.into_iter().find(|condition| condition.type_ == "PodResizePending");
        found.map(|condition| (condition.status, condition.reason.unwrap(), condition.message.unwrap()))
    };
    assert_eq!(pending(&world), None);
    world.change(&spec("2"));
    world.settle();
    let (status, reason, message) = pending(&world).unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Deferred"));
    assert!(message.ends_with("with the old: c"), "{message}");
    let limit = |world: &World| world.status("c").resources.clone().unwrap().limits.unwrap()["cpu"].0.clone();
    assert_eq!(limit(&world), "1");
    // It is settled by a run with the new, and by a change back.
    world.change(&spec("1"));
    world.settle();
    assert_eq!(pending(&world), None);
    world.change(&spec("2"));
    world.settle();
    world.exit("c", 1);
    world.go();
    assert_eq!((pending(&world), limit(&world).as_str()), (None, "2"));
}

#[test]
fn mounts_and_the_user_are_told_as_the_kubelet_does() {
    let mounts = json!([{"name": "v", "mountPath": "a"}, {"name": "v", "mountPath": "/b", "readOnly": true}]);
    let spec = json!({
        "containers": [container_with("c", &json!({"volumeMounts": mounts}))], "volumes": [{"name": "v", "emptyDir": {}}],
    });
    let node = NodeFacts {
        user: SiteUser::Known { uid: 7, gid: 8 },
        groups: vec![8, 9],
        mount_namespaces: MountNamespaces::Available,
        ..NodeFacts::default()
    };
    let mut world = World { node, ..World::of(json!({"containers": [container("c")]})) };
    world.change(&spec);
    world.go();
    let status = world.status("c");
    let user = status.user.clone().unwrap().linux.unwrap();
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (7, 8, Some(vec![8, 9])));
    let told: Vec<_> = status.volume_mounts.iter().flatten().collect();
    let [a, b] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((a.mount_path.as_str(), a.read_only, a.recursive_read_only.as_deref()), ("a", None, None));
    assert_eq!(
        (b.mount_path.as_str(), b.read_only, b.recursive_read_only.as_deref()),
        ("/b", Some(true), Some("Disabled"))
    );
}
