//! TLS for the kubelet's API: the node's serving certificate, and clients that may show theirs.

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};

use super::auth::ClientAuthority;

/// The configuration of the server.
pub(super) fn config(
    serving: Arc<dyn ResolvesServerCert>,
    clients: Arc<ClientAuthority>,
) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS version is left")?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(serving);
    // Those who ask (the API server, metrics-server) resume no sessions, and the place for them is taken at once: 10 KiB for
    // each node of a process.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
