//! A certificate and its key, and the request that leads to one.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use vk_cmd_crds::certificates::{NODES_GROUP, Names, Purpose};
use vk_node_core::certificates::{Seen, Wanted};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// How many bytes of a request's fingerprint are in its name.
const FINGERPRINT_BYTES: usize = 8;

/// A certificate, with those of the authorities that it needs, and its key.
pub(super) struct Pair {
    certificates: String,
    key: String,
}

impl Pair {
    pub(super) fn new(certificates: String, key: String) -> Self {
        Self { certificates, key }
    }

    /// From a file that has both.
    pub(super) fn from_file(text: &str) -> anyhow::Result<Self> {
        let starts =
            text.find("-----BEGIN").into_iter().chain(text.match_indices("\n-----BEGIN").map(|(at, _)| at + 1));
        let is_key =
            |at: &usize| text.get(*at..).and_then(|rest| rest.lines().next()).is_some_and(|l| l.contains("KEY"));
        let at = starts.into_iter().find(is_key).context("there is no key in it")?;
        let (certificates, key) = text.split_at(at);
        Ok(Self::new(certificates.to_owned(), key.to_owned()))
    }

    /// As a file that has both.
    pub(super) fn to_file(&self) -> String {
        format!("{}\n{}", self.certificates.trim_end(), self.key)
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificates
    }

    pub(super) fn key_pem(&self) -> &str {
        &self.key
    }

    /// The certificates and the key, for TLS.
    pub(super) fn parts(&self) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificates.as_bytes()).collect();
        let chain = chain.context("the certificate is no PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).context("the key is no PEM")?;
        Ok((chain, key))
    }

    /// For TLS.
    pub(super) fn certified(&self) -> anyhow::Result<Arc<CertifiedKey>> {
        let (chain, key) = self.parts()?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        Ok(Arc::new(certified.context("certificate and key cannot be used together")?))
    }

    /// What the certificate says.
    pub(super) fn seen(&self) -> anyhow::Result<Seen> {
        let (chain, key) = self.parts()?;
        let der = chain.first().context("there is no certificate in it")?.clone();
        let key_matches = match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(_) => true,
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => false,
            Err(error) => return Err(error).context("the certificate or its key cannot be used"),
        };
        let (_, certificate) = X509Certificate::from_der(&der).context("the certificate cannot be read")?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let organizations =
            subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
        let usage = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
        let purpose = usage.and_then(|usage| match (usage.client_auth, usage.server_auth) {
            (true, false) => Some(Purpose::Client),
            (false, true) => Some(Purpose::Serving),
            _ => None,
        });
        let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
        Ok(Seen {
            common_name: common_name.to_owned(),
            organizations,
            purpose,
            names: names_of(&certificate)?,
            not_before: time(certificate.validity().not_before)?,
            not_after: time(certificate.validity().not_after)?,
            key_matches,
        })
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> anyhow::Result<Names> {
    let mut names = Names::default();
    let extension = certificate.subject_alternative_name().context("the certificate's names cannot be read")?;
    for name in extension.into_iter().flat_map(|extension| &extension.value.general_names) {
        if let GeneralName::DNSName(name) = name {
            names.dns.insert((*name).to_owned());
        } else if let GeneralName::IPAddress(bytes) = name {
            let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            names.ips.insert(address.context("the certificate is for an address of a wrong length")?);
        } else {
            bail!("the certificate is for {name}");
        }
    }
    Ok(names)
}

/// A new key.
pub(super) fn new_key() -> anyhow::Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")
}

/// A request in PEM, and its fingerprint: the same for the same key and the same wish.
pub(super) fn request(wanted: &Wanted, key: &KeyPair) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, NODES_GROUP);
    params.distinguished_name.push(DnType::CommonName, wanted.common_name());
    for name in &wanted.names.dns {
        let name = name.as_str().try_into().with_context(|| format!("{name:?} cannot be in a certificate"))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.extend(wanted.names.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    let pem = params.serialize_request(key).and_then(|request| request.pem()).context("cannot write a request")?;
    let mut hash = Sha256::new();
    hash.update(key.public_key_pem());
    hash.update(format!("{wanted:?}"));
    let fingerprint = hash.finalize().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect();
    Ok((pem, fingerprint))
}

/// A certificate that a node signs itself, as long as nobody else has signed one for it.
pub(super) fn self_signed(names: &Names) -> anyhow::Result<Pair> {
    let all = names.dns.iter().cloned().chain(names.ips.iter().map(ToString::to_string));
    let made = rcgen::generate_simple_self_signed(all.collect::<Vec<_>>()).context("cannot make a certificate")?;
    Ok(Pair::new(made.cert.pem(), made.signing_key.serialize_pem()))
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer};

    use super::*;

    /// A pair that a signer of these usages makes of a request, as the cluster's does.
    pub(in super::super) fn signed(wanted: &Wanted, usages: Vec<rcgen::ExtendedKeyUsagePurpose>) -> Pair {
        let key = new_key().unwrap();
        let (pem, _) = request(wanted, &key).unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, new_key().unwrap());
        let mut request = CertificateSigningRequestParams::from_pem(&pem).unwrap();
        request.params.extended_key_usages = usages;
        request.params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        request.params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        Pair::new(request.signed_by(&issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(in super::super) fn wanted(purpose: Purpose) -> Wanted {
        let names = Names { dns: ["login07".to_owned()].into(), ips: ["10.0.0.7".parse().unwrap()].into() };
        Wanted { purpose, node: "vk-a".into(), names }
    }

    #[test]
    fn what_is_signed_is_what_was_asked_for() {
        let wanted = wanted(Purpose::Serving);
        let pair = signed(&wanted, vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]);
        let seen = pair.seen().unwrap();
        assert_eq!(seen.common_name, "system:node:vk-a");
        assert_eq!(seen.organizations, ["system:nodes"]);
        assert_eq!((seen.purpose, &seen.names, seen.key_matches), (Some(Purpose::Serving), &wanted.names, true));
        assert_eq!(seen.not_after.to_string(), "2027-01-01T00:00:00Z");
        let other = Pair::new(pair.certificate_pem().to_owned(), new_key().unwrap().serialize_pem());
        assert!(!other.seen().unwrap().key_matches);
        assert!(other.certified().is_err() && pair.certified().is_ok());
    }

    #[test]
    fn a_file_has_both() {
        let pair = signed(&wanted(Purpose::Client), vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]);
        let again = Pair::from_file(&pair.to_file()).unwrap();
        assert_eq!(again.key_pem(), pair.key_pem());
        assert_eq!(again.seen().unwrap(), pair.seen().unwrap());
        assert!(Pair::from_file(pair.certificate_pem()).is_err());
        assert!(Pair::from_file("").is_err());
    }

    #[test]
    fn the_same_wish_has_the_same_name() {
        let key = new_key().unwrap();
        let name = |wanted: &Wanted, key: &KeyPair| request(wanted, key).unwrap().1;
        let first = wanted(Purpose::Serving);
        assert_eq!(name(&first, &key), name(&first, &key));
        assert_ne!(name(&first, &key), name(&first, &new_key().unwrap()));
        assert_ne!(name(&first, &key), name(&wanted(Purpose::Client), &key));
    }
}
