//! What all measurements stand on: one control plane with the chart, the operator, a site and kwok.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use super::contestant::{Room, typed};
use super::fake_nodes::FakeNodes;
use super::workload::Workload;
use super::writes;
use crate::audit::AuditLog;
use crate::binaries;
use crate::chart;
use crate::control_plane::{ControlPlane, Options};
use crate::operator::Operator;
use crate::site::{Settings, Site};
use crate::wait::{self, Probe};

const NODE: &str = "vk-bench";
/// As many as kwok's node takes.
const MAX_PODS: [&str; 2] = ["--max-pods", "1000"];
const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// Everything that runs. Dropped in this order.
pub(super) struct Ground {
    pub(super) site: Site,
    pub(super) operator: Operator,
    /// Its process.
    pub(super) operator_pid: u32,
    pub(super) fake_nodes: FakeNodes,
    pub(super) workload: Workload,
    pub(super) client: Client,
    plane: ControlPlane,
    pub(super) audit_log: AuditLog,
}

impl Ground {
    /// Builds what is not built, and starts all of it.
    pub(super) async fn prepare() -> Result<Self> {
        eprintln!("bench: building vk-operator and the static vk-node for release (minutes, the first time)");
        binaries::built().await?;
        eprintln!("bench: starting the control plane, the operator, a site and kwok");
        let audit_log = writes::audit_log()?;
        let options = Options { api_server_flags: audit_log.flags(), ..Options::default() };
        let plane = Box::pin(ControlPlane::start(options)).await?;
        let client = plane.client().await?;
        let chart = chart::install(plane.cluster(), chart::WITHOUT_OPERATOR).await?;
        let rights = plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await?;
        let mut operator = Operator::start(&rights).await?;
        let operator_pid = operator.process().context("the operator has ended")?.pid();
        let site = start_site(&plane, &client, NODE).await?;
        let fake_nodes = FakeNodes::start(&client, plane.kubeconfig(), plane.directory()).await?;
        Ok(Self { site, operator, operator_pid, fake_nodes, workload: Workload::new()?, client, plane, audit_log })
    }

    /// Another site with a node of its own.
    pub(super) async fn site(&self, node: &str) -> Result<Site> {
        start_site(&self.plane, &self.client, node).await
    }

    /// The control plane.
    pub(super) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// A new namespace, watched, for the node that all share.
    pub(super) async fn room(&self, namespace: &str) -> Result<Room> {
        self.room_for(namespace, NODE).await
    }

    /// A new namespace, watched.
    pub(super) async fn room_for(&self, namespace: &str, node: &str) -> Result<Room> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = typed(json!({"metadata": {"name": namespace}}))?;
        namespaces.create(&PostParams::default(), &object).await.context("cannot make a namespace")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        wait::until("the namespace's ServiceAccount, which every pod needs", LIMIT, GLANCE, async || {
            let found = accounts.get_opt("default").await?;
            Ok(if found.is_some() { Probe::Ready(()) } else { Probe::not_yet("it does not exist") })
        })
        .await?;
        Ok(Room::new(&self.client, namespace, node))
    }

    /// Leaves all logs there, for someone to find out what went wrong.
    pub(super) fn keep_logs(&self) {
        self.site.keep_logs();
        self.operator.keep_logs();
        self.plane.keep_logs();
        eprintln!("bench: see also kwok's log {}", self.fake_nodes.log().display());
    }
}

async fn start_site(plane: &ControlPlane, client: &Client, node: &str) -> Result<Site> {
    let mut settings = Settings::on(plane, node)?;
    settings.node_flags.extend(MAX_PODS.map(Into::into));
    let mut site = Site::start(settings).await?;
    site.ready(client).await?;
    Ok(site)
}
