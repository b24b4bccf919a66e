//! docs/tutorials/cluster-admin.md, on the control plane of the chart's tests.

use serde_json::json;
use vk_cmd_e2e::chart::NAMESPACE;
use vk_cmd_e2e::control_plane::free_port;

use super::play::{Play, Scene, all_of};
use crate::chart::stage;

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/tutorials/cluster-admin.md", "*")],
    words: &[],
    varies: &[("time", r"\b\d+(\.\d+)?[smh](\d+s)?\b")],
    codes: &[("kubectl -n chemistry run own --image vk-cmd.io/host --overrides '{\"spec\": {\"nodeName\": \"vk-lab\"}}' --as bob --as-group chemists --command -- id", 1)],
};

pub(super) async fn play(play: &mut Play) {
    let stage = stage().await;
    play.on(stage.ground(), NAMESPACE).await;
    play.machine.has_of_repository("charts").unwrap();
    // No image can be pulled here: these values say where the operator's program is, and on which node its pod is to run.
    let (values, port) = stage.values(&json!({"admissionPolicy": {"cmdJobs": false}}));
    play.word("-f values.yaml", &format!("-f values.yaml --values {}", values.display()));
    let here = free_port().unwrap();
    play.word("18080:8080", &format!("{here}:{port}"));
    play.word("127.0.0.1:18080", &format!("127.0.0.1:{here}"));
    play.node = "vk-lab".to_owned();
    play.section("#install").await;
    play.one("cat > fleet.yaml").await;
    play.one("kubectl apply -f fleet.yaml").await;
    play.one("vk-operator join-token").await;
    let token = play.join_token("lab").await;
    play.word("vkj1.eyJzZXJ2ZXIi…", &token);
    play.rest().await;
    play.machine.must("vk-node stop && kubectl delete node vk-lab --ignore-not-found").await.unwrap();
}
