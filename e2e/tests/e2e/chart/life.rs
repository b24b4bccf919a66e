//! The life of a release, by each helm: installed, used, upgraded, rolled back, removed, installed again.

use std::process::Command;

use serde_json::{Value, json};
use vk_cmd_crds::State;
use vk_cmd_e2e::chart::{NAMESPACE, RELEASE, directory};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::tools::Tool;
use vk_cmd_e2e::wait::{self, Probe};

use super::{HELM_LIMIT, Helm, SYSTEM_NODE, Stage, stage};
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG};

const OPERATOR: &str = "deployment/vk-cmd-operator";

#[tokio::test]
async fn helm_3_installs_upgrades_rolls_back_and_removes_the_chart() {
    life(Tool::Helm, "helm-3").await;
}

#[tokio::test]
async fn helm_4_installs_upgrades_rolls_back_and_removes_the_chart() {
    life(Tool::Helm4, "helm-4").await;
}

async fn life(tool: Tool, name: &str) {
    let stage = stage().await;
    let helm = stage.helm(tool).await;
    let version = helm.says(&["version", "--short"]).await;
    assert!(version.starts_with(&name.replace("helm-", "v")), "{version}");

    let (values, port) = stage.values(&json!({}));
    let notes = helm.apply("install", &values).await;
    assert_eq!(runs_on(&stage).await, SYSTEM_NODE);
    assert_eq!(container(&stage).await["ports"][0]["containerPort"], port);
    // It takes part in the election with its own rights, in the cluster's own way.
    let lease = ["get", "lease", "vk-operator", "-o", "jsonpath={.spec.holderIdentity}"];
    assert!(!stage.says(&lease).await.is_empty());

    let room = stage.ground.room(name).await;
    let said = obey(&helm, &room.namespace, &notes).await;
    for word in ["hello from ", "Phase:", "Succeeded", "it has run on vk-chart-system", "rolebinding.rbac"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }

    // What runs goes on whatever becomes of the operator.
    let go = stage.scratch.path().join(format!("{name}-go"));
    let script = format!("until test -e {}; do sleep 0.1; done", go.display());
    let job = room.script("outlives", SYSTEM_NODE, &script).await;
    job.running().await;

    let (other_values, other_port) =
        stage.values(&json!({"logLevel": "debug", "extraEnv": [{"name": "A", "value": "b"}]}));
    helm.apply("upgrade", &other_values).await;
    let new = container(&stage).await;
    assert_eq!((&new["ports"][0]["containerPort"], &new["env"][0]["value"]), (&json!(other_port), &json!("b")));
    assert_eq!(
        stage.says(&["get", "configmap", "vk-cmd-operator-log", "-o", "jsonpath={.data.filter}"]).await,
        "debug"
    );
    assert_eq!(room.script("new", SYSTEM_NODE, "exit 3").await.ended().await.exit_code, Some(3));

    // What is wrong is refused before anything is changed.
    let chart = directory();
    let wrong = helm.command(&["upgrade", RELEASE, chart.to_str().unwrap(), "--set", "replicas=many"]);
    let refused = exec::output(wrong, HELM_LIMIT).await.unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("/replicas"), "{refused:?}");

    helm.says(&["rollback", RELEASE, "1", "--wait", "--timeout=200s"]).await;
    let old = container(&stage).await;
    assert_eq!((&old["ports"][0]["containerPort"], old.get("env")), (&json!(port), None));
    let history: Value = serde_json::from_str(&helm.says(&["history", RELEASE, "-o", "json"]).await).unwrap();
    let states: Vec<_> = history.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["superseded", "superseded", "deployed"]);

    std::fs::write(go, "").unwrap();
    let ended = job.ended().await;
    assert_eq!((ended.state, ended.exit_code), (Some(State::Complete), Some(0)));
    assert_eq!(ended.attempts.len(), 1, "{ended:?}");

    // CmdJobs stay, and so does what they are.
    helm.says(&["uninstall", RELEASE, "--wait", "--timeout=200s"]).await;
    assert_eq!(left(&stage).await, ["pod/vk-cmd-test"], "only what helm calls a hook's is left");
    stage.says(&["delete", "pod", "vk-cmd-test"]).await;
    assert_eq!(room.says(&["get", "cmdjob", "outlives", "-o", "jsonpath={.status.state}"]).await, "Complete");

    // The next release takes over what was kept; and what is kept no more goes, as the chart's README has it: what has ended
    // needs no operator for that, and there is none.
    let (values, _) = stage.values(&json!({"rbac": {"aggregate": false}}));
    helm.apply("install", &values).await;
    assert_eq!(room.says(&["get", "cmdjob", "outlives", "-o", "jsonpath={.status.state}"]).await, "Complete");
    let keep = ["upgrade", RELEASE, chart.to_str().unwrap(), "--reuse-values", "--set", "crds.keep=false,replicas=0"];
    let notes = helm.says(&keep).await;
    assert!(notes.contains("No operator runs in the cluster"), "{notes}");
    helm.says(&["uninstall", RELEASE, "--wait", "--timeout=200s"]).await;
    let gone = wait::until("the API to be gone", LONG, GLANCE, async || {
        let crds = stage.says(&["get", "crds", "-o", "name"]).await;
        Ok(if crds.contains("vk-cmd.io") { Probe::not_yet(crds) } else { Probe::Ready(()) })
    });
    gone.await.unwrap();
    assert_eq!(left(&stage).await, [""; 0]);
    // Nor does a namespace, with the pods that are left in it.
    room.says(&["delete", "namespace", &room.namespace, "--timeout=55s"]).await;
}

/// The node of the operator's pod, of which there is one.
async fn runs_on(stage: &Stage) -> String {
    let pods =
        ["get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "jsonpath={.items[*].spec.nodeName}"];
    stage.says(&pods).await
}

/// The operator's container.
async fn container(stage: &Stage) -> Value {
    let text = stage.says(&["get", OPERATOR, "-o", "jsonpath={.spec.template.spec.containers[0]}"]).await;
    serde_json::from_str(&text).unwrap()
}

/// What of the release is left in the cluster, but for the API that is kept.
async fn left(stage: &Stage) -> Vec<String> {
    let kinds = "pods,services,deployments,replicasets,serviceaccounts,configmaps,secrets,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,\
                 poddisruptionbudgets,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let mine = format!("app.kubernetes.io/instance={RELEASE}");
    wait::until("what is being removed to be gone", LONG, GLANCE, async || {
        let names = stage.says(&["get", kinds, "-A", "-l", &mine, "-o", "name"]).await;
        // Pods of a Deployment go after it.
        let goes = names.contains("operator-") || names.contains("replicaset");
        let names = names.lines().map(str::to_owned).collect();
        Ok(if goes { Probe::not_yet(format!("{names:?}")) } else { Probe::Ready(names) })
    })
    .await
    .unwrap()
}

/// Does what the notes say to do, one after the other, in a shell as a user has one; what that says.
async fn obey(helm: &Helm<'_>, place: &str, notes: &str) -> String {
    let plane = helm.stage.ground.plane;
    let directory = helm.stage.scratch.path().join(format!("bin-{place}"));
    std::fs::create_dir(&directory).unwrap();
    for (name, program) in [("kubectl", plane.cluster().kubectl_path()), ("helm", &*helm.program)] {
        std::os::unix::fs::symlink(program, directory.join(name)).unwrap();
    }
    // The user's context has a namespace.
    let kubeconfig = directory.join("config");
    std::fs::copy(plane.kubeconfig(), &kubeconfig).unwrap();
    let with_user = |mut command: Command| {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", directory.display())).env("KUBECONFIG", &kubeconfig);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR"] {
            command.env(variable, directory.join("cache"));
        }
        command
    };
    let mut context = Command::new("sh");
    context.args(["-c", &format!("kubectl config set-context --current --namespace {place}")]);
    exec::text(with_user(context), SOON).await.unwrap();
    let (mut done, mut said) = (0, String::new());
    for block in notes.split("\n\n").filter(|block| block.starts_with("  ")) {
        let block: String =
            block.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
        let block = block.replace("vk-NAME", SYSTEM_NODE).replace("NAMESPACE", place).replace("GROUP", "physicists");
        let mut shell = Command::new("sh");
        shell.args(["-euc", &block]);
        said += &exec::text(with_user(shell), HELM_LIMIT).await.unwrap();
        done += 1;
    }
    assert!(done == 9 && notes.contains(&format!("-n {NAMESPACE}")), "{done} of: {notes}");
    said
}
