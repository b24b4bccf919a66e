//! Nodes behind a relay: they listen on nothing, and are reached all the same.

mod broken;
mod by_proxy;
mod by_tunnel;
mod joined;
mod refused;
mod scale;
mod several;
mod streams;
pub(crate) mod told;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use vk_cmd_e2e::control_plane::Signed;
use vk_cmd_e2e::kubelet::{Kubelet, Who};
use vk_cmd_e2e::relay::{Relay, Settings as RelaySettings};
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::exec::{BY_SPDY, BY_WEBSOCKET, noise, shown};
use crate::ground::{GLANCE, LONG, Room, room};
use crate::port_forward;

impl Room {
    /// A relay that lets in the nodes of this control plane.
    pub(crate) async fn relay(&self) -> Relay {
        Relay::start(self.ground.plane, RelaySettings::default()).await.unwrap()
    }

    /// A node behind it.
    pub(crate) async fn behind(&self, relay: &Relay, node: &str) -> Site {
        let settings = Settings::on(self.ground.plane, node).unwrap();
        self.site_with(Settings { node_flags: relay.node_flags(), ..settings }).await
    }

    /// A kubectl that goes on.
    pub(crate) fn goes_on(&self, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut kubectl = tokio::process::Command::from(self.kubectl(arguments));
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }

    pub(crate) async fn node_now(&self, name: &str) -> Node {
        Api::all(self.client.clone()).get(name).await.unwrap()
    }

    /// Waits until logs of a pod can be had, and gives how long that took.
    pub(crate) async fn has_logs(&self, pod: &str) -> Duration {
        let began = Instant::now();
        let had = wait::until("logs to be had", LONG, GLANCE, async || {
            let output = vk_cmd_e2e::exec::output(self.kubectl(&["logs", "--tail=1", pod]), LONG).await?;
            Ok(if output.status.success() { Probe::Ready(()) } else { Probe::not_yet(shown(&output).2) })
        });
        had.await.unwrap();
        began.elapsed()
    }
}

pub(crate) async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap()
}

/// Where a node says that it is reached.
fn addresses(node: &Node) -> Vec<String> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    all.map(|address| format!("{}={}", address.type_, address.address)).collect()
}

/// The sockets of a process that listen for TCP.
pub(crate) fn listening(pid: u32) -> Vec<PathBuf> {
    let mut listening = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let fields = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        // The state LISTEN, and the number of the socket: proc_net_tcp(5).
        listening.extend(fields.filter(|f| f[3] == "0A").map(|f| PathBuf::from(format!("socket:[{}]", f[9]))));
    }
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    open.filter(|socket| listening.contains(socket)).collect()
}

#[tokio::test]
async fn a_node_that_listens_on_nothing_is_reached_by_the_relay() {
    const NODE: &str = "vk-relayed";
    let room = room("relayed").await;
    let relay = room.relay().await;
    let mut site = room.behind(&relay, NODE).await;
    let pid = site.node().unwrap().pid();
    assert_eq!(listening(pid), Vec::<PathBuf>::new());
    assert_eq!(addresses(&room.node_now(NODE).await), ["InternalIP=127.0.0.1"], "no name of the host");

    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", script]})).await;
    room.has_logs("counter").await;
    let (_follower, mut lines) = room.goes_on(&["logs", "--follow", "counter"]);
    for n in 0..20 {
        assert_eq!(next(&mut lines).await, Some(n.to_string()));
    }
    let big = noise(7, 1 << 20);
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let cat = room.kubectl_by(by, &["exec", "-i", "counter", "--", "sh", "-c", "cat; exit 7"], &big).await;
        assert_eq!((cat.status.code(), cat.stdout == big), (Some(7), true), "{:?}", shown(&cat).2);
    }
    let reads = "read -r line; echo \"<$line>\"";
    room.running_pod("reader", NODE, json!({"command": ["sh", "-c", reads], "stdin": true})).await;
    let attached = room.kubectl_by(BY_WEBSOCKET, &["attach", "-i", "reader"], b"typed\n").await;
    assert!(shown(&attached).1.contains("<typed>"), "{:?}", shown(&attached));

    let port = port_forward::serving(&room, &site, "server").await;
    let (_forwarder, local) = port_forward::forwarding(&room, BY_WEBSOCKET, "server", port).await;
    futures::future::join_all((0..5).map(|n| port_forward::exchange(local, n + 1, 1 << 20))).await;

    // As metrics-server and Prometheus do: the API server's own way to these refuses addresses of loopback.
    let kubelet = Kubelet::of(&room.node_now(NODE).await).unwrap();
    let plane = room.ground.plane;
    let administrator = plane.client_certificate("vk-cmd-admin", Some("system:masters"), Signed::Properly).unwrap();
    let who = Who { certificate: Some(administrator), token: None };
    for path in ["/metrics/resource", "/stats/summary", "/configz", "/healthz"] {
        let answer = kubelet.ask(&who, &http::Method::GET, path, false).await.unwrap();
        assert!(answer.status.is_success() && !answer.body.is_empty(), "{path}: {answer:?}");
    }
    assert_eq!(listening(pid), Vec::<PathBuf>::new());
    assert!(relay.figure("vk_relay_bytes_total{direction=\"from_node\"}").await.unwrap() > 7e6);
    assert!((relay.figure("vk_relay_nodes").await.unwrap() - 1.0).abs() < 0.1);
}

/// As clusters are hardened: the API server verifies the kubelets that it dials, which have the relay's address.
#[tokio::test]
async fn the_serving_certificate_is_for_the_relays_address() {
    const NODE: &str = "vk-relayed-cert";
    let room = room("relayed-cert").await;
    let relay = room.relay().await;
    let mut site = room.behind(&relay, NODE).await;
    let kubelet = Kubelet::of(&site.ready(&room.client).await.unwrap()).unwrap();
    let authority = std::fs::read_to_string(room.ground.plane.client_ca()).unwrap();
    let verified = wait::until("a serving certificate of the cluster", LONG, GLANCE, async || {
        Ok(match kubelet.verify(&authority).await {
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::not_yet(format!("{error:#}")),
        })
    });
    verified.await.unwrap();
    assert_eq!(listening(site.node().unwrap().pid()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_relay_that_is_killed_ends_what_is_open_and_all_is_well_again_once_it_is_back() {
    const NODE: &str = "vk-relay-killed";
    let room = room("relay-killed").await;
    let mut relay = room.relay().await;
    let _site = room.behind(&relay, NODE).await;
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", script]})).await;
    room.has_logs("counter").await;
    let before = Kubelet::of(&room.node_now(NODE).await).unwrap().address();
    for _ in 0..2 {
        let (mut follower, mut logs) = room.goes_on(&["logs", "--follow", "counter"]);
        let (mut program, mut said) = room.goes_on(&["exec", "counter", "--", "sh", "-c", "echo on; exec sleep 1000"]);
        assert_eq!(next(&mut said).await.as_deref(), Some("on"));
        for n in 0..5 {
            assert_eq!(next(&mut logs).await, Some(n.to_string()));
        }
        relay.kill().unwrap();
        // Both end, and do not say that all went well; the log has no line twice and none is missing up to there.
        let ended = tokio::time::timeout(LONG, program.wait()).await.unwrap().unwrap();
        assert!(!ended.success());
        let mut n = 5;
        while let Some(line) = next(&mut logs).await {
            assert_eq!(line, n.to_string());
            n += 1;
        }
        tokio::time::timeout(LONG, follower.wait()).await.unwrap().unwrap();
        relay.restart().await.unwrap();
        let took = room.has_logs("counter").await;
        eprintln!("after kill -9 and a start of the relay, logs were there after {took:.1?}");
        assert!(took < Duration::from_secs(60), "{took:?}");
        assert_eq!(Kubelet::of(&room.node_now(NODE).await).unwrap().address(), before, "the port is the node's own");
        let again = room.kubectl_by(BY_WEBSOCKET, &["exec", "counter", "--", "sh", "-c", "exit 3"], b"").await;
        assert_eq!(again.status.code(), Some(3), "{:?}", shown(&again));
    }
}

/// A relay that was told to end: what is open goes on for its time, and the node goes to the next one.
#[tokio::test]
async fn a_relay_that_is_told_to_end_lets_what_is_open_end() {
    const NODE: &str = "vk-relay-told";
    let room = room("relay-told").await;
    let mut first = room.relay().await;
    let _site = room.behind(&first, NODE).await;
    room.sleeper("p", NODE).await;
    room.has_logs("p").await;
    let script = "echo on; sleep 5; echo over; exit 4";
    let (mut program, mut said) = room.goes_on(&["exec", "p", "--", "sh", "-c", script]);
    assert_eq!(next(&mut said).await.as_deref(), Some("on"));
    // It ends by itself as soon as that has ended, long before its time is over.
    first.stop(LONG).unwrap();
    assert_eq!(next(&mut said).await.as_deref(), Some("over"));
    assert_eq!(tokio::time::timeout(LONG, program.wait()).await.unwrap().unwrap().code(), Some(4));
    first.restart().await.unwrap();
    room.has_logs("p").await;
}

/// The relay is not there when the node begins: pods run, and logs can be had once it is.
#[tokio::test]
async fn a_node_whose_relay_is_away_runs_its_pods() {
    const NODE: &str = "vk-relay-away";
    let room = room("relay-away").await;
    let mut relay = room.relay().await;
    relay.kill().unwrap();
    let _site = room.behind(&relay, NODE).await;
    assert_eq!(addresses(&room.node_now(NODE).await), [""; 0]);
    let job = room.script("hello", NODE, "echo hello").await;
    job.ended().await;
    relay.restart().await.unwrap();
    let pod = job.pods().await[0].name_any();
    room.has_logs(&pod).await;
    assert_eq!(room.says(&["logs", &pod]).await, "hello\n");
}
