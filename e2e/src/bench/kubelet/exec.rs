//! How long it takes to run `true` in a running pod and to know how it ended; next to ssh to this machine.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde::Serialize;

use super::Exec;
use super::socket::NodeApi;
use super::ssh::Ssh;
use crate::bench::cli::KubeletPlan;
use crate::bench::contestant::Contestant;
use crate::bench::figures::Milliseconds;
use crate::bench::ground::Ground;
use crate::bench::sightings::Mark;
use crate::exec;
use crate::packages;

const NAMESPACE: &str = "exec";
const POD: &str = "target";
const LIMIT: Duration = Duration::from_secs(30);
/// The machine gets this long to be quiet again after one sample.
const BREATH: Duration = Duration::from_millis(20);

/// A way to run a command elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Way {
    /// By the node's own API: a new connection, TLS with a client's certificate, a WebSocket.
    #[serde(rename = "vk-node's API, WebSocket")]
    WebSocket,
    /// By `kubectl exec`, and so through the API server.
    #[serde(rename = "kubectl exec")]
    Kubectl,
    /// By the program ssh, to a sshd of this machine.
    #[serde(rename = "ssh")]
    Ssh,
    /// The same over a connection that is there already.
    #[serde(rename = "ssh, ControlMaster")]
    SharedSsh,
}

impl Way {
    /// What it is called in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "vk-node's API, WebSocket",
            Self::Kubectl => "kubectl exec",
            Self::Ssh => "ssh",
            Self::SharedSsh => "ssh, ControlMaster",
        }
    }
}

/// In turn, sample by sample. Without ssh where its server cannot be had.
pub(super) async fn measure(ground: &Ground, plan: &KubeletPlan) -> Result<Vec<Exec>> {
    eprintln!("bench: exec, {} of each", plan.execs);
    let room = ground.room(NAMESPACE).await?;
    room.create_bound(Contestant::OurPod, POD, &["sleep".to_owned(), "3600".to_owned()]).await?;
    room.seen(Contestant::OurPod, POD, Mark::Running).await?;
    let nodes: Api<Node> = Api::all(ground.client.clone());
    let api = NodeApi::of(&nodes.get(ground.site.node_name()).await?, ground.plane())?;
    let ssh = match Ssh::start().await {
        Ok(ssh) => Some(ssh),
        Err(error) => {
            packages::announce(&format!("SKIPPED: the comparison with ssh. {error:#}"));
            None
        }
    };
    let mut ways = vec![Way::WebSocket, Way::Kubectl];
    if ssh.is_some() {
        ways.extend([Way::Ssh, Way::SharedSsh]);
    }
    let mut all: Vec<(Way, Vec<Duration>)> = ways.into_iter().map(|way| (way, Vec::new())).collect();
    // The first of each kind fills caches; it is not counted.
    for round in 0..=plan.execs {
        for (way, samples) in &mut all {
            let took = once(*way, ground, &api, ssh.as_ref()).await.with_context(|| way.name())?;
            if round > 0 {
                samples.push(took);
            }
            tokio::time::sleep(BREATH).await;
        }
    }
    room.clear().await?;
    let row = |(way, samples): (Way, Vec<Duration>)| Some(Exec { way, milliseconds: Milliseconds::of(&samples)? });
    Ok(all.into_iter().filter_map(row).collect())
}

async fn once(way: Way, ground: &Ground, api: &NodeApi, ssh: Option<&Ssh>) -> Result<Duration> {
    let ssh = || ssh.context("there is no ssh");
    let command: Command = match way {
        Way::WebSocket => {
            let begin = Instant::now();
            tokio::time::timeout(LIMIT, api.run_true(NAMESPACE, POD)).await.context("the node does not answer")??;
            return Ok(begin.elapsed());
        }
        Way::Kubectl => {
            let mut kubectl = ground.plane().kubectl();
            kubectl.args(["--namespace", NAMESPACE, "exec", POD, "--", "true"]);
            kubectl
        }
        Way::Ssh => ssh()?.command("true"),
        Way::SharedSsh => ssh()?.shared_command("true"),
    };
    let begin = Instant::now();
    exec::text(command, LIMIT).await?;
    Ok(begin.elapsed())
}
