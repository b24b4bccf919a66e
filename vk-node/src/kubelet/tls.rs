//! TLS for the kubelet's API: a serving certificate of our own, and clients that may show theirs.

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use vk_node_core::facts::NodeFacts;

use super::auth::ClientAuthority;

/// The configuration of the server.
pub(super) fn config(node: &NodeFacts, clients: Arc<ClientAuthority>) -> anyhow::Result<ServerConfig> {
    // The API server verifies a kubelet's serving certificate only where it was given an authority for it.
    let made = rcgen::generate_simple_self_signed([node.name.clone(), node.address.clone()])
        .context("cannot make a serving certificate")?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS version is left")?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![made.cert.der().clone()], key)
        .context("the serving certificate cannot be used")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
