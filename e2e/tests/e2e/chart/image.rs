//! The operator's image as a release has it, loaded and started by podman: nothing of it but the one program, and that works there.

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
use vk_release_core::oci::Image;
use vk_release_core::program::Program;

use super::HELM_LIMIT;
use super::packed::edition;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, room};

/// What the archive calls it.
const NAME: &str = "vk-cmd/vk-operator:e2e";
/// What podman calls what has no host in its name.
const IMAGE: &str = "localhost/vk-cmd/vk-operator:e2e";

/// The archive of a release, with the program that the tests have.
async fn archive(scratch: &Scratch) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/vk-operator/Containerfile");
    let image = Image::parse(Program::Operator, &std::fs::read_to_string(file).unwrap()).unwrap();
    let program = std::fs::read(binaries::static_operator().await.unwrap()).unwrap();
    let path = scratch.path().join("image.oci.tar");
    std::fs::write(&path, image.archive(program, NAME, &edition()).unwrap()).unwrap();
    path
}

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
    let scratch = Scratch::new("vk-image-").unwrap();
    let mut load = Command::new(runtimes.podman());
    load.args(["load", "--input"]).arg(archive(&scratch).await);
    let loaded = exec::text(load, HELM_LIMIT).await.unwrap();
    assert!(loaded.contains(IMAGE), "{loaded}");
    let mut inspect = Command::new(runtimes.podman());
    inspect.args(["image", "inspect", IMAGE]);
    let said: Value = serde_json::from_str(&exec::text(inspect, SOON).await.unwrap()).unwrap();
    assert_eq!(said[0]["Config"]["Entrypoint"], json!(["/vk-operator"]));
    assert_eq!(said[0]["Config"]["User"], "65532:65532");
    assert_eq!(said[0]["Config"]["Cmd"], json!(["run"]));
    assert_eq!(said[0]["Config"]["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1);

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
