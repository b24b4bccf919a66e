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
    host: String,
    port: u16,
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
    let Established { client, config: found, identity, keeper } =
        credentials::establish(kubeconfig, &config.certificates, &member.name, tunnel).await?;
    let client_ca = match &config.client_ca_file {
        Some(file) => ClientCa::of_file(file)?,
        None => ClientCa::fixed(found.root_cert.as_deref().map(|all| credentials::pem_of(all).into_bytes())),
    };
    let Endpoint { host, port } = credentials::endpoint(&found);
    let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let requests = Requests::new(&at);
    let client = requests.counted(client);
    let _keeper = AbortOnDrop(tokio::spawn(keeper.keep()));
    let watches = Arc::new(Watches::new(client.clone()));
    Ok(ApiServer { client, watches, identity, _keeper, client_ca, requests, host, port })
}

impl ApiServer {
    /// Where it is: as this node reaches it, so do the tasks that the pipe runs beside it. The address that the cluster
    /// has for it (`10.96.0.1`, say) leads nowhere here: what would lead from it to the API server is kube-proxy, which
    /// takes root.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port }
    }

    /// The address of this host on the way to the API server, waiting for that server as long as it takes.
    pub(super) async fn local_address(&self) -> anyhow::Result<IpAddr> {
        loop {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port)));
            match connected.await {
                Ok(Ok(stream)) => {
                    let local: SocketAddr = stream.local_addr().context("the connection has no local address")?;
                    return Ok(local.ip());
                }
                Ok(Err(error)) => tracing::warn!(server = self.host, %error, "the API server cannot be reached"),
                Err(_) => tracing::warn!(server = self.host, "the API server does not answer"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
