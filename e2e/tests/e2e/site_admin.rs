//! What a site's administrator asks of a node that is in a cluster: see docs/how-to/site-admin.md. What needs no cluster is tested in
//! `vk-node/tests/admin`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use vk_cmd_crds::labels;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};
use vk_cmd_e2e::{binaries, exec};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};
use crate::node_object::{is, reason};
use crate::plain_pods::phase;

/// A lease holds for 40 s: so long after it was heard last, a node is cut off.
const CUT_OFF: Duration = Duration::from_secs(180);

/// A node whose file can be written anew.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(config: &str) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        this.configure(config);
        this
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("node.yaml")
    }

    fn configure(&self, config: &str) {
        std::fs::write(self.file(), format!("version: 1\n{config}")).unwrap();
    }

    fn settings(&self, room: &Room, node: &str) -> Settings {
        let settings = Settings::on(room.ground.plane, node).unwrap();
        Settings { node_flags: vec!["--config".into(), self.file().into()], ..settings }
    }
}

/// What `vk-node` says at a site, as JSON, and its exit code.
async fn asked(site: &Site, arguments: &[&str]) -> (i32, Value) {
    let mut command = Command::new(&binaries::built().await.unwrap().node);
    command.args(arguments).args(["-o", "json", "--hostpipe"]).arg(site.hostpipe()).env("HOME", site.home());
    let output = exec::output(command, LONG).await.unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), value)
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// One that is bound already: nothing is scheduled onto a node that is cordoned.
fn pod(node: &str, name: &str) -> Value {
    let spec = json!({
        "nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": false,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}],
    });
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_site_drains_reloads_and_stops_its_node() {
    const NODE: &str = "vk-site-admin";
    let room = room("site-admin").await;
    let place = Place::new("labels: {example.org/rack: a, example.org/old: x}\n");
    let mut site = room.site_with(place.settings(&room, NODE)).await;
    let job = room.script("long", NODE, "exec sleep 600").await;
    job.running().await;

    // How it is, and what runs there.
    let (code, status) = asked(&site, &["status"]).await;
    assert_eq!((code, &status["ready"], &status["jobsRunning"]), (0, &true.into(), &1.into()), "{status}");
    let (code, jobs) = asked(&site, &["jobs"]).await;
    assert_eq!(
        (code, &jobs["jobs"][0]["namespace"], &jobs["jobs"][0]["command"]),
        (0, &"site-admin".into(), &"exec sleep 600".into())
    );
    let process = jobs["jobs"][0]["pid"].clone();
    let mut doctor = Command::new(&binaries::built().await.unwrap().node);
    doctor.args(["doctor", "-o", "json", "--node-name", NODE, "--timeout", "30", "--hostpipe"]).arg(site.hostpipe());
    doctor.arg("--kubeconfig").arg(room.ground.plane.node_kubeconfig(NODE).unwrap()).env("HOME", site.home());
    let found = exec::output(doctor, LONG).await.unwrap();
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let state = |id: &str| found["checks"].as_array().unwrap().iter().find(|c| c["id"] == id).unwrap()["state"].clone();
    for id in [
        "api-server",
        "api-version",
        "whoami",
        "identity",
        "certificate",
        "name-taken",
        "foreign-node",
        "clock",
        "node-ready",
        "pipe-version",
    ] {
        assert_eq!(state(id), "ok", "{id}: {found:#}");
    }

    // Its file is read again: a label is new, one is another, one is gone.
    place.configure("labels: {example.org/rack: b, example.org/new: y}\nmaxPods: 7\nnodeLeaseDurationSeconds: 50\n");
    site.node().unwrap().signal(Signal::HUP).unwrap();
    let has_taken_up = |node: &Node| {
        let label = |key: &str| node.labels().get(key).map(String::as_str);
        let pods = node.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("pods").map(|n| n.0.clone()));
        label("example.org/rack") == Some("b")
            && label("example.org/new") == Some("y")
            && label("example.org/old").is_none()
            && pods.as_deref() == Some("7")
    };
    room.node(NODE, "to have taken up its file", has_taken_up).await;
    assert!(site.node().unwrap().log_tail(50).contains("with the next start only: nodeLeaseDurationSeconds"));
    place.configure("labels: {example.org/rack: b}\n");

    // Nothing new is taken; what runs goes on.
    let (code, _) = asked(&site, &["drain", "--no-wait"]).await;
    assert_eq!(code, 0);
    let is_drained = |node: &Node| is(node, labels::ENDING, "True") && is_cordoned(node);
    let node = room.node(NODE, "to be cordoned", is_drained).await;
    assert_eq!(reason(&node, labels::ENDING), "Drained");
    room.apply(&pod(NODE, "late")).await;
    let refused = room.pod("late", "to be refused", |pod| phase(pod) == "Failed").await;
    let status = refused.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NodeShutdown"));
    assert!(status.message.unwrap().contains("drained by its site"));
    let waits = room.script("waits", NODE, "true").await;
    let status = waits.until("to wait", |status| status.reason.as_deref() == Some("NodeCordoned")).await;
    let message = status.message.unwrap_or_default();
    assert!(message.contains("was drained by its site"), "{message}");
    let (code, drained) = asked(&site, &["drain", "--timeout", "0"]).await;
    assert_eq!((code, &drained["error"]["code"]), (5, &5.into()));
    asked(&site, &["drain", "--undo"]).await;
    room.node(NODE, "to be uncordoned", |node| !is(node, labels::ENDING, "True") && !is_cordoned(node)).await;
    room.apply(&pod(NODE, "later")).await;
    room.pod("later", "to succeed", |pod| phase(pod) == "Succeeded").await;
    waits.ended().await;

    // Without its jobs, and then with them.
    let (code, stopped) = asked(&site, &["stop", "--keep-jobs"]).await;
    assert_eq!((code, &stopped["jobsKept"]), (0, &true.into()));
    assert!(site.node().unwrap().wait(SOON).unwrap().success());
    assert_eq!(asked(&site, &["status"]).await.0, 3);
    site.start_node().unwrap();
    site.ready(&room.client).await.unwrap();
    let (_, jobs) = asked(&site, &["jobs"]).await;
    assert_eq!(jobs["jobs"][0]["pid"], process, "the same process goes on: {jobs}");
    let first = job.pods().await.remove(0).name_any();
    let (code, _) = asked(&site, &["stop"]).await;
    assert_eq!(code, 0);
    assert!(site.node().unwrap().wait(SOON).unwrap().success());
    let ended = room.pod(&first, "to be ended with its node", |pod| phase(pod) == "Failed").await;
    assert_eq!(ended.status.unwrap().reason.as_deref(), Some("Terminated"));
    let nodes: Api<Node> = Api::all(room.client.clone());
    let gone = wait::until("the node to be gone", LONG, GLANCE, async || {
        Ok(match nodes.get_opt(NODE).await? {
            None => Probe::Ready(()),
            Some(node) => Probe::not_yet(format!("{node:?}")),
        })
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_cut_off_says_so_and_what_it_hears_nothing_of() {
    const NODE: &str = "vk-admin-cut";
    let room = room("admin-cut").await;
    let settings = Settings::on(room.ground.plane, NODE).unwrap();
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    let site = room.site_with(settings).await;
    let until = async |what: &str, wanted: (i32, &str)| {
        let reached = wait::until(what, CUT_OFF, GLANCE, async || {
            let (code, status) = asked(&site, &["status"]).await;
            let is_so = (code, status["health"][NODE].as_str().unwrap_or_default()) == wanted;
            Ok(if is_so { Probe::Ready(status) } else { Probe::not_yet(format!("{code}: {status}")) })
        });
        reached.await.unwrap()
    };
    until("to be ready", (0, "Ready")).await;
    // What it holds is not told at once for lost: the cluster does not either.
    proxy.close();
    let status = until("to be cut off", (4, "CutOff")).await;
    assert_eq!((&status["running"], &status["ready"]), (&true.into(), &false.into()), "{status}");
    let mut command = Command::new(&binaries::built().await.unwrap().node);
    command.args(["status", "--hostpipe"]).arg(site.hostpipe()).env("HOME", site.home());
    let said = exec::output(command, LONG).await.unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("CutOff") && said.status.code() == Some(4), "{text}");
    proxy.open();
    until("to be ready again", (0, "Ready")).await;
}
