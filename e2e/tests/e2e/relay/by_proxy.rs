//! A site from which nothing leads out but an HTTP proxy: by it the node asks the API server, and dials the relay.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::json;
use vk_cmd_e2e::http_proxy::HttpProxy;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::{control_plane, relay};

use super::{listening, next};
use crate::exec::{BY_WEBSOCKET, noise, shown};
use crate::ground::room;
use crate::tunnel::log_says;

#[tokio::test]
async fn a_node_asks_and_is_reached_by_a_proxy() {
    const NODE: &str = "vk-relay-proxy";
    let room = room("relay-proxy").await;
    let plane = room.ground.plane;
    let relay = room.relay().await;
    // Names that lead nowhere but at the proxy: whatever works has gone through it.
    let (server, dialled) = (format!("{}:6443", control_plane::PUBLIC_NAME), format!("{}:443", relay::PUBLIC_NAME));
    let known = [(server.as_str(), plane.address()), (dialled.as_str(), relay.address())];
    let proxy = HttpProxy::start(Ipv4Addr::LOCALHOST, "site:se cret", &known).await.unwrap();
    let mut settings = Settings::on(plane, NODE).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let text = std::fs::read_to_string(&settings.kubeconfig).unwrap();
    std::fs::write(&kubeconfig, text.replace(&plane.server_url(), &format!("https://{server}"))).unwrap();
    settings.kubeconfig = kubeconfig;
    // It finds its address on the way to the proxy.
    settings.address = None;
    settings.node_flags = relay.node_flags();
    settings.node_flags[1] = dialled.clone().into();

    // Not with another password; and what it says of that has none.
    let with = |url: String| Settings { environment: vec![("HTTPS_PROXY".into(), url.into())], ..settings.clone() };
    let shut_out = Site::start(with(proxy.url_for("site:wrong"))).await.unwrap();
    log_says(&shut_out, "proxy authorization required", 1).await;
    let log = std::fs::read_to_string(shut_out.node_log()).unwrap();
    assert!(!log.contains("wrong") && proxy.passed().is_empty(), "{log}");
    drop(shut_out);

    let mut site = room.site_with(with(proxy.url_for("site:se%20cret"))).await;
    assert_eq!(listening(site.node().unwrap().pid()), Vec::<PathBuf>::new());
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", script]})).await;
    room.has_logs("counter").await;
    let (_follower, mut lines) = room.goes_on(&["logs", "--follow", "counter"]);
    for n in 0..10 {
        assert_eq!(next(&mut lines).await, Some(n.to_string()));
    }
    let big = noise(3, 1 << 20);
    let cat = room.kubectl_by(BY_WEBSOCKET, &["exec", "-i", "counter", "--", "sh", "-c", "cat; exit 7"], &big).await;
    assert_eq!((cat.status.code(), cat.stdout == big), (Some(7), true), "{:?}", shown(&cat).2);
    let passed = proxy.passed();
    assert!(passed.contains(&server) && passed.contains(&dialled), "{passed:?}");
    assert!(passed.iter().all(|name| *name == server || *name == dialled), "{passed:?}");
}
