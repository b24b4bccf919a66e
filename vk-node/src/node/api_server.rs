//! The way to the API server.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::TcpStream;
use vk_node_core::facts::Endpoint;

/// The longest that a connection to the API server may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a node that waits for its API server to come up asks again.
const RETRY: Duration = Duration::from_secs(2);
/// The longest silence on a connection. Watches are renewed by the server in less.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

/// An API server that we can ask.
pub(super) struct ApiServer {
    /// The client.
    pub(super) client: Client,
    /// The certificate authority for clients of the kubelet's API, in PEM.
    pub(super) client_ca: Option<Vec<u8>>,
    host: String,
    port: u16,
}

/// Reads the configuration and makes a client. It does not connect yet.
pub(super) async fn connect(kubeconfig: Option<&Path>, client_ca: Option<&Path>) -> anyhow::Result<ApiServer> {
    let mut config = match kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file)
                .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("the kubeconfig {} does not lead to a cluster", file.display()))?
        }
        None => Config::infer().await.context("there is no kubeconfig: name one with --kubeconfig")?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let client_ca = match client_ca {
        Some(file) => Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?),
        None => config.root_cert.as_deref().map(pem_of),
    };
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let client = Client::try_from(config).context("the kubeconfig's credentials cannot be used")?;
    Ok(ApiServer { client, client_ca, host, port })
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

fn pem_of(certificates: &[Vec<u8>]) -> Vec<u8> {
    use std::fmt::Write;
    let mut pem = String::new();
    for der in certificates {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        // Writing to a String does not fail.
        let _ = write!(pem, "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}
