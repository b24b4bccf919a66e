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

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use vk_cmd_crds::certificates::Names;
use vk_node_core::config::{MemberConfig, NodeConfig, PipeOwner};
use vk_node_core::events::{Note, NoteKind};
use vk_node_core::facts::{NodeFacts, SiteUser};
use vk_node_core::images::ImageMap;
use vk_node_core::node::{self, NodeProfile};
use vk_pipe::client::PipeClient;

use crate::credentials::Serving;
use crate::events;
use crate::kubelet;
use crate::pods;
use crate::probes::Prober;
use crate::tasks::Mirror;

/// Runs the node until it is told to end. Tasks go on without it.
pub(crate) async fn run(config: NodeConfig) -> anyhow::Result<()> {
    let [member] = config.members.as_slice() else { anyhow::bail!("this vk-node makes one node: name one") };
    let mut shutdown = std::pin::pin!(shutdown_signal()?);
    let pipe = PipeClient::new(&config.pipe.directory);
    let (mirror, task_changes) = Mirror::new();
    let mirror = Arc::new(mirror);
    // Held to the end: dropping it ends the pipe that it started.
    let _own_pipe =
        (config.pipe.owner == PipeOwner::Node).then(|| own_pipe::keep(&config.pipe, pipe.clone(), mirror.link()));
    // Cancel-safe: what it has done so far is done again by the next start, or runs out with the lease.
    let prepared = tokio::select! {
        () = &mut shutdown => {
            info!("told to end before the node was registered");
            return Ok(());
        }
        prepared = Box::pin(prepare(&config, member, &pipe)) => prepared?,
    };
    let Prepared { _only, server, serving, listener, facts, registration, continuity } = prepared;
    let (pod_store, pod_writer) = pods::store();
    let (events, event_sender) = events::channel(server.client.clone(), &facts.name);
    events.node(&facts.name, Note::new(NoteKind::Normal, "Starting", "Starting vk-node."));
    let (prober, verdicts) = Prober::new(pipe.clone(), mirror.clone(), events.clone(), &facts);
    let streams = kubelet::Streams::default();
    let context = pods::Context::new(
        server.client.clone(),
        pipe.clone(),
        mirror.clone(),
        facts.clone(),
        events,
        prober.clone(),
        continuity,
    );
    let kubelet = kubelet::serve(
        listener,
        kubelet::Context {
            node: facts,
            pods: pod_store.clone(),
            mirror: mirror.clone(),
            pipe: pipe.clone(),
            client: server.client.clone(),
            prober,
            status_writes: context.status_writes(),
            measured: kubelet::Measured::default(),
            streams: streams.clone(),
        },
        serving.shown(),
        server.client_ca.as_deref(),
    )?;
    let pods = pods::run(context, (pod_store, pod_writer), task_changes, verdicts);
    // Cancel-safe: each arm is a part of the node that is to run as long as the node does; the first that ends ends
    // the node, and what the others have not finished is taken up again from the records by the next start.
    tokio::select! {
        () = &mut shutdown => info!("told to end: the tasks go on, their ends are reported by the next start"),
        () = mirror.follow(&pipe) => {}
        () = pods => {}
        () = kubelet => {}
        () = event_sender.run() => {}
        () = server.keeper.keep() => {}
        () = serving.keep(server.client.clone()) => {}
        () = lean::keep() => {}
        error = registration.keep(mirror.link()) => return Err(error),
    }
    // Cancel-safe: both end by themselves, in whatever order.
    tokio::join!(streams.end(), registration.sign_off());
    Ok(())
}

/// A node that is registered.
struct Prepared {
    /// Held to the end: the Lease keeps nodes on two hosts from sharing a name, this one those on one.
    _only: only_one::OnlyOne,
    server: api_server::ApiServer,
    serving: Serving,
    listener: TcpListener,
    facts: NodeFacts,
    registration: registration::Registration,
    /// Since when tasks here were started for this very Node object.
    continuity: Timestamp,
}

/// Waits for the pipe and the API server, however long they take, and registers the node.
async fn prepare(config: &NodeConfig, member: &MemberConfig, pipe: &PipeClient) -> anyhow::Result<Prepared> {
    let host = own_pipe::await_pipe(pipe, &config.pipe).await;
    let _only = only_one::claim(&config.pipe.directory)?;
    info!(host = host.hostname, user = host.user, directory = %host.directory.display(), "the pipe answers");
    info!("in force: {}", node::in_force(&host));

    let server = api_server::connect(config, member).await?;
    let address = match member.address {
        Some(address) => address,
        None => server.local_address().await?,
    };
    let listener = kubelet::bind(member.listen_address.unwrap_or(address), member.port).await?;
    let profile = NodeProfile {
        name: member.name.clone(),
        address: address.to_string(),
        port: listener.local_addr().context("the kubelet's port has no address")?.port(),
        max_pods: member.max_pods,
        labels: member.labels.clone(),
        taints: member.taints.clone(),
        capacity: member.capacity.clone(),
        reserved: member.reserved.clone(),
    };
    let status = node::object(&profile, &host, Timestamp::now()).status.unwrap_or_default();
    let names = Names::of(status.addresses.as_deref().unwrap_or_default());
    let serving = Serving::new(&config.certificates, &member.name, names)?;
    let facts = NodeFacts {
        name: member.name.as_str().to_owned(),
        address: profile.address.clone(),
        mount_namespaces: host.mount_namespaces.clone(),
        user: SiteUser::of(&host),
        images: ImageMap::default(),
        api_server: server.endpoint(),
        allocatable: status.allocatable.unwrap_or_default(),
    };

    let registration = registration::Registration::new(server.client.clone(), profile, host, pipe.clone());
    let continuity = registration.register().await?;
    info!(node = facts.name, address = facts.address, port = registration.port(), "registered");
    Ok(Prepared { _only, server, serving, listener, facts, registration, continuity })
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
