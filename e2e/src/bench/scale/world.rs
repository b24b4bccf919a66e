//! A control plane of its own, with the operator, one vk-node, and kwok.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::super::contestant::typed;
use super::super::fake_nodes::FakeNodes;
use super::super::proc;
use super::text::Histogram;
use super::{Work, told::Told};
use crate::audit::AuditLog;
use crate::chart;
use crate::control_plane::{ControlPlane, Options, free_port};
use crate::loopback;
use crate::operator::Operator;
use crate::site::{Settings, Site};
use crate::wait::{self, Probe};

pub(super) const NODE: &str = "vk-scale";
/// The node's own default would do; it is said so that all runs are the same.
const MAX_PODS: [&str; 2] = ["--max-pods", "200"];
const RECONCILE: &str = "controller_runtime_reconcile_time_seconds";
const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(50);

/// How often controller-manager and scheduler may ask the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(in crate::bench) enum Limits {
    /// As they are by default: 20 and 50 a second.
    #[serde(rename = "at their defaults")]
    Defaults,
    /// As often as they can, with as many workers as help.
    #[serde(rename = "lifted")]
    Lifted,
}

impl Limits {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Defaults => "at their defaults",
            Self::Lifted => "lifted",
        }
    }

    fn options(self) -> Options {
        let flags = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect();
        match self {
            Self::Defaults => Options::default(),
            Self::Lifted => Options {
                controller_manager_flags: flags(&[
                    "--kube-api-qps=100000",
                    "--kube-api-burst=100000",
                    "--concurrent-job-syncs=50",
                    "--concurrent-gc-syncs=50",
                ]),
                scheduler_flags: flags(&["--kube-api-qps=100000", "--kube-api-burst=100000"]),
                ..Options::default()
            },
        }
    }
}

/// Everything that runs. Dropped in this order.
pub(super) struct World {
    pub(super) limits: Limits,
    site: Site,
    operator: Mutex<Operator>,
    operator_pid: u32,
    operator_port: u16,
    _fake_nodes: FakeNodes,
    pub(super) client: Client,
    plane: ControlPlane,
    audit: AuditLog,
}

/// How far the operator's counters are.
pub(super) struct Meter {
    reconciles: Histogram,
    cpu: Duration,
    reads: HashMap<String, usize>,
}

/// How many requests there have been, by verb. A watch counts when it ends.
fn reads(audit: &AuditLog) -> Result<HashMap<String, usize>> {
    let mut counts = HashMap::new();
    for entry in audit.entries()? {
        *counts.entry(entry.verb).or_default() += 1;
    }
    Ok(counts)
}

impl World {
    pub(super) async fn start(limits: Limits) -> Result<Self> {
        eprintln!("bench: many jobs: starting a control plane, rate limits {}", limits.name());
        // Of what the operator's account reads: it writes so much that only that is logged.
        let reader = format!("system:serviceaccounts:{}", chart::NAMESPACE);
        let audit =
            AuditLog::new(&format!("{{level: Metadata, userGroups: ['{reader}'], verbs: [get, list, watch]}}"))?;
        let options = Options { api_server_flags: audit.flags(), ..limits.options() };
        let plane = Box::pin(ControlPlane::start(options)).await?;
        let client = plane.client().await?;
        let chart = chart::install(plane.cluster(), chart::WITHOUT_OPERATOR).await?;
        let rights = plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await?;
        let operator_port = free_port()?;
        let address = format!("127.0.0.1:{operator_port}");
        let mut operator = Operator::start_with(&rights, &["--health-address", &address]).await?;
        let operator_pid = operator.process().context("the operator has ended")?.pid();
        let mut settings = Settings::on(&plane, NODE)?;
        settings.node_flags.extend(MAX_PODS.map(Into::into));
        let mut site = Site::start(settings).await?;
        site.ready(&client).await?;
        let _fake_nodes = FakeNodes::start(&client, plane.kubeconfig(), plane.directory()).await?;
        let operator = Mutex::new(operator);
        Ok(Self { limits, site, operator, operator_pid, operator_port, _fake_nodes, client, plane, audit })
    }

    /// A new namespace, watched.
    pub(super) async fn namespace(&self, name: &str) -> Result<Told> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let object = typed(json!({"metadata": {"name": name}}))?;
        namespaces.create(&PostParams::default(), &object).await.context("cannot make a namespace")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        wait::until("the namespace's ServiceAccount, which every pod needs", LIMIT, GLANCE, async || {
            let found = accounts.get_opt("default").await?;
            Ok(if found.is_some() { Probe::Ready(()) } else { Probe::not_yet("it does not exist") })
        })
        .await?;
        Ok(Told::of(&self.client, name))
    }

    /// How far the operator's counters are now.
    pub(super) async fn meter(&self) -> Result<Meter> {
        self.operator.lock().await.must_be_running()?;
        Ok(Meter {
            reconciles: Histogram::read(&loopback::get(self.operator_port, "/metrics").await?, RECONCILE)?,
            cpu: proc::cpu_time(self.operator_pid)?,
            reads: reads(&self.audit)?,
        })
    }

    /// What the operator has done since.
    pub(super) async fn work_since(&self, before: &Meter) -> Result<Work> {
        let now = self.meter().await?;
        let status = proc::read(self.operator_pid, "status")?;
        let kib = |key: &str| proc::number_after(&status, key).with_context(|| format!("the operator has no {key}"));
        let reconciles = now.reconciles.since(&before.reconciles);
        let of = |verb: &str| {
            let count = |meter: &Meter| meter.reads.get(verb).copied().unwrap_or_default();
            count(&now).saturating_sub(count(before))
        };
        Ok(Work {
            reconciles: reconciles.count(),
            reconcile_p50_ms: reconciles.quantile(0.5) * 1000.0,
            reconcile_p99_ms: reconciles.quantile(0.99) * 1000.0,
            cpu_seconds: (now.cpu.saturating_sub(before.cpu)).as_secs_f64(),
            rss_kib: kib("VmRSS:")?,
            peak_kib: kib("VmHWM:")?,
            lists: of("list"),
            watches: of("watch"),
            gets: of("get"),
        })
    }

    /// Leaves all logs there, for someone to find out what went wrong.
    pub(super) fn keep_logs(&self) {
        self.site.keep_logs();
        if let Ok(operator) = self.operator.try_lock() {
            operator.keep_logs();
        }
        self.plane.keep_logs();
    }
}
