//! What the nodes of one process share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, Semaphore};
use tracing::info;
use vk_node_core::config::{MemberConfig, NodeConfig};
use vk_node_core::images::ImageMap;
use vk_node_core::node;
use vk_pipe::client::PipeClient;
use vk_record::clock::Clock;
use vk_record::{Dir, names};

use super::api_server::{self, ApiServer};
use super::host::Host;
use super::only_one::{self, OnlyOne};
use super::own_pipe;
use super::reports::Reports;
use super::tuned::Tuning;
use crate::credentials;
use crate::ending::Endings;
use crate::tasks::Mirror;
use crate::tunnel::{Keeper, Tunnel};

/// How many nodes register at a time: an API server is not to be met by a thousand at once.
const REGISTER_AT_ONCE: usize = 16;

/// The way to the pipe and what it has told, the ways to API servers, and what all of it was started with.
pub(super) struct Shared {
    pub(super) config: Arc<NodeConfig>,
    pub(super) pipe: PipeClient,
    pub(super) mirror: Arc<Mirror>,
    /// What images stand for.
    pub(super) images: ImageMap,
    /// By what API servers and nodes reach each other, where they do not straight. None before the pipe's directory is ours.
    tunnel: OnceLock<Tunnel>,
    /// When the nodes end.
    pub(super) endings: Endings,
    /// What the nodes tell of themselves on their machine.
    pub(super) reports: Reports,
    /// What has changed of the configuration.
    pub(super) tuning: Tuning,
    /// Whose turn it is to register.
    pub(super) registering: Semaphore,
    servers: Mutex<HashMap<Option<PathBuf>, Arc<ApiServer>>>,
}

impl Shared {
    pub(super) fn new(config: NodeConfig) -> Self {
        Self {
            pipe: PipeClient::new(&config.pipe.directory),
            mirror: Arc::new(Mirror::new()),
            images: ImageMap::new(config.images.clone()),
            tunnel: OnceLock::new(),
            endings: Endings::new(config.ending.clone()),
            reports: Reports::default(),
            tuning: Tuning::new(&config),
            registering: Semaphore::new(REGISTER_AT_ONCE),
            servers: Mutex::default(),
            config: Arc::new(config),
        }
    }

    /// Waits for the pipe, however long it takes, and takes its directory for this process: the Leases keep nodes on two
    /// hosts from sharing a name, that those on one.
    pub(super) async fn host(&self) -> anyhow::Result<(Arc<Host>, OnlyOne)> {
        let info = own_pipe::await_pipe(&self.pipe, &self.config.pipe).await;
        let only = only_one::claim(&self.config.pipe.directory)?;
        let clock = Arc::new(Clock::kept_in(Dir::open(&self.config.pipe.directory)?, names::NODE_CLOCK)?);
        let lengths = self.config.members.iter().map(|member| member.walltime);
        self.endings.resume(Dir::open(&self.config.pipe.directory)?, lengths)?;
        info!(host = info.hostname, user = info.user, directory = %info.directory.display(), "the pipe answers");
        info!("in force: {}", node::in_force(&info));
        Ok((Arc::new(Host::new(self.pipe.clone(), info, &self.config, clock).await), only))
    }

    /// Begins the tunnel, if there is to be one. The pipe's directory must be ours: the tunnel's sockets go with it.
    pub(super) fn begin_tunnel(&self) -> anyhow::Result<Option<Keeper>> {
        let Some(tunnel) = Tunnel::of(&self.config)? else { return Ok(None) };
        let keeper = Keeper::start(tunnel.clone());
        // It is begun once.
        let _ = self.tunnel.set(tunnel);
        Ok(Some(keeper))
    }

    /// The tunnel, if there is one.
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.get()
    }

    /// A node's way to the API server. Nodes with one kubeconfig share it, but those whose certificates are their own.
    pub(super) async fn server(&self, member: &MemberConfig) -> anyhow::Result<Arc<ApiServer>> {
        let key = member.kubeconfig.clone();
        if credentials::is_managed(key.as_deref(), &self.config.certificates, &member.name) {
            return Ok(Arc::new(api_server::connect(&self.config, member, self.tunnel().cloned()).await?));
        }
        let mut servers = self.servers.lock().await;
        if let Some(server) = servers.get(&key) {
            return Ok(server.clone());
        }
        let server = Arc::new(api_server::connect(&self.config, member, self.tunnel().cloned()).await?);
        servers.insert(key, server.clone());
        Ok(server)
    }
}
