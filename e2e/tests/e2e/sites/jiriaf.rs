//! Jiriaf2301: a workstation with docker. The node's container sees nothing of the host but the pipe's directory.

use vk_cmd_e2e::runtimes;
use vk_cmd_e2e::site::NodeIn;

use super::{by_hand, by_image, by_pod, calls, deleted, says_runtime, site};
use crate::ground::room;

#[tokio::test]
async fn jiriaf() {
    let Some(runtimes) = runtimes::shared().await else { return };
    let room = room("jiriaf").await;
    let node_in = NodeIn::Docker { client: runtimes.podman(), image: runtimes.node_image().to_owned() };
    let site = site(&room, runtimes, "vk-jiriaf2301", node_in, "version: 1\nruntime: {kind: docker}\n").await;
    let line = "docker run --rm localhost/vk-cmd/tools:1 /bin/echo hello";
    by_hand(&room, &site, line, "entry point of tools\nhello\n").await;
    says_runtime(&room, &site, "docker").await;
    by_image(&room, &site, "by-docker").await;
    by_pod(&room, &site, "pod-by-docker", true).await;
    // A change of the site's file is for what is started after it.
    site.write_site_file("version: 1\nruntime: {kind: podman}\n").unwrap();
    by_image(&room, &site, "by-podman").await;
    by_pod(&room, &site, "pod-by-podman", true).await;
    deleted(&room, &site).await;
    // https://docs.docker.com/reference/cli/docker/container/run/
    let (calls, data) = (calls(&site), site.home().join("data"));
    for part in [
        "[docker][run][--rm][localhost/vk-cmd/tools:1][/bin/echo][hello]\n".to_owned(),
        "[--network=host]".to_owned(),
        "[--workdir=/tmp]".to_owned(),
        format!("[--mount=type=bind,source={},target=/data]", data.display()),
        "[localhost/vk-cmd/tools:1][/etc/vk-image]\n".to_owned(),
        "[docker][rm][--force]".to_owned(),
    ] {
        assert!(calls.contains(&part), "{part} is not in\n{calls}");
    }
    assert_eq!(calls.matches("[docker][run]").count(), 4, "the others were podman's:\n{calls}");
    // Nothing is left of any of them, and the node's own container is there.
    let mut containers = runtimes.containers().await.unwrap();
    // The test of the page about sites has one too.
    containers.retain(|name| !name.starts_with("vk-docs-"));
    assert_eq!(containers, [site.node_container()]);
}
