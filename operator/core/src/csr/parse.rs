//! What is in a certificate request.

use std::net::IpAddr;

use vk_cmd_crds::certificates::Names;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, parse_x509_pem};

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The whole subject, for people.
    pub(super) subject: String,
    /// The common name; empty where there is not exactly one.
    pub(super) common_name: String,
    /// The organizations.
    pub(super) organizations: Vec<String>,
    /// Whether the subject says more than that.
    pub(super) has_other_attributes: bool,
    /// DNS names and addresses.
    pub(super) names: Names,
    /// What else it asks for, for people.
    pub(super) others: Vec<String>,
}

impl Asked {
    /// Reads a request in PEM.
    pub(super) fn read(pem: &[u8]) -> Result<Self, String> {
        let (rest, block) = parse_x509_pem(pem).map_err(|error| format!("it is no PEM: {error}"))?;
        if block.label != "CERTIFICATE REQUEST" || !rest.trim_ascii().is_empty() {
            return Err(format!("it is no single certificate request, but {}", block.label));
        }
        let (rest, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|error| format!("it is no request: {error}"))?;
        if !rest.is_empty() {
            return Err("something follows the request".to_owned());
        }
        let subject = &request.certification_request_info.subject;
        let mut asked = Self { subject: subject.to_string(), ..Self::default() };
        let mut common_names = Vec::new();
        for attribute in subject.iter_attributes() {
            let value = attribute.as_str().map_err(|error| format!("its subject cannot be read: {error}"))?;
            if *attribute.attr_type() == OID_X509_COMMON_NAME {
                common_names.push(value.to_owned());
            } else if *attribute.attr_type() == OID_X509_ORGANIZATION_NAME {
                asked.organizations.push(value.to_owned());
            } else {
                asked.has_other_attributes = true;
            }
        }
        if let [only] = common_names.as_slice() {
            asked.common_name.clone_from(only);
        }
        for extension in request.requested_extensions().into_iter().flatten() {
            asked.extension(extension)?;
        }
        Ok(asked)
    }

    fn extension(&mut self, extension: &ParsedExtension<'_>) -> Result<(), String> {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            // The signer leaves the others out; a node has no reason to ask for one.
            self.others.push(format!("{extension:?}").chars().take(60).collect());
            return Ok(());
        };
        for name in &names.general_names {
            if let GeneralName::DNSName(name) = name {
                self.names.dns.insert((*name).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.names.ips.insert(address.map_err(|_| "an address in it has a wrong length".to_owned())?);
            } else {
                self.others.push(name.to_string());
            }
        }
        Ok(())
    }
}
