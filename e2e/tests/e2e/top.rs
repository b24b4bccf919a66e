//! `kubectl top`, by way of the real metrics-server: it scrapes `/metrics/resource` of a vk-node.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::tools::{self, Tool};
use vk_cmd_e2e::wait::{self, Probe};

use crate::cli::Plugin;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "metrics-server";
/// The least that metrics-server takes. It shows what it has scraped twice.
const RESOLUTION: &str = "--metric-resolution=10s";

impl Room {
    async fn apply_everywhere(&self, objects: &[Value]) {
        let mut kubectl = self.ground.plane.kubectl();
        kubectl.args(["apply", "-f", "-"]);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        exec::text_with_input(kubectl, list.to_string().as_bytes(), SOON).await.unwrap();
    }
}

/// What metrics-server may do: the rules of its own manifest.
fn rights() -> [Value; 6] {
    let rbac = "rbac.authorization.k8s.io";
    let subject = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]);
    let bind = |kind: &str, name: &str, role_kind: &str, role: &str| {
        let namespace = (kind == "RoleBinding").then_some(NAMESPACE);
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": rbac, "kind": role_kind, "name": role}, "subjects": subject,
        })
    };
    let rules = json!([
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]);
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
               "metadata": {"name": "system:metrics-server"}, "rules": rules}),
        bind("ClusterRoleBinding", "system:metrics-server", "ClusterRole", "system:metrics-server"),
        bind("ClusterRoleBinding", "metrics-server:system:auth-delegator", "ClusterRole", "system:auth-delegator"),
        bind("RoleBinding", "metrics-server-auth-reader", "Role", "extension-apiserver-authentication-reader"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": NAMESPACE},
               "spec": {"type": "ExternalName", "externalName": "localhost"}}),
    ]
}

fn api_service(port: u16) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": NAME, "namespace": NAMESPACE, "port": port},
        },
    })
}

/// Starts metrics-server; gives its port when it listens.
async fn metrics_server(room: &Room) -> (Process, u16) {
    room.apply_everywhere(&rights()).await;
    let plane = room.ground.plane;
    let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, NAME).await.unwrap();
    let port = free_port().unwrap();
    let mut command = Command::new(tools::path(Tool::MetricsServer).await.unwrap());
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}={}", kubeconfig.display()));
    }
    command.args(["--bind-address=127.0.0.1", &format!("--secure-port={port}"), RESOLUTION]);
    command.arg(format!("--cert-dir={}", plane.directory().join(NAME).display()));
    command.args(["--kubelet-insecure-tls", "--kubelet-preferred-address-types=InternalIP"]);
    command.args(["--kubelet-use-node-status-port", "--kubelet-request-timeout=8s"]);
    let mut process = Process::start(NAME, command, plane.directory().join("metrics-server.log")).unwrap();
    let listening = wait::until("metrics-server to listen", LONG, GLANCE, async || {
        process.must_be_running()?;
        Ok(match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::not_yet(error.to_string()),
        })
    });
    listening.await.unwrap();
    (process, port)
}

/// What `kubectl top` prints once it has something to print: the lines without the heading, in words.
async fn top(room: &Room, arguments: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
    let what = format!("kubectl top {arguments:?} to have figures");
    wait::until(&what, LONG, Duration::from_millis(500), async || {
        let mut kubectl = room.kubectl(&["top"]);
        kubectl.args(arguments).arg("--no-headers");
        Ok(match exec::text(kubectl, SOON).await {
            Ok(text) if !text.trim().is_empty() => {
                let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
                Probe::Ready(text.lines().map(words).collect())
            }
            Ok(_) => Probe::not_yet("nothing yet"),
            Err(error) => Probe::not_yet(format!("{error:#}")),
        })
    })
    .await
}

/// What `kubectl cmdjob top` prints of the job once it was measured, in words.
async fn of_plugin(room: &Room) -> anyhow::Result<Vec<String>> {
    let plugin = Plugin::of(room).await;
    wait::until("kubectl cmdjob top to have figures", LONG, Duration::from_millis(500), async || {
        let text = plugin.says(&["top", "job"]).await;
        let row: Vec<String> = text.lines().nth(1).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Ok(if row.is_empty() || text.contains('?') { Probe::not_yet(text) } else { Probe::Ready(row) })
    })
    .await
}

/// A figure of `kubectl top`: `12m` or `34Mi`.
fn figure(text: &str, unit: &str) -> u64 {
    text.strip_suffix(unit).unwrap_or_else(|| panic!("{text:?} is not in {unit}")).parse().unwrap()
}

/// metrics-server, as long as it is needed: there is one at a time, for the API is one.
pub(crate) struct Measured {
    _turn: MutexGuard<'static, ()>,
    _server: Process,
}

/// Starts it.
pub(crate) async fn measured(room: &Room) -> Measured {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let (server, port) = metrics_server(room).await;
    room.apply_everywhere(&[api_service(port)]).await;
    Measured { _turn: turn, _server: server }
}

impl Measured {
    /// Ends it. An API that nobody serves any more would keep namespaces from going.
    pub(crate) async fn end(self, room: &Room) {
        room.says(&["delete", "apiservice", "v1beta1.metrics.k8s.io", "--timeout=30s"]).await;
    }
}

#[tokio::test]
async fn kubectl_top_shows_what_is_used() {
    let room = room("top").await;
    let _site = room.site("vk-top").await;
    let relay = room.relay().await;
    let _behind = room.behind(&relay, "vk-top-relayed").await;
    // 40 MiB that it holds, and a processor that it keeps busy.
    let script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); while :; do :; done; echo $x";
    let spec = json!({
        "nodeSelector": {"kubernetes.io/hostname": "vk-top"}, "automountServiceAccountToken": false,
        "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
        "containers": [
            {"name": "busy", "image": "vk-cmd.io/host", "command": ["nice", "sh", "-c", script],
             "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "10m"}}},
            {"name": "idle", "image": "vk-cmd.io/host", "command": ["sh", "-c", "while :; do sleep 0.01; done"],
             "resources": {"requests": {"cpu": "10m"}}},
        ],
    });
    let metadata = json!({"name": "uses", "namespace": room.namespace});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    room.apply_everywhere(&[pod]).await;
    room.says(&["wait", "--for=condition=Ready", "pod/uses", "--timeout=60s"]).await;
    let job = json!({"script": "while :; do sleep 0.01; done", "resources": {"limits": {"memory": "1Gi"}}});
    let job = room.run("job", "vk-top", job).await;
    job.running().await;
    let measured = measured(&room).await;
    let node = top(&room, &["node", "vk-top"]).await;
    let relayed = top(&room, &["node", "vk-top-relayed"]).await;
    let containers = top(&room, &["pod", "uses", "--containers"]).await;
    let pod = top(&room, &["pod", "uses"]).await;
    let of_job = of_plugin(&room).await;
    measured.end(&room).await;

    let (containers, pod, of_job) = (containers.unwrap(), pod.unwrap(), of_job.unwrap());
    assert_eq!((&*of_job[0], &*of_job[1], &*of_job[2]), ("job", "0", "vk-top"), "{of_job:?}");
    assert!(of_job[4].ends_with("/1Gi"), "{of_job:?}");
    for (name, node) in [("vk-top", node.unwrap()), ("vk-top-relayed", relayed.unwrap())] {
        assert_eq!(node[0][0], name);
        assert!(figure(&node[0][1], "m") > 0 && figure(&node[0][3], "Mi") > 0, "{node:?}");
    }
    let of = |name: &str| containers.iter().find(|line| line[1] == name).unwrap();
    assert!(figure(&of("busy")[2], "m") > 0 && figure(&of("busy")[3], "Mi") >= 38, "{containers:?}");
    assert!(figure(&of("idle")[3], "Mi") < 38, "{containers:?}");
    assert_eq!(pod[0][0], "uses");
    assert!(figure(&pod[0][2], "Mi") >= 38, "{pod:?}");
}
