//! Who a client is: the subject of its certificate, which TLS has verified by then.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// Nobody that we know.
    Anonymous,
    /// The holder of a client certificate: the common name is the user, the organizations are the groups. See
    /// "X509 client certificates" in Kubernetes' documentation on authentication.
    Certificate {
        /// The user.
        user: String,
        /// The groups.
        groups: Vec<String>,
    },
}

/// Reads the identity from a verified chain, the client's own certificate first.
pub(super) fn of(certificates: &[CertificateDer<'_>]) -> Identity {
    let Some((_, certificate)) = certificates.first().and_then(|der| X509Certificate::from_der(der).ok()) else {
        return Identity::Anonymous;
    };
    let subject = certificate.subject();
    let Some(user) = subject.iter_common_name().next().and_then(|name| name.as_str().ok()) else {
        return Identity::Anonymous;
    };
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    Identity::Certificate { user: user.to_owned(), groups }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn the_subject_is_the_identity() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = Identity::Certificate {
            user: "kube-apiserver-kubelet-client".into(),
            groups: vec!["system:masters".into()],
        };
        assert_eq!(of(&[certificate.der().clone()]), expected);
        assert_eq!(of(&[]), Identity::Anonymous);
        assert_eq!(of(&[CertificateDer::from(vec![1, 2, 3])]), Identity::Anonymous);
    }
}
