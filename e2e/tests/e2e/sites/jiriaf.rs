//! Jiriaf2301: a workstation with docker. The node's container sees nothing of the host but the pipe's directory.

use vk_cmd_e2e::runtimes;
use vk_cmd_e2e::site::NodeIn;

use super::{by_hand, by_image, deleted, site};
use crate::ground::room;

#[tokio::test]
async fn jiriaf() {
    let Some(runtimes) = runtimes::shared().await else { return };
    let room = room("jiriaf").await;
    let node_in = NodeIn::Docker { client: runtimes.podman(), image: runtimes.node_image().to_owned() };
    let file = format!("version: 1\nruntime:\n  kind: podman\n  program: {}\n", runtimes.podman().display());
    let site = site(&room, runtimes, "vk-jiriaf2301", node_in, &file).await;
    let line = "docker run --rm localhost/vk-cmd/tools:1 /bin/echo hello";
    by_hand(&room, &site, line, "entry point of tools\nhello\n").await;
    by_image(&room, &site).await;
    deleted(&room, &site).await;
    // Nothing is left of any of them, and the node's own container is there.
    let containers = runtimes.containers().await.unwrap();
    assert_eq!(containers, [site.node_container()]);
}
