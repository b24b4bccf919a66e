//! README.md: the first job, the plugin, and the three ways to start a node.

use serde_json::json;

use super::play::{Play, Scene, all_of, those_of};

const PAGE: &str = "README.md";
const NODE: &str = "vk-docs-readme";

pub(super) const SCENE: Scene = Scene {
    parts: &[
        all_of(PAGE, "#vk-cmd"),
        those_of(PAGE, "#install-it", &["cargo static", "vk-node ", "echo "]),
    ],
    words: &[("vk-perlmutter-01", NODE)],
    varies: &[("time", r"\b\d+s\b")],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    play.has_cargo();
    play.one("cargo static").await;
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.one("vk-node run --node-name vk-perlmutter-01 --kubeconfig").await;
    play.file("hello.yaml", PAGE, "name: hello");
    play.section("#vk-cmd").await;
    // A token takes no name of a node that is at work: this one has left when it has ended.
    play.machine.stop().unwrap();
    play.has_bootstrap_kubeconfig("bootstrap.kubeconfig", "readme").await;
    play.one("vk-node run --node-name vk-perlmutter-01 --bootstrap-kubeconfig").await;

    play.on_another_machine().await;
    let fleet = play.room.fleet("docs-readme", json!({})).await;
    let token = play.join_token("docs-readme").await;
    play.word("vkj1.eyJzZXJ2ZXIi…", &token);
    play.node = format!("{NODE}-2");
    play.machine.exports("JOBNAME", &play.node).unwrap();
    play.one("echo vkj1").await;
    fleet.remove().await;
}
