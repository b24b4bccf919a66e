//! docs/reference/cmdfleet.md: a fleet of which one node is missing, and its drain.

use serde_json::json;

use super::play::{Play, Scene, all_of};

const PAGE: &str = "docs/reference/cmdfleet.md";
const FLEET: &str = "docs-fleets";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*")],
    words: &[
        ("perlmutter", FLEET),
        ("physics-*", "docs-*"),
        // Other tests have fleets too.
        ("kubectl get cmdfleets", "kubectl get cmdfleets docs-fleets"),
    ],
    varies: &[("time", r"\b\d+[sm]\S*$")],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    play.file("fleet.yaml", PAGE, "kind: CmdFleet");
    play.machine.must("kubectl apply -f fleet.yaml").await.unwrap();
    let _nodes = play.room.nodes_of(FLEET, 3, &[]).await;
    let job = play.room.job("busy", json!({"target": {"fleet": FLEET}, "script": "exec sleep 600"})).await;
    job.running().await;
    play.rest().await;
    play.machine.must(&format!("kubectl delete cmdfleet {FLEET}")).await.unwrap();
}
