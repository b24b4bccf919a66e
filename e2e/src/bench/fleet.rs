//! Many nodes in one process: what one more costs. On a control plane of its own, with nothing else on it.
//!
//! ```text
//!   start ──▶ all Ready (a watch counts) ──▶ at rest ──▶ a while of leases, counted in the audit log ──▶ all still Ready?
//! ```
//!
//! The process may act for all its nodes: by the token of a ServiceAccount that is only its own, which the audit log is
//! filtered by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::json;

use super::contestant::typed;
use super::figures::{Fleet, FleetFigures, FleetRequests, Target};
use super::proc;
use crate::binaries;
use crate::control_plane::{ControlPlane, Options};
use crate::scratch::{Scratch, write_private};
use crate::site::{Settings, Site};
use crate::wait::{self, Probe};

/// How much is measured.
pub(super) struct Plan {
    /// How many nodes, in turn.
    pub(super) sizes: [usize; 2],
    /// How long nothing is counted after all are Ready: the first watches, events and statuses are written by then.
    pub(super) settle: Duration,
    /// How long is counted.
    pub(super) counted: Duration,
}

const NAMESPACE: &str = "vk-fleet";
/// Whom the nodes' processes are to the API server.
const USER: &str = "system:serviceaccount:vk-fleet:gateway";
const PREFIX: &str = "vk-fleet-";
/// The longest that all of them may take to be Ready.
const READY_LIMIT: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(200);
/// The process with 1,000 nodes, all of it: what is resident of its program, its heap and its stacks.
const WANTED_MIB: f64 = 1024.0;

/// Measures each size on one control plane.
pub(super) async fn measure(plan: &Plan) -> Result<FleetFigures> {
    binaries::built().await?;
    eprintln!("bench: many nodes in one process: starting a control plane");
    let audit = Audit::new()?;
    let options = Options { api_server_flags: audit.flags(), ..Options::default() };
    let plane = Box::pin(ControlPlane::start(options)).await?;
    let client = plane.client().await?;
    let kubeconfig = credentials(&plane, &client).await?;
    let mut rows = Vec::new();
    for nodes in plan.sizes {
        eprintln!("bench: {nodes} nodes in one process");
        rows.push(Box::pin(one(plan, &plane, &client, &kubeconfig, &audit, nodes)).await?);
    }
    Ok(FleetFigures { targets: targets(&rows), rows })
}

async fn one(
    plan: &Plan,
    plane: &ControlPlane,
    client: &Client,
    kubeconfig: &std::path::Path,
    audit: &Audit,
    nodes: usize,
) -> Result<Fleet> {
    let began = Instant::now();
    let mut settings = Settings::new(&format!("{PREFIX}0"), kubeconfig, Some(plane.client_ca().to_owned()));
    settings.address = Some(Ipv4Addr::LOCALHOST.into());
    settings.node_flags = vec!["--nodes".into(), format!("{PREFIX}={nodes}").into()];
    let mut site = Site::start(settings).await?;
    let measured = measured(plan, plane, client, audit, &mut site, nodes, began).await;
    if measured.is_err() {
        site.keep_logs();
        plane.keep_logs();
        eprintln!("bench: the node's log is {}", site.node_log().display());
    }
    drop(site);
    let all: Api<Node> = Api::all(client.clone());
    all.delete_collection(&DeleteParams::default(), &ListParams::default()).await.context("cannot remove the nodes")?;
    wait::until("the nodes to be gone", LIMIT, GLANCE, async || {
        let left = all.list_metadata(&ListParams::default().limit(1)).await?.items.len();
        Ok(if left == 0 { Probe::Ready(()) } else { Probe::not_yet("some are there") })
    })
    .await?;
    measured
}

async fn measured(
    plan: &Plan,
    plane: &ControlPlane,
    client: &Client,
    audit: &Audit,
    site: &mut Site,
    nodes: usize,
    began: Instant,
) -> Result<Fleet> {
    tokio::time::timeout(READY_LIMIT, all_ready(client, nodes))
        .await
        .with_context(|| format!("not all of {nodes} nodes were Ready within {READY_LIMIT:.0?}"))??;
    let ready_seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(plan.settle).await;
    let pid = site.node().context("the node's process has ended")?.pid();
    let (before, cpu) = (audit.requests()?, proc::cpu_time(pid)?);
    tokio::time::sleep(plan.counted).await;
    let (after, cpu_after) = (audit.requests()?, proc::cpu_time(pid)?);
    site.node().context("the node's process has ended")?.must_be_running()?;
    let memory = proc::memory(pid)?;
    let fresh = leases(client, Duration::from_secs(40)).await?;
    let ready = ready_now(client).await?;
    if fresh < nodes || ready < nodes {
        bail!("of {nodes} nodes {ready} are Ready and {fresh} have a lease that holds");
    }
    let minutes = plan.counted.as_secs_f64() / 60.0 * number(nodes);
    let requests = after
        .into_iter()
        .map(|(what, count)| {
            let count = count - before.get(&what).copied().unwrap_or_default();
            FleetRequests { what, per_node_minute: number(count) / minutes }
        })
        .filter(|row| row.per_node_minute > 0.0)
        .collect::<Vec<_>>();
    Ok(Fleet {
        nodes,
        ready_seconds,
        rss_kib: proc::resident(pid)?,
        private_kib: memory.private,
        api_server_kib: api_server_kib(plane)?,
        connections: connections(pid)?,
        requests_per_node_minute: requests.iter().map(|row| row.per_node_minute).sum(),
        requests,
        cpu_percent: (cpu_after - cpu).as_secs_f64() / plan.counted.as_secs_f64() * 100.0,
    })
}

fn targets(rows: &[Fleet]) -> Vec<Target> {
    let last = rows.last().into_iter();
    last.map(|most| Target {
        what: "memory of one process with many nodes, RSS",
        wanted: format!("≤ {WANTED_MIB} MiB for 1000"),
        measured: format!("{:.1} MiB for {}", most.rss_kib / 1024.0, most.nodes),
        reached: most.nodes >= 1000 && most.rss_kib <= WANTED_MIB * 1024.0,
    })
    .collect()
}

/// A ServiceAccount that may do what all the nodes do together, and more.
pub(super) async fn credentials(plane: &ControlPlane, client: &Client) -> Result<PathBuf> {
    let create = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&create, &typed(json!({"metadata": {"name": NAMESPACE}}))?).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    accounts.create(&create, &typed(json!({"metadata": {"name": "gateway"}}))?).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = json!({
        "metadata": {"name": "vk-fleet"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "gateway", "namespace": NAMESPACE}],
    });
    bindings.create(&create, &typed(binding)?).await.context("cannot give the fleet its rights")?;
    plane.service_account_kubeconfig(NAMESPACE, "gateway").await
}

/// Waits until so many nodes are Ready.
pub(super) async fn all_ready(client: &Client, nodes: usize) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
    let mut ready = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(node) | Event::InitApply(node)) => {
                let name = node.name_any();
                if is_ready(&node) {
                    ready.insert(name)
                } else {
                    ready.remove(&name)
                };
            }
            Ok(Event::Delete(node)) => {
                ready.remove(&node.name_any());
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => eprintln!("bench: watching nodes: {error}; trying again"),
        }
        if ready.len() >= nodes {
            return Ok(());
        }
    }
    bail!("the watch of the nodes has ended")
}

pub(super) async fn ready_now(client: &Client) -> Result<usize> {
    let api: Api<Node> = Api::all(client.clone());
    Ok(api.list(&ListParams::default()).await?.iter().filter(|node| is_ready(node)).count())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// How many leases were renewed within this time.
async fn leases(client: &Client, within: Duration) -> Result<usize> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let all = api.list(&ListParams::default()).await?;
    let oldest = jiff::Timestamp::now() - jiff::SignedDuration::try_from(within)?;
    let fresh = |lease: &&Lease| {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
        renewed.is_some_and(|at| at.0 >= oldest)
    };
    Ok(all.iter().filter(fresh).count())
}

pub(super) fn api_server_kib(plane: &ControlPlane) -> Result<f64> {
    let all = plane.resident_memory()?;
    let (_, bytes) = all.iter().find(|(name, _)| name.contains("apiserver")).context("the API server does not run")?;
    Ok(number(usize::try_from(bytes / 1024)?))
}

/// How many TCP connections the process has open to others (those that it only listens on have no other end).
fn connections(pid: u32) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let table = proc::read(pid, "net/tcp")?;
    let inodes: BTreeMap<&str, ()> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&ESTABLISHED))
        .filter_map(|fields| fields.get(9).map(|inode| (*inode, ())))
        .collect();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).context("cannot see the process's files")?;
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let is_one = |link: &PathBuf| {
        let text = link.to_string_lossy();
        let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.contains_key(inode))
    };
    Ok(links.filter(is_one).count())
}

pub(super) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// The API server's log of what the fleet's process asks of it.
pub(super) struct Audit {
    scratch: Scratch,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    object_ref: Option<ObjectRef>,
}

#[derive(Debug, Deserialize)]
struct ObjectRef {
    resource: String,
    subresource: Option<String>,
}

impl Audit {
    pub(super) fn new() -> Result<Self> {
        let this = Self { scratch: Scratch::new("vk-bench-audit-")? };
        let policy = format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
             - {{level: Metadata, users: ['{USER}']}}\n- {{level: None}}\n"
        );
        write_private(&this.scratch.path().join("policy.yaml"), &policy)?;
        Ok(this)
    }

    pub(super) fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.scratch.path().join(name).display().to_string();
        vec![format!("--audit-policy-file={}", path("policy.yaml")), format!("--audit-log-path={}", path("audit.log"))]
    }

    /// How many requests there have been, by what they were. A watch counts when it begins.
    pub(super) fn requests(&self) -> Result<HashMap<String, usize>> {
        let text =
            std::fs::read_to_string(self.scratch.path().join("audit.log")).context("cannot read the audit log")?;
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let Ok(entry) = serde_json::from_str::<Entry>(line) else { continue };
            if !seen.insert(entry.id) {
                continue; // the end of a watch whose beginning was counted
            }
            let object = entry.object_ref.as_ref();
            let what = object.map_or("other", |object| object.resource.as_str());
            let part = object.and_then(|object| object.subresource.as_deref());
            let part = part.map(|part| format!("/{part}")).unwrap_or_default();
            *counts.entry(format!("{} {what}{part}", entry.verb)).or_default() += 1;
        }
        Ok(counts)
    }
}
