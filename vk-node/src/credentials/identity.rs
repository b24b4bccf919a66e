//! What a node shows of itself where it dials: its client certificate, as it is at that moment.

use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use vk_node_core::certificates::Seen;

use super::pair::Pair;

/// Where a node's client certificate is. It is read anew each time, because it is replaced while the node runs.
#[derive(Clone)]
pub(crate) enum Identity {
    /// In a file that has the certificate and its key.
    File(PathBuf),
    /// Where a kubeconfig says.
    Login(Box<AuthInfo>),
}

/// A client certificate with those that lead to its authority, and its key.
pub(crate) struct ClientPair {
    /// The certificates, the node's own first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The certificate of this moment.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn pair(&self) -> anyhow::Result<ClientPair> {
        let pair = match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Pair::from_file(&text)?
            }
            Self::Login(login) => of_login(login)?,
        };
        let (chain, key) = pair.parts()?;
        Ok(ClientPair { chain, key })
    }
}

/// What the client certificate of these credentials says, if they have one.
pub(crate) fn certificate(login: &AuthInfo) -> Option<anyhow::Result<Seen>> {
    let has_one = login.client_certificate.is_some() || login.client_certificate_data.is_some();
    has_one.then(|| of_login(login)?.seen())
}

fn of_login(login: &AuthInfo) -> anyhow::Result<Pair> {
    let file = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let inline = |data: &str, what: &str| {
        let bytes = STANDARD.decode(data).with_context(|| format!("the {what} in the kubeconfig is no base64"))?;
        String::from_utf8(bytes).with_context(|| format!("the {what} in the kubeconfig is no PEM"))
    };
    let certificate = match (&login.client_certificate_data, &login.client_certificate) {
        (Some(data), _) => inline(data, "client certificate")?,
        (None, Some(path)) => file(path)?,
        (None, None) => bail!(
            "these credentials have no client certificate, by which alone a relay knows a node: start it with \
             --bootstrap-kubeconfig, or with a kubeconfig that has a certificate of system:node:NAME"
        ),
    };
    let key = match (&login.client_key_data, &login.client_key) {
        (Some(data), _) => inline(data.expose_secret(), "key")?,
        (None, Some(path)) => file(path)?,
        (None, None) => bail!("the kubeconfig has a client certificate, and no key of it"),
    };
    Ok(Pair::new(certificate, key))
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    use vk_cmd_crds::certificates::Purpose;

    use super::super::pair::tests::{signed, wanted};
    use super::*;

    #[test]
    fn a_certificate_is_found_wherever_it_is_and_its_absence_is_told() {
        let pair = signed(&wanted(Purpose::Client), vec![ClientAuth]);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let own = pair.parts().unwrap().0;
        std::fs::write(path("both"), pair.to_file()).unwrap();
        std::fs::write(path("crt"), pair.certificate_pem()).unwrap();
        std::fs::write(path("key"), pair.key_pem()).unwrap();
        let text = |name: &str| Some(path(name).display().to_string());
        let by_path = AuthInfo { client_certificate: text("crt"), client_key: text("key"), ..AuthInfo::default() };
        let inline = AuthInfo {
            client_certificate_data: Some(STANDARD.encode(pair.certificate_pem())),
            client_key_data: Some(STANDARD.encode(pair.key_pem()).into()),
            ..AuthInfo::default()
        };
        for identity in [
            Identity::File(path("both")),
            Identity::Login(Box::new(by_path.clone())),
            Identity::Login(Box::new(inline)),
        ] {
            assert_eq!(identity.pair().unwrap().chain, own);
        }
        let why = |login: AuthInfo| format!("{:#}", Identity::Login(Box::new(login)).pair().err().unwrap());
        assert!(why(AuthInfo::default()).contains("--bootstrap-kubeconfig"));
        assert!(why(AuthInfo { client_key: None, ..by_path }).contains("no key"));
        assert!(Identity::File(path("none")).pair().is_err());
    }
}
