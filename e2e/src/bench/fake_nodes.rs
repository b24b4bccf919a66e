//! kwok, which pretends to be a node: what others use where nothing is to be run, and so a bound on what can be reached.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use vk_cmd_crds::labels;

use super::contestant::{Place, typed};
use crate::exec;
use crate::process::Process;
use crate::tools::{self, Tool};
use crate::wait::{self, Probe};

const NODE: &str = "kwok-bench";
const MARK: &str = "kwok.x-k8s.io/node";
/// Where pods that are faked have to be.
pub(super) const PLACE: Place<'static> = Place { node: NODE, taint: MARK };
const START_LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// What it pretends, the "fast" stages of its own manual: they come with its module, and not in its program.
const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];
/// For fetching kwok's module, which is small.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// A running kwok, with one node.
pub(super) struct FakeNodes {
    process: Process,
}

impl FakeNodes {
    /// Starts it as the cluster's administrator, with the settings that its manual gives, and waits for its node.
    pub(super) async fn start(client: &Client, kubeconfig: &Path, directory: &Path) -> Result<Self> {
        let mut kwok = Command::new(tools::path(Tool::Kwok).await?);
        kwok.arg("--kubeconfig").arg(kubeconfig);
        let stages = module_directory().await?.join("kustomize/stage");
        kwok.args(STAGES.iter().flat_map(|file| ["--config".into(), stages.join(file).into_os_string()]));
        kwok.arg(format!("--manage-nodes-with-annotation-selector={MARK}=fake"));
        kwok.arg("--node-lease-duration-seconds=40");
        // It would read a configuration in the user's home.
        kwok.env("HOME", directory);
        let mut process = Process::start("kwok", kwok, directory.join("kwok.log"))?;
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &typed(node())?).await.context("cannot create kwok's node")?;
        wait::until("kwok's node to be ready", START_LIMIT, GLANCE, async || {
            process.must_be_running()?;
            let node = nodes.get(NODE).await?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let schedulable = node.spec.and_then(|spec| spec.taints).unwrap_or_default().len() == 1;
            Ok(if ready && schedulable { Probe::Ready(()) } else { Probe::not_yet("it is not ready") })
        })
        .await?;
        Ok(Self { process })
    }

    /// Where its output goes.
    pub(super) fn log(&self) -> &Path {
        self.process.log()
    }
}

/// Where Go keeps the module that kwok is built from, fetched if it is not there (any more).
async fn module_directory() -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go/kwok"));
    go.args(["mod", "download", "-json", "sigs.k8s.io/kwok"]);
    let said: Value = serde_json::from_str(&exec::text(go, FETCH_LIMIT).await.context("cannot fetch kwok's stages")?)?;
    let directory = said.get("Dir").and_then(Value::as_str).context("go does not say where kwok's module is")?;
    Ok(PathBuf::from(directory))
}

fn node() -> Value {
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE, "annotations": {MARK: "fake"}, "labels": {labels::HOSTNAME: NODE, "type": "kwok"}},
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    })
}
