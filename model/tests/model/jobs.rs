//! The CmdJobs of a seed: everything that a spec can say about counts, places, order, ends and time.

use fastrand::Rng;
use serde_json::{Value, json};

/// The namespaces. Of the nodes, `vk-2` takes no pods of the second one.
pub(crate) const NAMESPACES: [&str; 2] = ["lab", "shop"];

/// A CmdJob to be made, without its UID.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    pub(crate) spec: Value,
    /// Whether it does not fit its type.
    pub(crate) unreadable: bool,
}

/// The CmdJobs of a seed. Two of different namespaces may have the same name.
pub(crate) fn jobs(rng: &mut Rng) -> Vec<Spec> {
    let count = rng.u32(1..5);
    (0..count)
        .map(|n| Spec {
            namespace: NAMESPACES[usize::from(rng.u8(0..3) == 0)],
            name: format!("j{n}"),
            spec: spec(rng, n, count),
            unreadable: rng.u8(0..40) == 0,
        })
        .collect()
}

/// Jobs of two namespaces, each of which could use all that there is.
pub(crate) fn rivals() -> Vec<Spec> {
    let spec = json!({
        "target": {"fleet": "f"}, "script": "x", "parallelism": 5, "completions": 20, "backoffLimit": 100,
        "resources": {"requests": {"cpu": "1"}},
    });
    let one = |(n, namespace)| Spec { namespace, name: format!("j{n}"), spec: spec.clone(), unreadable: false };
    [(0, NAMESPACES[0]), (1, NAMESPACES[0]), (2, NAMESPACES[1])].map(one).into()
}

/// The CmdJobs of a seed whose nodes are those of a fleet: more of them to do, so that they wait for each other.
pub(crate) fn jobs_of_fleet(rng: &mut Rng) -> Vec<Spec> {
    let mut all = jobs(rng);
    for (n, Spec { namespace, spec, .. }) in all.iter_mut().enumerate() {
        *namespace = NAMESPACES[n % 2];
        let by_label = rng.u8(0..5) == 0;
        spec["target"] =
            if by_label { json!({"nodeSelector": {"vk-cmd.io/fleet": "f"}}) } else { json!({"fleet": "f"}) };
        if rng.bool() {
            spec["parallelism"] = json!(rng.u8(1..6));
            spec["resources"] = json!({"requests": {"cpu": "1"}});
        }
        let all = spec.as_object_mut().unwrap();
        // It asks for no node.
        if all.remove("everyNode").is_some() {
            all.remove("backoffLimitPerIndex");
            all.remove("maxFailedIndexes");
        }
        if rng.bool() && !all.contains_key("completionMode") {
            all.insert("completions".to_owned(), json!(rng.u8(4..10)));
        }
    }
    all
}

fn spec(rng: &mut Rng, n: u32, count: u32) -> Value {
    let several = match rng.u8(0..8) {
        0..=2 => json!({"fleet": "f"}),
        3 => json!({"nodeSelector": {"zone": *rng.choice(&["a", "b"]).unwrap()}}),
        _ => json!({}),
    };
    let is_one = several == json!({});
    let one = json!({"node": format!("vk-{}", if rng.u8(0..10) == 0 { 9 } else { rng.u8(0..3) })});
    let mut spec = json!({
        "target": if is_one { one } else { several }, "script": "x", "backoffLimit": rng.u8(0..4),
        "suspend": rng.u8(0..6) == 0, "priority": rng.i8(-2..3),
    });
    let mut some = |one_in: u8, name: &str, value: &dyn Fn(&mut Rng) -> Value| {
        let is_so = rng.u8(0..one_in) == 0;
        if is_so {
            spec[name] = value(rng);
        }
        is_so
    };
    some(2, "resources", &|rng| json!({"requests": {"cpu": *rng.choice(&["1", "1", "1", "2", "500m", "9"]).unwrap()}}));
    let every = !is_one && some(3, "everyNode", &|_| json!(true));
    let indexed = !every && some(3, "completionMode", &|_| json!("Indexed"));
    if indexed {
        some(1, "completions", &|rng| json!(rng.u8(0..4)));
    } else if !every {
        some(3, "completions", &|rng| json!(rng.u8(0..4)));
    }
    some(2, "parallelism", &|rng| json!(rng.u8(0..4)));
    let per_index = (indexed || every) && some(2, "backoffLimitPerIndex", &|rng| json!(rng.u8(0..2)));
    if per_index {
        some(3, "maxFailedIndexes", &|_| json!(0));
    }
    if indexed {
        some(3, "successPolicy", &|_| json!({"rules": [{"succeededCount": 0}]}));
        if spec["completions"].as_u64() > Some(0) && spec.get("successPolicy").is_some() {
            spec["successPolicy"] = json!({"rules": [{"succeededIndexes": "0"}]});
        } else if let Some(all) = spec.as_object_mut() {
            all.remove("successPolicy");
        }
    }
    let mut some = |one_in: u8, name: &str, value: &dyn Fn(&mut Rng) -> Value| {
        if rng.u8(0..one_in) == 0 {
            spec[name] = value(rng);
        }
    };
    some(2, "podFailurePolicy", &|rng| {
        let rules = [
            json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}),
            json!({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [5]}}),
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}),
            json!({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1]}}),
            json!({"action": if per_index { "FailIndex" } else { "Count" }, "onExitCodes": {"operator": "In", "values": [5]}}),
        ];
        json!({"rules": [rng.choice(&rules).unwrap()]})
    });
    some(3, "activeDeadlineSeconds", &|rng| json!(rng.u16(0..300)));
    some(4, "ttlSecondsAfterFinished", &|rng| json!(rng.u16(0..100)));
    some(4, "walltimeSeconds", &|rng| json!(rng.u16(5..600)));
    some(4, "terminationGracePeriodSeconds", &|rng| json!(rng.u8(1..60)));
    some(2, "onUnknown", &|_| json!("Retry"));
    // Of a later one too, and so in circles; or of one that is never made.
    some(4, "after", &|rng| {
        let on = if rng.u8(0..12) == 0 { n } else { rng.u32(0..=count) };
        json!([{"name": format!("j{on}"), "when": *rng.choice(&["Complete", "Finished", "Failed"]).unwrap()}])
    });
    some(30, "managedBy", &|_| json!("example.com/other"));
    some(30, "workingDir", &|_| json!("not-absolute"));
    spec
}
