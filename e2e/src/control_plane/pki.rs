//! The certificates of a control plane, made fresh for each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use crate::kubeconfig::Credential;
use crate::scratch::write_private;

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Where an [`Identity`] was written.
#[derive(Debug, Clone)]
pub(super) struct IdentityFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// A certificate authority.
pub(super) struct Authority {
    pub(super) identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(common_name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name = name(common_name, None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let certificate =
            parameters.self_signed(&key).with_context(|| format!("cannot sign the authority {common_name}"))?;
        let identity = Identity { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok(Self { identity, issuer: Issuer::new(parameters, key) })
    }

    /// For a server at 127.0.0.1 and the given names, usable as a client certificate too, as etcd's peers need.
    pub(super) fn server(&self, common_name: &str, names: &[&str]) -> Result<Identity> {
        let names = ["127.0.0.1", "localhost"].iter().chain(names).map(|&name| name.to_owned()).collect::<Vec<_>>();
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(CertificateParams::new(names)?, name(common_name, None), usages)
    }

    /// For a client: to Kubernetes the common name is the user and the organization the group.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        self.sign(CertificateParams::new(Vec::new())?, name(user, group), vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// As [`client`](Self::client), for a certificate whose time is over.
    pub(super) fn expired_client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
        self.sign(parameters, name(user, group), vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn sign(
        &self,
        mut parameters: CertificateParams,
        subject: DistinguishedName,
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<Identity> {
        parameters.distinguished_name = subject;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = usages;
        parameters.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let certificate = parameters.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority") // the key is nobody's business
    }
}

impl Identity {
    pub(super) fn credential(&self) -> Credential<'_> {
        Credential::Certificate { certificate: &self.certificate, key: &self.key }
    }

    /// Writes `<name>.crt` and `<name>.key` into `directory`, which only we can enter.
    pub(super) fn write(&self, directory: &Path, name: &str) -> Result<IdentityFiles> {
        let files = IdentityFiles {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        write_private(&files.certificate, &self.certificate)?;
        write_private(&files.key, &self.key)?;
        Ok(files)
    }
}

/// The pair of keys with which service account tokens are signed and checked, as PEM: (private, public).
pub(super) fn service_account_keys() -> Result<(String, String)> {
    let key = new_key()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}
