//! Who a client is, to the API server that is asked what it may do.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::UserInfo;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The group of all who have said who they are.
const AUTHENTICATED: &str = "system:authenticated";
/// The key under which a user's `extra` says by which credential it was known.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// A user as an authenticator has found it; never an anonymous one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::kubelet) struct User {
    /// The name: `kube-apiserver-kubelet-client`, `system:serviceaccount:<namespace>:<name>`.
    pub(in crate::kubelet) name: String,
    /// What tells it from an earlier user of the same name.
    pub(super) uid: Option<String>,
    /// The groups.
    pub(super) groups: Vec<String>,
    /// Whatever else the authenticator knows.
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The subject of a certificate that was verified: the common name is the user, the organizations are the groups.
    /// See "X509 client certificates" in Kubernetes' documentation on authentication.
    pub(super) fn of_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
        let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
        let extra = BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])]);
        Self { name: name.to_owned(), uid: None, groups, extra }.authenticated()
    }

    /// The user that a `TokenReview` names.
    pub(super) fn of_token(info: UserInfo) -> Option<Self> {
        let (name, groups, extra) = (info.username?, info.groups.unwrap_or_default(), info.extra.unwrap_or_default());
        Self { name, uid: info.uid.filter(|uid| !uid.is_empty()), groups, extra }.authenticated()
    }

    /// A user with a name, in the group of all who have one. The name of nobody is none.
    fn authenticated(mut self) -> Option<Self> {
        if self.name.is_empty() || self.name == "system:anonymous" {
            return None;
        }
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(subject: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_subject_is_the_user() {
        let der = certificate(&[(DnType::CommonName, "kubelet-client"), (DnType::OrganizationName, "system:masters")]);
        let user = User::of_certificate(&der).unwrap();
        assert_eq!(user.name, "kubelet-client");
        assert_eq!(user.groups, ["system:masters", AUTHENTICATED]);
        assert!(user.extra.get(CREDENTIAL_ID).unwrap()[0].starts_with("X509SHA256="));
        assert_eq!(User::of_certificate(&certificate(&[(DnType::OrganizationName, "system:masters")])), None);
        assert_eq!(User::of_certificate(&certificate(&[(DnType::CommonName, "")])), None);
        assert_eq!(User::of_certificate(&certificate(&[(DnType::CommonName, "system:anonymous")])), None);
        assert_eq!(User::of_certificate(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn a_token_without_a_user_is_nobodys() {
        let info = |name: Option<&str>| UserInfo { username: name.map(str::to_owned), ..UserInfo::default() };
        assert_eq!(User::of_token(info(None)), None);
        assert_eq!(User::of_token(info(Some(""))), None);
        assert_eq!(User::of_token(info(Some("system:anonymous"))), None);
        assert_eq!(User::of_token(info(Some("a"))).unwrap().groups, [AUTHENTICATED]);
    }
}
