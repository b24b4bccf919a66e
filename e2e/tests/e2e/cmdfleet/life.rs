//! A fleet of three nodes, as jobs come and go.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use vk_cmd_crds::State;

use super::reason_of;
use crate::ground::room;

#[tokio::test]
async fn a_fleet_says_how_it_is_as_jobs_and_nodes_come_and_go() {
    const FLEET: &str = "cf-life";
    let room = room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({"replicas": 3})).await;
    let none = fleet.is("TooFewNodes").await;
    assert_eq!((none.wanted_nodes, none.total_nodes), (3, 0));
    assert!(none.message.unwrap().contains("join-token --fleet cf-life"));
    assert_eq!(none.conditions.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), ["Ready", "Reconciling"]);

    // A job that waits for it is told of, and told why.
    let early = room.job("early", json!({"target": {"fleet": FLEET}, "script": "true"})).await;
    fleet.until("to have a queue", |status| status.queue.waiting_jobs == 1 && status.queue.waiting_pods == 1).await;

    let site = room.nodes_of(FLEET, 3, &["--max-pods", "1"]).await;
    early.ended().await;
    let ready = fleet.until("to be ready and idle", |s| reason_of(s) == Some("NodesReady") && s.idle_nodes == 3).await;
    assert_eq!((ready.ready_nodes, ready.busy_nodes, ready.total_nodes, ready.replicas), (3, 0, 3, 3));
    assert_eq!((ready.allocatable["pods"].as_str(), ready.free["pods"].as_str()), ("3", "3"));
    assert!(ready.used.is_empty() && ready.queue.waiting_jobs == 0 && ready.problems.is_empty());
    assert_eq!(ready.selector.as_deref(), Some("vk-cmd.io/fleet=cf-life"));
    assert_eq!((ready.versions.len(), ready.versions[0].nodes), (1, 3));
    assert_eq!(ready.conditions.len(), 1, "kstatus: it is as it shall be");
    room.says(&["wait", "cmdfleet/cf-life", "--for=condition=Ready", "--timeout=50s"]).await;

    // One busy, then all, and one job waits.
    let script = format!("until test -e {}/end; do sleep 0.1; done", site.home().display());
    let start = async |name: &str| room.job(name, json!({"target": {"fleet": FLEET}, "script": script})).await;
    let first = start("a").await;
    let busy = fleet.until("to have one busy node", |status| status.busy_nodes == 1 && status.idle_nodes == 2).await;
    assert_eq!((busy.used["pods"].as_str(), busy.free["pods"].as_str()), ("1", "2"));
    let others = [start("b").await, start("c").await, start("d").await];
    let full = fleet.until("to be full", |status| status.busy_nodes == 3 && status.queue.waiting_jobs == 1).await;
    assert!(full.free.get("pods").is_none_or(|free| free == "0"), "{full:?}");
    assert!(full.message.unwrap().contains("1 job waits for room"));
    std::fs::write(site.home().join("end"), "").unwrap();
    first.ended().await;
    for job in &others {
        job.ended().await;
    }
    fleet.until("to be idle again", |status| status.idle_nodes == 3 && status.queue.waiting_jobs == 0).await;

    // kubectl scale: within the bounds of the fleet.
    room.says(&["scale", "cmdfleet/cf-life", "--replicas=2"]).await;
    let scaled = fleet.is("NodesReady").await;
    assert_eq!((scaled.wanted_nodes, scaled.ready_nodes), (2, 3));
    fleet.change(json!({"maxNodes": 4})).await;
    let said =
        vk_cmd_e2e::exec::output(room.kubectl(&["scale", "cmdfleet/cf-life", "--replicas=5"]), crate::fixture::SOON)
            .await;
    let said = said.unwrap();
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("raise maxNodes too"), "{said:?}");
    room.says(&["scale", "cmdfleet/cf-life", "--replicas=4"]).await;
    let wanted = fleet.is("TooFewNodes").await;
    assert!(wanted.message.unwrap().starts_with("3 of 4 wanted nodes are ready"));

    // Nodes go: their process first, and then one of the objects.
    drop(site);
    let silent = fleet.until("to miss its nodes", |status| status.ready_nodes == 0).await;
    assert_eq!(silent.total_nodes, 3);
    assert!(
        silent.problems[0].contains("not ready: vk-cf-life-0, vk-cf-life-1, vk-cf-life-2"),
        "{:?}",
        silent.problems
    );
    let nodes: Api<Node> = Api::all(room.client.clone());
    nodes.delete("vk-cf-life-1", &DeleteParams::default()).await.unwrap();
    fleet.until("to have lost one", |status| status.total_nodes == 2).await;
    fleet.remove().await;
}

#[tokio::test]
async fn namespaces_and_the_margin_of_a_fleet_count_where_jobs_are_placed() {
    const FLEET: &str = "cf-terms";
    let room = room(FLEET).await;
    let waits = |words: &'static str| {
        move |status: &vk_cmd_crds::CmdJobStatus| {
            status.state == Some(State::Waiting) && status.message.as_deref().is_some_and(|said| said.contains(words))
        }
    };
    // Without a CmdFleet the label is enough, and what is missing is said.
    let job = room.job("by-label", json!({"target": {"fleet": FLEET}, "script": "true"})).await;
    job.until("to miss the fleet", waits("there is no CmdFleet of that name")).await;
    let _site = room.nodes_for(FLEET, 1, &[], &[("JIRIAF_WALLTIME", "3600")]).await;
    job.ended().await;

    let fleet = room.fleet(FLEET, json!({"namespaces": {"deny": ["cf-*"]}})).await;
    fleet.is("NodesReady").await;
    for (name, target) in [("fleet", json!({"fleet": FLEET})), ("node", json!({"node": "vk-cf-terms-0"}))] {
        let kept_out = room.job(&format!("kept-out-{name}"), json!({"target": target, "script": "true"})).await;
        kept_out
            .until("to be kept out", waits("belongs to the fleet cf-terms, which takes no CmdJobs of the namespace"))
            .await;
        fleet.change(json!({"namespaces": {"deny": ["other"]}})).await;
        kept_out.ended().await;
        fleet.change(json!({"namespaces": {"deny": ["cf-*"]}})).await;
        fleet.is("NodesReady").await;
    }

    // The node ends in an hour, and the fleet wants the last half of it.
    fleet.change(json!({"namespaces": null, "walltimeMarginSeconds": 1800})).await;
    let spec = |walltime: i64| json!({"target": {"fleet": FLEET}, "script": "true", "walltimeSeconds": walltime});
    room.job("short", spec(600)).await.ended().await;
    let long = room.job("long", spec(2400)).await;
    long.until("to find no time", waits("the margin before its end")).await;
    // And when it has begun, the node is cordoned, and uncordoned when its end is put off.
    fleet.change(json!({"walltimeMarginSeconds": 7200})).await;
    fleet.until("to have cordoned it", |status| status.cordoned_nodes == 1 && status.ending_nodes == 1).await;
    let nodes: Api<Node> = Api::all(room.client.clone());
    let node = nodes.get("vk-cf-terms-0").await.unwrap();
    assert_eq!(node.metadata.annotations.unwrap()["vk-cmd.io/cordoned-by"], "margin");
    fleet.change(json!({"walltimeMarginSeconds": 60})).await;
    long.ended().await;
    fleet.until("to have uncordoned it", |status| status.cordoned_nodes == 0).await;
    fleet.remove().await;
}
