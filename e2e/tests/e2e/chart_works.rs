//! The helm chart, on the real API server.

use vk_cmd_e2e::{chart, exec};

use crate::fixture::{SOON, chart, control_plane};

#[tokio::test]
async fn lint_finds_nothing() {
    let mut helm = control_plane().await.helm();
    helm.args(["lint", "--strict"]).arg(chart::directory());
    exec::text(helm, SOON).await.unwrap();
}

#[tokio::test]
async fn installed_api_explains_itself() {
    chart().await;
    let mut kubectl = control_plane().await.kubectl();
    kubectl.args(["explain", "cmdjob.spec.script"]);
    let text = exec::text(kubectl, SOON).await.unwrap();
    assert!(text.contains("script"), "{text}");
}

#[tokio::test]
async fn operator_has_the_rights_it_needs_and_not_those_of_an_administrator() {
    let chart = chart().await;
    let account = format!("--as=system:serviceaccount:{}:{}", chart.namespace, chart.service_account);
    let may = async |verb: &str, what: &str, part: &str| {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(["auth", "can-i", verb, what, "--subresource", part, "--all-namespaces", &account]);
        exec::output(kubectl, SOON).await.unwrap().status.success()
    };
    for (verb, what, part) in
        [("watch", "cmdjobs.vk-cmd.io", ""), ("create", "pods", ""), ("patch", "cmdjobs.vk-cmd.io", "status")]
    {
        assert!(may(verb, what, part).await, "the operator may not {verb} {what} {part}");
    }
    for (verb, what, part) in
        [("get", "secrets", ""), ("create", "pods", "exec"), ("create", "clusterrolebindings", "")]
    {
        assert!(!may(verb, what, part).await, "the operator may {verb} {what} {part}, which it has no use for");
    }
}
