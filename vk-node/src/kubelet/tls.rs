//! TLS for the kubelet's API: a serving certificate of our own, and clients known by theirs.

use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use vk_node_core::facts::NodeFacts;

/// The configuration of the server. A client without a certificate is let through the handshake, to be told by an
/// answer and not by a broken connection that it must say who it is.
pub(super) fn config(node: &NodeFacts, client_ca: Option<&[u8]>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match client_ca {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.context("the certificate authority for clients is no PEM")?;
                roots.add(certificate).context("the certificate authority for clients cannot be used")?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .context("the certificate authority for clients cannot be used")?
        }
        None => Arc::new(NoClientAuth),
    };
    // The API server verifies a kubelet's serving certificate only where it was given an authority for it.
    let made = rcgen::generate_simple_self_signed([node.name.clone(), node.address.clone()])
        .context("cannot make a serving certificate")?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version is left")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.cert.der().clone()], key)
        .context("the serving certificate cannot be used")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
