//! What an administrator is told of a way in that is broken: a condition, events, figures.

use k8s_openapi::api::core::v1::NodeCondition;
use vk_cmd_crds::labels::REACHABLE;
use vk_cmd_e2e::control_plane::Signed;
use vk_cmd_e2e::kubelet::{Kubelet, Who};
use vk_cmd_e2e::wait::{self, Probe};

use crate::events::told;
use crate::ground::{GLANCE, LONG, Room, room};

/// Waits until the Node says this of its way in; gives what it says to people.
pub(crate) async fn reachable(room: &Room, node: &str, status: &str, reason: &str) -> String {
    let what = format!("{node} to say that it is reached: {status}, {reason}");
    let said = wait::until(&what, LONG, GLANCE, async || {
        let node = room.node_now(node).await;
        let mut all = node.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
        let said = all.find(|condition: &NodeCondition| condition.type_ == REACHABLE);
        Ok(match said {
            Some(said) if (&*said.status, said.reason.as_deref()) == (status, Some(reason)) => {
                Probe::Ready(said.message.unwrap_or_default())
            }
            said => Probe::not_yet(format!("{said:?}")),
        })
    });
    said.await.unwrap()
}

/// What the node measures, by the name of the figure.
async fn figure(room: &Room, node: &str, name: &str) -> f64 {
    let kubelet = Kubelet::of(&room.node_now(node).await).unwrap();
    let plane = room.ground.plane;
    let administrator = plane.client_certificate("vk-cmd-admin", Some("system:masters"), Signed::Properly).unwrap();
    let who = Who { certificate: Some(administrator), token: None };
    let answer = kubelet.ask(&who, &http::Method::GET, "/metrics", false).await.unwrap();
    let value = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name}: {}", answer.body))
}

#[tokio::test]
async fn a_node_that_no_relay_lets_in_says_so_and_why() {
    const NODE: &str = "vk-relay-untold";
    let room = room("relay-untold").await;
    let mut relay = room.relay().await;
    relay.kill().unwrap();
    let _site = room.behind(&relay, NODE).await;
    let message = reachable(&room, NODE, "False", "NoRelay").await;
    for words in ["kubectl logs", "pods run all the same", &relay.address().to_string(), "Connection refused"] {
        assert!(message.contains(words), "{message}");
    }
    told(&room.client, None, NODE, &[("NodeNotReachable", "Connection refused")]).await;
    let described = room.says(&["describe", "node", NODE]).await;
    assert!(described.contains("vk-cmd.io/Reachable") && described.contains("NoRelay"), "{described}");

    relay.restart().await.unwrap();
    reachable(&room, NODE, "True", "RelayConnected").await;
    told(&room.client, None, NODE, &[("NodeReachable", "by the relay")]).await;
    for (name, least) in [
        ("vk_node_relay_connected", 1.0),
        ("vk_node_relay_connections_total", 1.0),
        ("vk_node_relay_failures_total", 1.0),
        ("vk_node_relay_streams_total", 1.0),
    ] {
        let value = figure(&room, NODE, name).await;
        assert!(value >= least, "{name} is {value}");
    }
}
