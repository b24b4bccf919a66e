//! The rows of `nodes` and `fleets`.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use vk_cmd_crds::amounts::{Amounts, CPU, PODS};
use vk_cmd_crds::{CmdFleet, labels};
use vk_operator_core::place::{NodeSeen, NodeState};

use crate::age;

/// The headings of [`row`].
pub const HEADINGS: [&str; 9] = ["NAME", "FLEET", "STATE", "PODS", "CPU", "MEMORY", "LEFT", "AGE", "REASON"];
/// The headings of [`fleet_row`].
pub const FLEET_HEADINGS: [&str; 9] =
    ["NAME", "WANTED", "READY", "BUSY", "IDLE", "ENDING", "WAITING", "SCHEDULING", "REASON"];

/// What is used of each node: what the pods ask for that have not ended.
#[must_use]
pub fn used<P: Borrow<Pod>>(pods: &[P]) -> BTreeMap<String, Amounts> {
    let mut all: BTreeMap<String, Amounts> = BTreeMap::new();
    for pod in pods.iter().map(Borrow::borrow) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if let Some(node) = node.filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) {
            all.entry(node).or_default().add(&Amounts::of_pod(pod));
        }
    }
    all
}

/// A node as a row below [`HEADINGS`]. `used`: what is used of it, if that may be known.
#[must_use]
pub fn row(node: &Node, used: Option<&Amounts>, now: Timestamp) -> Vec<String> {
    let seen = NodeSeen::of(node);
    let (state, reason) = state(&seen, used, now);
    let of = |name: &str, shown: fn(u64) -> String| {
        let whole = seen.allocatable.get(name);
        let used = used.map_or_else(|| "?".to_owned(), |used| shown(used.get(name)));
        if whole == 0 { String::new() } else { format!("{used}/{}", shown(whole)) }
    };
    let created = node.metadata.creation_timestamp.as_ref();
    vec![
        node.metadata.name.clone().unwrap_or_default(),
        seen.labels.get(labels::FLEET).cloned().unwrap_or_default(),
        state.to_owned(),
        of(PODS, |n| n.to_string()),
        of(CPU, cpu_text),
        of("memory", bytes_text),
        seen.ends.map(|ends| age::between(now, ends)).unwrap_or_default(),
        created.map(|time| age::between(time.0, now)).unwrap_or_default(),
        reason,
    ]
}

/// In one word, and why in plain words.
fn state(seen: &NodeSeen, used: Option<&Amounts>, now: Timestamp) -> (&'static str, String) {
    match &seen.state {
        NodeState::NotReady { why, since } => {
            let since = since.map(|since| format!(" for {}", age::between(since, now))).unwrap_or_default();
            let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            ("not ready", format!("it is not ready{since}{why}"))
        }
        NodeState::Ready | NodeState::Cordoned if seen.is_ending && seen.about.is_drained => {
            ("drained", "its site has drained it: it takes nothing new until `vk-node drain --undo` there".to_owned())
        }
        NodeState::Ready if seen.is_ending => ("ending", "its end is near: it takes nothing new".to_owned()),
        NodeState::Cordoned if seen.is_ending => ("ending", "its end is near, and it is cordoned".to_owned()),
        NodeState::Cordoned => ("cordoned", "it takes nothing new until `kubectl uncordon`".to_owned()),
        NodeState::Tainted(key) => ("cordoned", format!("it has the taint {key}, which jobs do not tolerate")),
        NodeState::Ready => {
            let busy = used.map(|used| used.get(PODS));
            match busy {
                Some(0) => ("idle", "it takes jobs, and runs nothing".to_owned()),
                Some(1) => ("busy", "it takes jobs, and runs one pod".to_owned()),
                Some(pods) => ("busy", format!("it takes jobs, and runs {pods} pods")),
                None => ("Ready", "it takes jobs".to_owned()),
            }
        }
    }
}

/// Thousandths of processors for people: `4`, `1.5`.
#[must_use]
pub fn cpu_text(thousandths: u64) -> String {
    match thousandths % 1000 {
        0 => (thousandths / 1000).to_string(),
        rest => format!("{}.{}", thousandths / 1000, format!("{rest:03}").trim_end_matches('0')),
    }
}

/// Bytes for people: `3.4Gi`.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "Ki", "Mi", "Gi", "Ti"];
    let (mut unit, mut size) = (1_u64, "");
    for name in UNITS {
        size = name;
        if bytes / unit < 1024 {
            break;
        }
        if name != "Ti" {
            unit = unit.saturating_mul(1024);
        }
    }
    let tenths = bytes.saturating_mul(10) / unit;
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if tenth > 0 && whole < 10 && !size.is_empty() => format!("{whole}.{tenth}{size}"),
        (whole, _) => format!("{whole}{size}"),
    }
}

/// A fleet as a row below [`FLEET_HEADINGS`].
#[must_use]
pub fn fleet_row(fleet: &CmdFleet) -> Vec<String> {
    let status = fleet.status.clone().unwrap_or_default();
    let message = status.message.clone().unwrap_or_else(|| "the operator has not looked at it yet".to_owned());
    let counts = [status.wanted_nodes, status.ready_nodes, status.busy_nodes, status.idle_nodes, status.ending_nodes];
    let mut row = vec![fleet.metadata.name.clone().unwrap_or_default()];
    row.extend(counts.map(|count| count.to_string()));
    row.push(status.queue.waiting_jobs.to_string());
    row.push(fleet.spec.scheduling.to_string());
    let problems = status.problems.iter().map(|problem| format!("; {problem}"));
    row.push(std::iter::once(message).chain(problems).collect());
    row
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::table;

    fn node(name: &str, status: &str, more: &Value) -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"vk-cmd.io/fleet": "perlmutter"}, "creationTimestamp": "2026-01-02T03:00:00Z"},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": status, "message": "nobody hears from it",
                                "lastTransitionTime": "2026-01-02T03:04:00Z"}],
            },
        });
        for (pointer, value) in more.as_object().into_iter().flatten() {
            *node.pointer_mut(pointer).unwrap() = value.clone();
        }
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn nodes_are_told_in_plain_words() {
        let pod = json!({"spec": {"nodeName": "vk-b", "containers": [{"name": "main", "resources": {"limits": {"cpu": "1500m", "memory": "3Gi"}}}]}});
        let ended = json!({"spec": {"nodeName": "vk-b", "containers": []}, "status": {"phase": "Failed"}});
        let pods: Vec<Pod> = vec![serde_json::from_value(pod).unwrap(), serde_json::from_value(ended).unwrap()];
        let used = used(&pods);
        let now = "2026-01-02T03:05:00Z".parse().unwrap();
        let ends = json!({"vk-cmd.io/ends-at": "2026-01-02T06:05:00Z"});
        let mut ending = node("vk-b", "True", &json!({}));
        ending.metadata.annotations = Some(serde_json::from_value(ends).unwrap());
        let mut drained = node("vk-e", "True", &json!({"/spec": {"unschedulable": true}}));
        let condition = json!({"type": "vk-cmd.io/Ending", "status": "True", "reason": "Drained"});
        let conditions = drained.status.as_mut().and_then(|status| status.conditions.as_mut());
        conditions.unwrap().push(serde_json::from_value(condition).unwrap());
        let nodes = [
            node("vk-a", "True", &json!({})),
            ending,
            node("vk-c", "True", &json!({"/spec": {"unschedulable": true}})),
            node("vk-d", "Unknown", &json!({})),
            drained,
        ];
        let none = Amounts::default();
        let rows: Vec<_> = nodes
            .iter()
            .map(|node| row(node, Some(used.get(node.metadata.name.as_deref().unwrap()).unwrap_or(&none)), now))
            .collect();
        let expected = "\
NAME   FLEET        STATE       PODS    CPU     MEMORY     LEFT   AGE   REASON
vk-a   perlmutter   idle        0/110   0/8     0/16Gi            5m    it takes jobs, and runs nothing
vk-b   perlmutter   busy        1/110   1.5/8   3Gi/16Gi   3h     5m    it takes jobs, and runs one pod
vk-c   perlmutter   cordoned    0/110   0/8     0/16Gi            5m    it takes nothing new until `kubectl uncordon`
vk-d   perlmutter   not ready   0/110   0/8     0/16Gi            5m    it is not ready for 60s: nobody hears from it
vk-e   perlmutter   drained     0/110   0/8     0/16Gi            5m    its site has drained it: it takes nothing new until `vk-node drain --undo` there
";
        assert_eq!(table::render(&HEADINGS, &rows, None, table::plain), expected);
        assert_eq!(row(&nodes[0], None, now)[2..5], ["Ready", "?/110", "?/8"]);
    }

    #[test]
    fn a_fleet_is_a_line() {
        let fleet = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": "f"}, "spec": {},
            "status": {"wantedNodes": 4, "readyNodes": 3, "busyNodes": 2, "idleNodes": 1, "queue": {"waitingJobs": 9},
                       "message": "3 of 4 wanted nodes are ready", "problems": ["vk-x is not ready"]},
        });
        let row = fleet_row(&serde_json::from_value(fleet).unwrap());
        let expected =
            ["f", "4", "3", "2", "1", "0", "9", "Active", "3 of 4 wanted nodes are ready; vk-x is not ready"];
        assert_eq!(row, expected);
    }

    #[test]
    fn amounts_are_short() {
        for (bytes, expected) in
            [(0, "0"), (1023, "1023"), (1024, "1Ki"), (1536, "1.5Ki"), (40 << 20, "40Mi"), (1 << 50, "1024Ti")]
        {
            assert_eq!(bytes_text(bytes), expected);
        }
        assert_eq!(
            (cpu_text(50), cpu_text(1500), cpu_text(2000)),
            ("0.05".to_owned(), "1.5".to_owned(), "2".to_owned())
        );
    }
}
