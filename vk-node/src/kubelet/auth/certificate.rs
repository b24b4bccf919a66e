//! Clients that show a certificate: known by its subject, where the cluster's authority has signed it.
//!
//! TLS only proves that the client has the certificate's key. Whose authority it is of is looked at here, so that one of
//! a wrong authority, or one that has expired, is told so by an answer and not by a broken connection, as the kubelet
//! does; and a connection that outlives its certificate is refused from then on.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use tracing::debug;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::user::User;

/// The authority whose clients are known.
pub(in crate::kubelet) struct ClientAuthority {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What the client of a connection has shown.
#[derive(Clone, Debug)]
pub(in crate::kubelet) struct Shown {
    user: Arc<User>,
    until: Timestamp,
}

impl Shown {
    /// The certificate's user, while it has not expired.
    pub(super) fn user_at(&self, now: Timestamp) -> Option<Arc<User>> {
        (now <= self.until).then(|| self.user.clone())
    }
}

impl ClientAuthority {
    /// One that is given in PEM, or none: then certificates are not asked for.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::kubelet) fn new(pem: Option<&[u8]>) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let Some(pem) = pem else { return Ok(Self { verifier: None, algorithms }) };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.context("the certificate authority for clients is no PEM")?;
            roots.add(certificate).context("the certificate authority for clients cannot be used")?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .context("the certificate authority for clients cannot be used")?;
        Ok(Self { verifier: Some(verifier), algorithms })
    }

    /// Who has shown this chain, the client's own certificate first.
    pub(in crate::kubelet) fn identify(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Shown> {
        let (own, others) = chain.split_first()?;
        let seconds = u64::try_from(now.as_second()).ok()?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        if let Err(error) = self.verifier.as_ref()?.verify_client_cert(own, others, now) {
            debug!(%error, "a client certificate is not taken");
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(own).ok()?;
        let until = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
        Some(Shown { user: Arc::new(User::of_certificate(own)?), until })
    }
}

impl ClientCertVerifier for ClientAuthority {
    fn offer_client_auth(&self) -> bool {
        self.verifier.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.as_ref().map_or(&[], |verifier| verifier.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // By `identify`, after the handshake.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    impl Authority {
        /// A certificate that ends with the year 2029.
        fn sign(&self, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "somebody");
            params.extended_key_usages = vec![usage];
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2030, 1, 1);
            params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
        }
    }

    #[test]
    fn only_client_certificates_of_the_authority_count_and_only_in_their_time() {
        let (ours, other) = (authority(), authority());
        let known = ClientAuthority::new(Some(ours.pem.as_bytes())).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (then, late) = (at("2026-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"));
        let client = ours.sign(ExtendedKeyUsagePurpose::ClientAuth);

        let client = [client];
        let shown = known.identify(&client, then).unwrap();
        assert_eq!(shown.user_at(then).unwrap().name, "somebody");
        assert_eq!(shown.user_at(late), None, "a connection that outlives its certificate");
        assert!(known.identify(&client, late).is_none());
        assert!(known.identify(&client, at("2019-01-01T00:00:00Z")).is_none());
        assert!(known.identify(&[], then).is_none());
        assert!(known.identify(&[other.sign(ExtendedKeyUsagePurpose::ClientAuth)], then).is_none());
        assert!(known.identify(&[ours.sign(ExtendedKeyUsagePurpose::ServerAuth)], then).is_none());
        let nobody = ClientAuthority::new(None).unwrap();
        assert!(nobody.identify(&client, then).is_none());
        assert!(!nobody.offer_client_auth());
    }

    #[test]
    fn an_authority_that_is_none_is_told() {
        assert!(ClientAuthority::new(Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).is_err());
        assert!(ClientAuthority::new(Some(b"nothing")).is_err());
    }
}
