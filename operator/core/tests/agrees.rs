//! What the CEL rules of the resource refuse, `validate` refuses, and the other way round: about all that batch/v1 Job says of
//! counts, limits and policies. (That the rules say the same as Job is shown in e2e.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use std::cell::Cell;

use kube::core::cel::Validator;
use proptest::option::weighted;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vk_cmd_crds::{CmdJob, crd};
use vk_operator_core::validate;

/// Numbers about which something is said, and those beside them.
fn count() -> impl Strategy<Value = i32> {
    prop_oneof![
        9 => prop::sample::select(vec![0, 1, 2, 3, 10_000, 10_001, 100_000, 100_001, i32::MAX]),
        1 => Just(-1),
    ]
}

fn field<T: Into<Value> + std::fmt::Debug + Clone>(
    name: &'static str,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<(String, Value)>> {
    // Each is there in a third of all cases: with all of them, hardly any would be right.
    weighted(1.0 / 3.0, value)
        .prop_map(move |value| value.map(|value| (name.to_owned(), value.into())).into_iter().collect())
}

fn target() -> impl Strategy<Value = Vec<(String, Value)>> {
    let targets = prop_oneof![
        6 => Just(json!({"node": "vk-a"})),
        6 => Just(json!({"fleet": "f"})),
        1 => Just(json!({})),
        1 => Just(json!({"node": "vk-a", "fleet": "f"})),
    ];
    targets.prop_map(|target| vec![("target".to_owned(), target)])
}

fn failure_policy() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["FailJob", "Ignore", "FailIndex", "Count"])
        .prop_map(|action| json!({"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [1]}}]}))
}

fn success_policy() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![0, 1, 2, 3]).prop_map(|count| json!({"rules": [{"succeededCount": count}]}))
}

fn spec() -> impl Strategy<Value = Value> {
    let fields = (
        target(),
        field("everyNode", prop::sample::select(vec![true, false, false])),
        field("completionMode", Just("Indexed")),
        field("completions", count()),
        field("parallelism", count()),
        field("backoffLimit", 0..9),
        field("backoffLimitPerIndex", prop::sample::select(vec![-1, 0, 0, 1, 1, 2, 3])),
        field("maxFailedIndexes", count()),
        field("podFailurePolicy", failure_policy()),
        field("successPolicy", success_policy()),
    );
    fields.prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
        let all = [a, b, c, d, e, f, g, h, i, j].concat();
        let mut spec: Map<String, Value> = all.into_iter().collect();
        // What the API server fills in before it asks the rules.
        let filled = [("everyNode", json!(false)), ("completionMode", json!("NonIndexed")), ("suspend", json!(false))];
        for (field, value) in filled {
            spec.entry(field).or_insert(value);
        }
        spec.insert("script".to_owned(), json!("echo"));
        Value::Object(spec)
    })
}

#[test]
fn the_operator_refuses_what_the_rules_refuse() {
    let mut crd = serde_json::to_value(crd::cmdjob().unwrap()).unwrap();
    let schema = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap().take();
    let (taken, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) }, |(spec in spec())| {
        let object = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "spec": spec,
            "metadata": {"name": "a", "namespace": "b", "uid": "1a2b3c4d-5e6f-4000-8000-000000000000"},
        });
        let rules = Validator::new().validate(&schema, &object, None).map_err(|error| error.to_string());
        let job: CmdJob = serde_json::from_value(object).unwrap();
        let operator = validate::validate(&job).map(drop).map_err(|error| error.to_string());
        let seen = if rules.is_ok() { &taken } else { &refused };
        seen.set(seen.get() + 1);
        prop_assert_eq!(rules.is_ok(), operator.is_ok(), "rules: {:?}\noperator: {:?}", rules, operator);
    });
    let (taken, refused) = (taken.get(), refused.get());
    assert!(taken > 5 && refused > 5, "{taken} taken, {refused} refused: both are to be seen");
}
