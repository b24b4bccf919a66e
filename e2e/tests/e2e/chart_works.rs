//! The helm chart, on the real API server.

use std::process::Command;

use serde_json::Value;
use vk_cmd_e2e::relay::{Relay, Settings};
use vk_cmd_e2e::{binaries, chart, exec};

use crate::fixture::{SOON, chart, control_plane, namespace};

#[tokio::test]
async fn lint_finds_nothing() {
    let mut helm = control_plane().await.helm();
    helm.args(["lint", "--strict"]).arg(chart::directory());
    exec::text(helm, SOON).await.unwrap();
}

/// As a user installs it, beside the release that all tests share: with the operator's Deployment, in a namespace that
/// enforces the strictest Pod Security Standard. Its pod waits for a node that is not a vk-node; there is none here.
#[tokio::test]
async fn install_with_the_default_values_makes_a_pod_that_restricted_namespaces_take() {
    const PLACE: &str = "chart-default";
    chart().await;
    let plane = control_plane().await;
    let run = async |mut command: Command, arguments: &[&str]| {
        command.args(["--namespace", PLACE]).args(arguments);
        exec::text(command, SOON).await.unwrap()
    };
    namespace(plane, PLACE).await;
    let mut label = plane.kubectl();
    label.args(["label", "namespace", PLACE, "pod-security.kubernetes.io/enforce=restricted"]);
    exec::text(label, SOON).await.unwrap();
    let chart = chart::directory();
    let install = ["install", "default", chart.to_str().unwrap(), "--set", "crds.install=false"];
    let notes = run(plane.helm(), &install).await;
    assert!(notes.contains("kubectl explain cmdjob.spec"), "{notes}");
    let deployment = "deployment/default-vk-cmd-operator";
    run(plane.kubectl(), &["wait", deployment, "--for=jsonpath={.status.unavailableReplicas}=1", "--timeout=55s"])
        .await;
    let reason = "--for=jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable";
    run(plane.kubectl(), &["wait", "pod", "--all", reason, "--timeout=55s"]).await;
    run(plane.helm(), &["uninstall", "default", "--wait", "--timeout=55s"]).await;
}

/// What the chart makes with these values, or what helm says against them.
async fn made(settings: &[&str]) -> Result<String, String> {
    let mut helm = control_plane().await.helm();
    helm.args(["template", "release"]).arg(chart::directory());
    helm.args(settings.iter().flat_map(|setting| ["--set", *setting]));
    let output = exec::output(helm, SOON).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// With these values, what the operator's container is started with. It gets as far as the kubeconfig.
#[tokio::test]
async fn the_operator_takes_the_arguments_that_the_chart_gives_it() {
    let everything = ["bootstrap.enabled=true", "leaderElection.leaseDuration=30s", "healthPort=9999"];
    for settings in [&[][..], &everything] {
        let made = made(settings).await.unwrap();
        let operator = chart::objects(&made).unwrap().into_iter().find(|object| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            object["kind"] == "Deployment" && name.ends_with("-operator")
        });
        let container = &operator.unwrap()["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container.get("command"), None, "the image's entry point is the program");
        let mut command = Command::new(&binaries::built().await.unwrap().operator);
        command.args(container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
        command.args(["--kubeconfig", "/no/such/file"]);
        let output = exec::output(command, SOON).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("cannot read /no/such/file"), "{said}");
    }
}

#[tokio::test]
async fn admission_policies_are_as_the_values_say() {
    let policies = |made: &str| made.matches("kind: ValidatingAdmissionPolicy\n").count();
    let usual = made(&[]).await.unwrap();
    assert_eq!(policies(&usual), 6);
    assert!(usual.contains("failurePolicy: Fail") && usual.contains("- Deny") && !usual.contains("kind: Group"));
    assert_eq!(policies(&made(&["admissionPolicy.cmdJobs=true"]).await.unwrap()), 7);
    let off = made(&["admissionPolicy.enabled=false"]).await.unwrap();
    assert!(policies(&off) == 0 && off.contains("name: release-vk-cmd-node-user"));
    let users = "admissionPolicy.nodeUsers[0].kind=Group,admissionPolicy.nodeUsers[0].name=hpc";
    assert!(made(&[users]).await.unwrap().contains("kind: Group"));
    for wrong in [
        "admissionPolicy.actions={Deny,Warn}",
        "admissionPolicy.actions={}",
        "admissionPolicy.failurePolicy=Sometimes",
        "admissionPolicy.exemptNamespaces={it's}",
        "admissionPolicy.on=true",
    ] {
        let said = made(&[wrong]).await.unwrap_err();
        assert!(said.contains("admissionPolicy"), "{wrong}: {said}");
    }
}

#[tokio::test]
async fn relay_is_as_the_values_say() {
    assert!(!made(&[]).await.unwrap().contains("relay"), "it is off");
    let usual = made(&["relay.enabled=true"]).await.unwrap();
    for part in [
        "name: release-vk-cmd-relay-tls",
        "name: release-vk-cmd-relay-ca",
        "name: extension-apiserver-authentication-reader",
        "--node-ports=20000-29999",
        "--max-nodes=2000",
        "fieldPath: status.podIP",
        "type: ClusterIP",
    ] {
        assert!(usual.contains(part), "{part}");
    }
    let own = [
        "relay.enabled=true",
        "relay.tls.secretName=mine",
        "relay.service.type=NodePort",
        "relay.service.nodePort=30443",
    ];
    let own = made(&own).await.unwrap();
    assert!(own.contains("secretName: mine") && own.contains("nodePort: 30443") && !own.contains("relay-ca"));
    for wrong in
        ["relay.service.type=Other", "relay.nodePorts=1", "relay.maxNodes=0", "relay.names={it's}", "relay.on=true"]
    {
        let said = made(&["relay.enabled=true", wrong]).await.unwrap_err();
        assert!(said.contains("relay"), "{wrong}: {said}");
    }
}

/// What nodes know the relay by stays through upgrades; its certificate follows its names.
#[tokio::test]
async fn certificates_of_the_relay_are_kept() {
    const PLACE: &str = "chart-relay";
    chart().await;
    let plane = control_plane().await;
    namespace(plane, PLACE).await;
    let run = async |mut command: Command, arguments: &[&str]| {
        command.args(["--namespace", PLACE]).args(arguments);
        exec::text(command, SOON).await.unwrap()
    };
    let upgrade = async |name: &str| {
        let chart = chart::directory();
        let names = format!("relay.names={{{name}}}");
        let off = "crds.install=false,admissionPolicy.enabled=false,rbac.create=false,rbac.aggregate=false,relay.enabled=true";
        let arguments = ["upgrade", "--install", "r", chart.to_str().unwrap(), "--set", off, "--set", &names];
        run(plane.helm(), &arguments).await;
        let mut secrets = Vec::new();
        for (secret, key) in [("ca", "crt"), ("ca", "key"), ("tls", "crt"), ("tls", "key")] {
            let (secret, key) = (format!("r-vk-cmd-relay-{secret}"), format!("-o=jsonpath={{.data.tls\\.{key}}}"));
            secrets.push(run(plane.kubectl(), &["get", "secret", &secret, &key]).await);
        }
        assert!(secrets.iter().all(|secret| !secret.is_empty()));
        secrets
    };
    let first = upgrade("relay.example.org").await;
    assert_eq!(upgrade("relay.example.org").await, first);
    let other = upgrade("other.example.org").await;
    assert_eq!(other[..2], first[..2], "the authority is the same");
    assert!(other[2] != first[2] && other[3] != first[3]);
    // The least of rights, and enough: see `relay`, which reads the authority of nodes so.
    let account = format!("--as=system:serviceaccount:{PLACE}:r-vk-cmd-relay");
    let may = async |what: &str, namespace: &str| {
        let mut kubectl = plane.kubectl();
        kubectl.args(["auth", "can-i", "get", what, "--namespace", namespace, &account]);
        exec::output(kubectl, SOON).await.unwrap().status.success()
    };
    assert!(may("configmaps/extension-apiserver-authentication", "kube-system").await);
    assert!(
        !may("configmaps/other", "kube-system").await && !may("secrets", PLACE).await && !may("nodes", PLACE).await
    );
    let kubeconfig = plane.service_account_kubeconfig(PLACE, "r-vk-cmd-relay").await.unwrap();
    // It is ready once it has read that.
    Relay::start(plane, Settings { kubeconfig: Some(kubeconfig), ..Settings::default() }).await.unwrap();
    run(plane.helm(), &["uninstall", "r", "--timeout=55s"]).await;
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
    for (verb, what, part) in [
        ("watch", "cmdjobs.vk-cmd.io", ""),
        ("create", "pods", ""),
        ("patch", "cmdjobs.vk-cmd.io", "status"),
        ("watch", "cmdfleets.vk-cmd.io", ""),
        ("patch", "cmdfleets.vk-cmd.io", "status"),
        ("patch", "nodes", ""),
        ("create", "pods", "eviction"),
    ] {
        assert!(may(verb, what, part).await, "the operator may not {verb} {what} {part}");
    }
    for (verb, what, part) in [
        ("get", "secrets", ""),
        ("create", "secrets", ""),
        ("create", "pods", "exec"),
        ("create", "clusterrolebindings", ""),
        ("patch", "cmdfleets.vk-cmd.io", ""),
        ("update", "cmdfleets.vk-cmd.io", "scale"),
        ("patch", "nodes", "status"),
        ("create", "nodes", ""),
        ("update", "poddisruptionbudgets.policy", ""),
    ] {
        assert!(!may(verb, what, part).await, "the operator may {verb} {what} {part}, which it has no use for");
    }
}
