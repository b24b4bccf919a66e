//! docs/how-to/ifarm.md: behind a real sshd, and in Apptainer, for which Charliecloud stands.

use vk_cmd_e2e::runtimes;

use super::play::{Play, Scene, all_of};
use crate::tunnel::{GATEWAY, sshd};

const PAGE: &str = "docs/how-to/ifarm.md";
const NODE: &str = "vk-docs-ifarm";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*")],
    words: &[("vk-ifarm1801", NODE), ("me@control-plane", "localhost")],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let (Some(sshd), Some(runtimes)) = (sshd(&[GATEWAY]).await, runtimes::shared().await) else { return play.skip() };
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.has_runtimes(runtimes);
    play.has_ssh(&sshd);
    play.section("#the-node-on-the-host").await;
    play.for_container(runtimes, NODE, PAGE, "{kind: apptainer}").await;
    play.section("#the-node-in-apptainer").await;
}
