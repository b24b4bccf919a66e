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
use vk_operator_core::PodSeen;
use vk_operator_core::place::NodeState;
use vk_operator_core::status::finished_at;
use world::{Crash, Eyes, World};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// The operator looks at the job.
    Look,
    /// The operator looks at the job with a cache that is behind.
    DimLook,
    /// The operator carries out its steps and is killed before it reports.
    Crash,
    NodeStarts,
    ProcessEnds(i32),
    /// Nobody knows how.
    ProcessIsLost,
    NodeEnds,
    NodeEndsAndLetsGo,
    Suspend(bool),
    Node(Option<NodeState>),
    Parallelism(i32),
    IndexEnds(u32, i32),
    Pass(i64),
    /// Somebody deletes the pods that the status lists.
    PodsDeleted,
    JobDeleted,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Look),
        2 => Just(Event::DimLook),
        2 => Just(Event::Crash),
        4 => Just(Event::NodeStarts),
        3 => prop_oneof![Just(0), Just(1), Just(5)].prop_map(Event::ProcessEnds),
        1 => Just(Event::ProcessIsLost),
        2 => Just(Event::NodeEnds),
        2 => Just(Event::NodeEndsAndLetsGo),
        2 => any::<bool>().prop_map(Event::Suspend),
        2 => prop_oneof![
            Just(Some(NodeState::Ready)),
            Just(None),
            Just(Some(NodeState::Cordoned)),
            Just(Some(NodeState::NotReady { why: None, since: None }))
        ].prop_map(Event::Node),
        1 => (0_i32..4).prop_map(Event::Parallelism),
        3 => (0_u32..4, prop_oneof![Just(0), Just(1), Just(5)]).prop_map(|(index, code)| Event::IndexEnds(index, code)),
        3 => (0_i64..100).prop_map(Event::Pass),
        1 => Just(Event::PodsDeleted),
        1 => Just(Event::JobDeleted),
    ]
}

fn spec() -> impl Strategy<Value = String> {
    let counts = prop_oneof![
        2 => Just(String::new()),
        1 => (0..4, 0..4).prop_map(|(n, p)| format!("  completions: {n}\n  parallelism: {p}\n")),
        1 => (0..4).prop_map(|p| format!("  parallelism: {p}\n")),
        2 => (0..4, 0..4, proptest::option::of(0..2)).prop_map(|(n, p, limit)| {
            let limit = limit.map(|limit| format!("  backoffLimitPerIndex: {limit}\n")).unwrap_or_default();
            format!("  completions: {n}\n  parallelism: {p}\n  completionMode: Indexed\n{limit}")
        }),
    ];
    let policy = prop_oneof![
        3 => Just(""),
        1 => Just("  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [5]}}]}\n"),
        1 => Just("  podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: In, values: [5]}}]}\n"),
    ];
    (0..4, proptest::option::of(1..200), any::<bool>(), any::<bool>(), counts, policy).prop_map(
        |(limit, deadline, suspend, retry, counts, policy)| {
            let deadline = deadline.map(|s| format!("  activeDeadlineSeconds: {s}\n")).unwrap_or_default();
            let unknown = if retry { "  onUnknown: Retry\n" } else { "" };
            format!("  script: x\n  backoffLimit: {limit}\n  suspend: {suspend}\n{deadline}{counts}{policy}{unknown}")
        },
    )
}

fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    match event {
        Event::Look => {
            look(world, Eyes::Open, Crash::Never)?;
            let alive = world.alive();
            let suspended = world.status().state == Some(State::Suspended);
            prop_assert!(!suspended || alive.is_empty(), "Suspended, but {alive:?} is alive");
        }
        Event::DimLook => look(world, Eyes::Behind, Crash::Never)?,
        Event::Crash => look(world, Eyes::Open, Crash::BeforeReport)?,
        Event::NodeStarts => world.node_starts(),
        Event::ProcessEnds(code) => world.process_ends(*code),
        Event::ProcessIsLost => world.process_ends_as(137, None, "ContainerStatusUnknown"),
        Event::NodeEnds => world.node_ends(),
        Event::NodeEndsAndLetsGo => world.node_ends_and_lets_go(),
        Event::Suspend(suspend) => world.edit(|job| job.spec.suspend = *suspend),
        Event::Node(node) => world.node(node.clone()),
        Event::Parallelism(n) => world.edit(|job| job.spec.parallelism = Some(*n)),
        Event::IndexEnds(index, code) => world.index_ends(*index, *code),
        Event::Pass(seconds) => world.pass(*seconds),
        Event::PodsDeleted => world.delete_pods(),
        Event::JobDeleted => world.delete_job(),
    }
    Ok(())
}

/// A look, with what must hold of every plan.
fn look(world: &mut World, eyes: Eyes, crash: Crash) -> Result<(), TestCaseError> {
    let Some(job) = world.job.clone() else { return Ok(()) };
    let finished = finished_at(&world.status()).is_some();
    let Some(plan) = world.look(eyes, crash) else { return Ok(()) };
    // A look asks for another one only when time will have changed something: else there would be no end of them.
    prop_assert!(plan.look_again.is_none_or(|pause| pause.is_positive()), "looks again at once: {plan:?}");
    if !plan.starts.is_empty() {
        prop_assert!(!finished, "creates a pod though the job is finished");
        prop_assert!(!job.spec.suspend, "creates a pod though the job is suspended");
        prop_assert!(job.metadata.deletion_timestamp.is_none(), "creates a pod though the job is being deleted");
    }
    Ok(())
}

/// What must hold at every moment.
fn check(world: &World) -> Result<(), TestCaseError> {
    let alive = world.alive();
    let indexes: BTreeSet<u32> = alive.iter().map(|name| PodSeen::of(&world.pods[name]).unwrap().index).collect();
    prop_assert_eq!(indexes.len(), alive.len(), "two live pods of one index: {:?}", alive);
    let names: BTreeSet<_> = world.made.iter().collect();
    prop_assert_eq!(names.len(), world.made.len(), "an attempt was made twice: {:?}", world.made);
    let status = world.status();
    if status.state == Some(State::Complete) && world.job.as_ref().is_some_and(|job| job.spec.completions != Some(0)) {
        prop_assert!(world.exits.iter().any(|(_, code)| *code == 0), "Complete, but no process ended with 0");
    }
    let successes: BTreeSet<u32> = world.exits.iter().filter(|(_, code)| *code == 0).map(|(index, _)| *index).collect();
    prop_assert!(
        usize::try_from(status.succeeded).unwrap() <= successes.len(),
        "{} succeeded of {successes:?}",
        status.succeeded
    );
    prop_assert!(
        usize::try_from(status.failed).unwrap() <= world.made.len(),
        "{} failed of {:?}",
        status.failed,
        world.made
    );
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
        for event in &events {
            happen(&mut world, event)?;
            check(&world)?;
        }

        // Whoever shall end is told so.
        world.settle();
        let told = |name: &String| world.pods[name].metadata.deletion_timestamp.is_some();
        let status = world.status();
        let must = matches!(status.reason.as_deref(), Some("Suspending" | "DeadlineExceeded"));
        prop_assert!(!must || world.alive().iter().all(told), "{:?} is not told to end: {status:?}", world.alive());

        // From now on everybody does what is expected of them, and the world must come to rest.
        world.node(Some(NodeState::Ready));
        world.edit(|job| {
            job.spec.suspend = false;
            job.spec.parallelism = job.spec.parallelism.map(|_| 4);
        });
        for _ in 0..40 {
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
        if world.job.is_none() {
            // Nobody is left who would let them go; nothing may need it.
            prop_assert!(world.pods.is_empty(), "left behind: {:?}", world.pods.keys());
            return Ok(());
        }
        let writes = world.writes;
        prop_assert_eq!(world.settle(), None);
        prop_assert_eq!(world.writes, writes, "writes though nothing has happened");
    }
}
