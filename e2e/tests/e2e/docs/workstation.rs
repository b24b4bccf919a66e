//! docs/how-to/workstation.md: by a service, and in docker, for which podman stands; with sites.md, where its image is built.

use vk_cmd_e2e::{binaries, runtimes};

use super::play::{Play, Scene, all_of};
use crate::tunnel::{GATEWAY, sshd};

const PAGE: &str = "docs/how-to/workstation.md";
const NODE: &str = "vk-docs-workstation-j";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*"), all_of("docs/how-to/sites.md", "*")],
    words: &[("vk-jiriaf2301", NODE), ("me@gateway", "localhost"), ("--name vk-node ", "--name vk-docs-workstation ")],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let (Some(sshd), Some(runtimes)) = (sshd(&[GATEWAY]).await, runtimes::shared().await) else { return play.skip() };
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.has_runtimes(runtimes);
    play.has_ssh(&sshd);
    play.has_systemctl();
    play.section("#the-node-on-the-host").await;
    play.ready(NODE).await;
    play.machine.must("vk-node stop").await.unwrap();

    // Out of the program that is built for the tests.
    play.on_another_machine().await;
    play.has_runtimes(runtimes);
    let program = binaries::static_node().await.unwrap().display().to_string();
    play.machine.exports("VK_NODE_PROGRAM", &program).unwrap();
    for name in ["images", "Cargo.toml"] {
        play.machine.has_of_repository(name).unwrap();
    }
    play.section("#the-nodes-image").await;

    play.for_container(runtimes, NODE, PAGE, "{kind: docker}").await;
    play.section("#the-node-in-docker").await;
}
