//! The certificates of a vk-node: what it asks the cluster for, and what the operator approves.
//!
//! Both are those of any kubelet. See "Certificate Signing Requests" in Kubernetes' documentation, "Kubernetes signers".

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::NodeAddress;

use crate::names::NodeName;

/// The group of all nodes, and the organization in their certificates.
pub const NODES_GROUP: &str = "system:nodes";
/// The group of the bootstrap tokens with which vk-nodes ask for their first certificate: the token's Secret names it in
/// `auth-extra-groups`.
pub const BOOTSTRAP_GROUP: &str = "system:bootstrappers:vk-cmd";

/// What the group of a fleet's join tokens begins with, before the fleet's name: with such a token, only the fleet's nodes are
/// made. Those tokens are in [`BOOTSTRAP_GROUP`] too.
pub const FLEET_BOOTSTRAP_PREFIX: &str = "system:bootstrappers:vk-cmd:";

/// What nodes are called as users, before their name.
const USER_PREFIX: &str = "system:node:";

/// The user as whom a node talks to the API server, and the common name in its certificates.
#[must_use]
pub fn user_of(node: &str) -> String {
    format!("{USER_PREFIX}{node}")
}

/// The vk-node that is this user; none where it is anybody else.
#[must_use]
pub fn node_of(user: &str) -> Option<NodeName> {
    NodeName::parse(user.strip_prefix(USER_PREFIX)?).ok()
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The node is a client of the API server.
    Client,
    /// The node serves the kubelet's API.
    Serving,
}

impl Purpose {
    /// The signer that is asked.
    #[must_use]
    pub fn signer(self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    /// The purpose that a signer is asked for.
    #[must_use]
    pub fn of_signer(signer: &str) -> Option<Self> {
        [Self::Client, Self::Serving].into_iter().find(|purpose| purpose.signer() == signer)
    }

    /// The usages of a certificate with an elliptic key. The signer takes these, with [`RSA_USAGE`] or without, and no
    /// others.
    #[must_use]
    pub fn usages(self) -> [&'static str; 2] {
        match self {
            Self::Client => ["digital signature", "client auth"],
            Self::Serving => ["digital signature", "server auth"],
        }
    }
}

/// The usage that only keys of RSA need.
pub const RSA_USAGE: &str = "key encipherment";

/// The names and addresses that a serving certificate is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Names {
    /// DNS names.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub ips: BTreeSet<IpAddr>,
}

impl Names {
    /// Those of a node with these addresses, as the kubelet takes them.
    #[must_use]
    pub fn of(addresses: &[NodeAddress]) -> Self {
        let mut all = Self::default();
        for NodeAddress { type_, address } in addresses {
            match (type_.as_str(), address.parse()) {
                ("Hostname" | "InternalIP" | "ExternalIP", Ok(ip)) => {
                    all.ips.insert(ip);
                }
                ("Hostname" | "InternalDNS" | "ExternalDNS", _) if !address.is_empty() => {
                    all.dns.insert(address.clone());
                }
                _ => {}
            }
        }
        all
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ips.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vk_nodes_are_found_behind_users() {
        let node = NodeName::parse("vk-a").unwrap();
        assert_eq!(node_of(&user_of("vk-a")), Some(node));
        for user in
            ["system:node:master", "system:node:", "vk-a", "system:node:vk-", "system:node:vk-A", "system:nodes"]
        {
            assert_eq!(node_of(user), None, "{user}");
        }
    }

    #[test]
    fn names_are_those_the_kubelet_takes() {
        let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
        let names = Names::of(&[
            address("InternalIP", "10.0.0.7"),
            address("InternalIP", "no address"),
            address("ExternalIP", "fd00::7"),
            address("Hostname", "login07"),
            address("Hostname", "10.0.0.8"),
            address("InternalDNS", "login07.site"),
            address("Hostname", ""),
            address("Other", "login08"),
        ]);
        assert_eq!(Vec::from_iter(&names.dns), ["login07", "login07.site"]);
        let ips: Vec<String> = names.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.0.0.7", "10.0.0.8", "fd00::7"]);
        assert!(Names::of(&[]).is_empty() && !names.is_empty());
    }
}
