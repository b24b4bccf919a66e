//! Who has dialled, by the client certificate that the cluster's authority has signed.

use jiff::Timestamp;
use vk_cmd_crds::NodeName;
use vk_cmd_crds::certificates::{NODES_GROUP, node_of};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A node that has dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub node: NodeName,
    /// When its certificate's time is over: the connection is not to outlive it.
    pub until: Timestamp,
}

/// Why somebody is not let in, though the cluster's authority knows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The certificate cannot be read.
    #[error("the client certificate cannot be read: {0}")]
    Unreadable(String),
    /// It is nobody's that is a vk-node.
    #[error(
        "the client certificate is that of CN={common_name:?} O={organizations:?}, and only vk-nodes are let in: \
         CN=system:node:vk-…, O=system:nodes. Start the node with its own certificate (--bootstrap-kubeconfig), not with \
         credentials for many"
    )]
    NotANode {
        /// The common name of its subject.
        common_name: String,
        /// The organizations of its subject.
        organizations: Vec<String>,
    },
}

/// Who shows this certificate, which was verified already.
///
/// # Errors
/// When it is no vk-node.
pub fn caller(certificate: &[u8]) -> Result<Caller, Stranger> {
    let unreadable = |error: &dyn std::fmt::Display| Stranger::Unreadable(error.to_string());
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
    let subject = certificate.subject();
    let texts = |found: Vec<Option<&str>>| -> Vec<String> {
        found.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect()
    };
    let names = texts(subject.iter_common_name().map(|name| name.as_str().ok()).collect());
    let organizations = texts(subject.iter_organization().map(|name| name.as_str().ok()).collect());
    // The API server takes the last common name of several; who has more than one is nobody here.
    let node = match names.as_slice() {
        [name] if organizations.iter().any(|group| group == NODES_GROUP) => node_of(name),
        _ => None,
    };
    let until = Timestamp::from_second(certificate.validity().not_after.timestamp());
    match (node, until) {
        (Some(node), Ok(until)) => Ok(Caller { node, until }),
        (Some(_), Err(error)) => Err(unreadable(&error)),
        (None, _) => Err(Stranger::NotANode { common_name: names.join("+"), organizations }),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn shown(common_names: &[&str], organizations: &[&str]) -> Result<Caller, Stranger> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // A distinguished name of rcgen has one value of a type; the rows need no more.
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.not_after = date_time_ymd(2030, 1, 1);
        caller(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn only_vk_nodes_are_let_in() {
        let known = shown(&["system:node:vk-a"], &["system:nodes"]).unwrap();
        assert_eq!((known.node.as_str(), known.until.to_string().as_str()), ("vk-a", "2030-01-01T00:00:00Z"));
        for (name, group) in [
            ("system:node:vk-a", "system:masters"),
            ("system:node:master-1", "system:nodes"),
            ("system:node:vk-", "system:nodes"),
            ("vk-a", "system:nodes"),
            ("kube-apiserver-kubelet-client", "system:nodes"),
            ("vk-cmd-admin", "system:masters"),
        ] {
            let told = shown(&[name], &[group]).unwrap_err().to_string();
            assert!(told.contains(name) && told.contains(group), "{told}");
        }
        assert!(shown(&["system:node:vk-a"], &[]).is_err());
        assert!(shown(&[], &["system:nodes"]).is_err());
        assert!(caller(b"nothing").is_err());
    }
}
