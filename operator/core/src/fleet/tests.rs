use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};
use vk_cmd_crds::{CmdFleetStatus, FleetReason};

use super::drain::{Held, Left, Verdict, verdict};
use super::*;
use crate::cordon::By;
use crate::floor::Floor;
use crate::patch;
use crate::place::{NodeState, Nodes};

fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn fleet(name: &str, spec: &Value) -> CmdFleet {
    serde_json::from_value(json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": name, "uid": name, "generation": 7}, "spec": spec,
    }))
    .unwrap()
}

/// A node of the fleet f, with this over it.
fn node(name: &str, over: &Value) -> Node {
    let mut all = json!({
        "metadata": {"name": name, "labels": {"type": "virtual-kubelet", "vk-cmd.io/fleet": "f"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "2500m", "memory": "4Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1", "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
        },
    });
    json_patch::merge(&mut all, over);
    serde_json::from_value(all).unwrap()
}

fn pod(name: &str, node: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
    }))
    .unwrap()
}

fn floor(fleets: &[CmdFleet], nodes: &[Node]) -> Floor {
    let mut floor = Floor::default();
    floor.put_fleets(Fleets::of(fleets), now());
    let nodes: Nodes = nodes.iter().map(|node| (node.metadata.name.clone().unwrap(), NodeSeen::of(node))).collect();
    floor.replace_nodes(nodes);
    floor
}

fn status(fleet: &CmdFleet, floor: &Floor, drained: Option<&Drained>) -> CmdFleetStatus {
    look(Look { fleet, floor, drained, pilots: None, now: now() }).status
}

fn said(status: &CmdFleetStatus) -> String {
    let conditions = status.conditions.iter().map(|c| format!("{}={}", c.type_, c.status));
    let reason = &status.conditions[0].reason;
    format!("{} {reason}: {}", conditions.collect::<Vec<_>>().join(","), status.message.as_deref().unwrap())
}

#[test]
fn a_node_belongs_to_the_fleet_of_its_label_or_to_the_first_that_selects_it() {
    let site = |name: &str| fleet(name, &json!({"selector": {"matchLabels": {"site": "s"}}}));
    let fleets = Fleets::of(&[fleet("f", &json!({})), site("h"), site("g")]);
    let belongs = |own: Option<&str>, site: Option<&str>| {
        let labels = json!({"metadata": {"labels": {"vk-cmd.io/fleet": own, "site": site}}});
        let mut seen = NodeSeen::of(&node("vk-a", &labels));
        let before = seen.clone();
        fleets.settle(&mut seen);
        let (terms, label) =
            (seen.terms.clone().map(|terms| terms.fleet.clone()), seen.labels.get("vk-cmd.io/fleet").cloned());
        // Twice is once, and without fleets it is as it was.
        let once = seen.clone();
        fleets.settle(&mut seen);
        assert_eq!(seen, once);
        Fleets::default().settle(&mut seen);
        assert_eq!(seen, before);
        (terms, label)
    };
    let is = |terms: Option<&str>, label: Option<&str>| (terms.map(str::to_owned), label.map(str::to_owned));
    assert_eq!(belongs(Some("f"), None), is(Some("f"), Some("f")));
    assert_eq!(belongs(Some("f"), Some("s")), is(Some("f"), Some("f")), "the label has the say");
    assert_eq!(belongs(None, Some("s")), is(Some("g"), Some("g")), "the first by name");
    assert_eq!(belongs(Some("h"), Some("s")), is(Some("h"), Some("h")));
    assert_eq!(belongs(Some("h"), None), is(None, None), "h does not select it");
    assert_eq!(belongs(Some("x"), None), is(None, Some("x")), "a label without a CmdFleet");
    assert_eq!(belongs(Some("x"), Some("s")), is(Some("g"), Some("g")));
    assert_eq!(belongs(None, None), is(None, None));
}

#[test]
fn a_status_says_what_there_is() {
    let f = fleet("f", &json!({"replicas": 4}));
    let nodes = [
        node("vk-a", &json!({"metadata": {"annotations": {"vk-cmd.io/ends-at": later(600).to_string()}}})),
        node("vk-b", &json!({"spec": {"unschedulable": true}})),
        node("vk-c", &json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
        node(
            "vk-d",
            &json!({"metadata": {"annotations": {"vk-cmd.io/ends-at": later(90_000).to_string()}},
            "status": {"nodeInfo": {"kubeletVersion": "v2"}}}),
        ),
        node("vk-other", &json!({"metadata": {"labels": {"vk-cmd.io/fleet": "g"}}})),
    ];
    let mut floor = floor(std::slice::from_ref(&f), &nodes);
    for (name, node) in [("p", "vk-a"), ("q", "vk-b"), ("r", "vk-other")] {
        floor.put_stranger(&pod(name, node), now());
    }
    let looked = look(Look { fleet: &f, floor: &floor, drained: None, pilots: None, now: now() });
    let status = looked.status;
    assert_eq!(
        said(&status),
        "Ready=False,Reconciling=True TooFewNodes: 3 of 4 wanted nodes are ready: start more at the site (vk-operator join-token \
         --fleet f makes the line for it)"
    );
    assert_eq!((status.total_nodes, status.ready_nodes, status.busy_nodes, status.idle_nodes), (4, 3, 2, 1));
    assert_eq!((status.replicas, status.cordoned_nodes, status.observed_generation), (4, 1, Some(7)));
    let text = |all: &BTreeMap<String, String>| serde_json::to_value(all).unwrap();
    assert_eq!(text(&status.allocatable), json!({"cpu": "7500m", "memory": "12Gi", "pods": "30"}));
    assert_eq!(text(&status.used), json!({"cpu": "2", "memory": "2Gi", "pods": "2"}));
    assert_eq!(text(&status.free), json!({"cpu": "4", "memory": "7Gi", "pods": "19"}));
    assert_eq!(status.ending_nodes, 1);
    assert_eq!((&*status.nodes_ending_soon[0].node, &status.nodes_ending_soon[0].ends_at), ("vk-a", &Time(later(600))));
    let versions: Vec<_> = status.versions.iter().map(|v| (&*v.version, v.nodes)).collect();
    assert_eq!(versions, [("v1", 3), ("v2", 1)]);
    assert_eq!(
        status.problems,
        [
            "not ready: vk-c; see at the site whether vk-node runs there",
            "cordoned by somebody, and not by the operator: vk-b (kubectl uncordon NODE)",
        ]
    );
    // It is another when vk-a enters its margin, which is two minutes.
    assert_eq!(looked.again, Some(later(480)));
}

#[test]
fn the_word_of_a_fleet_follows_from_what_it_wants_and_has() {
    let ours =
        json!({"metadata": {"annotations": {"vk-cmd.io/cordoned-by": "fleet"}}, "spec": {"unschedulable": true}});
    let (open, closed) = (node("vk-a", &json!({})), node("vk-b", &ours));
    let left = |held| Left { held, pod: "n/p".to_owned() };
    let budget = Drained {
        left: vec![left(Held::Budget("The disruption budget b needs 1.".to_owned())), left(Held::Unmanaged)],
    };
    let none = Drained::default();
    let of = |spec: Value, nodes: &[&Node], drained: Option<&Drained>| {
        let f = fleet("f", &spec);
        let nodes: Vec<Node> = nodes.iter().copied().cloned().collect();
        said(&status(&f, &floor(std::slice::from_ref(&f), &nodes), drained))
    };
    let active = "it takes CmdJobs again with spec.scheduling: Active";
    assert_eq!(of(json!({}), &[&open], None), "Ready=True NodesReady: 1 of 1 node ready, 0 busy");
    assert_eq!(of(json!({}), &[], None), "Ready=True NodesReady: 0 of 0 nodes ready, 0 busy");
    assert!(
        of(json!({"minNodes": 1}), &[], None)
            .starts_with("Ready=False,Reconciling=True TooFewNodes: 0 of 1 wanted node is ready")
    );
    assert_eq!(
        of(json!({}), &[&closed], None),
        "Ready=False,Reconciling=True Uncordoning: 1 of 1 node are still cordoned"
    );
    let cordoned = json!({"scheduling": "Cordoned"});
    assert_eq!(
        of(cordoned.clone(), &[&open, &closed], None),
        "Ready=False,Reconciling=True Cordoning: 1 of 2 nodes are not cordoned yet"
    );
    assert_eq!(of(cordoned, &[&closed], None), format!("Ready=True Cordoned: 1 node cordoned, 0 busy: {active}"));
    let draining = json!({"scheduling": "Draining"});
    assert!(of(draining.clone(), &[&open], Some(&none)).contains("Draining: 1 of 1 node are not cordoned yet"));
    assert!(
        of(draining.clone(), &[&closed], None).contains("Draining: 1 node cordoned; what runs there is being evicted")
    );
    assert_eq!(of(draining.clone(), &[&closed], Some(&none)), format!("Ready=True Drained: 1 node drained: {active}"));
    assert_eq!(
        of(draining, &[&closed], Some(&budget)),
        "Ready=False,Reconciling=True Draining: 2 pods left: n/p is kept by a PodDisruptionBudget: The disruption budget b needs 1; n/p \
         has no controller that would make it again: delete it yourself"
    );
    let invalid = of(json!({"namespaces": {"allow": ["a["]}}), &[&open], None);
    assert!(invalid.starts_with(
        "Ready=False,Stalled=True Invalid: its nodes take no CmdJobs until this is mended: spec.namespaces.allow"
    ));
}

#[test]
fn what_is_wanted_twice_kept_away_or_too_many_is_told_of() {
    let f = fleet("f", &json!({"maxNodes": 1}));
    let g = fleet("g", &json!({"selector": {"matchLabels": {"type": "virtual-kubelet"}}}));
    let taint = json!({"spec": {"taints": [{"key": "example.org/broken", "effect": "NoSchedule"}]}});
    let mut nodes: Vec<Node> = (0..7).map(|n| node(&format!("vk-{n}"), &json!({}))).collect();
    nodes.push(node("vk-t", &taint));
    let floor = floor(&[f.clone(), g.clone()], &nodes);
    assert_eq!(
        status(&f, &floor, None).problems,
        [
            "the taint example.org/broken keeps CmdJobs away from vk-t",
            "the fleet g selects nodes of this fleet too, and does not get them: vk-0, vk-1, vk-2, vk-3, vk-4 and 3 more",
            "8 nodes are there, and spec.maxNodes is 1",
        ]
    );
    let of_g = status(&g, &floor, None);
    assert_eq!((of_g.total_nodes, of_g.selector.as_deref()), (0, Some("type=virtual-kubelet")));
}

#[test]
fn what_only_tells_how_much_runs_is_not_urgent() {
    let f = fleet("f", &json!({}));
    let mut floor = floor(std::slice::from_ref(&f), &[node("vk-a", &json!({}))]);
    let idle = status(&f, &floor, None);
    floor.put_stranger(&pod("p", "vk-a"), now());
    let busy = status(&f, &floor, None);
    assert!(idle != busy && !is_urgent(&idle, &busy));
    floor.put_node("vk-a", None, now());
    assert!(is_urgent(&busy, &status(&f, &floor, None)));
    assert!(is_urgent(&CmdFleetStatus::default(), &idle));
}

#[test]
fn what_cannot_be_read_lets_nobody_in() {
    let closed = [fleet("f", &json!({"namespaces": {"deny": ["a["]}}))];
    let terms =
        Fleets::of(&closed).terms_of(&[("vk-cmd.io/fleet".to_owned(), "f".to_owned())].into()).map(Arc::clone).unwrap();
    assert!(!terms.namespaces.permits("n"));
}

#[test]
fn nodes_are_cordoned_by_what_their_fleet_wants_and_by_their_end() {
    let ends = |seconds: i64| json!({"metadata": {"annotations": {"vk-cmd.io/ends-at": later(seconds).to_string()}}});
    let mut over = ends(100);
    json_patch::merge(
        &mut over,
        &json!({"metadata": {"annotations": {"vk-cmd.io/cordoned-by": "fleet"}}, "spec": {"unschedulable": true}}),
    );
    let nodes = [node("vk-a", &ends(119)), node("vk-b", &ends(121)), node("vk-c", &over)];
    let cordons = |spec: Value| cordons(&floor(&[fleet("f", &spec)], &nodes), now());
    let of = |name: &str, by, wanted| (name.to_owned(), by, wanted);
    assert_eq!(
        cordons(json!({})),
        [of("vk-a", By::Margin, true), of("vk-c", By::Fleet, false), of("vk-c", By::Margin, true)]
    );
    assert_eq!(cordons(json!({"walltimeMarginSeconds": 0})), [of("vk-c", By::Fleet, false)]);
    assert_eq!(
        cordons(json!({"walltimeMarginSeconds": 0, "scheduling": "Cordoned"})),
        [of("vk-a", By::Fleet, true), of("vk-b", By::Fleet, true)]
    );
    // Without any fleet, what a fleet has cordoned is set free.
    let none = super::cordons(&floor(&[], &nodes), now());
    assert_eq!(none, [of("vk-c", By::Fleet, false)]);
}

#[test]
fn pods_are_evicted_as_kubectl_drain_does_it() {
    let owned = |kind: &str| json!([{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]);
    let of = |over: Value| {
        let mut all = serde_json::to_value(pod("p", "vk-a")).unwrap();
        json_patch::merge(&mut all, &over);
        verdict(&serde_json::from_value(all).unwrap())
    };
    let with = |kind: &str, over: Value| {
        let mut all = json!({"metadata": {"ownerReferences": owned(kind)}});
        json_patch::merge(&mut all, &over);
        of(all)
    };
    assert_eq!(with("CmdJob", json!({})), Verdict::Evict);
    assert_eq!(with("ReplicaSet", json!({"status": {"phase": "Running"}})), Verdict::Evict);
    assert_eq!(with("CmdJob", json!({"status": {"phase": "Failed"}})), Verdict::Ignore);
    assert_eq!(with("CmdJob", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})), Verdict::Wait);
    assert_eq!(with("DaemonSet", json!({})), Verdict::Ignore);
    assert_eq!(of(json!({})), Verdict::Unmanaged);
    assert_eq!(of(json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})), Verdict::Ignore);
    assert_eq!(of(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})), Verdict::Wait);
}

fn any_node() -> impl Strategy<Value = Value> {
    let state = prop::sample::select(vec!["True", "False", "Unknown"]);
    let by = prop::sample::select(vec![None, Some("fleet"), Some("margin"), Some("fleet,later")]);
    let ends = prop::option::of(-100..3000_i64);
    (state, any::<bool>(), by, ends, prop::sample::select(vec!["f", "g", "h"])).prop_map(
        |(ready, cordoned, by, ends, fleet)| {
            json!({
                "metadata": {"labels": {"vk-cmd.io/fleet": fleet}, "annotations": {
                    "vk-cmd.io/cordoned-by": by, "vk-cmd.io/ends-at": ends.map(|ends| later(ends).to_string())}},
                "spec": {"unschedulable": cordoned},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            })
        },
    )
}

fn any_spec() -> impl Strategy<Value = Value> {
    let scheduling = prop::sample::select(vec!["Active", "Cordoned", "Draining"]);
    let selector = prop::sample::select(vec![json!(null), json!({"matchLabels": {"type": "virtual-kubelet"}})]);
    (scheduling, prop::option::of(0..5_i32), 0..400_i64, selector).prop_map(|(scheduling, replicas, margin, selector)| {
        json!({"scheduling": scheduling, "replicas": replicas, "walltimeMarginSeconds": margin, "selector": selector})
    })
}

proptest! {
    /// Whatever there is: the counts fit together, kstatus can read the conditions, a second look finds nothing to write, and when
    /// it says that it will be another, it has not been another before.
    #[test]
    fn a_status_is_sound_and_stays(
        specs in prop::collection::vec(any_spec(), 1..3), nodes in prop::collection::vec((any_node(), 0..3_usize), 0..6), left in prop::option::of(0..8_usize),
    ) {
        let mut fleets: Vec<CmdFleet> = specs.iter().zip(["f", "g"]).map(|(spec, name)| fleet(name, spec)).collect();
        let named = |(n, (over, _)): (usize, &(Value, usize))| node(&format!("vk-{n}"), over);
        let all: Vec<Node> = nodes.iter().enumerate().map(named).collect();
        let mut floor = floor(&fleets, &all);
        for (n, (_, pods)) in nodes.iter().enumerate() {
            for p in 0..*pods {
                floor.put_stranger(&pod(&format!("p-{n}-{p}"), &format!("vk-{n}")), now());
            }
        }
        let drained = left.map(|left| Drained { left: (0..left).map(|n| Left { held: Held::Ending, pod: format!("n/p{n}") }).collect() });
        let mut total = 0;
        for fleet in &mut fleets {
            let Looked { status, again } = look(Look { fleet, floor: &floor, drained: drained.as_ref(), pilots: None, now: now() });
            total += status.total_nodes;
            prop_assert_eq!(status.busy_nodes + status.idle_nodes, status.ready_nodes);
            prop_assert!(status.ready_nodes <= status.total_nodes && status.cordoned_nodes <= status.total_nodes);
            prop_assert_eq!(status.nodes_ending_soon.len(), usize::try_from(status.ending_nodes).unwrap());
            let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
            prop_assert_eq!([is("Ready"), is("Reconciling"), is("Stalled")].iter().filter(|is| **is).count(), 1);
            for condition in &status.conditions {
                prop_assert!(condition.reason.parse::<FleetReason>().is_ok());
            }
            fleet.status = Some(status.clone());
            let second = look(Look { fleet, floor: &floor, drained: drained.as_ref(), pilots: None, now: later(0) });
            prop_assert_eq!(patch::status(&status, &second.status, "u", None).unwrap(), None);
            if let Some(again) = again {
                prop_assert!(again > now());
                let before = again - SignedDuration::from_millis(1);
                let still = look(Look { fleet, floor: &floor, drained: drained.as_ref(), pilots: None, now: before });
                prop_assert_eq!(still.status, status);
            }
        }
        let belonging = floor.nodes().values().filter(|node| node.terms.is_some()).count();
        prop_assert_eq!(usize::try_from(total).unwrap(), belonging, "each node is counted once");
        // What is to be cordoned is settled by doing it.
        let mut after = all;
        for (name, by, wanted) in cordons(&floor, now()) {
            let node = after.iter_mut().find(|node| node.metadata.name.as_ref() == Some(&name)).unwrap();
            let change = crate::cordon::Cordon::of(node).want(by, wanted);
            let mut value = serde_json::to_value(&*node).unwrap();
            if let Some(change) = change {
                json_patch::merge(&mut value, &change.patch(None));
            }
            *node = serde_json::from_value(value).unwrap();
        }
        let seen: Nodes = after.iter().map(|node| (node.metadata.name.clone().unwrap(), NodeSeen::of(node))).collect();
        floor.replace_nodes(seen);
        prop_assert_eq!(cordons(&floor, now()), []);
        for node in floor.nodes().values().filter(|node| node.terms.as_ref().is_some_and(|t| t.scheduling != Scheduling::Active)) {
            prop_assert!(node.about.cordon.unschedulable && node.state != NodeState::Ready);
        }
    }
}
