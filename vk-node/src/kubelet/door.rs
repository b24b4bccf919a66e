//! Whom a handshake lets in: the certificate authority for clients may be replaced while the node runs.
//!
//! ```text
//!   file ── looked at every minute ── other, and can be used ──▶ another door for new connections
//!                                     └ cannot be used ────────▶ told, and the old one stays
//! ```
//!
//! As the kubelet does with its `clientCAFile`. Connections that are open stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::server::ResolvesServerCert;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use vk_api_client::chain;

use super::auth::ClientAuthority;
use super::tls;

/// How often the file is looked at: the kubelet's period.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The certificate authority for clients of the kubelet's API.
#[derive(Clone, Debug)]
pub(crate) struct ClientCa {
    /// In PEM; none where none is known.
    pem: Option<Vec<u8>>,
    /// Where it is, if it may change.
    file: Option<PathBuf>,
}

impl ClientCa {
    /// One that does not change.
    pub(crate) fn fixed(pem: Option<Vec<u8>>) -> Self {
        Self { pem, file: None }
    }

    /// One that others may replace.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of_file(file: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { pem: Some(pem), file: Some(file.to_owned()) })
    }
}

/// How a connection begins.
pub(super) struct Door {
    pub(super) tls: TlsAcceptor,
    pub(super) clients: Arc<ClientAuthority>,
}

/// The door of the moment.
pub(super) struct Doors {
    serving: Arc<dyn ResolvesServerCert>,
    ca: ClientCa,
    current: watch::Sender<Arc<Door>>,
}

impl Doors {
    /// # Errors
    /// When no TLS can be set up from what is given.
    pub(super) fn new(serving: Arc<dyn ResolvesServerCert>, ca: ClientCa) -> anyhow::Result<Self> {
        if ca.pem.is_none() {
            warn!(
                "no certificate authority for clients is known: the kubelet's API will take tokens only, which the API \
                 server does not use: kubectl logs and exec will be refused. Name one with --client-ca-file"
            );
        }
        let current = watch::Sender::new(door(&serving, ca.pem.as_deref())?);
        Ok(Self { serving, ca, current })
    }

    /// The door, now and later.
    pub(super) fn current(&self) -> watch::Receiver<Arc<Door>> {
        self.current.subscribe()
    }

    /// Looks at the file, for ever.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let Some(file) = &self.ca.file else { return };
        // One that is not there for a moment is about to be.
        let Ok(pem) = std::fs::read(file) else { return };
        if self.ca.pem.as_ref() == Some(&pem) {
            return;
        }
        match door(&self.serving, Some(&pem)) {
            Ok(door) => {
                info!(file = %file.display(), "the certificate authority for clients was replaced");
                self.current.send_replace(door);
                self.ca.pem = Some(pem);
            }
            Err(error) => {
                warn!(file = %file.display(), "the certificate authority for clients was replaced by one that cannot be \
                    used; going on with the old: {}", chain(&*error));
            }
        }
    }
}

fn door(serving: &Arc<dyn ResolvesServerCert>, pem: Option<&[u8]>) -> anyhow::Result<Arc<Door>> {
    let clients = Arc::new(ClientAuthority::new(pem)?);
    let tls = TlsAcceptor::from(Arc::new(tls::config(serving.clone(), clients.clone())?));
    Ok(Arc::new(Door { tls, clients }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use rustls::server::ResolvesServerCertUsingSni;
    use rustls_pki_types::CertificateDer;

    use super::*;

    /// An authority in PEM, and a client's certificate that it has signed.
    fn authority() -> (String, CertificateDer<'static>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "somebody");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = client.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        (pem, signed.der().clone())
    }

    #[test]
    fn an_authority_that_is_replaced_counts_once_it_can_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let ((old, of_old), (new, of_new)) = (authority(), authority());
        std::fs::write(&file, &old).unwrap();
        let serving: Arc<dyn ResolvesServerCert> = Arc::new(ResolvesServerCertUsingSni::new());
        let mut doors = Doors::new(serving, ClientCa::of_file(&file).unwrap()).unwrap();
        let current = doors.current();
        let lets_in = |client: &CertificateDer<'static>| {
            current.borrow().clients.identify(std::slice::from_ref(client), Timestamp::now()).is_some()
        };
        doors.look();
        assert!(lets_in(&of_old) && !lets_in(&of_new));
        for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&file, broken).unwrap();
            doors.look();
            assert!(lets_in(&of_old), "half of it counts for nothing");
        }
        // Both, while clients change over.
        std::fs::write(&file, old + &new).unwrap();
        doors.look();
        assert!(lets_in(&of_old) && lets_in(&of_new));
        std::fs::write(&file, &new).unwrap();
        doors.look();
        assert!(!lets_in(&of_old) && lets_in(&of_new));
        std::fs::remove_file(&file).unwrap();
        doors.look();
        assert!(lets_in(&of_new));
    }
}
