//! metrics.md: what is measured. What the operator and the relay register is written from it; what a node writes is held to it.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::json;
use tokio::sync::watch;
use vk_cmd_crds::{CmdJob, CmdJobStatus, State};
use vk_operator::metrics::Metrics;
use vk_reference::{code, table};

use crate::{literals, same, sources, text_of};

/// The families of a text of Prometheus: name, kind, labels, help.
fn families(text: &str) -> Vec<[String; 4]> {
    let mut rows: Vec<[String; 4]> = Vec::new();
    let mut help = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, words)| words.to_owned()).unwrap_or_default();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            rows.push([code(name), kind.to_owned(), String::new(), help.clone()]);
        } else if let (Some((_, rest)), Some(last)) = (line.split_once('{'), rows.last_mut())
            && last[2].is_empty()
        {
            let labels = rest.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            last[2] = labels.filter(|name| *name != "le").map(code).collect::<Vec<_>>().join(", ");
        }
    }
    rows
}

const HEAD: [&str; 4] = ["metric", "kind", "labels", "meaning"];

#[test]
fn of_the_operator() {
    let metrics = Metrics::new(1, watch::channel(true).1).unwrap();
    // What has labels is there when it has been counted once.
    metrics.of_requests()(&vk_api_client::Ended {
        method: Method::GET,
        host: "h".to_owned(),
        code: Some(StatusCode::OK),
    });
    let spec = json!({"target": {"node": "vk-a"}, "script": "true"});
    let job: CmdJob = serde_json::from_value(
        json!({"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {}, "spec": spec}),
    )
    .unwrap();
    let condition = Condition {
        type_: "Complete".to_owned(),
        status: "True".to_owned(),
        reason: "CompletionsReached".to_owned(),
        message: String::new(),
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    let done = CmdJobStatus { state: Some(State::Complete), conditions: vec![condition], ..CmdJobStatus::default() };
    metrics.status_written(&job, &done, jiff::Timestamp::UNIX_EPOCH);
    let rows = families(&metrics.counted());
    for name in ["cmdjob_finished_total", "rest_client_requests_total", "cmdjob_jobs"] {
        assert!(rows.iter().any(|row| row[0] == code(name)), "{name} is not among {rows:?}");
    }
    same("metrics.md", "operator", &table(HEAD, rows));
}

#[test]
fn of_the_relay() {
    same("metrics.md", "relay", &table(HEAD, families(&vk_relay::measures().unwrap())));
}

/// What a node writes as text: each name that is in its code has a row, and each row is of one that is.
#[test]
fn of_the_node() {
    const BEGINNINGS: [&str; 9] = [
        "kubelet_",
        "prober_",
        "process_",
        "rest_client_",
        "vk_node_",
        "node_",
        "pod_",
        "container_",
        "resource_scrape_",
    ];
    const ENDS: [&str; 14] = [
        "_total",
        "_seconds",
        "_bytes",
        "_fds",
        "_error",
        "_pods",
        "_containers",
        "_name",
        "_evictions",
        "_ending",
        "_up",
        "_tasks",
        "_connected",
        "_time",
    ];
    let is_name = |text: &str| {
        BEGINNINGS.iter().any(|begin| text.starts_with(begin))
            && ENDS.iter().any(|end| text.ends_with(end))
            && !text.contains(' ')
    };
    let files = [
        "vk-node/src/kubelet/metrics",
        "vk-node/src/node",
        "vk-node/src/probes",
        "vk-node/src/way",
        "vk-node/src/pods",
        "vk-node/core/src/stats",
    ];
    let code: Vec<(String, String)> = files.into_iter().flat_map(sources).collect();
    let written: BTreeSet<&str> =
        code.iter().flat_map(|(_, code)| literals(code)).filter(|text| is_name(text)).collect();
    assert!(written.len() > 30, "{written:?}");
    let page = text_of("docs/reference/metrics.md");
    let (of_node, _) = page.split_once("<!-- part operator -->").unwrap();
    let rows = of_node.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<&str> = rows.flat_map(|cell| cell.split('`')).filter(|text| is_name(text)).collect();
    let missing: Vec<_> = written.difference(&told).collect();
    assert!(missing.is_empty(), "docs/reference/metrics.md has no row for {missing:?}");
    let gone: Vec<_> = told.difference(&written).collect();
    assert!(gone.is_empty(), "docs/reference/metrics.md tells of what no node measures: {gone:?}");
}
