//! Who is not let in, and what a node cannot have.

use http::Method;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_cmd_e2e::control_plane::Signed;
use vk_cmd_e2e::kubelet::{self, Certificate, Kubelet, Who};
use vk_cmd_e2e::relay::Relay;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};

/// What the relay says to somebody who dials with this certificate, all of it until it closes, as far as it is text.
async fn dial(relay: &Relay, certificate: Option<Certificate>) -> String {
    let connector = kubelet::connector(&Who { certificate, token: None }).unwrap();
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let mut all = Vec::new();
    if let Ok(mut stream) = connector.connect(ServerName::from(relay.address().ip()), stream).await {
        // The connection is cut in the middle of what would be a handshake of HTTP/2.
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut all)).await;
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn only_nodes_are_let_in_and_each_has_only_what_is_its_own() {
    let room = room("relay-refused").await;
    let plane = room.ground.plane;
    let relay = room.relay().await;
    let (mut a, mut b) = (room.behind(&relay, "vk-relay-a").await, room.behind(&relay, "vk-relay-b").await);
    let refused =
        async |why: &str| relay.figure(&format!("vk_relay_refused_total{{why=\"{why}\"}}")).await.unwrap_or(0.0);

    // Without a certificate, with one of another authority, with one that has expired: not even the handshake.
    let node = |signed| plane.client_certificate("system:node:vk-relay-a", Some("system:nodes"), signed).unwrap();
    for certificate in [None, Some(node(Signed::ByAnother)), Some(node(Signed::LongAgo))] {
        let before = refused("handshake").await;
        assert_eq!(dial(&relay, certificate).await, "");
        assert!(refused("handshake").await > before);
    }
    // Whom the cluster knows, an administrator even, and who is no vk-node: told so.
    for (user, group) in [("vk-cmd-admin", "system:masters"), ("system:node:master-1", "system:nodes")] {
        let somebody = plane.client_certificate(user, Some(group), Signed::Properly).unwrap();
        let said = dial(&relay, Some(somebody)).await;
        assert!(said.contains("only vk-nodes are let in") && said.contains(user), "{said}");
    }
    assert!(refused("not_a_node").await > 1.5);
    assert!((relay.figure("vk_relay_nodes").await.unwrap() - 2.0).abs() < 0.1, "both nodes are still there");

    // Each has a port of its own, by which it alone answers, and with its own pods only.
    let kubelet = async |site: &mut Site| Kubelet::of(&site.ready(&room.client).await.unwrap()).unwrap();
    let (of_a, of_b) = (kubelet(&mut a).await, kubelet(&mut b).await);
    assert_ne!(of_a.address(), of_b.address());
    room.running_pod("on-a", "vk-relay-a", json!({"command": ["sh", "-c", "echo here; exec sleep 1000"]})).await;
    let administrator = plane.client_certificate("vk-cmd-admin", Some("system:masters"), Signed::Properly).unwrap();
    let who = Who { certificate: Some(administrator), token: None };
    let path = "/containerLogs/relay-refused/on-a/c";
    let logs = wait::until("the log to be there", LONG, GLANCE, async || {
        let answer = of_a.ask(&who, &Method::GET, path, false).await?;
        let is_there = answer.status.is_success() && answer.body == "here\n";
        Ok(if is_there { Probe::Ready(()) } else { Probe::not_yet(format!("{answer:?}")) })
    });
    logs.await.unwrap();
    let elsewhere = of_b.ask(&who, &Method::GET, path, false).await.unwrap();
    assert_eq!(elsewhere.status, http::StatusCode::NOT_FOUND, "{elsewhere:?}");
    // The relay shows the API server's certificate to nobody and has none of its own: the node itself asks who it is.
    let nobody = of_a.ask(&Who::default(), &Method::GET, path, false).await.unwrap();
    assert_eq!(nobody.status, http::StatusCode::UNAUTHORIZED);

    // What does not begin as TLS does never comes to the node.
    let opened = relay.figure("vk_relay_streams_total").await.unwrap();
    let mut scan = TcpStream::connect(of_a.address()).await.unwrap();
    scan.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, scan.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    assert!((relay.figure("vk_relay_streams_total").await.unwrap() - opened).abs() < 0.1);
    assert!(relay.figure("vk_relay_turned_away_total{why=\"not_tls\"}").await.unwrap() > 0.5);
}

/// The newest connection of a name counts; the node that was there is told, and does not fight for it.
#[tokio::test]
async fn the_newest_connection_of_a_name_counts() {
    const NODE: &str = "vk-relay-twice";
    let room = room("relay-twice").await;
    let relay = room.relay().await;
    let site = room.behind(&relay, NODE).await;
    let user = format!("system:node:{NODE}");
    let same = room.ground.plane.client_certificate(&user, Some("system:nodes"), Signed::Properly).unwrap();
    let said = tokio::spawn(async move { dial(&relay, Some(same)).await });
    let told = wait::until("the node to be told", LONG, GLANCE, async || {
        let log = std::fs::read_to_string(site.node_log())?;
        let is_told = log.contains("another process has dialled the relay with this node's certificate");
        Ok(if is_told { Probe::Ready(()) } else { Probe::not_yet("nothing yet") })
    });
    told.await.unwrap();
    // It was welcomed by its own name, whatever it asks for: there is nothing that it could ask.
    let said = tokio::time::timeout(LONG, said).await.unwrap().unwrap();
    assert!(said.contains(&format!("\"node\":\"{NODE}\"")), "{said}");
}

#[tokio::test]
async fn credentials_that_are_no_nodes_are_told_at_once() {
    let room = room("relay-no-cert").await;
    let plane = room.ground.plane;
    let relay = room.relay().await;
    let settings = Settings {
        kubeconfig: plane.kubeconfig().to_owned(),
        node_flags: relay.node_flags(),
        ..Settings::on(plane, "vk-relay-no-cert").unwrap()
    };
    let mut site = Site::start(settings).await.unwrap();
    let ended = wait::until("the node to end", LONG, GLANCE, async || {
        let ended = site.node().unwrap().exited()?;
        Ok(ended.map_or_else(|| Probe::not_yet("it runs"), Probe::Ready))
    });
    assert!(!ended.await.unwrap().success());
    let log = std::fs::read_to_string(site.node_log()).unwrap();
    assert!(log.contains("only vk-nodes are let in") && log.contains("--bootstrap-kubeconfig"), "{log}");
}
