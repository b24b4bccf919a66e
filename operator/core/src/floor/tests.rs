use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;

use super::*;
use crate::place::{About, Meant, NodeState};

const NOW: &str = "2026-01-02T03:04:05Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn amounts(text: &str) -> Amounts {
    let quantities: BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
        serde_yaml_ng::from_str(&format!("{{{text}}}")).unwrap();
    Amounts::read(&quantities)
}

fn node(allocatable: &str) -> NodeSeen {
    NodeSeen {
        labels: BTreeMap::from([(vk_cmd_crds::labels::FLEET.to_owned(), "f".to_owned())]),
        state: NodeState::Ready,
        allocatable: amounts(allocatable),
        ends: None,
        margin: jiff::SignedDuration::ZERO,
        is_ending: false,
        namespaces: vk_site::Rule::default(),
        terms: None,
        about: About::default(),
    }
}

fn floor(nodes: &[(&str, &str)]) -> Floor {
    let mut floor = Floor::default();
    floor.replace_nodes(nodes.iter().map(|(name, has)| ((*name).to_owned(), node(has))).collect());
    floor.settle(HashSet::new);
    floor
}

fn owner(namespace: &str, name: &str) -> Owner {
    Owner { namespace: namespace.into(), name: name.into(), uid: format!("{namespace}-{name}") }
}

fn demand(namespace: &str, asks: &str) -> Demand {
    Demand {
        namespace: namespace.into(),
        target: Meant::Fleet("f".into()),
        amounts: amounts(&format!("pods: 1{}{asks}", if asks.is_empty() { "" } else { ", " })),
        walltime: None,
    }
}

fn starts(count: u32) -> Vec<Start> {
    (0..count).map(|index| Start { index, attempt: 0, node: None }).collect()
}

/// A job asks for so many attempts. Says where they go, or why not, and who else is named.
fn ask(
    floor: &mut Floor,
    owner: &Owner,
    priority: i32,
    age: i64,
    count: u32,
    asks: &str,
) -> (Vec<Placed>, Vec<String>) {
    let created = now().checked_sub(jiff::SignedDuration::from_secs(age)).unwrap();
    let demand = Arc::new(demand(&owner.namespace, asks));
    let wanted: Vec<_> = starts(count).into_iter().map(|start| (start, Arc::clone(&demand))).collect();
    let (placed, named) = floor.ask(owner, &Rank::new(priority, created, owner), &wanted, now());
    (placed.unwrap(), named.into_iter().map(|owner| owner.uid).collect())
}

fn count(placed: &[Placed]) -> usize {
    placed.iter().filter(|placed| placed.is_ok()).count()
}

fn pod(owner: &Owner, index: u32, node: &str, phase: &str) -> Pod {
    let yaml = format!(
        "{{metadata: {{name: {name}-{index}, namespace: {namespace}, uid: {uid}-{index}, labels: {{vk-cmd.io/index: '{index}', \
         vk-cmd.io/attempt: '0'}}, ownerReferences: [{{apiVersion: v, kind: CmdJob, name: {name}, uid: {uid}, controller: \
         true}}]}}, spec: {{nodeName: {node}, containers: []}}, status: {{phase: {phase}}}}}",
        name = owner.name,
        namespace = owner.namespace,
        uid = owner.uid
    );
    serde_yaml_ng::from_str(&yaml).unwrap()
}

#[test]
fn what_has_room_goes_to_the_node_that_is_used_the_least() {
    let mut floor = floor(&[("vk-a", "cpu: 4, pods: 10"), ("vk-b", "cpu: 8, pods: 10")]);
    let (placed, _) = ask(&mut floor, &owner("n", "j"), 0, 0, 13, "cpu: 1");
    let on = |node: &str| placed.iter().filter(|placed| placed.as_deref() == Ok(node)).count();
    assert_eq!((on("vk-a"), on("vk-b"), count(&placed)), (4, 8, 12));
    let (reason, why) = placed[12].clone().unwrap_err();
    assert_eq!(reason, Reason::NoRoom);
    assert_eq!(&*why, "none of 2 nodes takes it now: 2 have no room for 1 cpu at present");
}

#[test]
fn asking_again_changes_nothing_and_what_is_not_wanted_goes_to_the_next() {
    let mut floor = floor(&[("vk-a", "pods: 2")]);
    let (first, second) = (owner("n", "first"), owner("n", "second"));
    let placed = ask(&mut floor, &first, 0, 9, 3, "").0;
    assert_eq!(count(&placed), 2);
    assert_eq!(ask(&mut floor, &first, 0, 9, 3, ""), (placed, vec![]));
    assert_eq!(count(&ask(&mut floor, &second, 0, 1, 1, "").0), 0);
    assert_eq!(floor.waiting(), 2);
    assert_eq!(ask(&mut floor, &first, 0, 9, 1, "").1, ["n-second"]);
    assert_eq!(count(&ask(&mut floor, &second, 0, 1, 1, "").0), 1);
    assert_eq!(floor.waiting(), 0);
}

#[test]
fn the_room_of_a_pod_is_counted_once_and_given_on_when_it_ends() {
    let mut floor = floor(&[("vk-a", "pods: 1")]);
    let (first, second) = (owner("n", "first"), owner("n", "second"));
    assert_eq!(count(&ask(&mut floor, &first, 0, 9, 1, "").0), 1);
    assert_eq!(count(&ask(&mut floor, &second, 0, 1, 1, "").0), 0);
    let named = |owners: Vec<Owner>| owners.into_iter().map(|owner| owner.name).collect::<Vec<_>>();
    for phase in ["Pending", "Running"] {
        assert_eq!(named(floor.put_pod(&pod(&first, 0, "vk-a", phase), now())), ["first"]);
    }
    assert_eq!(ask(&mut floor, &first, 0, 9, 0, "").1, Vec::<String>::new());
    assert_eq!(named(floor.put_pod(&pod(&first, 0, "vk-a", "Succeeded"), now())), ["second", "first"]);
    assert_eq!(count(&ask(&mut floor, &second, 0, 1, 1, "").0), 1);
    assert_eq!(floor.used.of("vk-a").get("pods"), 1);
    assert_eq!(named(floor.withdraw(&second.uid, now())), Vec::<String>::new());
    assert!(floor.used.is_empty() && floor.parts.is_empty() && floor.kept.is_empty());
}

#[test]
fn the_higher_priority_comes_first_and_then_the_older_job() {
    let mut floor = floor(&[("vk-a", "pods: 1")]);
    let running = owner("n", "running");
    ask(&mut floor, &running, 0, 9, 1, "");
    floor.put_pod(&pod(&running, 0, "vk-a", "Running"), now());
    for (name, priority, age) in [("young", 0, 1), ("old", 0, 5), ("urgent", 7, 0)] {
        ask(&mut floor, &owner("n", name), priority, age, 1, "");
    }
    let mut order = Vec::new();
    let mut before = running;
    for _ in 0..3 {
        let named = floor.put_pod(&pod(&before, 0, "vk-a", "Failed"), now());
        before = named[0].clone();
        order.push(before.name.clone());
        floor.put_pod(&pod(&before, 0, "vk-a", "Running"), now());
    }
    assert_eq!(order, ["urgent", "old", "young"]);
}

#[test]
fn namespaces_get_equal_parts_however_much_they_ask_for() {
    let mut floor = floor(&[("vk-a", "pods: 8")]);
    let (greedy, modest) = (owner("a", "greedy"), owner("b", "modest"));
    assert_eq!(count(&ask(&mut floor, &greedy, 9, 100, 100, "").0), 8);
    for index in 0..8 {
        floor.put_pod(&pod(&greedy, index, "vk-a", "Running"), now());
    }
    ask(&mut floor, &greedy, 9, 100, 100, "");
    ask(&mut floor, &modest, 0, 0, 100, "");
    for index in 0..6 {
        floor.put_pod(&pod(&greedy, index, "vk-a", "Succeeded"), now());
    }
    let kept = |owner: &Owner| floor.kept.get(&owner.uid).map_or(0, BTreeMap::len);
    assert_eq!((kept(&greedy), kept(&modest)), (2, 4));
}

#[test]
fn what_fits_goes_past_what_does_not() {
    let mut floor = floor(&[("vk-a", "cpu: 4, pods: 10")]);
    let big = owner("n", "big");
    assert_eq!(count(&ask(&mut floor, &owner("n", "first"), 0, 9, 1, "cpu: 2").0), 1);
    assert_eq!(count(&ask(&mut floor, &big, 9, 9, 1, "cpu: 4").0), 0);
    assert_eq!(count(&ask(&mut floor, &owner("n", "small"), 0, 0, 1, "cpu: 2").0), 1);
}

#[test]
fn after_a_start_nobody_gets_anything_before_all_have_asked() {
    let mut floor = Floor::default();
    floor.replace_nodes(Nodes::from([("vk-a".to_owned(), node("pods: 1"))]));
    let (late, urgent) = (owner("n", "late"), owner("n", "urgent"));
    floor.settle(|| HashSet::from([late.uid.clone(), urgent.uid.clone()]));
    for (owner, priority) in [(&late, 0), (&urgent, 1)] {
        let rank = Rank::new(priority, now(), owner);
        let wanted = [(starts(1).remove(0), Arc::new(demand("n", "")))];
        assert_eq!(floor.ask(owner, &rank, &wanted, now()), (None, vec![]));
    }
    assert_eq!(floor.looked(&late.uid, now()), []);
    // The one for which there is room, and the others, which have not been told why there is none.
    let named = floor.looked(&urgent.uid, now());
    assert_eq!(named, [urgent, late.clone()]);
    let wanted = [(starts(1).remove(0), Arc::new(demand("n", "")))];
    let (placed, _) = floor.ask(&late, &Rank::new(0, now(), &late), &wanted, now());
    assert!(matches!(&placed.unwrap()[..], [Err((Reason::NoRoom, _))]));
}

#[test]
fn a_job_that_is_gone_without_a_word_keeps_nothing() {
    let mut floor = Floor::default();
    floor.replace_nodes(Nodes::from([("vk-a".to_owned(), node("pods: 1"))]));
    let (gone, other) = (owner("n", "gone"), owner("n", "other"));
    floor.settle(|| HashSet::from([gone.uid.clone(), other.uid.clone()]));
    for owner in [&gone, &other] {
        let wanted = [(starts(1).remove(0), Arc::new(demand("n", "")))];
        floor.ask(owner, &Rank::new(0, now(), owner), &wanted, now());
    }
    // The other is not kept waiting for one that is never looked at, …
    floor.looked(&other.uid, now());
    let named = floor.keep(|uid| uid == other.uid, now());
    assert_eq!(named.iter().map(|owner| &owner.uid).collect::<Vec<_>>(), [&other.uid]);
    // … nor by the room that was found for it.
    assert_eq!(ask(&mut floor, &other, 0, 0, 1, "").0, [Ok("vk-a".to_owned())]);
}

#[test]
fn room_that_was_kept_is_given_back_when_the_node_has_become_too_short() {
    let mut floor = floor(&[("vk-a", "pods: 1")]);
    let ends = now().checked_add(jiff::SignedDuration::from_mins(60)).unwrap();
    floor.put_node("vk-a", Some(NodeSeen { ends: Some(ends), ..node("pods: 1") }), now());
    let owner = owner("n", "j");
    let demand = Demand { walltime: Some(jiff::SignedDuration::from_mins(50)), ..demand("n", "") };
    assert_eq!(demand.changes_at(&floor.nodes, now()).map(|at| at.duration_since(now()).as_secs()), Some(601));
    let wanted = [(starts(1).remove(0), Arc::new(demand.clone()))];
    let mut ask = |at| floor.ask(&owner, &Rank::new(0, now(), &owner), &wanted, at).0.unwrap().remove(0);
    assert_eq!(ask(now()), Ok("vk-a".to_owned()));
    let later = now().checked_add(jiff::SignedDuration::from_secs(601)).unwrap();
    assert!(matches!(ask(later), Err((Reason::NoNodeFits, _))));
    assert_eq!(demand.changes_at(&floor.nodes, later), None);
}

#[test]
fn it_is_said_in_plain_words_why_nothing_takes_it() {
    let mut floor = floor(&[
        ("vk-a", "cpu: 8, pods: 9"),
        ("vk-b", "cpu: 8, pods: 9"),
        ("vk-c", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-d", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-e", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-f", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-g", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-h", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
        ("vk-i", "cpu: 8, nvidia.com/gpu: 4, pods: 9"),
    ]);
    let change = |floor: &mut Floor, name: &str, change: &dyn Fn(&mut NodeSeen)| {
        let mut node = floor.nodes[name].clone();
        change(&mut node);
        floor.put_node(name, Some(node), now());
    };
    change(&mut floor, "vk-c", &|node| node.ends = Some("2026-01-02T03:16:00Z".parse().unwrap()));
    change(&mut floor, "vk-d", &|node| node.state = NodeState::Cordoned);
    change(&mut floor, "vk-e", &|node| node.state = NodeState::NotReady { why: Some("x".into()), since: None });
    change(&mut floor, "vk-f", &|node| node.namespaces = vk_site::Rule::from_json(r#"{"deny":["n"]}"#).unwrap());
    change(&mut floor, "vk-g", &|node| node.state = NodeState::Tainted("example.com/mine".into()));
    // Neither says when it ends, and what is told must not be another each time.
    change(&mut floor, "vk-h", &|node| {
        (node.is_ending, node.about.is_drained, node.state) = (true, true, NodeState::Cordoned);
    });
    change(&mut floor, "vk-i", &|node| node.is_ending = true);
    let owner = owner("n", "j");
    let demand = Demand { walltime: Some(jiff::SignedDuration::from_hours(2)), ..demand("n", "nvidia.com/gpu: 4") };
    let wanted = [(starts(1).remove(0), Arc::new(demand.clone()))];
    let rank = Rank::new(0, now(), &owner);
    let (placed, _) = floor.ask(&owner, &rank, &wanted, now());
    let (reason, why) = placed.unwrap().remove(0).unwrap_err();
    assert_eq!(reason, Reason::NoNodeFits);
    assert_eq!(
        &*why,
        "none of 9 nodes takes it now: 1 is not ready; 1 is cordoned; 1 was drained by its site; 1 is about to end; \
         1 has the taint example.com/mine, which keeps CmdJobs away; 1 takes no pods of the namespace n; 1 ends at 2026-01-02T03:16:00Z, before the 2h that it may take have passed; \
         2 lack 4 nvidia.com/gpu"
    );
    for (target, expected) in [
        (Meant::Node("vk-a".into()), "node vk-a lacks 4 nvidia.com/gpu"),
        (Meant::Each("vk-z".into()), "node vk-z, on which the job is to run, is gone"),
        (Meant::Node("vk-d".into()), "node vk-d is cordoned and takes no new work: the job starts after"),
        (Meant::Node("vk-h".into()), "node vk-h was drained by its site and takes no new work: the job starts after"),
        (Meant::Node("vk-i".into()), "node vk-i is about to end"),
        (Meant::Node("vk-e".into()), "node vk-e is not ready (x): the job starts when it is"),
        (Meant::Fleet("g".into()), "no vk-cmd node belongs to the fleet g"),
    ] {
        let wanted = [(starts(1).remove(0), Arc::new(Demand { target, ..demand.clone() }))];
        let (_, why) = floor.ask(&owner, &rank, &wanted, now()).0.unwrap().remove(0).unwrap_err();
        assert!(why.starts_with(expected), "{why}");
    }
}

/// Something that happens on the floor.
#[derive(Clone, Debug)]
enum Event {
    Ask { job: usize, count: u32, cpus: u32 },
    Withdraw(usize),
    Pod { job: usize, index: u32, phase: &'static str },
    Gone { job: usize, index: u32 },
    Node { node: usize, state: Option<bool> },
    Stranger { uid: usize, node: usize, there: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let job = 0..6_usize;
    prop_oneof![
        4 => (job.clone(), 0..5_u32, 0..4_u32).prop_map(|(job, count, cpus)| Event::Ask { job, count, cpus }),
        1 => job.clone().prop_map(Event::Withdraw),
        4 => (job.clone(), 0..5_u32, prop::sample::select(vec!["Running", "Succeeded", "Failed"]))
            .prop_map(|(job, index, phase)| Event::Pod { job, index, phase }),
        2 => (job, 0..5_u32).prop_map(|(job, index)| Event::Gone { job, index }),
        2 => (0..3_usize, prop::option::of(any::<bool>())).prop_map(|(node, state)| Event::Node { node, state }),
        1 => (0..3_usize, 0..3_usize, any::<bool>()).prop_map(|(uid, node, there)| Event::Stranger { uid, node, there }),
    ]
}

const NODES: [&str; 3] = ["vk-a", "vk-b", "vk-c"];

/// The pods of the jobs, as an API server would have them.
type Made = BTreeMap<(usize, u32), Pod>;

fn happen(floor: &mut Floor, made: &mut Made, event: &Event) {
    let jobs: Vec<Owner> = (0..6).map(|n| owner(["a", "b", "c"][n % 3], &format!("j{n}"))).collect();
    match event {
        Event::Ask { job, count, cpus } => {
            // As the planner does: no index is asked for whose pod is there.
            let wanted: Vec<_> = starts(*count)
                .into_iter()
                .filter(|start| !made.contains_key(&(*job, start.index)))
                .map(|start| (start, Arc::new(demand(&jobs[*job].namespace, &format!("cpu: {cpus}")))))
                .collect();
            let (placed, _) = floor.ask(&jobs[*job], &Rank::new(0, now(), &jobs[*job]), &wanted, now());
            for ((start, demand), placed) in wanted.iter().zip(placed.unwrap()) {
                if let Ok(node) = placed
                    && start.index % 2 == 0
                {
                    let mut pod = pod(&jobs[*job], start.index, &node, "Pending");
                    let cpu = demand.amounts.get("cpu") / 1000;
                    pod.spec = serde_yaml_ng::from_str(&format!(
                        "{{nodeName: {node}, containers: [{{name: main, resources: {{requests: {{cpu: {cpu}}}}}}}]}}"
                    ))
                    .unwrap();
                    floor.put_pod(&pod, now());
                    made.insert((*job, start.index), pod);
                }
            }
        }
        Event::Withdraw(job) => drop(floor.withdraw(&jobs[*job].uid, now())),
        Event::Pod { job, index, phase } => {
            let Some(pod) = made.get_mut(&(*job, *index)) else { return };
            let status = pod.status.get_or_insert_default();
            // What has ended stays so.
            if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
                status.phase = Some((*phase).to_owned());
            }
            floor.put_pod(pod, now());
        }
        Event::Gone { job, index } => {
            if let Some(pod) = made.remove(&(*job, *index)) {
                floor.remove_pod(&pod, now());
            }
        }
        Event::Node { node: number, state } => {
            let seen = state.map(|ready| NodeSeen {
                state: if ready { NodeState::Ready } else { NodeState::Cordoned },
                ..node("cpu: 6, pods: 4")
            });
            floor.put_node(NODES[*number], seen, now());
        }
        Event::Stranger { uid, node, there } => {
            let pod: Pod = serde_yaml_ng::from_str(&format!(
                "{{metadata: {{uid: s{uid}}}, spec: {{nodeName: {}, containers: [{{name: c, resources: {{requests: {{cpu: \
                 1}}}}}}]}}}}",
                NODES[*node]
            ))
            .unwrap();
            match there {
                true => drop(floor.put_stranger(&pod, now())),
                false => drop(floor.remove_stranger(&format!("s{uid}"), now())),
            }
        }
    }
}

proptest! {
    /// What is counted step by step is what a count of everything gives; room is kept only where there is some; and what waits
    /// fits nowhere.
    #[test]
    fn the_books_are_right(events in prop::collection::vec(event(), 1..60)) {
        let mut floor = floor(&NODES.map(|name| (name, "cpu: 6, pods: 4")));
        let mut made = Made::new();
        for event in events {
            let kept_before: BTreeSet<_> = keys(&floor);
            happen(&mut floor, &mut made, &event);

            let (used, parts) = (floor.used.clone(), floor.parts.clone());
            floor.count_anew();
            prop_assert_eq!(&used, &floor.used, "{:?}", event);
            prop_assert_eq!(&parts, &floor.parts, "{:?}", event);

            for key in keys(&floor).difference(&kept_before) {
                let has = &floor.nodes[&key.2].allocatable;
                // A stranger may have taken more than there is of what it does not ask for.
                let asked = &floor.kept[&key.0][&key.1].demand.amounts;
                let fits = asked.iter().all(|(name, _)| floor.used.of(&key.2).get(name) <= has.get(name));
                prop_assert!(fits, "{:?} at {:?}", key, event);
            }
            let mut all = floor;
            all.queue.stir_all();
            let named = all.give(now());
            prop_assert!(named.is_empty(), "{:?} could have been served at {:?}", named, event);
            floor = all;
        }
    }
}

fn keys(floor: &Floor) -> BTreeSet<(String, (u32, u32), String)> {
    let of = |(job, kept): (&String, &BTreeMap<(u32, u32), Kept>)| {
        kept.iter().map(|(key, kept)| (job.clone(), *key, kept.node.clone())).collect::<Vec<_>>()
    };
    floor.kept.iter().flat_map(of).collect()
}

/// How much is looked at in the life of one job, while so many others are there: half of them run on another node, half wait for it,
/// each for something of its own.
fn work_beside(others: u32) -> u64 {
    let mut floor = floor(&[("vk-a", "cpu: 1, pods: 1"), ("vk-b", "cpu: 1, pods: 9")]);
    for n in 0..others {
        let other = owner("n", &format!("other-{n}"));
        if n % 2 == 0 {
            floor.put_pod(&pod(&other, 0, "vk-b", "Running"), now());
        } else {
            let demand = Demand { target: Meant::Node("vk-b".into()), ..demand("n", &format!("memory: {n}")) };
            floor.ask(&other, &Rank::new(0, now(), &other), &[(starts(1).remove(0), Arc::new(demand))], now());
        }
    }
    let (one, next) = (owner("n", "one"), owner("n", "next"));
    let (_, work) = crate::work::count(|| {
        let demand = Arc::new(Demand { target: Meant::Node("vk-a".into()), ..demand("n", "") });
        for (owner, expected) in [(&one, true), (&next, false)] {
            let rank = Rank::new(0, now(), owner);
            let wanted = [(starts(1).remove(0), Arc::clone(&demand))];
            assert_eq!(floor.ask(owner, &rank, &wanted, now()).0.unwrap()[0].is_ok(), expected);
        }
        for phase in ["Pending", "Running", "Succeeded"] {
            floor.put_pod(&pod(&one, 0, "vk-a", phase), now());
        }
        floor.withdraw(&next.uid, now());
        floor.remove_pod(&pod(&one, 0, "vk-a", "Succeeded"), now());
    });
    work
}

#[test]
fn the_life_of_a_job_costs_the_same_however_many_others_there_are() {
    assert_eq!(work_beside(100), work_beside(10_000));
}

#[test]
fn what_waits_is_counted_without_a_walk_over_the_jobs() {
    let work = |jobs: usize| {
        let mut floor = floor(&[]);
        for n in 0..jobs {
            let owner = owner("n", &format!("j{n}"));
            floor.ask(&owner, &Rank::new(0, now(), &owner), &[(starts(1).remove(0), Arc::new(demand("n", "")))], now());
        }
        // One that has got nothing, and is gone.
        floor.withdraw(&owner("n", "j0").uid, now());
        let (waiting, work) = crate::work::count(|| floor.waiting_for(|_| true));
        assert_eq!(waiting.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [jobs - 1]);
        work
    };
    assert_eq!(work(10), work(1000));
}

/// A fleet, by its spec in JSON.
fn fleets(spec: &serde_json::Value) -> Fleets {
    let fleet: vk_cmd_crds::CmdFleet = serde_json::from_value(serde_json::json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": "f"}, "spec": spec,
    }))
    .unwrap();
    Fleets::of([&fleet])
}

#[test]
fn what_a_fleet_says_counts_from_the_moment_that_it_is_known() {
    use serde_json::json;
    let mut floor = Floor::default();
    floor.settle(HashSet::new);
    let label = [("vk-cmd.io/fleet".to_owned(), "f".to_owned())];
    let ends = now() + jiff::SignedDuration::from_hours(1);
    let of_fleet = NodeSeen { labels: label.into(), ends: Some(ends), ..node("pods: 9") };
    floor.put_node("vk-a", Some(of_fleet), now());
    floor.put_fleets(fleets(&json!({"namespaces": {"allow": ["other"]}})), now());
    let demand = |walltime: i64| {
        Arc::new(Demand {
            namespace: "n".to_owned(),
            target: Meant::Fleet("f".to_owned()),
            amounts: amounts("pods: 1"),
            walltime: Some(jiff::SignedDuration::from_secs(walltime)),
        })
    };
    let owner = Owner { namespace: "n".to_owned(), name: "j".to_owned(), uid: "j".to_owned() };
    let rank = Rank::new(0, now(), &owner);
    let start = Start { index: 0, attempt: 0, node: None };
    let ask = |floor: &mut Floor, walltime: i64| {
        let (placed, _) = floor.ask(&owner, &rank, &[(start.clone(), demand(walltime))], now());
        placed.unwrap().remove(0).map_err(|(reason, text)| format!("{reason}: {text}"))
    };
    assert_eq!(
        ask(&mut floor, 60),
        Err("NoNodeFits: node vk-a belongs to the fleet f, which takes no CmdJobs of the namespace n".to_owned())
    );
    // It lets the namespace in: whoever waits is named, and gets room. What has not changed is no news.
    let open = fleets(&json!({"walltimeMarginSeconds": 600}));
    assert!(floor.put_fleets(open.clone(), now()).contains(&owner));
    assert!(floor.put_fleets(open, now()).is_empty());
    assert_eq!(ask(&mut floor, 3000), Ok("vk-a".to_owned()));
    assert_eq!(
        ask(&mut floor, 3001),
        Err("NoNodeFits: node vk-a is to be free from 2026-01-02T03:54:05Z on, the margin before its end, before the \
             50m 1s that it may take have passed"
            .to_owned())
    );
    assert_eq!(floor.jobs_waiting_for(|demand| demand.target == Meant::Fleet("f".to_owned())), 1);
    floor.put_fleets(Fleets::default(), now());
    assert_eq!(ask(&mut floor, 3001), Ok("vk-a".to_owned()), "without the fleet nothing is said of it");
}
