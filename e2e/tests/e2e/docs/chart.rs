//! What an administrator does with helm, on the control plane of the chart's tests: README.md, the chart's own page, the relay,
//! bootstrap tokens.

use serde_json::json;
use vk_cmd_e2e::chart::NAMESPACE;

use super::play::{Play, Scene, all_of, those_of};
use crate::chart::stage;

const CHART: &str = "charts/vk-cmd/README.md";

pub(super) const SCENE: Scene = Scene {
    parts: &[
        those_of("README.md", "#install-it", &["helm "]),
        all_of(CHART, "*"),
        all_of("docs/how-to/upgrade.md", "#the-operator-and-the-api"),
        those_of("docs/how-to/relay.md", "#use-it", &["helm ", "kubectl "]),
        those_of("docs/explanation/identity.md", "#with-a-bootstrap-token", &["helm ", "kubectl create "]),
    ],
    words: &[],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let stage = stage().await;
    play.on(stage.ground(), NAMESPACE).await;
    play.machine.has_of_repository("charts").unwrap();
    // No image can be pulled here: these values say where the operator's program is, and on which node its pod is to run.
    // The health port of the relay must not be one of those that it has for nodes.
    let (values, _) = std::iter::repeat_with(|| stage.values(&json!({})))
        .find(|(_, port)| !(20_000..30_000).contains(port))
        .unwrap();
    let values = format!("charts/vk-cmd --values {} --namespace", values.display());
    play.word("charts/vk-cmd --namespace", &values);

    // README.md and the chart's page say the same.
    play.one("helm install").await;
    play.machine.must(&format!("helm uninstall vk-cmd --namespace {NAMESPACE}")).await.unwrap();
    play.one("helm install").await;
    play.machine.must(&format!("kubectl -n {NAMESPACE} rollout status deployment/vk-cmd-operator --timeout=200s")).await.unwrap();
    play.one("helm test").await;
    play.section("#the-operator-and-the-api").await;
    // The relay's pod waits for a node of its own; what it needs is made all the same.
    play.one("helm upgrade --install vk-cmd charts/vk-cmd --namespace vk-cmd-system --create-namespace \\").await;
    play.one("kubectl -n vk-cmd-system get secret").await;
    play.machine.must("openssl x509 -noout -in relay-ca.pem").await.unwrap();
    play.section("#with-a-bootstrap-token").await;
    play.machine.must("kubectl delete clusterrolebinding vk-cmd-ask vk-cmd-first vk-cmd-next").await.unwrap();
    // In the order of the page: upgrade without its CustomResourceDefinitions kept, and uninstall.
    play.section("#upgrade-roll-back-remove").await;
    play.machine.must("! kubectl get crd cmdjobs.vk-cmd.io").await.unwrap();
}
