//! What is said of the relay that a node dials.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vk_yaml::{Node, Reader};

/// The relays by one of which the API server reaches the nodes of this process, instead of by ports of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where they are.
    pub addresses: RelayAddresses,
    /// The file with the certificate authorities that their certificates must be of, and no others.
    pub ca_file: PathBuf,
}

/// Where relays are: one or more, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddresses(Vec<RelayAddress>);

impl RelayAddresses {
    /// In the order in which they were written.
    pub fn iter(&self) -> std::slice::Iter<'_, RelayAddress> {
        self.0.iter()
    }

    fn of(texts: &[&str]) -> Result<Self, NoAddress> {
        let mut all: Vec<RelayAddress> = Vec::new();
        for text in texts {
            let address = RelayAddress::from_str(text.trim())?;
            if !all.contains(&address) {
                all.push(address);
            }
        }
        if all.is_empty() { Err(NoAddress(String::new())) } else { Ok(Self(all)) }
    }
}

impl<'a> IntoIterator for &'a RelayAddresses {
    type Item = &'a RelayAddress;
    type IntoIter = std::slice::Iter<'a, RelayAddress>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `relay-1.example.org:8443,relay-2.example.org:8443`.
impl FromStr for RelayAddresses {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        Self::of(&text.split(',').collect::<Vec<_>>())
    }
}

impl fmt::Display for RelayAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
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
    /// See [`RelayConfig::addresses`].
    pub addresses: Option<RelayAddresses>,
    /// See [`RelayConfig::ca_file`].
    pub ca_file: Option<PathBuf>,
}

impl RelaySettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self { addresses: self.addresses.or(lower.addresses), ca_file: self.ca_file.or(lower.ca_file) }
    }

    /// What comes of all layers; none where no relay is named.
    pub(super) fn finish(self, problems: &mut Vec<String>) -> Option<RelayConfig> {
        match (self.addresses, self.ca_file) {
            (Some(addresses), Some(ca_file)) => Some(RelayConfig { addresses, ca_file }),
            (Some(addresses), None) => {
                problems.push(format!(
                    "the relay {addresses} has no certificate authority: name the file with the one that its certificate is of \
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
    RelaySettings {
        addresses: map.get("address").and_then(|node| addresses(reader, &node)),
        ca_file: map.get("caFile").and_then(|node| super::read::path(reader, &node, directory)),
    }
}

/// One address, several with commas between them, or a list.
fn addresses(reader: &mut Reader, node: &Node<'_>) -> Option<RelayAddresses> {
    if node.as_str().is_some() {
        return super::read::parsed(reader, node, |text| text.parse().map_err(|error: NoAddress| error.to_string()));
    }
    let texts = reader.texts(node);
    let read = RelayAddresses::of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    read.map_err(|error| reader.at(node, error.to_string())).ok()
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
    fn several_are_read_from_a_text_or_a_list() {
        for text in ["a:1,[::7]:2", " a:1 , [::7]:2,a:1"] {
            assert_eq!(text.parse::<RelayAddresses>().unwrap().to_string(), "a:1,[::7]:2");
        }
        for wrong in ["", "a:1,", ",", "a:1;b:1"] {
            assert!(wrong.parse::<RelayAddresses>().is_err(), "{wrong}");
        }
        let file = |address: &str| {
            let text = format!("version: 1\nrelay: {{address: {address}, caFile: ca.pem}}\n");
            crate::config::read(&text, Path::new("/d")).map(|read| read.relay.addresses.unwrap().to_string())
        };
        for text in ["'a:1,b:2'", "['a:1', 'b:2']"] {
            assert_eq!(file(text).unwrap(), "a:1,b:2");
        }
        for wrong in ["[]", "['a:1', b]", "{a: 1}"] {
            assert!(file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_relay_needs_an_authority() {
        let address = || Some("r:1".parse().unwrap());
        let mut problems = Vec::new();
        assert_eq!(RelaySettings { addresses: address(), ca_file: None }.finish(&mut problems), None);
        assert!(problems[0].contains("--relay-ca-file"), "{problems:?}");
        problems.clear();
        let settings = RelaySettings { addresses: None, ca_file: Some("/ca.pem".into()) };
        let settings = RelaySettings { addresses: address(), ca_file: None }.over(settings);
        assert_eq!(settings.finish(&mut problems).unwrap().ca_file, Path::new("/ca.pem"));
        assert!(problems.is_empty());
    }
}
