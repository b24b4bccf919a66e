//! kwok, which pretends to be a node: what others use where nothing is to be run, and so a bound on what can be reached.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use vk_cmd_crds::labels;

use super::contestant::{Place, typed};
use crate::process::Process;
use crate::tools::{self, Tool};
use crate::wait::{self, Probe};

const NODE: &str = "kwok-bench";
const MARK: &str = "kwok.x-k8s.io/node";
/// Where pods that are faked have to be.
pub(super) const PLACE: Place<'static> = Place { node: NODE, taint: MARK };
const START_LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// A running kwok, with one node.
pub(super) struct FakeNodes {
    process: Process,
}

impl FakeNodes {
    /// Starts it as the cluster's administrator, with the settings that its manual gives, and waits for its node.
    pub(super) async fn start(client: &Client, kubeconfig: &Path, directory: &Path) -> Result<Self> {
        let mut kwok = Command::new(tools::path(Tool::Kwok).await?);
        kwok.arg("--kubeconfig").arg(kubeconfig);
        kwok.arg("--config").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("go/kwok/stages.yaml"));
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

fn node() -> Value {
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE, "annotations": {MARK: "fake"}, "labels": {labels::HOSTNAME: NODE, "type": "kwok"}},
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    })
}
