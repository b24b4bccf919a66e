//! docs/tutorials/scientist.md, at a node as `cargo demo` has one.

use super::play::{Play, Scene, all_of};

const NODE: &str = "vk-docs-scientist";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/tutorials/scientist.md", "*")],
    words: &[
        ("vk-demo", NODE),
        // As long as the page's next commands take, on a busy machine too.
        ("-- sleep 5", "-- sh -c 'until [ -e go ]; do sleep 0.05; done'"),
    ],
    varies: &[
        ("date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("pod", r"\bagain-[a-z0-9]{8,10}\b"),
        ("id", r"\b(hostname|sh)-[a-z0-9]{5}\b"),
        ("time", r"\+?\b\d+(\.\d+)?(d|h|ms|m|s)(\d+[hms])*\b"),
        ("room", r"\b0/\d+(Gi|Mi)?\b"),
    ],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let site = play.room.site(NODE).await;
    let host = play.machine.must("hostname").await.unwrap();
    play.word("login07", host.trim());
    for section in ["is-all-there", "a-first-job", "a-script-with-headers", "an-array", "why-does-it-wait"] {
        play.section(section).await;
    }
    play.one("kubectl cmdjob run --name prep").await;
    play.room.created("prep").running().await;
    play.one("kubectl cmdjob run --name then").await;
    play.one("kubectl cmdjob list --active").await;
    std::fs::write(site.home().join("go"), "").unwrap();
    play.rest().await;
}
