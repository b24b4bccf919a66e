//! Probes: what they are asked, and what comes of the answers. The tests give the answers: by files that an exec probe
//! looks for, and by servers of their own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod, PodCondition};
use kube::Api;
use serde_json::{Value, json};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::events::told;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

/// How often a node is asked for its counts.
const ASK: Duration = Duration::from_millis(250);

/// A pod that sleeps, with these probes.
fn sleeper(name: &str, node: &str, probes: &Value) -> Value {
    let mut container = json!({
        "name": "c", "image": "vk-cmd.io/host", "command": ["sleep", "1000"],
        "resources": {"requests": {"cpu": "10m"}},
    });
    for (field, probe) in probes.as_object().unwrap() {
        container[field] = probe.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 2, "automountServiceAccountToken": false,
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
            "containers": [container],
        },
    })
}

/// A probe that succeeds while there is a file at `path`; the first answer counts.
fn file_is_there(path: &Path) -> Value {
    let command = ["sh", "-c", "test -e \"$0\" || { echo it is not there; exit 3; }", path.to_str().unwrap()];
    json!({"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20})
}

impl Room {
    async fn create(&self, object: &Value) {
        let kubectl = self.kubectl(&["create", "-f", "-"]);
        exec::text_with_input(kubectl, object.to_string().as_bytes(), SOON).await.unwrap();
    }

    /// Waits until the container of a pod is as wanted.
    async fn container(&self, pod: &str, what: &str, wanted: impl Fn(&ContainerStatus) -> bool) -> Pod {
        let pods = self.pods();
        let what = format!("the container of {pod} {what}");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let pod = pods.get(pod).await?;
            Ok(if container_of(&pod).is_some_and(&wanted) {
                Probe::Ready(pod)
            } else {
                Probe::not_yet(format!("{:?}", pod.status))
            })
        });
        reached.await.unwrap()
    }

    /// What a node's kubelet answers to the administrator. It is asked at its port: the API server is no proxy to a loopback
    /// address.
    pub(crate) async fn of_kubelet(&self, node: &str, path: &str) -> anyhow::Result<String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let status = nodes.get(node).await?.status.unwrap_or_default();
        let port = status.daemon_endpoints.and_then(|e| e.kubelet_endpoint).map(|e| e.port).unwrap_or_default();
        let mut kubectl = self.kubectl(&["get", "--raw", path, "--insecure-skip-tls-verify"]);
        kubectl.args(["--server", &format!("https://127.0.0.1:{port}")]);
        exec::text(kubectl, SOON).await
    }

    /// Waits until a node has counted so many answers to a kind of probe of a pod.
    pub(crate) async fn probed(&self, node: &str, pod: &str, kind: &str, result: &str, times: u32) {
        let labels = [format!("pod=\"{pod}\""), format!("probe_type=\"{kind}\""), format!("result=\"{result}\"")];
        let what = format!("{kind} of {pod} to be {result} {times} times");
        let reached = wait::until(&what, LONG, ASK, async || {
            let text = match self.of_kubelet(node, "/metrics/probes").await {
                Ok(text) => text,
                Err(error) => return Ok(Probe::not_yet(format!("{error:#}"))),
            };
            let is_it =
                |line: &&str| line.starts_with("prober_probe_total{") && labels.iter().all(|l| line.contains(l));
            let count = text.lines().find(is_it).and_then(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok());
            Ok(if count.unwrap_or_default() >= times { Probe::Ready(()) } else { Probe::not_yet(text) })
        });
        reached.await.unwrap();
    }
}

fn container_of(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn ready_of(pod: &Pod) -> &PodCondition {
    pod.status.as_ref().unwrap().conditions.as_ref().unwrap().iter().find(|c| c.type_ == "Ready").unwrap()
}

/// A server that answers each request with the status that it is told to.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) status: Arc<AtomicU16>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let status = Arc::new(AtomicU16::new(503));
        let told = status.clone();
        // It ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let status = told.load(Ordering::Relaxed);
                let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { port, status }
    }
}

#[tokio::test]
async fn a_container_that_does_not_live_is_run_again() {
    let room = room("liveness").await;
    let site = room.site("vk-liveness").await;
    let alive = site.home().join("alive");
    std::fs::write(&alive, "").unwrap();
    room.create(&sleeper("lives", "vk-liveness", &json!({"livenessProbe": file_is_there(&alive)}))).await;
    room.container("lives", "to run", |c| c.ready).await;
    room.probed("vk-liveness", "lives", "Liveness", "successful", 2).await;
    std::fs::remove_file(&alive).unwrap();
    let gone = room.container("lives", "to be ended", |c| {
        c.restart_count > 0 || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    });
    gone.await;
    std::fs::write(&alive, "").unwrap();
    let pod = room.container("lives", "to run again", |c| c.ready && c.restart_count > 0).await;
    let ended = container_of(&pod).unwrap().last_state.clone().unwrap().terminated.unwrap();
    assert!([137, 143].contains(&ended.exit_code), "{ended:?}");
    let why = [("Unhealthy", "Liveness probe failed: it is not there")];
    told(&room.client, Some(&room.namespace), "lives", &why).await;
}

#[tokio::test]
async fn a_container_is_ready_while_its_server_says_so() {
    let room = room("readiness").await;
    let _site = room.site("vk-readiness").await;
    let server = Server::new();
    let http = json!({
        "httpGet": {"port": server.port, "path": "/healthz"},
        "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20,
    });
    let tcp = json!({"tcpSocket": {"port": server.port}, "periodSeconds": 1, "timeoutSeconds": 20});
    let probes = json!({"readinessProbe": http, "livenessProbe": tcp});
    room.create(&sleeper("serves", "vk-readiness", &probes)).await;
    room.probed("vk-readiness", "serves", "Readiness", "failed", 2).await;
    let pod = room.container("serves", "to run", |c| c.started == Some(true)).await;
    assert!(!container_of(&pod).unwrap().ready, "{pod:?}");
    assert_eq!(
        (ready_of(&pod).status.as_str(), ready_of(&pod).reason.as_deref()),
        ("False", Some("ContainersNotReady"))
    );
    for (status, ready) in [(200, true), (500, false), (399, true)] {
        server.status.store(status, Ordering::Relaxed);
        let pod = room.container("serves", &format!("to be ready: {ready}"), |c| c.ready == ready).await;
        assert_eq!(container_of(&pod).unwrap().restart_count, 0);
    }
    room.probed("vk-readiness", "serves", "Liveness", "successful", 1).await;
}

#[tokio::test]
async fn what_has_not_come_up_is_not_asked_whether_it_lives() {
    let room = room("startup").await;
    let site = room.site("vk-startup").await;
    let (up, alive) = (site.home().join("up"), site.home().join("alive"));
    let mut startup = file_is_there(&up);
    startup["failureThreshold"] = json!(1000);
    let probes = json!({"startupProbe": startup, "livenessProbe": file_is_there(&alive)});
    room.create(&sleeper("comes-up", "vk-startup", &probes)).await;
    // The liveness probe would have ended it by now.
    room.probed("vk-startup", "comes-up", "Startup", "failed", 3).await;
    let pod = room.container("comes-up", "to run", |c| c.state.as_ref().is_some_and(|s| s.running.is_some())).await;
    let container = container_of(&pod).unwrap();
    assert_eq!((container.started, container.ready, container.restart_count), (Some(false), false, 0), "{container:?}");
    std::fs::write(&alive, "").unwrap();
    std::fs::write(&up, "").unwrap();
    room.container("comes-up", "to be ready", |c| c.started == Some(true) && c.ready).await;
    room.probed("vk-startup", "comes-up", "Liveness", "successful", 1).await;
    std::fs::remove_file(&alive).unwrap();
    room.container("comes-up", "to be run again", |c| c.restart_count > 0).await;
}

#[tokio::test]
async fn a_restart_of_the_node_changes_nothing_for_pods_with_probes() {
    let room = room("probes-stay").await;
    let mut site = room.site("vk-probes-stay").await;
    let fine = site.home().join("fine");
    std::fs::write(&fine, "").unwrap();
    let probes = json!({
        "startupProbe": file_is_there(&fine), "livenessProbe": file_is_there(&fine),
        "readinessProbe": file_is_there(&fine),
    });
    let names = ["one", "two", "three"];
    for name in names {
        room.create(&sleeper(name, "vk-probes-stay", &probes)).await;
    }
    let mut before = Vec::new();
    for name in names {
        before.push(room.container(name, "to be ready", |c| c.ready).await);
    }
    for crash in [true, false] {
        if crash {
            site.kill_node().unwrap();
        }
        site.start_node().unwrap();
        for name in names {
            for kind in ["Liveness", "Readiness"] {
                room.probed("vk-probes-stay", name, kind, "successful", 2).await;
            }
        }
        for pod in &before {
            let now = room.pods().get(pod.metadata.name.as_ref().unwrap()).await.unwrap();
            assert_eq!(container_of(&now), container_of(pod));
            assert_eq!(ready_of(&now).last_transition_time, ready_of(pod).last_transition_time);
            assert_eq!(ready_of(&now).status, "True");
        }
    }
}
