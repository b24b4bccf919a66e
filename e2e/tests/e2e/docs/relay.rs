//! docs/how-to/relay.md, at the site. In the cluster: `chart`.

use super::play::{Play, Scene, those_of};

const PAGE: &str = "docs/how-to/relay.md";
const NODE: &str = "vk-docs-relay";

pub(super) const SCENE: Scene = Scene {
    parts: &[those_of(PAGE, "#use-it", &["vk-node "])],
    words: &[("vk-perlmutter-01", NODE)],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let relay = play.room.relay().await;
    play.word("relay.example.org:8443", &relay.address().to_string());
    play.machine.has_copy("relay-ca.pem", &relay.authority()).unwrap();
    play.has_bootstrap_kubeconfig("bootstrap.kubeconfig", "dorela").await;
    play.rest().await;
    play.room.script("job", NODE, "echo by the relay").await.ended().await;
    play.machine.must("kubectl logs -l vk-cmd.io/job=job").await.unwrap();
}
