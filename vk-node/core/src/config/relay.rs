//! What is said of the relay that a node dials.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vk_yaml::{Node, Reader};

/// The relay by which the API server reaches the nodes of this process, instead of by ports of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where it is.
    pub address: RelayAddress,
    /// The file with the certificate authority that its certificate must be of, and no other.
    pub ca_file: PathBuf,
}

/// A host and a port; the host's name is what the certificate must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// A name or an address; one of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no address of a relay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a relay: write its host and its port, relay.example.org:8443 or [2001:db8::7]:8443")]
pub struct NoAddress(String);

impl FromStr for RelayAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let parsed = || {
            let (host, port) = text.rsplit_once(':')?;
            let host = match host.strip_prefix('[') {
                Some(host) => host.strip_suffix(']')?,
                None if host.contains(':') => return None,
                None => host,
            };
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
            let port = port.parse().ok().filter(|port| *port > 0)?;
            (!host.is_empty() && host.chars().all(is_plain)).then(|| Self { host: host.to_owned(), port })
        };
        parsed().ok_or_else(|| NoAddress(text.to_owned()))
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One layer of it. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaySettings {
    /// See [`RelayConfig::address`].
    pub address: Option<RelayAddress>,
    /// See [`RelayConfig::ca_file`].
    pub ca_file: Option<PathBuf>,
}

impl RelaySettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self { address: self.address.or(lower.address), ca_file: self.ca_file.or(lower.ca_file) }
    }

    /// What comes of all layers; none where no relay is named.
    pub(super) fn finish(self, problems: &mut Vec<String>) -> Option<RelayConfig> {
        match (self.address, self.ca_file) {
            (Some(address), Some(ca_file)) => Some(RelayConfig { address, ca_file }),
            (Some(address), None) => {
                problems.push(format!(
                    "the relay {address} has no certificate authority: name the file with the one that its certificate is of \
                     with --relay-ca-file, or caFile in relay in the file of --config"
                ));
                None
            }
            // A variable that is set for all nodes of a site, say: it does no harm.
            (None, _) => None,
        }
    }
}

/// Reads the key `relay` of the file.
pub(super) fn read(reader: &mut Reader, node: &Node<'_>, directory: &Path) -> RelaySettings {
    let Some(map) = reader.map(node, &["address", "caFile"]) else { return RelaySettings::default() };
    if map.get("address").is_none() {
        reader.at(node, "it does not say where the relay is: it needs `address`".to_owned());
    }
    let parse = |text: &str| RelayAddress::from_str(text).map_err(|error| error.to_string());
    RelaySettings {
        address: map.get("address").and_then(|node| super::read::parsed(reader, &node, parse)),
        ca_file: map.get("caFile").and_then(|node| super::read::path(reader, &node, directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_whole() {
        for (text, host, port) in [
            ("relay.example.org:8443", "relay.example.org", 8443),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[2001:db8::7]:443", "2001:db8::7", 443),
        ] {
            let address: RelayAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for wrong in
            ["", "relay", "relay:", ":1", "relay:0", "relay:70000", "2001:db8::7:443", "[::1", "a b:1", "https://r:1"]
        {
            assert!(wrong.parse::<RelayAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_relay_needs_an_authority() {
        let address = || Some("r:1".parse().unwrap());
        let mut problems = Vec::new();
        assert_eq!(RelaySettings { address: address(), ca_file: None }.finish(&mut problems), None);
        assert!(problems[0].contains("--relay-ca-file"), "{problems:?}");
        problems.clear();
        let settings = RelaySettings { address: None, ca_file: Some("/ca.pem".into()) };
        let settings = RelaySettings { address: address(), ca_file: None }.over(settings);
        assert_eq!(settings.finish(&mut problems).unwrap().ca_file, Path::new("/ca.pem"));
        assert!(problems.is_empty());
    }
}
