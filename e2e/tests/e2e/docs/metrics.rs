//! docs/reference/metrics.md: by way of the API server, and of the real metrics-server.

use vk_cmd_e2e::network;
use vk_cmd_e2e::site::Settings;

use super::play::{Play, Scene, all_of};
use crate::top;

const NODE: &str = "vk-docs-metrics";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/reference/metrics.md", "*")],
    words: &[("vk-perlmutter-01", NODE)],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    // The API server leads to no address of loopback by this way.
    let Some(network) = network::behind_a_firewall().await else { return play.skip() };
    let settings = Settings::on(play.room.ground.plane, NODE).unwrap();
    let _site = play.room.site_with(Settings { address: Some(network.host_address().into()), ..settings }).await;
    play.one("kubectl get --raw").await;
    play.room.script("job", NODE, "while :; do sleep 0.01; done").await.running().await;
    let measured = top::measured(&play.room).await;
    play.one("kubectl top pod").await;
    measured.end(&play.room).await;
}
