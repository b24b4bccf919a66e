//! The operator's image, built FROM scratch and started by podman: nothing of it but the one program, and that works there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::runtimes::{self, Runtimes};
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::wait::{self, Probe};
use vk_cmd_e2e::{binaries, exec, loopback};

use super::HELM_LIMIT;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, room};

const IMAGE: &str = "localhost/vk-cmd/vk-operator:e2e";

/// `podman run` of it, with the kubeconfig as a file that its user may read.
fn run(runtimes: &Runtimes, kubeconfig: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut podman = Command::new(runtimes.podman());
    podman.args(["run", "--rm", "--network=host", "--read-only", "--cap-drop=all", "--name", name]);
    podman
        .arg("--volume")
        .arg(format!("{}:/kubeconfig:ro", kubeconfig.display()))
        .args(["--env", "KUBECONFIG=/kubeconfig"]);
    podman.arg(IMAGE).args(arguments);
    podman
}

#[tokio::test]
async fn the_image_holds_the_program_alone_and_works() {
    let Some(runtimes) = runtimes::shared().await else { return };
    let room = room("operator-image").await;
    let plane = room.ground.plane;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/vk-operator/build.sh");
    let mut build = Command::new(script);
    build.arg(IMAGE).env("CONTAINER_TOOL", runtimes.podman());
    build.env("VK_OPERATOR_PROGRAM", binaries::static_operator().await.unwrap());
    exec::text(build, HELM_LIMIT).await.unwrap();
    let mut inspect = Command::new(runtimes.podman());
    inspect.args(["image", "inspect", IMAGE]);
    let said: Value = serde_json::from_str(&exec::text(inspect, SOON).await.unwrap()).unwrap();
    assert_eq!(said[0]["Config"]["Entrypoint"], json!(["/vk-operator"]));
    assert_eq!(said[0]["Config"]["User"], "65532:65532");
    assert_eq!(said[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1);

    let scratch = Scratch::new("vk-image-").unwrap();
    let kubeconfig: PathBuf = scratch.path().join("kubeconfig");
    std::fs::copy(plane.kubeconfig(), &kubeconfig).unwrap();
    std::fs::set_permissions(&kubeconfig, std::fs::Permissions::from_mode(0o644)).unwrap();
    let version = exec::text(run(runtimes, &kubeconfig, "vk-e2e-version", &["--version"]), SOON).await.unwrap();
    assert!(version.starts_with("vk-operator "), "{version}");

    // The whole way, from inside.
    let _site = room.site("vk-operator-image").await;
    let target = json!({"node": "vk-operator-image"}).to_string();
    let check = ["check", "--namespace", &room.namespace, "--target", &target];
    let said = exec::text(run(runtimes, &kubeconfig, "vk-e2e-check", &check), LONG).await.unwrap();
    assert!(said.contains("it has run on vk-operator-image"), "{said}");
    // And what is said when there is no way.
    let target = json!({"node": "vk-not-there"}).to_string();
    let check = ["check", "--namespace", &room.namespace, "--target", &target, "--timeout=2s"];
    let said = exec::output(run(runtimes, &kubeconfig, "vk-e2e-check-not", &check), LONG).await.unwrap();
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && error.contains("NodeMissing") && error.contains("kubectl get nodes"), "{error}");
    wait::until("no CmdJob to be left that could run later", LONG, GLANCE, async || {
        let left = room.says(&["get", "cmdjobs", "-o", "name"]).await;
        Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::not_yet(left) })
    })
    .await
    .unwrap();

    // The operator itself, as one that stands by: another one has the lease, for an hour.
    let lease = json!({
        "metadata": {"name": "vk-operator"},
        "spec": {
            "holderIdentity": "another", "leaseDurationSeconds": 3600, "leaseTransitions": 0,
            "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    let lease: Lease = serde_json::from_value(lease).unwrap();
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), &room.namespace);
    leases.create(&PostParams::default(), &lease).await.unwrap();
    let port = free_port().unwrap();
    let health = format!("--health-address=127.0.0.1:{port}");
    let place = format!("--leader-elect-namespace={}", room.namespace);
    let command = run(runtimes, &kubeconfig, "vk-e2e-run", &["run", &health, "--leader-elect", &place]);
    let mut process = Process::start("the operator's container", command, scratch.path().join("run.log")).unwrap();
    wait::until("the operator to be ready", LONG, GLANCE, async || {
        process.must_be_running()?;
        Ok(match loopback::get(port, "/readyz").await {
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::not_yet(format!("{error:#}")),
        })
    })
    .await
    .unwrap();
    let measured = loopback::get(port, "/metrics").await.unwrap();
    assert!(measured.contains("leader_election_master_status{name=\"vk-operator\"} 0"), "{measured}");
    let mut stop = Command::new(runtimes.podman());
    stop.args(["stop", "--time=20", "vk-e2e-run"]);
    exec::text(stop, SOON).await.unwrap();
    assert!(process.wait(LONG).unwrap().success(), "{}", process.log_tail(20));
}
