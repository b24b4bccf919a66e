//! The way to the API server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use vk_node_core::config::{MemberConfig, NodeConfig};
use vk_node_core::facts::Endpoint;

use super::requests::Requests;
use crate::credentials::{self, Established, Identity};
use crate::given::Watches;
use crate::kubelet::ClientCa;
use crate::tunnel::Tunnel;

/// The longest that a connection to the API server may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a node that waits for its API server to come up asks again.
const RETRY: Duration = Duration::from_secs(2);

/// An API server that we can ask.
pub(super) struct ApiServer {
    /// The client.
    pub(super) client: Client,
    /// What is watched for the pods of all nodes that use it.
    pub(super) watches: Arc<Watches>,
    /// What those who use it show of themselves elsewhere.
    pub(super) identity: Identity,
    /// Keeps its credentials good for as long as somebody has this.
    _keeper: AbortOnDrop,
    /// The certificate authority for clients of the kubelet's API.
    pub(super) client_ca: ClientCa,
    /// What was asked of it.
    pub(super) requests: Requests,
    at: Endpoint,
    /// Where connections to it go first: to itself, or to a proxy.
    first_hop: (String, u16),
}

/// A task that ends with this.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Finds the way to the API server for one node, waiting for its first certificate if it has none.
pub(super) async fn connect(
    config: &NodeConfig,
    member: &MemberConfig,
    tunnel: Option<Tunnel>,
) -> anyhow::Result<ApiServer> {
    let kubeconfig = member.kubeconfig.as_deref();
    let by_tunnel = tunnel.is_some();
    let Established { client, config: found, identity, keeper } =
        credentials::establish(kubeconfig, &config.certificates, &member.name, tunnel).await?;
    let client_ca = match &config.client_ca_file {
        Some(file) => ClientCa::of_file(file)?,
        None => ClientCa::fixed(found.root_cert.as_deref().map(|all| credentials::pem_of(all).into_bytes())),
    };
    let at = credentials::endpoint(&found);
    let Endpoint { host, port } = &at;
    let requests =
        Requests::new(&if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
    let first_hop = if by_tunnel { (host.clone(), *port) } else { vk_api_client::first_hop(&found)? };
    let client = requests.counted(client);
    let _keeper = AbortOnDrop(tokio::spawn(keeper.keep()));
    let watches = Arc::new(Watches::new(client.clone()));
    Ok(ApiServer { client, watches, identity, _keeper, client_ca, requests, at, first_hop })
}

impl ApiServer {
    /// Where it is: as this node reaches it, so do the tasks that the pipe runs beside it. The address that the cluster
    /// has for it (`10.96.0.1`, say) leads nowhere here: what would lead from it to the API server is kube-proxy, which
    /// takes root.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.at.clone()
    }

    /// The address of this host on the way to the API server, waiting for that server, or its proxy, as long as it takes.
    pub(super) async fn local_address(&self) -> anyhow::Result<IpAddr> {
        let (host, port) = &self.first_hop;
        loop {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port)));
            match connected.await {
                Ok(Ok(stream)) => {
                    let local: SocketAddr = stream.local_addr().context("the connection has no local address")?;
                    return Ok(local.ip());
                }
                Ok(Err(error)) => tracing::warn!(%host, port, %error, "the API server cannot be reached"),
                Err(_) => tracing::warn!(%host, port, "the API server does not answer"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
