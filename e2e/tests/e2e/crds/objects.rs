//! Objects: those that are taken, with what is filled in, and those that are not, with what is said.

use serde_json::{Value, json};
use vk_cmd_crds::CmdJob;

use super::api::{Asked, Kind};
use super::given::{ENVIRONMENT, RESOURCES, VOLUMES};
use super::of_job::{COUNTS, POLICIES};
use super::rows::Native::{Alone, Differs, Same};
use super::rows::Verdict::{Bad, Good};
use super::rows::{Native, Row, check, yaml};

/// A spec that is right.
const RIGHT: &str = "target: {node: vk-a}, script: echo hello";

const WHERE: &[Row] = &[
    ("target: null", Bad("spec.target: Required value"), Alone),
    ("target: {}", Bad("the target is empty: name the node to run on"), Alone),
    ("target: {node: null}", Bad("the target is empty: name the node to run on"), Alone),
    ("target: {node: worker-1}", Bad("their names begin with vk-, e.g. vk-perlmutter-01"), Alone),
    ("target: {node: vk-}", Bad("a node's name is a DNS name"), Alone),
    ("target: {node: vk-Perlmutter}", Bad("a node's name is a DNS name"), Alone),
    ("target: {node: vk-a_b}", Bad("a node's name is a DNS name"), Alone),
    ("target: {node: vk-a..b}", Bad("a node's name is a DNS name"), Alone),
    (
        "target: {node: vk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
        Bad("may not be more than 63"),
        Alone,
    ),
    ("target: {node: vk-a, fleet: f}", Bad("the target is one of node, fleet and nodeSelector"), Alone),
    ("target: {fleet: '-f'}", Bad("a fleet's name is the value of a label"), Alone),
    ("target: {nodeSelector: {}}", Bad("nodeSelector is empty: name at least one label"), Alone),
    ("target: {fleet: f}", Good("target: {fleet: f}"), Alone),
    ("target: {nodeSelector: {vk-cmd.io/site: nersc}}", Good(""), Alone),
    ("nodeSelector: {a: b}", Bad("unknown field \"spec.nodeSelector\""), Alone),
    ("everyNode: true", Bad("everyNode is about the nodes of a fleet or of a nodeSelector"), Alone),
    ("everyNode: true, target: {fleet: f}, completions: 2", Bad("with everyNode the nodes are what is counted"), Alone),
    ("everyNode: true, target: {fleet: f}, backoffLimitPerIndex: 1, maxFailedIndexes: 2", Good(""), Alone),
];

const WHAT: &[Row] = &[
    ("script: null", Bad("set script (a text for a shell) or command (a program with args)"), Alone),
    ("command: [echo]", Bad("set either script or command, not both"), Alone),
    ("script: ''", Bad("the script is empty: write what is to be run"), Alone),
    ("script: 5", Bad("must be of type string"), Alone),
    ("args: [a]", Bad("args belong to command: set command, or write the arguments into the script"), Alone),
    ("shell: bash", Bad("shell is the absolute path of one program, e.g. /bin/bash"), Alone),
    ("shell: /bin/bash -l", Bad("options go into the script"), Alone),
    ("script: null, command: [echo], shell: /bin/bash", Bad("shell belongs to script"), Alone),
    ("script: null, command: []", Bad("its first entry is the program"), Alone),
    ("script: null, command: ['']", Bad("its first entry is the program"), Alone),
    ("script: null, command: echo", Bad("must be of type array"), Alone),
    (
        "workingDir: data",
        Bad("workingDir is an absolute path"),
        Differs("a relative one is of the image, which knows what it means"),
    ),
    ("workingDir: ~/data", Bad("a script can cd"), Alone),
    ("image: ''", Bad("leave it out to run on the host itself"), Same),
    ("image: a b", Bad("one name without spaces"), Differs("Kubernetes leaves the name to the runtime")),
    ("script: null, command: [hostname], args: [-f], workingDir: /tmp", Good("args: [-f]"), Same),
    ("command: null, args: null, shell: null, env: null", Good("shell: null, env: null"), Same),
    (
        "terminationGracePeriodSeconds: 0",
        Bad("Kubernetes would forget the pod before its process is gone"),
        Differs("such a pod is gone before its processes are"),
    ),
    (
        "terminationGracePeriodSeconds: -1",
        Bad("is 1 or more"),
        Differs("a Job reads it as 1, for the sake of old objects"),
    ),
    (
        "",
        Good(
            "terminationGracePeriodSeconds: 30, completionMode: NonIndexed, suspend: false, onUnknown: Fail, priority: 0",
        ),
        Same,
    ),
    ("priority: 1001", Bad("priority is from -1000 to 1000"), Alone),
    ("walltimeSeconds: 0", Bad("walltimeSeconds is 1 or more: leave it out for no limit"), Alone),
    ("onUnknown: Guess", Bad("supported values: \"Fail\", \"Retry\""), Alone),
    ("after: [{name: ''}]", Bad("after names another CmdJob of the same namespace"), Alone),
    ("after: [{name: a}, {name: a}]", Bad("Duplicate value"), Alone),
    ("after: [{name: a}]", Good("after: [{name: a, when: Complete}]"), Alone),
];

/// What is filled in where nothing is said.
const FILLED: &str = "completionMode: NonIndexed, everyNode: false, onUnknown: Fail, priority: 0, suspend: false, \
                      terminationGracePeriodSeconds: 30";

fn filled(spec: &Value) -> Value {
    let mut all = yaml(FILLED);
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    all
}

/// Whether all that is wanted is there; what is null is not.
fn holds(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| holds(there.get(field).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(there, wanted)| holds(there, wanted))
        }
        _ => there == wanted,
    }
}

#[tokio::test]
async fn objects_are_taken_and_filled_in_or_refused_with_help() {
    let asked = Asked::in_namespace("objects").await;
    let rows = [WHERE, WHAT, ENVIRONMENT, RESOURCES, VOLUMES, COUNTS, POLICIES].concat();
    assert!(rows.len() >= 80, "{}", rows.len());
    check(&rows, async |(changes, _, native): &Row| {
        let mut spec = yaml(RIGHT);
        for (field, value) in yaml(changes).as_object().unwrap() {
            spec[field] = value.clone();
        }
        let said = asked.create(Kind::CmdJob, "row", &spec).await;
        if let Ok(object) = &said {
            let wanted = filled(&spec);
            assert!(holds(&object["spec"], &wanted), "{changes}: {} is not {wanted}", object["spec"]);
            // What the API server takes, the operator can read.
            serde_json::from_value::<CmdJob>(object.clone()).unwrap_or_else(|error| panic!("{changes}: {error}"));
        }
        let of_native = match native {
            Native::Alone => None,
            Native::Same | Native::Differs(_) => Some(asked.create(Kind::Job, "row", &spec).await),
        };
        (said, of_native)
    })
    .await;
}

#[tokio::test]
async fn sizes_of_objects_are_limited() {
    let asked = Asked::in_namespace("sizes").await;
    let with = |field: &str, value: Value| {
        let mut spec = yaml(RIGHT);
        spec[field] = value;
        spec
    };
    let script = "echo 'a line of a long script'\n".repeat(200 * 1024 / 31 + 1);
    asked.create(Kind::CmdJob, "long", &with("script", json!(script))).await.unwrap();
    let rule = json!({"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}});
    let rules = |n: usize| json!({"rules": vec![rule.clone(); n]});
    let codes = |n: i32| {
        let codes: Vec<i32> = (1..=n).collect();
        json!({"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": codes}}]})
    };
    for (field, most, over, help) in [
        ("podFailurePolicy", rules(20), rules(21), "must have at most 20 items"),
        ("podFailurePolicy", codes(255), codes(256), "must have at most 255 items"),
    ] {
        for kind in [Kind::CmdJob, Kind::Job] {
            asked.create(kind, "most", &with(field, most.clone())).await.unwrap();
            let said = asked.create(kind, "over", &with(field, over.clone())).await.unwrap_err();
            assert!(said.contains(help), "{field}: {said}");
        }
    }
    let said = asked.create(Kind::CmdJob, "long", &with("script", json!("x".repeat(524_289)))).await.unwrap_err();
    assert!(said.contains("may not be more than 524288"), "{said}");
    let said = asked.create(Kind::CmdJob, &"n".repeat(64), &yaml(RIGHT)).await.unwrap_err();
    assert!(said.contains("a CmdJob's name has at most 63 characters"), "{said}");
}
