//! What is said of the tunnel.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use vk_yaml::{Node, Reader};

use super::MemberSettings;
use crate::facts::Endpoint;
use crate::tunnel::{Bind, Destination};

/// A tunnel by ssh, by which all nodes of a process reach their API servers and are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Where it leads to.
    pub to: Destination,
    /// What the far end listens on for the nodes; `None`: each node's address.
    pub bind: Option<Bind>,
    /// Where the far end reaches the API server; `None`: where the kubeconfig says.
    pub api_server: Option<Endpoint>,
    /// The program.
    pub program: PathBuf,
    /// The config that ssh reads instead of its own.
    pub config_file: Option<PathBuf>,
    /// More of ssh's options, as for its `-o`.
    pub options: Vec<String>,
}

/// One layer of it. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelSettings {
    /// See [`TunnelConfig::to`].
    pub to: Option<Destination>,
    /// See [`TunnelConfig::bind`].
    pub bind: Option<Bind>,
    /// See [`TunnelConfig::api_server`].
    pub api_server: Option<Endpoint>,
    /// See [`TunnelConfig::program`].
    pub program: Option<PathBuf>,
    /// See [`TunnelConfig::config_file`].
    pub config_file: Option<PathBuf>,
    /// See [`TunnelConfig::options`].
    pub options: Option<Vec<String>>,
}

impl TunnelSettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            to: self.to.or(lower.to),
            bind: self.bind.or(lower.bind),
            api_server: self.api_server.or(lower.api_server),
            program: self.program.or(lower.program),
            config_file: self.config_file.or(lower.config_file),
            options: self.options.or(lower.options),
        }
    }

    /// With the defaults for what is left out; none where no tunnel is wanted.
    pub(super) fn finish(self, problems: &mut Vec<String>) -> Option<TunnelConfig> {
        let Some(to) = self.to.clone() else {
            if self != Self::default() {
                problems.push(
                    "the tunnel leads nowhere: say where with --tunnel ssh:USER@HOST, or `to` in the file".into(),
                );
            }
            return None;
        };
        Some(TunnelConfig {
            to,
            bind: self.bind,
            api_server: self.api_server,
            program: self.program.unwrap_or_else(|| "ssh".into()),
            config_file: self.config_file,
            options: self.options.unwrap_or_default(),
        })
    }
}

impl TunnelConfig {
    /// What the far end listens on for a node with this address.
    #[must_use]
    pub fn bind_for(&self, address: IpAddr) -> Bind {
        self.bind.unwrap_or(Bind::Address(address))
    }

    /// What a node says of itself behind this tunnel, where it says nothing else: it is reached at the far end's loopback
    /// address, at any port; and nobody but ssh comes to it on this host.
    pub(super) fn defaults(&self, member: MemberSettings, problems: &mut Vec<String>) -> MemberSettings {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let address = match (member.address, self.bind) {
            (Some(address), _) => address,
            (None, Some(Bind::Address(address))) => address,
            (None, Some(Bind::Every)) => {
                let problem = "the far end of the tunnel is to listen on every address that it has: say with --address at which of \
                    them the API server reaches the node";
                if !problems.iter().any(|told| told == problem) {
                    problems.push(problem.to_owned());
                }
                loopback
            }
            (None, None) => loopback,
        };
        MemberSettings {
            address: Some(address),
            listen_address: Some(member.listen_address.unwrap_or(loopback)),
            port: Some(member.port.unwrap_or(0)),
            ..member
        }
    }
}

/// `ssh:me@host`, or a mapping.
pub(super) fn read(reader: &mut Reader, node: &Node<'_>, directory: &Path) -> TunnelSettings {
    let to = |reader: &mut Reader, node: &Node<'_>| super::read::parsed(reader, node, str::parse::<Destination>);
    if node.as_str().is_some() {
        return TunnelSettings { to: to(reader, node), ..TunnelSettings::default() };
    }
    let keys = ["to", "bind", "apiServer", "program", "configFile", "options"];
    let Some(map) = reader.map(node, &keys) else { return TunnelSettings::default() };
    if map.get("to").is_none() {
        reader.at(node, "it needs `to`: where it leads".to_owned());
    }
    TunnelSettings {
        to: map.get("to").and_then(|node| to(reader, &node)),
        bind: map.get("bind").and_then(|node| super::read::parsed(reader, &node, str::parse)),
        api_server: map.get("apiServer").and_then(|node| super::read::parsed(reader, &node, endpoint)),
        // A name without a slash is looked for in PATH.
        program: map.get("program").and_then(|node| reader.text(&node)).map(|text| match text.contains('/') {
            true => directory.join(text),
            false => text.into(),
        }),
        config_file: map.get("configFile").and_then(|node| super::read::path(reader, &node, directory)),
        options: map.get("options").map(|node| {
            let all = reader.list(&node);
            all.iter().filter_map(|node| super::read::parsed(reader, node, option)).collect()
        }),
    }
}

/// One of ssh's options.
fn option(text: &str) -> Result<String, String> {
    let name = text.split(['=', ' ']).next().unwrap_or_default();
    let is_option = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic()) && name.len() < text.len();
    if is_option && !text.contains(['\n', '\0']) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no option of ssh: write ProxyJump=gateway, say, as in ssh's config"))
}

/// `host:port`, `[address]:port`.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = || format!("{text:?} is no server: write HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(wrong());
    }
    Ok(Endpoint { host: host.to_owned(), port })
}
