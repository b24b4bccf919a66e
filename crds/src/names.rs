//! Names that mean something: parsed once, right from then on.

use std::fmt;

/// What every vk-node's name begins with.
pub const NODE_PREFIX: &str = "vk-";
/// The most characters in a vk-node's name: it is also the value of the label `kubernetes.io/hostname`, and Kubernetes
/// allows label values 63.
pub const NODE_NAME_MAX: usize = 63;

/// The name of a vk-node: begins with `vk-`, is a DNS subdomain name (RFC 1123) and fits into a label value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Why a text is not the name of a vk-node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It does not begin with `vk-`.
    #[error("{0:?} does not begin with \"vk-\": every vk-cmd node does, e.g. vk-perlmutter-01")]
    Prefix(String),
    /// It is longer than [`NODE_NAME_MAX`].
    #[error("{name:?} has {length} characters: use at most {NODE_NAME_MAX}")]
    TooLong {
        /// The text.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// It is not a DNS subdomain name.
    #[error(
        "{0:?} is not a DNS name: use lower-case letters, digits, '-' and '.', with a letter or digit at each end of each part"
    )]
    NotDns(String),
}

impl NodeName {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !text.starts_with(NODE_PREFIX) {
            return Err(NameError::Prefix(text.to_owned()));
        }
        if text.len() > NODE_NAME_MAX {
            return Err(NameError::TooLong { name: text.to_owned(), length: text.len() });
        }
        if !text.split('.').all(is_dns_label) {
            return Err(NameError::NotDns(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// One part of a DNS name by RFC 1123, without its limit of 63 characters.
fn is_dns_label(label: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_of_vk_nodes() {
        for name in ["vk-a", "vk-perlmutter-01", "vk-ifarm1801.jlab.org", "vk-0"] {
            assert_eq!(NodeName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn says_why_a_name_is_refused() {
        let long = format!("vk-{}", "a".repeat(61));
        for (name, word) in [
            ("node-1", "begin"),
            ("vk-", "DNS"),
            ("vk-A", "DNS"),
            ("vk-a..b", "DNS"),
            ("vk-a_b", "DNS"),
            (&*long, "63"),
        ] {
            let error = NodeName::parse(name).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
    }
}
