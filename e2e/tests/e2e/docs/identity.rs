//! docs/explanation/identity.md: a join line, a bootstrap token, and the nodes that they make.

use serde_json::json;
use vk_cmd_e2e::control_plane::PUBLIC_NAME;

use super::play::{Play, Scene, all_of, those_of};

const PAGE: &str = "docs/explanation/identity.md";
const NODE: &str = "vk-docs-identity-7";
const TOKEN: &str = "docsid";

pub(super) const SCENE: Scene = Scene {
    parts: &[
        all_of(PAGE, "#by-one-line-for-a-fleet"),
        those_of(PAGE, "#with-a-bootstrap-token", &["export ", "kubectl config ", "vk-node "]),
    ],
    words: &[("vk-perlmutter-login07", NODE), ("vk-perlmutter-01", NODE), ("perlmutter", "docs-identity"), ("abcdef", TOKEN)],
    varies: &[("date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), ("id", r"--revoke [a-z0-9]{6}\b")],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let plane = play.room.ground.plane;
    let fleet = play.room.fleet("docs-identity", json!({})).await;
    play.word("/home/me", &play.machine.home().display().to_string());
    play.node = NODE.to_owned();
    play.machine.exports("JOBNAME", NODE).unwrap();
    play.one("vk-operator join-token").await;
    let token = play.join_token("docs-identity").await;
    play.word("vkj1.eyJzZXJ2ZXIiOi…", &token);
    play.section("#by-one-line-for-a-fleet").await;
    // What it says is to be run.
    play.machine.must(&format!("vk-node config validate --config hostpipe/join/{NODE}/node.yaml")).await.unwrap();
    fleet.remove().await;

    play.on_another_machine().await;
    // The page's name leads nowhere here.
    play.word(&format!("https://{PUBLIC_NAME}:6443"), &plane.server_url());
    play.file("token.yaml", PAGE, "bootstrap.kubernetes.io/token");
    play.machine.must("kubectl apply -f token.yaml").await.unwrap();
    let authority = "kubectl config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d";
    play.machine.must(&format!("{authority} > ca.pem")).await.unwrap();
    for begins in ["export KUBECONFIG", "kubectl config set-cluster", "kubectl config set-credentials", "kubectl config set-context"] {
        play.one(begins).await;
    }
    // At the site, where no other kubeconfig is.
    play.machine.must("unset KUBECONFIG").await.unwrap();
    play.rest().await;
    play.machine.must(&format!("kubectl delete secret --namespace kube-system bootstrap-token-{TOKEN}")).await.unwrap();
}
