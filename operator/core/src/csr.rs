//! Which certificate requests of vk-nodes are approved.
//!
//! ```text
//!   request ── not of our signers, or settled ──────────────────────────────────▶ left
//!      │ serving                                     │ client
//!      ▼                                             ▼
//!   the node itself asks,                        a bootstrap token of vk-cmd asks, or the node itself
//!   for names and addresses that                 for the certificate after its present one,
//!   its Node object has now                      and nobody works under the name already
//!      └──────────────────────┬──────────────────────┘
//!                 all of it ──┴──▶ approved         the Node is not there yet, is Ready ──▶ looked at later
//!                 else ──▶ left, for people to approve or deny         the fleet is gone, or has not this name ──▶ looked at now and then
//! ```
//!
//! Nothing is ever denied: what is not ours may be somebody else's to approve. What the signer itself refuses is refused
//! here too (`k8s.io/kubernetes/pkg/apis/certificates`), and beyond it whatever is not about a vk-node.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use vk_cmd_crds::certificates::{
    BOOTSTRAP_GROUP, FLEET_BOOTSTRAP_PREFIX, NODES_GROUP, Names, Purpose, RSA_USAGE, node_of,
};
use vk_cmd_crds::{CmdFleet, NodeName, labels};
use vk_site::Pattern;

mod parse;
#[cfg(test)]
mod tests;

use parse::Asked;

/// The users that bootstrap tokens are.
const BOOTSTRAP_USER_PREFIX: &str = "system:bootstrap:";

/// What is to be done about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody has decided already, or it is no business of ours.
    Nothing,
    /// It is approved.
    Approve(NodeName),
    /// It may become right by itself.
    Later(Why),
    /// It may become right when somebody changes a fleet.
    Mend(Why),
    /// It is left for people.
    Leave(Why),
}

/// Why a request is not approved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It cannot be read.
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
    /// Its subject is not that of a vk-node.
    #[error("its subject is not that of a vk-node, O=system:nodes and CN=system:node:vk-…, but {0}")]
    Subject(String),
    /// Somebody else asks.
    #[error("{0} asks for it, who is neither that node nor a bootstrap token of vk-cmd")]
    Requestor(String),
    /// It is for other uses than a node has.
    #[error("its usages are {0:?}")]
    Usages(Vec<String>),
    /// It asks for more than names and addresses.
    #[error("it asks for {0}")]
    Extension(String),
    /// A serving certificate without a name.
    #[error("it is for no name and no address")]
    NoNames,
    /// A client certificate with names.
    #[error("a client certificate is for no names")]
    ClientNames,
    /// It is for a name or an address that the node does not have.
    #[error("it is for {0}, which is no name or address of the node")]
    NotItsName(String),
    /// There is no such Node.
    #[error("there is no Node {0} yet")]
    NoNode(NodeName),
    /// A Node of this name is not a vk-node.
    #[error("the Node {0} is not a vk-node")]
    OtherNode(NodeName),
    /// Somebody works under the name.
    #[error("the Node {0} is Ready: somebody works under this name already")]
    Taken(NodeName),
    /// The fleet of the join token is gone.
    #[error("its join token is one of the fleet {0}, and there is no such CmdFleet")]
    NoFleet(String),
    /// The fleet of the join token has no nodes of this name.
    #[error(
        "its join token is one of the fleet {fleet}, whose spec.nodeNames has not the name {name} (but {}): add it there, or have the \
         node take another name", .patterns.join(", ")
    )]
    NotOfFleet {
        /// The name.
        name: NodeName,
        /// The fleet.
        fleet: String,
        /// Its patterns.
        patterns: Vec<String>,
    },
}

/// The fleets that the token is bound to by which a request was made. With none it is not bound to any.
#[must_use]
pub fn fleets_to_look_at(request: &CertificateSigningRequest) -> Vec<&str> {
    let groups = request.spec.groups.iter().flatten();
    groups.filter_map(|group| group.strip_prefix(FLEET_BOOTSTRAP_PREFIX)).collect()
}

/// The vk-node that a request is about, if it is one that is looked at and nobody has decided yet. Whether it is
/// approved depends on its Node.
#[must_use]
pub fn node_to_look_at(request: &CertificateSigningRequest) -> Option<NodeName> {
    if is_settled(request) || Purpose::of_signer(&request.spec.signer_name).is_none() {
        return None;
    }
    node_of(&Asked::read(&request.spec.request.0).ok()?.common_name)
}

/// Decides about a request, where the Node of the name in it is `node`, and `fleets` those of [`fleets_to_look_at`] that are there.
#[must_use]
pub fn decide(request: &CertificateSigningRequest, node: Option<&Node>, fleets: &[CmdFleet]) -> Decision {
    let Some(purpose) = Purpose::of_signer(&request.spec.signer_name) else { return Decision::Nothing };
    if is_settled(request) {
        return Decision::Nothing;
    }
    let asked = match Asked::read(&request.spec.request.0) {
        Ok(asked) => asked,
        Err(why) => return Decision::Leave(Why::Unreadable(why)),
    };
    let name = match subject(&asked) {
        Ok(name) => name,
        Err(why) => return Decision::Leave(why),
    };
    if let Some(extension) = asked.others.first() {
        return Decision::Leave(Why::Extension(extension.clone()));
    }
    if !usages_fit(purpose, request.spec.usages.as_deref().unwrap_or_default()) {
        return Decision::Leave(Why::Usages(request.spec.usages.clone().unwrap_or_default()));
    }
    let requestor = requestor(request, &asked.common_name);
    let verdict = match purpose {
        Purpose::Serving => serving(&name, &asked.names, requestor, node),
        Purpose::Client => client(&name, &asked.names, requestor, node).and_then(|()| match requestor {
            Requestor::Token => of_fleet(&name, &fleets_to_look_at(request), fleets),
            Requestor::Itself | Requestor::Other => Ok(()),
        }),
    };
    match verdict {
        Ok(()) => Decision::Approve(name),
        Err(why @ (Why::NoNode(_) | Why::Taken(_) | Why::NotItsName(_))) => Decision::Later(why),
        Err(why @ (Why::NoFleet(_) | Why::NotOfFleet { .. })) => Decision::Mend(why),
        Err(Why::Requestor(_)) => Decision::Leave(Why::Requestor(request.spec.username.clone().unwrap_or_default())),
        Err(why) => Decision::Leave(why),
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Requestor {
    /// The node that the certificate is for.
    Itself,
    /// A bootstrap token of vk-cmd.
    Token,
    /// Anybody else.
    Other,
}

fn requestor(request: &CertificateSigningRequest, common_name: &str) -> Requestor {
    let user = request.spec.username.as_deref().unwrap_or_default();
    let is_in = |wanted: &str| request.spec.groups.iter().flatten().any(|group| group == wanted);
    if user == common_name && is_in(NODES_GROUP) {
        Requestor::Itself
    } else if user.starts_with(BOOTSTRAP_USER_PREFIX) && is_in(BOOTSTRAP_GROUP) {
        Requestor::Token
    } else {
        Requestor::Other
    }
}

fn is_settled(request: &CertificateSigningRequest) -> bool {
    let Some(status) = &request.status else { return false };
    let has_decision = |kind: &str| matches!(kind, "Approved" | "Denied" | "Failed");
    status.conditions.iter().flatten().any(|condition| has_decision(&condition.type_))
        || status.certificate.as_ref().is_some_and(|certificate| !certificate.0.is_empty())
}

fn subject(asked: &Asked) -> Result<NodeName, Why> {
    let wrong = || Why::Subject(asked.subject.clone());
    if asked.organizations != [NODES_GROUP] || asked.has_other_attributes {
        return Err(wrong());
    }
    node_of(&asked.common_name).ok_or_else(wrong)
}

/// The signer takes exactly these, in any order, and one more that keys of RSA need.
fn usages_fit(purpose: Purpose, usages: &[String]) -> bool {
    let mut seen: Vec<&str> = usages.iter().map(String::as_str).filter(|usage| *usage != RSA_USAGE).collect();
    seen.sort_unstable();
    seen.dedup();
    let mut wanted = purpose.usages();
    wanted.sort_unstable();
    seen == wanted
}

fn serving(name: &NodeName, asked: &Names, requestor: Requestor, node: Option<&Node>) -> Result<(), Why> {
    if requestor != Requestor::Itself {
        return Err(Why::Requestor(String::new()));
    }
    if asked.is_empty() {
        return Err(Why::NoNames);
    }
    let node = vk_node(name, node)?;
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let known = Names::of(addresses);
    if let Some(other) = asked.dns.iter().find(|dns| !known.dns.contains(*dns) && *dns != name.as_str()) {
        return Err(Why::NotItsName(other.clone()));
    }
    match asked.ips.difference(&known.ips).next() {
        Some(other) => Err(Why::NotItsName(other.to_string())),
        None => Ok(()),
    }
}

fn client(name: &NodeName, asked: &Names, requestor: Requestor, node: Option<&Node>) -> Result<(), Why> {
    if !asked.is_empty() {
        return Err(Why::ClientNames);
    }
    match requestor {
        Requestor::Itself => Ok(()),
        Requestor::Other => Err(Why::Requestor(String::new())),
        // Whoever has the token may become a new node, or one that is away, but none that is there.
        Requestor::Token => match vk_node(name, node) {
            Err(Why::NoNode(_)) => Ok(()),
            Err(why) => Err(why),
            Ok(node) if is_ready(node) => Err(Why::Taken(name.clone())),
            Ok(_) => Ok(()),
        },
    }
}

/// Whether a token that is bound to these fleets may be used for the name.
fn of_fleet(name: &NodeName, bound: &[&str], fleets: &[CmdFleet]) -> Result<(), Why> {
    let Some(first) = bound.first() else { return Ok(()) };
    let found = |wanted: &str| fleets.iter().find(|fleet| fleet.metadata.name.as_deref() == Some(wanted));
    let mut why = Why::NoFleet((*first).to_owned());
    for fleet in bound {
        let Some(patterns) = found(fleet).map(CmdFleet::name_patterns) else { continue };
        // A pattern that cannot be read is for no name.
        let takes = |text: &String| Pattern::new(text).is_ok_and(|pattern| pattern.matches(name.as_str()));
        if patterns.iter().any(takes) {
            return Ok(());
        }
        why = Why::NotOfFleet { name: name.clone(), fleet: (*fleet).to_owned(), patterns };
    }
    Err(why)
}

fn vk_node<'a>(name: &NodeName, node: Option<&'a Node>) -> Result<&'a Node, Why> {
    let node = node.ok_or_else(|| Why::NoNode(name.clone()))?;
    let label = node.metadata.labels.as_ref().and_then(|all| all.get(labels::NODE_TYPE));
    if node.metadata.name.as_deref() != Some(name.as_str())
        || label.map(String::as_str) != Some(labels::NODE_TYPE_VALUE)
    {
        return Err(Why::OtherNode(name.clone()));
    }
    Ok(node)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
