//! The chart's admission policies: who may put pods on vk-nodes, by which way, and that nobody else is disturbed.
//!
//! The nodes are only objects here: what is asked is what the API server takes.

mod requests;
mod rows;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use self::requests::{ask, set};
use self::rows::{ROWS, TOLERATION, Way, Who};
use crate::fixture::{SOON, chart, control_plane, namespace};
use crate::ground::{GLANCE, LONG};

const PLACE: &str = "admission";
const NODE: &str = "vk-admission";

#[tokio::test]
async fn only_those_who_may_use_vk_nodes_put_pods_there() {
    let chart = chart().await;
    let plane = control_plane().await;
    set(plane).await;
    let operator = format!("system:serviceaccount:{}:{}", chart.namespace, chart.service_account);
    assert_eq!(Who::Operator.name(), Some(&*operator));
    let client = plane.client().await.unwrap();
    // Policies, rights and node are known to the API server some moments after they are made.
    let settled = [
        (Who::Stranger, Way::Pod("nodeName: vk-admission"), false),
        (Who::Stranger, Way::Template("apps/v1/deployments", TOLERATION), false),
        (Who::Stranger, Way::CronJob(TOLERATION), false),
        (Who::Stranger, Way::Bind("vk-admission"), false),
        (Who::Stranger, Way::CmdJob("fleet: f"), false),
        (Who::Stranger, Way::Pod(""), true),
        (Who::User, Way::Pod(TOLERATION), true),
        (Who::OfOneNode, Way::Pod("nodeName: vk-admission"), true),
        (Who::DaemonSets, Way::Pod(""), true),
    ];
    wait::until("the policies to hold", LONG, GLANCE, async || {
        for (who, way, taken) in settled {
            let said = ask(&client, who, way).await;
            if said.is_ok() != taken {
                return Ok(Probe::not_yet(format!("{who:?} {way:?}: {said:?}")));
            }
        }
        Ok(Probe::Ready(()))
    })
    .await
    .unwrap();
    let client = &client;
    let answers = stream::iter(ROWS).map(|row| async move { (row, ask(client, row.0, row.1).await) }).buffered(8);
    let wrong: Vec<String> = answers
        .filter_map(async |((who, way, refused), said)| {
            let right = match (&said, refused) {
                (Ok(_), None) => true,
                (Err(message), Some(why)) => {
                    message.contains(why) && message.contains("vk-cmd-node-user") && message.contains(who.name()?)
                }
                (Ok(_), Some(_)) | (Err(_), None) => false,
            };
            (!right).then(|| format!("{who:?} {way:?}: {:?}", said.map(|_| "taken")))
        })
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// As kube-proxy is: its pods tolerate everything, and one is to be on every node. All parties are the real ones.
#[tokio::test]
async fn a_daemon_set_that_tolerates_everything_is_not_held_up() {
    const PLACE: &str = "admission-daemons";
    const NODE: &str = "vk-admission-daemons";
    chart().await;
    let plane = control_plane().await;
    namespace(plane, PLACE).await;
    let objects = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}, labels: {{kubernetes.io/hostname: {NODE}}}}}\n\
         spec: {{taints: [{{key: virtual-kubelet.io/provider, value: vk-cmd, effect: NoSchedule}}]}}\n---\n\
         apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: everywhere}}\nspec: {{selector: {{matchLabels: {{app: a}}}}, \
         template: {{metadata: {{labels: {{app: a}}}}, spec: {{nodeSelector: {{kubernetes.io/hostname: {NODE}}}, tolerations: \
         [{{operator: Exists}}], containers: [{{name: c, image: proxy}}]}}}}}}"
    );
    let kubectl = |arguments: &[&str]| {
        let mut kubectl = plane.kubectl();
        kubectl.args(["--namespace", PLACE]).args(arguments);
        kubectl
    };
    let output = exec::output_with_input(kubectl(&["apply", "-f", "-"]), objects.as_bytes(), SOON).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let room = r#"{"status": {"allocatable": {"pods": "9", "cpu": "1", "memory": "1Gi"}, "capacity": {"pods": "9", "cpu": "1", "memory": "1Gi"}}}"#;
    exec::text(kubectl(&["patch", "node", NODE, "--subresource=status", "--type=merge", "-p", room]), SOON)
        .await
        .unwrap();
    wait::until("the DaemonSet's pod to be bound", LONG, GLANCE, async || {
        let nodes = exec::text(kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]), SOON).await?;
        Ok(if nodes.trim() == NODE { Probe::Ready(()) } else { Probe::not_yet(format!("{nodes:?}")) })
    })
    .await
    .unwrap();
}

/// Kubernetes reads the expressions against the schemas of what they are about.
#[tokio::test]
async fn expressions_of_the_policies_fit_the_types() {
    chart().await;
    let names = ["pods", "templates", "cronjobs", "bindings", "cmdjobs", "operator-nodes", "operator-pods"];
    let names = names.map(|name| format!("vk-cmd-{name}"));
    let plane = control_plane().await;
    wait::until("the policies to be checked", LONG, GLANCE, async || {
        for name in &names {
            let mut kubectl = plane.kubectl();
            kubectl.args(["get", "validatingadmissionpolicies", name, "-o", "jsonpath={.status}"]);
            let status = exec::text(kubectl, SOON).await?;
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            match status.get("typeChecking") {
                None => return Ok(Probe::not_yet(format!("{name}: {status}"))),
                Some(checked) => assert_eq!(checked.get("expressionWarnings"), None, "{name}: {checked}"),
            }
        }
        Ok(Probe::Ready(()))
    })
    .await
    .unwrap();
}
