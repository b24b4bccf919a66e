//! By what an API server is reached: straight, as its kubeconfig says, or by the tunnel.

use kube::{Client, Config};
use tracing::info;
use vk_api_client::Unusable;
use vk_node_core::facts::Endpoint;

use crate::tunnel::Tunnel;

/// What makes clients.
#[derive(Clone)]
pub(super) struct Dial(Option<Tunnel>);

impl Dial {
    /// By the tunnel, if there is one.
    pub(super) fn new(tunnel: Option<Tunnel>) -> Self {
        Self(tunnel)
    }

    /// A client of the server that a kubeconfig names. By a tunnel it is that server still: its certificate must be for the
    /// name in the kubeconfig.
    pub(super) fn client(&self, config: &Config) -> Result<Client, Unusable> {
        let Some(tunnel) = &self.0 else { return vk_api_client::client(config) };
        if config.proxy_url.is_some() {
            info!("the API server is reached by the tunnel, and not by the kubeconfig's proxy-url");
        }
        vk_api_client::client_by_socket(config, &tunnel.way_out(endpoint(config)))
    }
}

/// The host and port of the server that a kubeconfig names.
pub(crate) fn endpoint(config: &Config) -> Endpoint {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    Endpoint { host, port }
}
