//! What the chart's alerts and dashboards ask for is what operator, nodes and relay measure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use vk_cmd_e2e::chart::directory;
use vk_cmd_e2e::relay::{Relay, Settings};
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::tools::{self, Tool};
use vk_cmd_e2e::{exec, loopback};

use super::{SYSTEM_NODE, Stage};
use crate::fixture::SOON;
use crate::ground::Room;

/// How the names of our metrics begin. No label is called so.
const OURS: [&str; 7] =
    ["cmdjob_", "controller_runtime_", "leader_election_", "rest_client_", "vk_", "kubelet_", "process_"];

/// An expression and where it is.
struct Asked {
    place: String,
    expression: String,
}

/// All that alerts and dashboards ask for.
fn asked() -> Vec<Asked> {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let files = directory().join("files");
    let alerts: Value = serde_yaml_ng::from_str(&read(files.join("alerts.yaml"))).unwrap();
    let mut all = Vec::new();
    for rule in alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        all.push(Asked { place: text("alert"), expression: text("expr") });
    }
    let dashboards = std::fs::read_dir(files.join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    for path in dashboards {
        let dashboard: Value = serde_json::from_str(&read(path)).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let place = format!("{}: {}", dashboard["title"], panel["title"]);
                all.push(Asked { place, expression: target["expr"].as_str().unwrap().to_owned() });
            }
        }
    }
    assert!(all.len() > 40, "{}", all.len());
    all
}

/// The metrics of an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| OURS.iter().any(|prefix| word.starts_with(prefix))).collect()
}

/// All of them are there, by a scrape of an operator that has done all that it does, of its node, and of a relay.
pub(super) async fn of_operator_and_nodes(stage: &Stage, room: &Room, port: u16) {
    let operator = loopback::get(port, "/metrics").await.unwrap();
    let node = room.of_kubelet(SYSTEM_NODE, "/metrics").await.unwrap();
    let relay = Relay::start(stage.ground.plane, Settings::default()).await.unwrap().metrics().await.unwrap();
    let scraped = [operator, node, relay].concat();
    let there: BTreeSet<&str> = scraped
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let missing: Vec<String> = asked()
        .iter()
        .flat_map(|asked| metrics(&asked.expression).into_iter().map(|name| (name.to_owned(), &asked.place)))
        .filter(|(name, _)| !there.contains(name.as_str()))
        .map(|(name, place)| format!("{name} of {place}"))
        .collect();
    assert!(missing.is_empty(), "nobody measures {missing:?}; what is measured: {there:?}");
}

#[test]
fn metrics_of_expressions_are_found() {
    let found = metrics(r#"sum by (state) (rate(cmdjob_jobs{vk="x"}[5m])) / on (pod) vk_node_tasks"#);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["cmdjob_jobs", "vk_node_tasks"]);
    for Asked { place, expression } in asked() {
        assert!(!metrics(&expression).is_empty(), "{place} asks for nothing of ours: {expression}");
    }
}

/// By Prometheus' own tool: the alerts come when they should, and all that the dashboards ask for can be asked.
#[tokio::test]
async fn prometheus_takes_alerts_and_dashboards() {
    let promtool = async |arguments: &[&str]| {
        let mut command = Command::new(tools::path(Tool::Promtool).await.unwrap());
        command.args(arguments);
        exec::text(command, SOON).await.unwrap()
    };
    let chart = directory();
    let file = |name: &str| chart.join(name).display().to_string();
    promtool(&["check", "rules", "--lint-fatal", &file("files/alerts.yaml")]).await;
    let tested = promtool(&["test", "rules", &file("ci/alerts_test.yaml")]).await;
    assert!(tested.contains("SUCCESS"), "{tested}");

    let rule =
        |(number, asked): (usize, &Asked)| json!({"record": format!("panel:{number}"), "expr": asked.expression});
    let rules: Vec<Value> = asked().iter().enumerate().map(rule).collect();
    let scratch = Scratch::new("vk-rules-").unwrap();
    let path = scratch.path().join("panels.yaml");
    std::fs::write(&path, json!({"groups": [{"name": "panels", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]).await;

    // Each alert is among what is tested, both as coming and as staying away.
    let test: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(chart.join("ci/alerts_test.yaml")).unwrap()).unwrap();
    let mut tested: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for case in test["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()) {
        let comes = !case["exp_alerts"].as_array().unwrap().is_empty();
        tested.entry(case["alertname"].as_str().unwrap()).or_default().insert(comes);
    }
    for Asked { place, .. } in asked().iter().filter(|asked| !asked.place.contains(':')) {
        assert_eq!(tested.get(place.as_str()).map(BTreeSet::len), Some(2), "{place}");
    }
}
