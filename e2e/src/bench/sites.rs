//! Many sites: fleets of nodes that share very many CmdJobs. What grows with the nodes, and what does not.
//!
//! ```text
//!   few nodes, then many ── as many fleets, one process of nodes each
//!     start ──▶ all Ready ──▶ at rest, counted ──▶ CmdJobs for the fleets in turn, to the last one's end
//! ```
//!
//! The processes of the nodes act by one ServiceAccount, which the audit log is filtered by.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::json;
use vk_cmd_crds::{CmdFleet, CmdJob, labels};

use super::contestant::{self, typed};
use super::fleet::{self, Audit, number};
use super::scale::rates::{all_ended, create};
use super::scale::told::Told;
use super::{proc, report};
use crate::binaries;
use crate::chart;
use crate::control_plane::{ControlPlane, Options};
use crate::operator::Operator;
use crate::site::{Settings, Site};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// How many nodes, in turn.
    pub(super) sizes: [usize; 2],
    /// In so many fleets, each of them one process.
    pub(super) fleets: usize,
    /// CmdJobs of one pod each, in all.
    pub(super) jobs: usize,
    /// How long is counted at rest.
    pub(super) counted: Duration,
}

/// Of so many nodes.
#[derive(Debug, Serialize)]
pub(super) struct Sites {
    nodes: usize,
    fleets: usize,
    ready_seconds: f64,
    rest_requests_per_node_minute: f64,
    jobs: usize,
    seconds: f64,
    busy_requests_per_job: f64,
    operator_cpu_seconds: f64,
    operator_idle_kib: f64,
    operator_kib: f64,
    nodes_kib: f64,
    api_server_kib: f64,
}

/// The longest that all nodes may take to be Ready, and all jobs to end.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// Between the last node's being Ready and what is counted: the first watches and statuses are written by then.
const SETTLE: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "sites";

/// Measures each size on a control plane of its own.
pub(super) async fn measure(plan: &Plan, rows: &mut Vec<Sites>) -> Result<()> {
    binaries::built().await?;
    for nodes in plan.sizes {
        rows.push(Box::pin(one(plan, nodes)).await?);
    }
    Ok(())
}

async fn one(plan: &Plan, nodes: usize) -> Result<Sites> {
    eprintln!("bench: {nodes} nodes in {} fleets: starting a control plane", plan.fleets);
    let audit = Audit::new()?;
    let options = Options { api_server_flags: audit.flags(), ..Options::default() };
    let plane = Box::pin(ControlPlane::start(options)).await?;
    let client = plane.client().await?;
    let chart = chart::install(plane.cluster(), chart::WITHOUT_OPERATOR).await?;
    let rights = plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await?;
    let mut operator = Operator::start_with(&rights, &[]).await?;
    let kubeconfig = fleet::credentials(&plane, &client).await?;

    let fleets: Api<CmdFleet> = Api::all(client.clone());
    for number in 0..plan.fleets {
        let fleet = typed(json!({"metadata": {"name": fleet_name(number)}, "spec": {}}))?;
        fleets.create(&PostParams::default(), &fleet).await.context("cannot make a fleet")?;
    }

    let began = Instant::now();
    let mut sites = Vec::new();
    for number in 0..plan.fleets {
        sites.push(Site::start(settings(&plane, &kubeconfig, number, nodes / plan.fleets)).await?);
    }
    let measured = measured(plan, nodes, &plane, &client, &audit, &mut operator, &mut sites, began).await;
    if measured.is_err() {
        sites.iter().for_each(Site::keep_logs);
        operator.keep_logs();
        plane.keep_logs();
    }
    measured
}

/// A fleet's process.
fn settings(plane: &ControlPlane, kubeconfig: &Path, number: usize, nodes: usize) -> Settings {
    let fleet = fleet_name(number);
    let prefix = format!("vk-{fleet}-");
    let mut settings = Settings::new(&format!("{prefix}0"), kubeconfig, Some(plane.client_ca().to_owned()));
    settings.address = Some(Ipv4Addr::LOCALHOST.into());
    settings.node_flags = vec!["--nodes".into(), format!("{prefix}={nodes}").into()];
    settings.node_flags.extend(["--label".into(), format!("{}={fleet}", labels::FLEET).into()]);
    settings
}

fn fleet_name(number: usize) -> String {
    format!("f{number}")
}

#[expect(clippy::too_many_arguments, reason = "the parts of one world, once")]
async fn measured(
    plan: &Plan,
    nodes: usize,
    plane: &ControlPlane,
    client: &Client,
    audit: &Audit,
    operator: &mut Operator,
    sites: &mut [Site],
    began: Instant,
) -> Result<Sites> {
    tokio::time::timeout(LIMIT, fleet::all_ready(client, nodes))
        .await
        .with_context(|| format!("not all of {nodes} nodes were Ready within {LIMIT:.0?}"))??;
    let ready_seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let before = requests(audit)?;
    tokio::time::sleep(plan.counted).await;
    let at_rest = requests(audit)? - before;

    let pid = operator.process().context("the operator has ended")?.pid();
    let operator_idle_kib = proc::resident(pid)?;
    let (before, cpu) = (requests(audit)?, proc::cpu_time(pid)?);
    eprintln!("bench: {} CmdJobs for {nodes} nodes in {} fleets", plan.jobs, plan.fleets);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &typed(json!({"metadata": {"name": NAMESPACE}}))?).await?;
    let told = Told::of(client, NAMESPACE);
    let begin = Instant::now();
    let object = |job: usize| {
        let mut object = contestant::cmdjob(&format!("job-{job}"), "", &["true".to_owned()]);
        if let Some(target) = object.pointer_mut("/spec/target") {
            *target = json!({"fleet": fleet_name(job % plan.fleets)});
        }
        object
    };
    create(Api::<CmdJob>::namespaced(client.clone(), NAMESPACE), 0..plan.jobs, object).await?;
    let seconds = all_ended(&told, plan.jobs, LIMIT).await?.duration_since(begin).as_secs_f64();
    operator.must_be_running()?;
    ensure!(told.seen().ended.values().all(|(_, how)| how.state == "Complete"), "a job has not ended as it must");
    let ready = fleet::ready_now(client).await?;
    ensure!(ready == nodes, "of {nodes} nodes {ready} are Ready in the end");
    let nodes_kib = sites
        .iter_mut()
        .map(|site| proc::resident(site.node().context("a process of nodes has ended")?.pid()))
        .sum::<Result<f64>>()?;
    Ok(Sites {
        nodes,
        fleets: plan.fleets,
        ready_seconds,
        rest_requests_per_node_minute: number(at_rest) / number(nodes) / (plan.counted.as_secs_f64() / 60.0),
        jobs: plan.jobs,
        seconds,
        busy_requests_per_job: number(requests(audit)? - before) / number(plan.jobs),
        operator_cpu_seconds: (proc::cpu_time(pid)?.saturating_sub(cpu)).as_secs_f64(),
        operator_idle_kib,
        operator_kib: proc::resident(pid)?,
        nodes_kib,
        api_server_kib: fleet::api_server_kib(plane)?,
    })
}

/// How many requests the nodes have made.
fn requests(audit: &Audit) -> Result<usize> {
    Ok(audit.requests()?.values().sum())
}

/// All of it, as a table.
pub(super) fn table(rows: &[Sites]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.nodes.to_string(),
            row.fleets.to_string(),
            format!("{:.1}", row.ready_seconds),
            format!("{:.1}", row.rest_requests_per_node_minute),
            row.jobs.to_string(),
            format!("{:.1}", number(row.jobs) / row.seconds),
            format!("{:.1}", row.busy_requests_per_job),
            format!("{:.2}", row.operator_cpu_seconds * 1000.0 / number(row.jobs)),
            format!("{:.1}", row.operator_idle_kib / 1024.0),
            format!("{:.1}", row.operator_kib / 1024.0),
            format!("{:.0}", row.nodes_kib / number(row.nodes)),
            format!("{:.0}", row.api_server_kib / 1024.0),
        ]
    });
    let head = [
        "nodes",
        "fleets",
        "start → all Ready, s",
        "requests per node and minute, at rest",
        "CmdJobs",
        "CmdJobs/s",
        "nodes' requests per CmdJob",
        "operator's CPU ms per CmdJob",
        "operator's RSS MiB, before",
        "after",
        "nodes' RSS KiB per node, after",
        "API server's RSS MiB",
    ];
    report::table(&head, cells)
}
