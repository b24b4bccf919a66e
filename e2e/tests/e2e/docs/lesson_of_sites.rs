//! docs/tutorials/site-admin.md.

use serde_json::json;

use super::play::{Play, Scene, all_of};

const NODE: &str = "vk-docs-lesson-ws";
const FLEET: &str = "docs-lesson";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/tutorials/site-admin.md", "*")],
    words: &[
        ("vk-lab-ws", NODE),
        ("the fleet lab ", "the fleet docs-lesson "),
        ("vk-cmd-demo", "docs-lesson-of-sites"),
    ],
    varies: &[
        ("date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("pod", r"\blong-[a-z0-9]{8,10}-0-0\b"),
        ("id", r"\brm-[a-z0-9]{5}\b"),
        ("time", r"\b\d+(\.\d+)?[smh](\d+s)?\b"),
        ("address", r"\d+\.\d+\.\d+\.\d+:\d+"),
        ("process", r"\b(process |Running  )\d+"),
    ],
    codes: &[("kubectl cmdjob run --wait -w vk-lab-ws -- rm nothing", 125)],
};

pub(super) async fn play(play: &mut Play) {
    let fleet = play.room.fleet(FLEET, json!({})).await;
    let token = play.join_token(FLEET).await;
    play.word("vkj1.eyJzZXJ2ZXIi…", &token);
    play.word("/home/me", &play.machine.home().display().to_string());
    play.node = NODE.to_owned();
    play.section("#join").await;
    play.one("vk-node run").await;
    play.one("vk-node status").await;
    play.one("kubectl cmdjob run --name long").await;
    let job = play.room.created("long");
    job.running().await;
    let pod = job.pods().await.remove(0).metadata.name.unwrap();
    play.word("long-fdd1c5f1bb-0-0", &pod);
    play.rest().await;
    fleet.remove().await;
}
