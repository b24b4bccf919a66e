//! Everything that has to be there before the first job: a cluster with the chart, an operator, a node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::cli::Cli;
use super::screen::Screen;
use crate::cluster::Cluster;
use crate::control_plane::{ControlPlane, Options};
use crate::operator::Operator;
use crate::scratch::{Scratch, write_private};
use crate::site::{Settings, Site};
use crate::{binaries, chart, exec, node_certificate};

/// Where the example jobs live.
pub(super) const NAMESPACE: &str = "vk-cmd-demo";

const LIMIT: Duration = Duration::from_secs(60);

/// The running parts, in the order in which they are stopped.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) operator: Operator,
    /// A kubeconfig whose namespace is that of the examples, for the viewer's own kubectl.
    pub(super) kubeconfig: PathBuf,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    world: World,
}

/// Whose cluster it is.
enum World {
    Ours(Box<ControlPlane>),
    Theirs(Cluster, Scratch),
}

impl World {
    fn cluster(&self) -> &Cluster {
        match self {
            Self::Ours(plane) => plane.cluster(),
            Self::Theirs(cluster, _) => cluster,
        }
    }

    fn directory(&self) -> &Path {
        match self {
            Self::Ours(plane) => plane.directory(),
            Self::Theirs(_, scratch) => scratch.path(),
        }
    }

    /// How a node joins: with credentials that hold it to its own pods.
    async fn node(&self, name: &str) -> Result<Settings> {
        match self {
            Self::Ours(plane) => Settings::on(plane, name),
            Self::Theirs(cluster, scratch) => {
                let kubeconfig = node_certificate::node_kubeconfig(cluster, name).await?;
                let client_ca = client_ca(&cluster.client().await?, scratch.path()).await?;
                Ok(Settings::new(name, &kubeconfig, Some(client_ca)))
            }
        }
    }
}

impl Stage {
    /// Sets it up, step by step.
    pub(super) async fn set(cli: &Cli, screen: &Screen) -> Result<Self> {
        // First what may not compile, and what takes the longest when it is done for the first time.
        screen.step("vk-operator and vk-node are built", binaries::built()).await?;
        let world = match &cli.kubeconfig {
            None => {
                let start = async { ControlPlane::start(Options::default()).await };
                World::Ours(Box::new(screen.step("a Kubernetes control plane runs", start).await?))
            }
            Some(file) => screen.step("the cluster is reached", existing(file)).await?,
        };
        let client = world.cluster().client().await?;
        let chart =
            screen.step("the chart is installed", chart::install(world.cluster(), chart::WITHOUT_OPERATOR)).await?;
        let operator = async {
            let account = world.cluster().service_account_kubeconfig(&chart.namespace, &chart.service_account).await?;
            Operator::start(&account).await
        };
        let operator =
            screen.step("the operator runs, with the rights of the chart's ServiceAccount", operator).await?;
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

    /// Fails if one of the parts has ended by itself.
    pub(super) fn must_be_running(&mut self) -> Result<()> {
        self.operator.must_be_running()?;
        self.site.node().context("the node is not running")?.must_be_running()
    }

    /// Stays, until something ends by itself.
    pub(super) async fn run_on(&mut self) -> Result<()> {
        loop {
            self.must_be_running()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Leaves the logs there for good.
    pub(super) fn keep_logs(&self) {
        self.operator.keep_logs();
        self.site.keep_logs();
        match &self.world {
            World::Ours(plane) => plane.keep_logs(),
            World::Theirs(_, scratch) => scratch.keep(),
        }
    }

    /// The directories with the logs of the parts.
    pub(super) fn logs(&self) -> [PathBuf; 3] {
        [self.operator.log(), self.site.node_log(), self.world.directory().to_owned()]
    }
}

async fn existing(file: &Path) -> Result<World> {
    let file = file.canonicalize().with_context(|| format!("there is no kubeconfig {}", file.display()))?;
    let scratch = Scratch::new("vk-cmd-")?;
    let cluster = Cluster::new(&file, scratch.path()).await?;
    let client = cluster.client().await?;
    let reach = tokio::time::timeout(LIMIT, client.apiserver_version()).await;
    reach
        .context("the API server does not answer")?
        .with_context(|| format!("cannot use the cluster of {}", file.display()))?;
    Ok(World::Theirs(cluster, scratch))
}

/// The authority for client certificates that every cluster publishes for servers beside the API server.
async fn client_ca(client: &Client, directory: &Path) -> Result<PathBuf> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map =
        maps.get("extension-apiserver-authentication").await.context("cannot read the cluster's client authority")?;
    let authority = map.data.and_then(|mut data| data.remove("client-ca-file"));
    let path = directory.join("client-ca.crt");
    write_private(&path, &authority.context("the cluster takes no client certificates")?)?;
    Ok(path)
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
