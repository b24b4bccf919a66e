use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;
use vk_cmd_crds::amounts::Amounts;
use vk_cmd_crds::labels;
use vk_cmd_crds::launcher::Launcher;

use super::pilot::Life;
use super::*;
use crate::cordon::{By, Cordon};
use crate::place::{About, Demand, Meant, NodeSeen, NodeState};

/// A fleet in a world that does what it is told.
struct World {
    launcher: Launcher,
    wishes: Wishes,
    pilots: BTreeMap<u64, Life>,
    /// By number and index: what they say, and how many pods there are.
    nodes: BTreeMap<(u64, u32), (NodeSeen, u64)>,
    waiting: usize,
    /// What it has told last.
    status: PilotsStatus,
    /// Of the launcher that the pilots were made by.
    digest: Option<String>,
    seconds: i64,
    memory: Memory,
}

fn launcher(more: &serde_json::Value) -> Launcher {
    let mut all = json!({
        "gateway": {"node": "vk-gw"}, "namespace": "pilots", "slurm": {}, "walltimeSeconds": 3600, "idleSeconds": 60,
        "nodeResources": {"pods": "5"},
    });
    json_patch::merge(&mut all, more);
    serde_json::from_value(all).unwrap()
}

/// Cordons it, as the operator does.
fn release(node: &mut NodeSeen) {
    let cordon = &mut node.about.cordon;
    *cordon = Cordon::after(cordon, cordon.want(By::Released, true).as_ref());
    node.state = NodeState::Cordoned;
}

fn pods(count: u64) -> Amounts {
    let quantity = ("pods".to_owned(), Quantity(count.to_string()));
    Amounts::read([(&quantity.0, &quantity.1)])
}

impl World {
    fn new(more: &serde_json::Value, wishes: (Option<u32>, u32, Option<u32>)) -> Self {
        let (replicas, min, max) = wishes;
        Self {
            launcher: launcher(more),
            wishes: Wishes { replicas, min, max, margin: SignedDuration::from_secs(60) },
            pilots: BTreeMap::new(),
            nodes: BTreeMap::new(),
            waiting: 0,
            status: PilotsStatus::default(),
            digest: None,
            seconds: 0,
            memory: Memory::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.seconds).unwrap()
    }

    fn look(&mut self) -> Decision {
        let launcher = self.launcher.clone();
        let valid = ValidLauncher::read("f", "uid", &launcher).unwrap();
        let digest = self.digest.get_or_insert_with(|| valid.digest.clone()).clone();
        let pilots = self.pilots.iter().map(|(number, life)| PilotSeen {
            name: format!("f-{number}"),
            number: *number,
            uid: format!("uid-{number}"),
            life: *life,
            digest: digest.clone(),
            message: matches!(life, Life::Failed(_)).then(|| format!("no luck with {number}")),
        });
        let names: Vec<_> = self
            .nodes
            .iter()
            .map(|((number, index), (seen, used))| {
                (format!("vk-f-{number}-{index}"), format!("f-{number}"), seen.clone(), pods(*used))
            })
            .collect();
        let nodes = names.iter().map(|(name, pilot, seen, used)| NodeOfPilot { name, pilot, seen, used });
        let demand =
            Demand { namespace: "n".into(), target: Meant::Fleet("f".into()), amounts: pods(1), walltime: None };
        let facts = Facts {
            launcher: &valid,
            wishes: self.wishes,
            pilots: pilots.collect(),
            nodes: nodes.collect(),
            waiting: if self.waiting > 0 { vec![(Arc::new(demand), self.waiting)] } else { Vec::new() },
            recorded: Recorded::of(&self.status, &valid.digest),
            now: self.now(),
            uptime: Duration::from_secs(self.seconds.unsigned_abs()),
        };
        let decision = decide(&facts, &mut self.memory);
        self.status = decision.status.clone();
        decision
    }

    /// Looks, does what comes of it, and says what that was.
    fn act(&mut self) -> String {
        let steps = self.look().steps;
        let mut told = Vec::new();
        for step in &steps {
            match step {
                Step::Submit(number) => {
                    self.pilots.insert(*number, Life::Submitted);
                    told.push(format!("submit {number}"));
                }
                Step::Release { node, pilot } => {
                    let number = name::number(pilot, "f").unwrap();
                    let index = node.rsplit_once('-').unwrap().1.parse().unwrap();
                    let (seen, _) = self.nodes.get_mut(&(number, index)).unwrap();
                    release(seen);
                    told.push(format!("release {number}-{index}"));
                }
                Step::Cancel { pilot, .. } => {
                    let number = name::number(pilot, "f").unwrap();
                    self.pilots.remove(&number);
                    self.nodes.retain(|(of, _), _| *of != number);
                    told.push(format!("cancel {number}"));
                }
                Step::Forget { pilot, .. } => {
                    self.pilots.remove(&name::number(pilot, "f").unwrap());
                    told.push(format!("forget {pilot}"));
                }
            }
        }
        told.join(", ")
    }

    fn node(&mut self, number: u64, index: u32, used: u64) {
        let seen = NodeSeen {
            labels: BTreeMap::from([(labels::PILOT.to_owned(), format!("f-{number}"))]),
            state: NodeState::Ready,
            allocatable: pods(5),
            ends: Some(self.now() + SignedDuration::from_secs(3600)),
            margin: SignedDuration::ZERO,
            is_ending: false,
            namespaces: vk_site::Rule::default(),
            terms: None,
            about: About::default(),
        };
        self.nodes.insert((number, index), (seen, used));
    }

    fn used(&mut self, number: u64, used: u64) {
        self.nodes.get_mut(&(number, 0)).unwrap().1 = used;
    }

    fn later(&mut self, seconds: i64) -> &mut Self {
        self.seconds += seconds;
        self
    }
}

#[test]
fn a_fleet_grows_with_its_queue_and_shrinks_when_nobody_uses_it() {
    let mut world = World::new(&json!({}), (None, 0, Some(4)));
    assert_eq!(world.act(), "", "nobody needs anything");
    world.waiting = 12;
    assert_eq!(world.act(), "submit 0, submit 1, submit 2", "five to a node");
    assert_eq!(world.act(), "", "they are coming");
    world.waiting = 100;
    assert_eq!(world.act(), "submit 3", "no more than maxNodes");
    // Two come, and take ten.
    world.node(0, 0, 5);
    world.node(1, 0, 5);
    world.waiting = 5;
    assert_eq!(world.later(10).act(), "", "what waits too much is left a while");
    assert_eq!(world.later(30).act(), "");
    assert_eq!(world.later(31).act(), "cancel 3", "the newest of those that nobody needs; one is still needed");
    // The queue is empty, and one node has nothing to do.
    (world.waiting, world.pilots) = (0, BTreeMap::from([(0, Life::Submitted), (1, Life::Submitted)]));
    world.used(1, 0);
    assert_eq!(world.later(10).act(), "");
    assert_eq!(world.later(61).act(), "release 1-0");
    // Something came to it at the last moment, and is not lost.
    world.used(1, 1);
    assert_eq!(world.later(100).act(), "");
    world.used(1, 0);
    assert_eq!(world.later(1).act(), "cancel 1");
    world.used(0, 0);
    assert_eq!(world.later(1).act(), "");
    assert_eq!(world.later(61).act(), "release 0-0");
    assert_eq!(world.act(), "cancel 0");
    assert_eq!((world.act(), world.pilots.len()), (String::new(), 0));
    // The next one has a number of its own, though the others are gone.
    world.waiting = 1;
    assert_eq!(world.act(), "submit 4");
}

#[test]
fn what_is_scaled_by_hand_changes_at_once_and_loses_no_job() {
    let mut world = World::new(&json!({}), (Some(3), 0, Some(10)));
    assert_eq!(world.act(), "submit 0, submit 1, submit 2");
    world.node(0, 0, 2);
    world.node(1, 0, 1);
    world.wishes.replicas = Some(1);
    assert_eq!(world.act(), "cancel 2, release 1-0", "what waits first, then what is used the least");
    assert_eq!(world.act(), "", "its job goes on");
    world.used(1, 0);
    assert_eq!(world.act(), "cancel 1");
    world.wishes.replicas = Some(0);
    world.used(0, 0);
    assert_eq!(world.act(), "release 0-0");
    assert_eq!(world.act(), "cancel 0");
}

#[test]
fn min_nodes_are_kept_and_replaced_before_they_end() {
    let mut world = World::new(&json!({}), (None, 1, Some(3)));
    assert_eq!(world.act(), "submit 0");
    world.node(0, 0, 0);
    assert_eq!(world.later(1000).act(), "", "it is idle, and kept");
    let left = world.nodes[&(0, 0)].0.ends.unwrap().duration_since(world.now()).as_secs();
    assert_eq!(world.later(left - 61).act(), "");
    assert_eq!(world.later(2).act(), "submit 1", "it takes nothing any more");
}

#[test]
fn a_pilot_of_several_nodes_goes_as_a_whole() {
    let mut world = World::new(&json!({"nodesPerPilot": 2}), (None, 0, Some(7)));
    world.waiting = 100;
    assert_eq!(world.act(), "submit 0, submit 1, submit 2", "a fourth one would be one node too many");
    for (pilot, index) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        world.node(pilot, index, 1);
    }
    world.pilots.remove(&2);
    world.waiting = 0;
    world.used(0, 0);
    assert_eq!(world.later(100).act(), "");
    assert_eq!(world.later(100).act(), "", "the other one is in use");
    world.nodes.get_mut(&(0, 1)).unwrap().1 = 0;
    assert_eq!(world.act(), "");
    assert_eq!(world.later(61).act(), "release 0-0, release 0-1");
    world.nodes.get_mut(&(0, 1)).unwrap().1 = 3;
    assert_eq!(world.act(), "");
    world.nodes.get_mut(&(0, 1)).unwrap().1 = 0;
    assert_eq!(world.act(), "cancel 0");
}

#[test]
fn one_is_sent_ahead_where_nobody_knows_what_a_node_has() {
    let mut world = World::new(&json!({"nodeResources": null}), (None, 0, Some(4)));
    world.waiting = 100;
    assert_eq!(world.act(), "submit 0");
    assert_eq!(world.act(), "");
    world.node(0, 0, 5);
    world.waiting = 95;
    assert_eq!(world.act(), "submit 1, submit 2, submit 3");
}

#[test]
fn a_node_that_has_left_comes_back_only_where_the_batch_system_may_run_it_again() {
    for (requeue, then) in [(true, ""), (false, "submit 1")] {
        let mut world = World::new(&json!({"slurm": {"requeue": requeue}}), (None, 0, Some(1)));
        world.waiting = 1;
        assert_eq!(world.act(), "submit 0");
        world.node(0, 0, 1);
        world.waiting = 0;
        assert_eq!(world.act(), "");
        world.nodes.clear();
        world.waiting = 1;
        assert_eq!(world.act(), then);
    }
}

#[test]
fn limits_of_pilots_are_kept() {
    let mut world = World::new(&json!({"maxPendingPilots": 2, "maxPilots": 3}), (None, 0, Some(10)));
    world.waiting = 100;
    assert_eq!(world.act(), "submit 0, submit 1");
    world.node(0, 0, 5);
    world.node(1, 0, 5);
    assert_eq!(world.act(), "submit 2");
    world.node(2, 0, 5);
    assert_eq!(world.act(), "");
}

#[test]
fn failures_make_pauses_that_grow_and_end_with_a_success_or_another_launcher() {
    let mut world = World::new(&json!({}), (None, 0, Some(4)));
    world.waiting = 100;
    assert_eq!(world.act(), "submit 0, submit 1, submit 2, submit 3");
    let failed = |world: &mut World, number: u64| world.pilots.insert(number, Life::Failed(world.now()));
    for number in 0..3 {
        failed(&mut world, number);
    }
    world.pilots.remove(&3);
    let decision = world.look();
    assert_eq!(decision.steps, []);
    let paused = decision.paused.unwrap();
    assert!(paused.message.contains("no luck with 2"), "{paused:?}");
    assert_eq!(decision.status.paused_until.unwrap().0.duration_since(world.now()).as_secs(), 40);
    assert_eq!(world.later(39).act(), "");
    assert_eq!(world.later(2).act(), "submit 4", "one is tried");
    assert_eq!(world.later(100).act(), "", "and waited for");
    failed(&mut world, 4);
    assert_eq!(world.later(79).act(), "");
    assert_eq!(world.later(2).act(), "submit 5");
    world.node(5, 0, 5);
    assert_eq!(world.act(), "submit 6, submit 7, submit 8", "it works again");
    for number in 5..9 {
        world.nodes.clear();
        failed(&mut world, number);
    }
    world.memory = Memory::default();
    assert_eq!(world.act(), "");
    world.launcher.node.program = "/opt/vk-node".to_owned();
    let decision = world.look();
    assert_eq!((decision.steps.len(), decision.paused), (4, None), "what those of another launcher did says nothing");
}

#[test]
fn what_has_worked_is_not_forgotten_with_its_pilot() {
    let mut world = World::new(&json!({"nodeResources": null}), (None, 0, Some(4)));
    world.waiting = 10;
    for number in 0..3 {
        world.later(100).act();
        world.pilots.insert(number, Life::Failed(world.now()));
    }
    assert_eq!(world.look().status.failures, 3);
    assert_eq!(world.later(100).act(), "submit 3");
    world.node(3, 0, 5);
    assert_eq!(world.look().status.failures, 0);
    // It is given back, and gone; and the operator is another one.
    world.pilots.insert(3, Life::Leaving);
    world.look();
    world.pilots.remove(&3);
    world.nodes.clear();
    world.memory = Memory::default();
    let decision = world.look();
    assert_eq!((decision.status.failures, &decision.paused), (0, &None));
    assert_eq!(decision.steps.len(), 2, "five to a node, as it is known still: {decision:?}");
    // Of another launcher nothing is known.
    world.launcher.node.program = "/opt/vk-node".to_owned();
    assert_eq!(world.look().steps.len(), 1, "one is sent ahead");
}

#[test]
fn the_last_pilots_that_have_ended_are_kept() {
    let mut world = World::new(&json!({}), (None, 0, Some(4)));
    for number in 0..13 {
        world.pilots.insert(number, Life::Ended);
    }
    assert_eq!(world.act(), "forget f-2, forget f-1, forget f-0");
    assert_eq!(world.act(), "");
}

#[test]
fn what_a_crash_has_left_half_done_is_finished() {
    let mut world = World::new(&json!({"nodesPerPilot": 2}), (None, 0, Some(4)));
    world.waiting = 10;
    assert_eq!(world.act(), "submit 0");
    world.node(0, 0, 0);
    world.node(0, 1, 0);
    world.waiting = 0;
    world.act();
    world.later(61);
    // Only one of the two was cordoned, and nothing is remembered.
    let (seen, _) = world.nodes.get_mut(&(0, 0)).unwrap();
    release(seen);
    world.memory = Memory::default();
    assert_eq!(world.act(), "release 0-1");
    assert_eq!(world.act(), "cancel 0");
}

/// By its fleet, as `spec.scheduling` says.
fn shut(node: &mut NodeSeen, is_shut: bool) {
    let cordon = &mut node.about.cordon;
    *cordon = Cordon::after(cordon, cordon.want(By::Fleet, is_shut).as_ref());
    node.state = if cordon.unschedulable { NodeState::Cordoned } else { NodeState::Ready };
}

#[test]
fn what_can_never_be_submitted_is_told() {
    let mut world = World::new(&json!({"nodesPerPilot": 4}), (None, 1, Some(3)));
    let decision = world.look();
    assert_eq!(decision.steps, []);
    assert!(decision.status.message.unwrap().contains("brings 4 nodes, and spec.maxNodes is 3"));
}

#[test]
fn the_idle_nodes_of_a_fleet_that_takes_nothing_go() {
    let mut world = World::new(&json!({}), (None, 0, Some(4)));
    world.waiting = 10;
    assert_eq!(world.act(), "submit 0, submit 1");
    world.node(0, 0, 0);
    world.node(1, 0, 2);
    world.waiting = 0;
    world.wishes.max = Some(0);
    world.nodes.values_mut().for_each(|(node, _)| shut(node, true));
    assert_eq!(world.act(), "");
    assert_eq!(world.later(61).act(), "release 0-0", "the other one is in use");
    assert_eq!(world.act(), "cancel 0");
    // Cordoned by somebody else, it stays as it is.
    let (node, used) = world.nodes.get_mut(&(1, 0)).unwrap();
    shut(node, false);
    (node.about.cordon.unschedulable, node.state, *used) = (true, NodeState::Cordoned, 0);
    world.act();
    assert_eq!(world.later(100).act(), "");
}

#[test]
fn a_node_that_was_released_and_is_uncordoned_by_somebody_is_cordoned_again() {
    let mut world = World::new(&json!({}), (Some(1), 0, None));
    assert_eq!(world.act(), "submit 0");
    world.node(0, 0, 1);
    world.wishes.replicas = Some(0);
    assert_eq!(world.act(), "release 0-0");
    let (node, _) = world.nodes.get_mut(&(0, 0)).unwrap();
    (node.about.cordon.unschedulable, node.state) = (false, NodeState::Ready);
    assert_eq!(world.act(), "release 0-0");
    world.used(0, 0);
    assert_eq!(world.act(), "cancel 0");
}

#[test]
fn what_is_being_cancelled_counts_until_it_is_gone() {
    let mut world = World::new(&json!({"maxPilots": 2}), (None, 0, Some(2)));
    world.waiting = 100;
    assert_eq!(world.act(), "submit 0, submit 1");
    world.node(0, 0, 5);
    world.pilots.insert(1, Life::Leaving);
    assert_eq!(world.act(), "", "its allocation may be there still");
    world.pilots.remove(&1);
    assert_eq!(world.act(), "submit 2");
}

#[test]
fn a_pilot_that_the_cache_has_not_heard_of_is_noticed() {
    let launcher = launcher(&json!({}));
    let valid = ValidLauncher::read("f", "uid", &launcher).unwrap();
    let meta = |name: &str, owner: &str| -> ObjectMeta {
        let owner = json!([{"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "name": "f", "uid": owner}]);
        serde_json::from_value(json!({"name": name, "uid": format!("uid-of-{name}"), "ownerReferences": owner}))
            .unwrap()
    };
    let seen = PilotSeen {
        name: "f-0".into(),
        number: 0,
        uid: "uid-of-f-0".into(),
        life: Life::Waiting,
        digest: String::new(),
        message: None,
    };
    // Of another fleet, or no pilot at all.
    let others = [meta("f-7", "other"), meta("hello", "uid")];
    assert!(are_known(&valid, &[], &others));
    let all = [meta("f-0", "uid"), meta("f-7", "other")];
    assert!(are_known(&valid, std::slice::from_ref(&seen), &all));
    assert!(!are_known(&valid, &[], &all));
    assert!(!are_known(&valid, &[seen], &[meta("f-1", "uid")]));
}

#[test]
fn it_is_said_when_to_look_again() {
    let mut world = World::new(&json!({}), (None, 0, Some(4)));
    let again = |world: &mut World| world.look().again.map(|again| again.as_secs());
    assert_eq!(again(&mut world), None, "nothing happens by itself");
    world.waiting = 5;
    assert_eq!(again(&mut world), Some(1), "whether it was done");
    // That look has written down a number which it was not let submit.
    assert_eq!(world.act(), "submit 1");
    world.node(1, 0, 5);
    world.waiting = 0;
    assert_eq!(again(&mut world), Some(3600 - 60), "it will end");
    world.used(1, 0);
    assert_eq!(again(&mut world), Some(60), "it is idle");
    assert_eq!(again(world.later(20)), Some(40));
    let (node, _) = world.nodes.get_mut(&(1, 0)).unwrap();
    node.state = NodeState::NotReady { why: None, since: Some("2027-01-15T08:00:20Z".parse().unwrap()) };
    assert_eq!(again(&mut world), Some(20), "it is silent");
    world.nodes.clear();
    world.pilots.insert(1, Life::Failed(world.now()));
    assert_eq!(again(&mut world), Some(10), "a pause");
    assert_eq!(again(world.later(10)), None);
}

#[test]
fn a_launcher_is_read_once_and_tells_all_that_is_wrong() {
    let wrong =
        launcher(&json!({"pbs": {}, "nodesPerPilot": 0, "node": {"program": "a\nb"}, "environment": {"A=1; B": ""}}));
    let problems = ValidLauncher::read(&"f".repeat(41), "uid", &wrong).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:?}");
}

#[test]
fn a_node_belongs_to_a_pilot_by_its_name_too() {
    assert!(name::is_node_of("vk-f-1-0", "f-1"));
    for other in ["vk-f-11-0", "vk-f-1-", "vk-f-1-x", "f-1-0", "vk-f-1"] {
        assert!(!name::is_node_of(other, "f-1"), "{other}");
    }
}
