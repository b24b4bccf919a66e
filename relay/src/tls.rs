//! Whom a handshake lets in. The relay's certificate and the cluster's authority may be replaced while it runs.
//!
//! ```text
//!   files ── looked at every minute ─┐
//!   authority ── told of ────────────┴─ other, and can be used ──▶ another door for those who dial from now on
//!                                       └ cannot be used ────────▶ told, and the old one stays
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use vk_relay_core::protocol::ALPN;

use crate::Config;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What handshakes are made with; none while the authority is not known.
pub(crate) type Door = watch::Receiver<Option<TlsAcceptor>>;

/// What a door is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Keeps the door.
pub(crate) struct Doors {
    config: Config,
    client_ca: watch::Receiver<Option<Vec<u8>>>,
    parts: Parts,
    current: watch::Sender<Option<TlsAcceptor>>,
}

impl Doors {
    /// # Errors
    /// When the files are not what they should be.
    pub(crate) fn new(config: &Config, mut client_ca: watch::Receiver<Option<Vec<u8>>>) -> anyhow::Result<Self> {
        let parts = read(config, client_ca.borrow_and_update().clone())?;
        let current = watch::Sender::new(acceptor(&parts)?);
        Ok(Self { config: config.clone(), client_ca, parts, current })
    }

    /// The door, now and later.
    pub(crate) fn current(&self) -> Door {
        self.current.subscribe()
    }

    /// Follows what it is made of, for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            // Cancel-safe: both only wait.
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                // One that nobody is left to change stays.
                Ok(()) = self.client_ca.changed() => {}
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let client_ca = self.client_ca.borrow_and_update().clone();
        // A file that is not there for a moment is about to be.
        let Ok(parts) = read(&self.config, client_ca) else { return };
        if parts == self.parts {
            return;
        }
        match acceptor(&parts) {
            Ok(acceptor) => {
                info!("the relay's certificate or the authority of nodes has changed");
                self.current.send_replace(acceptor);
                self.parts = parts;
            }
            Err(error) => warn!("{error:#}; going on with what was there before"),
        }
    }
}

fn read(config: &Config, client_ca: Option<Vec<u8>>) -> anyhow::Result<Parts> {
    let file = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Parts { certificate: file(&config.certificate_file)?, key: file(&config.key_file)?, client_ca })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn acceptor(parts: &Parts) -> anyhow::Result<Option<TlsAcceptor>> {
    let Some(client_ca) = &parts.client_ca else { return Ok(None) };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(client_ca).context("the authority of nodes is no PEM")? {
        roots.add(certificate).context("the authority of nodes cannot be used")?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .context("the authority of nodes cannot be used")?;
    let chain = certificates(&parts.certificate).context("the relay's certificate is no PEM")?;
    let key = PrivateKeyDer::from_pem_slice(&parts.key).context("the relay's key is no PEM")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("there is no TLS 1.3")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("the relay's certificate and its key cannot be used together")?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A node dials rarely; each time it shows its certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
