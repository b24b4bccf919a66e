//! From nothing to a node of a fleet, at a site that nobody can dial: by one line, with the relay in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use vk_cmd_e2e::http_proxy::HttpProxy;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::relay::{Relay, Settings as RelaySettings};
use vk_cmd_e2e::{binaries, control_plane, network};

use super::{addresses, listening, next, told};
use crate::exec::{BY_WEBSOCKET, shown};
use crate::ground::room;
use crate::join::{Machine, operator, ready, text};

/// What leads out of the site is a proxy, which knows the API server; the relay is reached past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_behind_a_firewall_joins_by_one_line_and_is_reached() {
    const FLEET: &str = "cf-far";
    const NODE: &str = "vk-cf-far-1";
    let room = room(FLEET).await;
    let plane = room.ground.plane;
    let Some(network) = network::behind_a_firewall().await else { return };
    let fleet = room.fleet(FLEET, json!({})).await;
    let settings = RelaySettings { address: network.host_address(), ..RelaySettings::default() };
    let relay = Relay::start(plane, settings).await.unwrap();
    let server = format!("{}:6443", control_plane::PUBLIC_NAME);
    let known = [(server.as_str(), plane.address())];
    let proxy = HttpProxy::start(network.host_address(), "site:secret", &known).await.unwrap();

    let (url, dialled) = (format!("https://{server}"), relay.address().to_string());
    let authority = relay.authority().display().to_string();
    let arguments = ["--fleet", FLEET, "--output", "token", "--server", &url, "--relay", &dialled];
    let arguments = [&arguments[..], &["--relay-certificate-authority", &authority]].concat();
    let made = operator(&room, &arguments).await;
    assert!(made.status.success(), "{made:?}");
    let token = text(&made.stdout);

    let machine = Machine::new();
    let program = binaries::built().await.unwrap().node.clone();
    let inside = network.inside();
    let at_the_site = |arguments: &[&str]| -> Command {
        let mut command = machine.command(Path::new(&inside[0]));
        command.args(&inside[1..]).arg(&program).args(arguments);
        command.env("HTTPS_PROXY", proxy.url()).env("NO_PROXY", "10.213.0.0/16, .example.net");
        command
    };
    let mut join = at_the_site(&["join", "--node-name", NODE, "--run"]);
    join.env("VK_NODE_JOIN", token.trim());
    let mut process = Process::start(NODE, join, machine.log()).unwrap();
    let node = ready(&room, NODE, &mut process).await;
    told::reachable(&room, NODE, "True", "RelayConnected").await;
    assert_eq!(
        addresses(&room.node_now(NODE).await),
        ["InternalIP=127.0.0.1"],
        "the relay's, as the API server knows it"
    );
    assert_eq!(listening(process.pid()), Vec::<PathBuf>::new());
    fleet.until("to have the node", |status| status.ready_nodes == 1).await;
    drop(node);

    let job = room.job("hello", json!({"target": {"fleet": FLEET}, "script": "echo hello"})).await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, "hello\n");
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", script]})).await;
    let (_follower, mut lines) = room.goes_on(&["logs", "--follow", "counter"]);
    for n in 0..10 {
        assert_eq!(next(&mut lines).await, Some(n.to_string()));
    }
    let exec = room.kubectl_by(BY_WEBSOCKET, &["exec", "counter", "--", "sh", "-c", "exit 3"], b"").await;
    assert_eq!(exec.status.code(), Some(3), "{:?}", shown(&exec));

    // It starts again with what it has written down, and needs no token.
    process.kill().unwrap();
    let config = machine.config(NODE);
    let run = at_the_site(&["run", "--config", config.to_str().unwrap()]);
    let mut process = Process::start(NODE, run, machine.log()).unwrap();
    let job = room.job("again", json!({"target": {"fleet": FLEET}, "script": "echo again"})).await;
    let pod = job.ended().await.attempt().pod.clone();
    room.has_logs(&pod).await;
    assert_eq!(room.says(&["logs", &pod]).await, "again\n");
    process.must_be_running().unwrap();
    let passed = proxy.passed();
    assert!(!passed.is_empty() && passed.iter().all(|name| *name == server), "{passed:?}");
    assert_eq!(proxy.refused(), Vec::<String>::new(), "the relay is not dialled by it");
    drop(process);
    fleet.remove().await;
}
