//! The cluster of the demo: one of our own, thrown away afterwards, or somebody's, to be left as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::chart::{self, Chart};
use crate::cluster::Cluster;
use crate::control_plane::{ControlPlane, Options};
use crate::node_certificate;
use crate::scratch::{Scratch, write_private};
use crate::site::Settings;

const LIMIT: Duration = Duration::from_secs(60);
/// How the chart is installed where nobody else is concerned: nodes may join by a token, as in docs/tutorials/site-admin.md.
const JOINABLE: &[&str] = &["--set", "replicas=0,bootstrap.enabled=true"];

/// Whose cluster it is.
pub(super) enum World {
    Ours(Box<ControlPlane>),
    Theirs {
        cluster: Cluster,
        scratch: Scratch,
        /// Whether the chart is ours to uninstall.
        chart_is_ours: bool,
    },
}

impl World {
    pub(super) async fn ours() -> Result<Self> {
        Ok(Self::Ours(Box::new(ControlPlane::start(Options::default()).await?)))
    }

    pub(super) async fn theirs(kubeconfig: &Path) -> Result<Self> {
        let file =
            kubeconfig.canonicalize().with_context(|| format!("there is no kubeconfig {}", kubeconfig.display()))?;
        let scratch = Scratch::new("vk-cmd-")?;
        let cluster = Cluster::new(&file, scratch.path()).await?;
        let client = cluster.client().await?;
        let answer = tokio::time::timeout(LIMIT, client.apiserver_version()).await;
        answer
            .context("the API server does not answer")?
            .with_context(|| format!("cannot use the cluster of {}", file.display()))?;
        Ok(Self::Theirs { cluster, scratch, chart_is_ours: false })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        match self {
            Self::Ours(plane) => plane.cluster(),
            Self::Theirs { cluster, .. } => cluster,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Ours(plane) => plane.directory(),
            Self::Theirs { scratch, .. } => scratch.path(),
        }
    }

    pub(super) fn keep_logs(&self) {
        match self {
            Self::Ours(plane) => plane.keep_logs(),
            Self::Theirs { scratch, .. } => scratch.keep(),
        }
    }

    /// Whether the cluster is there after us.
    pub(super) fn lives_on(&self) -> bool {
        matches!(self, Self::Theirs { .. })
    }

    /// What the operator is started with.
    pub(super) fn operator_flags(&self) -> &'static [&'static str] {
        if self.lives_on() { &[] } else { &["--approve-client-certificates"] }
    }

    /// Sees to it that the chart is installed; gives the kubeconfig with which to run an operator, if none runs in the cluster.
    ///
    /// A release that is there already is left as it is: an upgrade could take somebody's operator away.
    pub(super) async fn chart(&mut self) -> Result<Option<PathBuf>> {
        let found = if self.lives_on() { chart::installed(self.cluster()).await? } else { None };
        if let Some(chart) = &found
            && has_operator(&self.cluster().client().await?, chart).await?
        {
            return Ok(None);
        }
        let chart = match found {
            Some(chart) => chart,
            None => {
                let values = if self.lives_on() { chart::WITHOUT_OPERATOR } else { JOINABLE };
                let chart = chart::install(self.cluster(), values).await?;
                if let Self::Theirs { chart_is_ours, .. } = self {
                    *chart_is_ours = true;
                }
                chart
            }
        };
        self.cluster().service_account_kubeconfig(&chart.namespace, &chart.service_account).await.map(Some)
    }

    /// Uninstalls the chart if [`chart`](Self::chart) has installed it.
    pub(super) async fn restore_chart(&self) -> Result<()> {
        match self {
            Self::Theirs { cluster, chart_is_ours: true, .. } => chart::uninstall(cluster).await,
            Self::Theirs { .. } | Self::Ours(_) => Ok(()),
        }
    }

    /// How a node joins: with credentials that hold it to its own pods.
    pub(super) async fn node(&self, name: &str) -> Result<Settings> {
        match self {
            Self::Ours(plane) => Settings::on(plane, name),
            Self::Theirs { cluster, scratch, .. } => {
                let kubeconfig = node_certificate::node_kubeconfig(cluster, name).await?;
                let client_ca = client_ca(&cluster.client().await?, scratch.path()).await?;
                Ok(Settings::new(name, &kubeconfig, Some(client_ca)))
            }
        }
    }
}

/// Whether the release runs an operator of its own.
async fn has_operator(client: &Client, chart: &Chart) -> Result<bool> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &chart.namespace);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", chart::RELEASE));
    let found = deployments.list(&ours).await.context("cannot look for an operator in the cluster")?;
    let replicas = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    Ok(found.items.iter().any(|deployment| replicas(deployment) > 0))
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
