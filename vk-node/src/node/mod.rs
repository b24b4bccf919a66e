//! `vk-node run`: the parts of a node, put together.
//!
//! ```text
//!                 API server
//!        ▲ Node, Lease      │ Pods        ▲ PodStatus      │ kubectl logs
//!        │                  ▼             │                ▼
//!   registration         pods (controller, orphans)     kubelet API
//!        ▲                  │  ▲                           │
//!        │ health           ▼  │ what is seen              │
//!        └───────────────  tasks (mirror of the pipe)  ◀───┘
//!                             │ vk-cmd.sock
//!                            pipe
//! ```

mod api_server;
mod lean;
mod only_one;
mod own_pipe;
mod registration;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use vk_cmd_crds::NodeName;
use vk_node_core::events::{Note, NoteKind};
use vk_node_core::facts::NodeFacts;
use vk_node_core::images::ImageMap;
use vk_node_core::node::{self, NodeProfile};
use vk_pipe::client::PipeClient;
use vk_pipe::server::CgroupChoice;

use crate::events;
use crate::kubelet;
use crate::pods;
use crate::tasks::Mirror;

/// What a node is started with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The node's name.
    pub(crate) name: NodeName,
    /// The kubeconfig, where it is not the usual one.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The pipe's directory.
    pub(crate) hostpipe: PathBuf,
    /// Whether the node starts a pipe where none answers.
    pub(crate) starts_pipe: bool,
    /// Where that pipe keeps its records, where it is not to choose itself.
    pub(crate) records: Option<PathBuf>,
    /// The site's file for that pipe, where it is not in one of the usual places.
    pub(crate) site_file: Option<PathBuf>,
    /// Which cgroup a pipe that it starts uses.
    pub(crate) cgroup: CgroupChoice,
    /// The address at which the API server reaches this node.
    pub(crate) address: Option<IpAddr>,
    /// The port of the kubelet's API.
    pub(crate) kubelet_port: u16,
    /// Whose clients may ask the kubelet's API.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// How many pods the node takes.
    pub(crate) max_pods: u32,
    /// More labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// More resources that the node offers.
    pub(crate) resources: BTreeMap<String, u64>,
}

/// Runs the node until it is told to end. Tasks go on without it.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut shutdown = std::pin::pin!(shutdown_signal()?);
    let pipe = PipeClient::new(&options.hostpipe);
    let (mirror, task_changes) = Mirror::new();
    let mirror = Arc::new(mirror);
    // Held to the end: dropping it ends the pipe that it started.
    let _own_pipe = options.starts_pipe.then(|| own_pipe::keep(&options, pipe.clone(), mirror.link()));
    // Cancel-safe: what it has done so far is done again by the next start, or runs out with the lease.
    let prepared = tokio::select! {
        () = &mut shutdown => {
            info!("told to end before the node was registered");
            return Ok(());
        }
        prepared = Box::pin(prepare(options, &pipe)) => prepared?,
    };
    let Prepared { _only, server, listener, facts, registration, continuity } = prepared;
    let (pod_store, pod_writer) = pods::store();
    let kubelet = kubelet::serve(
        listener,
        kubelet::Context {
            node: facts.clone(),
            pods: pod_store.clone(),
            mirror: mirror.clone(),
            pipe: pipe.clone(),
            client: server.client.clone(),
        },
        server.client_ca.as_deref(),
    )?;
    let (events, event_sender) = events::channel(server.client.clone(), &facts.name);
    events.node(&facts.name, Note::new(NoteKind::Normal, "Starting", "Starting vk-node."));
    let pods = pods::run(
        pods::Context::new(server.client.clone(), pipe.clone(), mirror.clone(), facts, events, continuity),
        (pod_store, pod_writer),
        task_changes,
    );
    // Cancel-safe: each arm is a part of the node that is to run as long as the node does; the first that ends ends
    // the node, and what the others have not finished is taken up again from the records by the next start.
    tokio::select! {
        () = &mut shutdown => info!("told to end: the tasks go on, their ends are reported by the next start"),
        () = mirror.follow(&pipe) => {}
        () = pods => {}
        () = kubelet => {}
        () = event_sender.run() => {}
        () = lean::keep() => {}
        error = registration.keep(mirror.link()) => return Err(error),
    }
    registration.sign_off().await;
    Ok(())
}

/// A node that is registered.
struct Prepared {
    /// Held to the end: the Lease keeps nodes on two hosts from sharing a name, this one those on one.
    _only: only_one::OnlyOne,
    server: api_server::ApiServer,
    listener: TcpListener,
    facts: NodeFacts,
    registration: registration::Registration,
    /// Since when tasks here were started for this very Node object.
    continuity: Timestamp,
}

/// Waits for the pipe and the API server, however long they take, and registers the node.
async fn prepare(options: Options, pipe: &PipeClient) -> anyhow::Result<Prepared> {
    let host = own_pipe::await_pipe(pipe, &options).await;
    let _only = only_one::claim(&options.hostpipe)?;
    info!(host = host.hostname, user = host.user, directory = %host.directory.display(), "the pipe answers");
    info!("in force: {}", node::in_force(&host));

    let server = api_server::connect(options.kubeconfig.as_deref(), options.client_ca_file.as_deref()).await?;
    let address = match options.address {
        Some(address) => address,
        None => server.local_address().await?,
    };
    let listener = kubelet::bind(address, options.kubelet_port).await?;
    let profile = NodeProfile {
        name: options.name.clone(),
        address: address.to_string(),
        port: listener.local_addr().context("the kubelet's port has no address")?.port(),
        max_pods: options.max_pods,
        labels: options.labels,
        resources: options.resources,
    };
    let facts = NodeFacts {
        name: options.name.as_str().to_owned(),
        address: profile.address.clone(),
        mount_namespaces: host.mount_namespaces.clone(),
        images: ImageMap::default(),
        api_server: server.endpoint(),
        allocatable: node::object(&profile, &host, Timestamp::now())
            .status
            .and_then(|s| s.allocatable)
            .unwrap_or_default(),
    };

    let registration = registration::Registration::new(server.client.clone(), profile, host, pipe.clone());
    let continuity = registration.register().await?;
    info!(node = facts.name, address = facts.address, port = registration.port(), "registered");
    Ok(Prepared { _only, server, listener, facts, registration, continuity })
}

/// Waits for `SIGTERM` or `SIGINT`.
pub(crate) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        // Cancel-safe: both only wait, and a signal that came stays with its receiver.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
