//! Everything that has to be there before the first job: a cluster with the chart, an operator, a node.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;

use super::cli::Cli;
use super::screen::Screen;
use super::world::World;
use crate::cluster::Cluster;
use crate::operator::Operator;
use crate::scratch::write_private;
use crate::site::Site;
use crate::{binaries, exec};

/// Where the example jobs live.
pub(super) const NAMESPACE: &str = "vk-cmd-demo";

const LIMIT: Duration = Duration::from_secs(60);

/// The running parts, in the order in which they are stopped.
pub(super) struct Stage {
    pub(super) site: Site,
    /// None where the cluster has one already.
    operator: Option<Operator>,
    /// A kubeconfig whose namespace is that of the examples, for the viewer's own kubectl.
    pub(super) kubeconfig: PathBuf,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    world: World,
}

impl Stage {
    /// Sets it up, step by step.
    pub(super) async fn set(cli: &Cli, screen: &Screen) -> Result<Self> {
        // First what may not compile, and what takes the longest when it is done for the first time.
        screen.step("vk-operator and vk-node are built", binaries::built()).await?;
        let mut world = match &cli.kubeconfig {
            None => screen.step("a Kubernetes control plane runs", Box::pin(World::ours())).await?,
            Some(file) => screen.step("the cluster is reached", World::theirs(file)).await?,
        };
        let client = world.cluster().client().await?;
        let rights = screen.step("the chart is installed", world.chart()).await?;
        let operator = match rights {
            Some(rights) => {
                let start = Operator::start_with(&rights, world.operator_flags());
                Some(screen.step("the operator runs, with the rights of the chart's ServiceAccount", start).await?)
            }
            None => None,
        };
        let site = async {
            let mut site = Site::start(world.node(&cli.node_name).await?).await?;
            site.ready(&client).await?;
            Ok(site)
        };
        let site = screen.step(&format!("node {} is ready", cli.node_name), site).await?;
        let kubeconfig = kubeconfig_for_viewer(&world).await?;
        let timeout = Duration::from_secs(cli.timeout);
        Ok(Self { site, operator, kubeconfig, client, timeout, world })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        self.world.cluster()
    }

    /// kubectl in the namespace of the examples.
    pub(super) fn kubectl(&self) -> Command {
        let mut kubectl = self.cluster().kubectl();
        kubectl.args(["--namespace", NAMESPACE]);
        kubectl
    }

    /// Makes the namespace of the examples, empty.
    pub(super) async fn make_namespace(&self) -> Result<()> {
        if self.world.lives_on() {
            // An earlier demo may have been killed.
            self.delete("namespace", NAMESPACE).await?;
        }
        let mut kubectl = self.cluster().kubectl();
        kubectl.args(["create", "namespace", NAMESPACE]);
        exec::text(kubectl, LIMIT).await.map(drop)
    }

    /// Fails if one of the parts has ended by itself.
    pub(super) fn must_be_running(&mut self) -> Result<()> {
        if let Some(operator) = &mut self.operator {
            operator.must_be_running()?;
        }
        self.site.node().context("the node is not running")?.must_be_running()
    }

    /// Stays, until something ends by itself.
    pub(super) async fn run_on(&mut self) -> Result<()> {
        loop {
            self.must_be_running()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes what we have put into a cluster that lives on out again. What cannot be removed is named, and the rest goes on.
    pub(super) async fn clear_up(mut self, screen: &Screen) {
        if !self.world.lives_on() {
            return;
        }
        // The jobs first, while node and operator are there to end their processes; the node's object once nobody renews it.
        let jobs = screen.step("the examples are removed", self.delete("namespace", NAMESPACE)).await;
        let node = async {
            self.site.stop()?;
            self.delete("node", self.site.node_name()).await
        };
        let node = screen.step("the node is removed", node).await;
        let chart = screen.step("the chart is as it was", self.world.restore_chart()).await;
        for error in [jobs, node, chart].into_iter().filter_map(Result::err) {
            screen.line(&format!("demo: {error:#}"));
        }
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let mut kubectl = self.cluster().kubectl();
        kubectl.args(["delete", kind, name, "--ignore-not-found", "--timeout=50s"]);
        exec::text(kubectl, LIMIT).await.map(drop)
    }

    /// Leaves the logs there for good.
    pub(super) fn keep_logs(&self) {
        if let Some(operator) = &self.operator {
            operator.keep_logs();
        }
        self.site.keep_logs();
        self.world.keep_logs();
    }

    /// Where the logs of the parts are.
    pub(super) fn logs(&self) -> String {
        let operator = self.operator.as_ref().map(Operator::log);
        let logs = operator.into_iter().chain([self.site.node_log(), self.world.directory().to_owned()]);
        logs.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }
}

async fn kubeconfig_for_viewer(world: &World) -> Result<PathBuf> {
    let mut kubectl = world.cluster().kubectl();
    kubectl.args(["config", "view", "--raw", "--minify", "--flatten"]);
    let path = world.directory().join("demo.kubeconfig");
    write_private(&path, &exec::text(kubectl, LIMIT).await?)?;
    let mut kubectl = Command::new(world.cluster().kubectl_path());
    kubectl.arg("--kubeconfig").arg(&path).args(["config", "set-context", "--current", "--namespace", NAMESPACE]);
    exec::text(kubectl, LIMIT).await?;
    Ok(path)
}
