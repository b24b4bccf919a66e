//! The variables of the system that vk-cmd replaces, for the start scripts that sites have.

use std::time::Duration;

use vk_cmd_crds::NodeName;

use super::label::value_problem;
use super::{Names, Settings};

/// The variable that says what the file says by this key.
#[must_use]
pub fn variable_of(key: &str) -> Option<&'static str> {
    Some(match key {
        "nodeName" => "NODENAME",
        "port" => "KUBELET_PORT",
        "address" | "listenAddress" => "VKUBELET_POD_IP",
        "site" => "JIRIAF_SITE",
        "nodetype" => "JIRIAF_NODETYPE",
        _ => return None,
    })
}

/// Reads them. An empty variable is one that is not set.
///
/// | variable | means |
/// |---|---|
/// | `NODENAME` | the node's name |
/// | `KUBELET_PORT` | the port of the kubelet's API |
/// | `VKUBELET_POD_IP` | the address at which the cluster reaches the node. It may be another host's, at the far end of a tunnel: the node listens on every address of its own |
/// | `JIRIAF_SITE`, `JIRIAF_NODETYPE` | where the node is, and what it is |
/// | `JIRIAF_WALLTIME` | how long it is there, in seconds, where neither the configuration nor a batch system says it; 0: no end is known |
///
/// # Errors
/// All that is wrong with them.
pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Settings, Vec<String>> {
    let mut problems = Vec::new();
    let get = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut settings = Settings::default();
    if let Some(text) = get("NODENAME") {
        match NodeName::parse(&text) {
            Ok(name) => settings.names = Some(Names::One(name)),
            Err(error) => problems.push(format!("$NODENAME: {error}")),
        }
    }
    let member = &mut settings.member;
    if let Some(text) = get("KUBELET_PORT") {
        match text.parse() {
            Ok(port) => member.port = Some(port),
            Err(_) => problems.push(format!("$KUBELET_PORT: {text:?} is no port: write 0 to 65535")),
        }
    }
    if let Some(text) = get("VKUBELET_POD_IP") {
        match text.parse::<std::net::IpAddr>() {
            Ok(address) => {
                member.address = Some(address);
                member.listen_address = Some(match address {
                    std::net::IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                    std::net::IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                });
            }
            Err(_) => problems.push(format!("$VKUBELET_POD_IP: {text:?} is no IP address")),
        }
    }
    if let Some(text) = get("JIRIAF_WALLTIME") {
        match text.parse() {
            Ok(seconds) => member.assumed_walltime = Some(Duration::from_secs(seconds)),
            Err(_) => problems.push(format!("$JIRIAF_WALLTIME: {text:?} is no number of seconds")),
        }
    }
    for (name, into) in [("JIRIAF_SITE", &mut member.site), ("JIRIAF_NODETYPE", &mut member.node_type)] {
        if let Some(text) = get(name) {
            match value_problem(&text) {
                None => *into = Some(text),
                Some(problem) => problems.push(format!("${name}: {problem}")),
            }
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}
