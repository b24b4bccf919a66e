//! What holds whatever happens, in whatever order: the laws of the operator's deciding code, tried on random histories.
//! More of them: PROPTEST_CASES=10000 cargo test -p vk-operator-core --test laws

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use vk_cmd_crds::State;
use vk_operator_core::status::finished_at;
use vk_operator_core::{NodeSeen, Step, attempts};
use world::{Crash, Eyes, World};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// The operator looks at the job.
    Look,
    /// The operator looks at the job with a cache that is behind.
    DimLook(Eyes),
    /// The operator carries out its steps and is killed before it reports.
    Crash,
    NodeStarts,
    ProcessEnds(i32),
    /// Nobody knows how.
    ProcessIsLost,
    NodeEnds,
    NodeEndsAndLetsGo,
    Suspend(bool),
    Node(NodeSeen),
    Pass(i64),
    /// Somebody deletes the pods that the status lists.
    PodsDeleted,
    JobDeleted,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Look),
        2 => prop_oneof![Just(Eyes::Behind), Just(Eyes::Shut)].prop_map(Event::DimLook),
        2 => Just(Event::Crash),
        4 => Just(Event::NodeStarts),
        3 => prop_oneof![Just(0), Just(1), Just(5)].prop_map(Event::ProcessEnds),
        1 => Just(Event::ProcessIsLost),
        2 => Just(Event::NodeEnds),
        2 => Just(Event::NodeEndsAndLetsGo),
        2 => any::<bool>().prop_map(Event::Suspend),
        2 => prop_oneof![
            Just(NodeSeen::Ready),
            Just(NodeSeen::Missing),
            Just(NodeSeen::Cordoned),
            Just(NodeSeen::NotReady(None))
        ].prop_map(Event::Node),
        3 => (0_i64..100).prop_map(Event::Pass),
        1 => Just(Event::PodsDeleted),
        1 => Just(Event::JobDeleted),
    ]
}

fn spec() -> impl Strategy<Value = String> {
    (0..4, proptest::option::of(1..200), any::<bool>()).prop_map(|(limit, deadline, suspend)| {
        let deadline = deadline.map(|s| format!("  activeDeadlineSeconds: {s}\n")).unwrap_or_default();
        format!("  script: echo hello\n  backoffLimit: {limit}\n  suspend: {suspend}\n{deadline}")
    })
}

fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    match event {
        Event::Look => {
            look(world, Eyes::Open, Crash::Never)?;
            let alive = world.alive();
            let suspended = world.status().state == Some(State::Suspended);
            prop_assert!(!suspended || alive.is_empty(), "Suspended, but {alive:?} is alive");
        }
        Event::DimLook(eyes) => look(world, *eyes, Crash::Never)?,
        Event::Crash => look(world, Eyes::Open, Crash::BeforeReport)?,
        Event::NodeStarts => world.node_starts(),
        Event::ProcessEnds(code) => world.process_ends(*code),
        Event::ProcessIsLost => world.process_ends_as(137, None, "ContainerStatusUnknown"),
        Event::NodeEnds => world.node_ends(),
        Event::NodeEndsAndLetsGo => world.node_ends_and_lets_go(),
        Event::Suspend(suspend) => world.edit(|job| job.spec.suspend = *suspend),
        Event::Node(node) => world.node = node.clone(),
        Event::Pass(seconds) => world.pass(*seconds),
        // Between the creation of a pod and the write of the status there is a moment in which nobody would know of a pod
        // that vanishes; what the design does about that moment is to make it short.
        Event::PodsDeleted => {
            let listed: BTreeSet<_> = world.status().attempts.into_iter().map(|a| a.pod).collect();
            if world.pods.keys().all(|name| listed.contains(name)) {
                world.delete_pods();
            }
        }
        Event::JobDeleted => {
            let now = world.now;
            world.edit(|job| {
                job.metadata.deletion_timestamp.get_or_insert(now.into());
            });
        }
    }
    Ok(())
}

/// A look, with what must hold of every plan.
fn look(world: &mut World, eyes: Eyes, crash: Crash) -> Result<(), TestCaseError> {
    let Some(job) = world.job.clone() else { return Ok(()) };
    let finished = finished_at(&world.status()).is_some();
    let alive = world.alive();
    let Some(plan) = world.look(eyes, crash) else { return Ok(()) };
    for step in &plan.steps {
        if let Step::CreatePod { pod, .. } = step {
            let name = pod.metadata.name.as_deref().unwrap();
            prop_assert!(!finished, "creates a pod though the job is finished");
            prop_assert!(!job.spec.suspend, "creates a pod though the job is suspended");
            prop_assert!(job.metadata.deletion_timestamp.is_none(), "creates a pod though the job is being deleted");
            prop_assert!(alive.iter().all(|other| other == name), "creates {name} though {alive:?} is alive");
        }
    }
    Ok(())
}

/// What must hold at every moment.
fn check(world: &World) -> Result<(), TestCaseError> {
    let alive = world.alive();
    prop_assert!(alive.len() <= 1, "two live pods: {alive:?}");
    let names: BTreeSet<_> = world.made.iter().collect();
    prop_assert_eq!(names.len(), world.made.len(), "a name was used twice: {:?}", world.made);
    let status = world.status();
    if status.state == Some(State::Complete) {
        prop_assert!(world.exits.contains(&0), "Complete, but no process ended with 0");
    }
    Ok(())
}

/// 400 histories take some seconds; PROPTEST_CASES has the last word.
fn config() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 400, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens(spec in spec(), events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(&spec);
        let mut suspensions = 0;
        let by_hand = events.iter().any(|event| matches!(event, Event::PodsDeleted | Event::JobDeleted));
        for event in &events {
            happen(&mut world, event)?;
            suspensions += usize::from(matches!(event, Event::Suspend(true)));
            check(&world)?;
        }
        let limit = world.job.as_ref().map_or(0, |job| usize::try_from(job.spec.backoff_limit).unwrap());
        prop_assert!(world.made.len() <= 1 + limit + suspensions, "too many pods: {:?}", world.made);

        // Whoever shall end is told so.
        world.settle();
        let told = |name: &String| world.pods[name].metadata.deletion_timestamp.is_some();
        let status = world.status();
        let must = matches!(status.reason.as_deref(), Some("Suspending" | "DeadlineExceeded"));
        prop_assert!(!must || world.alive().iter().all(told), "{:?} is not told to end: {status:?}", world.alive());

        // From now on everybody does what is expected of them, and the world must come to rest.
        world.node = NodeSeen::Ready;
        world.edit(|job| job.spec.suspend = false);
        for _ in 0..20 {
            let pause = world.settle();
            check(&world)?;
            world.node_ends();
            world.node_ends_and_lets_go();
            world.node_starts();
            world.process_ends(1);
            if let Some(pause) = pause {
                world.pass(pause.as_secs() + 1);
            }
        }
        let state = world.status().state;
        let deleted = world.job.as_ref().is_none_or(|job| job.metadata.deletion_timestamp.is_some());
        prop_assert!(
            deleted || matches!(state, Some(State::Complete | State::Failed)),
            "not finished, but {state:?}: {:?}", world.status()
        );
        prop_assert!(deleted || world.alive().is_empty(), "finished, but {:?} is alive", world.alive());
        for attempt in world.status().attempts {
            let deleted = attempt.reason.as_deref() == Some(attempts::POD_DELETED);
            prop_assert!(by_hand || !deleted, "takes its own doing for somebody else's: {attempt:?}");
        }
        let writes = world.writes;
        prop_assert_eq!(world.settle(), None);
        prop_assert_eq!(world.writes, writes, "writes though nothing has happened");
    }
}
