//! Pods that vk-cmd's operator has not made run on a vk-node as well.

use std::io::Write as _;
use std::process::Stdio;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

const IMAGE: &str = "--image=vk-cmd.io/host";

/// What a pod of somebody else needs to be let onto a node.
pub(crate) fn placed(node: &str) -> Value {
    json!({
        "nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
    })
}

impl Room {
    /// Waits until a pod is as `wanted` says.
    pub(crate) async fn pod(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let pods = self.pods();
        let what = format!("pod {name} {what}");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let pod = pods.get(name).await?;
            Ok(if wanted(&pod) { Probe::Ready(pod) } else { Probe::not_yet(format!("{:?}", pod.status)) })
        });
        reached.await.unwrap()
    }

    pub(crate) async fn apply(&self, object: &Value) {
        let kubectl = self.kubectl(&["apply", "-f", "-"]);
        exec::text_with_input(kubectl, object.to_string().as_bytes(), SOON).await.unwrap();
    }
}

/// Its phase.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

#[tokio::test]
async fn kubectl_run_works() {
    let room = room("plain").await;
    let _site = room.site("vk-plain").await;
    let overrides = format!("--overrides={}", json!({"apiVersion": "v1", "spec": placed("vk-plain")}));
    let run = ["run", "hello", IMAGE, "--restart=Never", &overrides, "--command", "--", "echo", "hello", "host"];
    room.says(&run).await;
    room.pod("hello", "to succeed", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(room.says(&["logs", "hello"]).await, "hello host\n");
    room.says(&["delete", "pod", "hello", "--timeout=30s"]).await;
}

#[tokio::test]
async fn a_deployment_works() {
    let room = room("deployment").await;
    let _site = room.site("vk-deployment").await;
    let mut spec = placed("vk-deployment");
    spec["containers"] = json!([{
        "name": "sleeper", "image": "vk-cmd.io/host", "command": ["sleep", "1000"],
        "resources": {"requests": {"cpu": "10m"}},
    }]);
    room.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sleepers"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "sleepers"}},
            "template": {"metadata": {"labels": {"app": "sleepers"}}, "spec": spec},
        },
    }))
    .await;
    room.says(&["rollout", "status", "deployment/sleepers", "--timeout=55s"]).await;
    room.says(&["scale", "deployment/sleepers", "--replicas=0"]).await;
    room.says(&["wait", "--for=delete", "pod", "-l", "app=sleepers", "--timeout=55s"]).await;
}

#[tokio::test]
async fn a_container_that_ends_is_run_again_as_its_policy_says() {
    let room = room("restarts").await;
    let _site = room.site("vk-restarts").await;
    let mut spec = placed("vk-restarts");
    spec["restartPolicy"] = json!("OnFailure");
    spec["containers"] = json!([{
        "name": "c", "image": "vk-cmd.io/host",
        "command": ["sh", "-c", "echo run >> runs-of-restarts; wc -l < runs-of-restarts; test $(wc -l < runs-of-restarts) -ge 3"],
    }]);
    room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thrice"}, "spec": spec})).await;
    let waiting = |pod: &Pod| format!("{:?}", pod.status).contains("CrashLoopBackOff");
    let pod = room.pod("thrice", "to wait for its next run", waiting).await;
    let (uid, status) = (pod.metadata.uid.unwrap(), pod.status.unwrap().container_statuses.unwrap().remove(0));
    let why = status.state.unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(why, format!("back-off 10s restarting failed container=c pod=thrice_restarts({uid})"));
    assert_eq!((status.restart_count, status.last_state.unwrap().terminated.unwrap().exit_code), (1, 1));
    let pod = room.pod("thrice", "to succeed", |pod| phase(pod) == "Succeeded").await;
    let container = &pod.status.unwrap().container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 2);
    assert_eq!(room.says(&["logs", "thrice"]).await.trim(), "3");
    assert_eq!(room.says(&["logs", "thrice", "--previous"]).await.trim(), "2");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_with_all_the_reasons() {
    let room = room("refused").await;
    let site = room.site("vk-refused").await;
    let mut spec = placed("vk-refused");
    spec["hostname"] = json!("other");
    spec["volumes"] = json!([{"name": "share", "nfs": {"server": "nfs.example.org", "path": "/"}}]);
    spec["containers"] = json!([{
        "name": "c", "image": "vk-cmd.io/host", "command": ["touch", "ran"],
        "lifecycle": {"preStop": {"tcpSocket": {"port": 80}}},
    }]);
    room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wants-much"}, "spec": spec})).await;
    let pod = room.pod("wants-much", "to be refused", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("UnsupportedPodSpec"));
    let message = status.message.unwrap();
    for word in ["spec.hostname", "spec.volumes", "lifecycle.preStop"] {
        assert!(message.contains(word), "{word} is not in {message:?}");
    }
    assert!(!site.home().join("ran").exists());
    room.says(&["delete", "pod", "wants-much", "--timeout=30s"]).await;
}

#[tokio::test]
async fn strangers_are_told_apart() {
    let room = room("strangers").await;
    let mut site = room.site("vk-strangers").await;
    let node = site.ready(&room.client).await.unwrap();
    let port = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
    // curl is not asked for: the TLS client of the tests' own kubectl is.
    let mut kubectl = room.kubectl(&["get", "--raw", "/pods", "--insecure-skip-tls-verify"]);
    kubectl.args(["--server", &format!("https://127.0.0.1:{port}")]).stderr(Stdio::piped());
    let known = exec::output(kubectl, SOON).await.unwrap();
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
    let nobody = room.ground.plane.directory().join("nobody.kubeconfig");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', \
         insecure-skip-tls-verify: true}}}}]\nusers: [{{name: u, user: {{token: nonsense}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::File::create(&nobody).unwrap().write_all(config.as_bytes()).unwrap();
    let mut kubectl = std::process::Command::new(room.ground.plane.cluster().kubectl_path());
    kubectl.arg("--kubeconfig").arg(&nobody).args(["get", "--raw", "/pods"]);
    let stranger = exec::output(kubectl, SOON).await.unwrap();
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && said.contains("provide credentials"), "{said}");
    let own = room.ground.plane.node_kubeconfig("vk-strangers").unwrap();
    let mut kubectl = std::process::Command::new(room.ground.plane.cluster().kubectl_path());
    kubectl.arg("--kubeconfig").arg(own).args(["get", "--raw", "/containerLogs/a/b/c", "--insecure-skip-tls-verify"]);
    kubectl.args(["--server", &format!("https://127.0.0.1:{port}")]);
    let forbidden = exec::output(kubectl, SOON).await.unwrap();
    let said = String::from_utf8_lossy(&forbidden.stderr).into_owned();
    assert!(!forbidden.status.success() && said.to_lowercase().contains("forbidden"), "{said}");
}
