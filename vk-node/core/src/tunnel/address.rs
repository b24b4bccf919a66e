//! Where a tunnel leads to, and what its far end is to listen on.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How a destination is written.
const HOW: &str = "write ssh:USER@HOST or ssh:USER@HOST:PORT, or ssh:NAME with a name from ssh's own config";

/// Whom ssh is to connect to. What is left out is what ssh's own config says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The account there.
    pub user: Option<String>,
    /// A host, or a name from ssh's config; an address of IPv6 without brackets.
    pub host: String,
    /// The port of its sshd.
    pub port: Option<u16>,
}

impl FromStr for Destination {
    type Err = String;

    /// `ssh:user@host`, `ssh:host:2222`, `ssh://user@host:2222`, `ssh:user@[2001:db8::1]:22`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no tunnel: {why}: {HOW}");
        let rest = text.strip_prefix("ssh:").ok_or_else(|| wrong("it does not begin with ssh:"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => {
                (host, Some(port.strip_prefix(':').ok_or_else(|| wrong("what follows ] is no port"))?))
            }
            // More colons than one are an address of IPv6 as it is.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("no such port")));
        // It is an argument of ssh, and must not be taken for one of its flags.
        let is_plain = |word: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word.chars().all(|c| c.is_ascii_graphic() && !"'\"`$\\;&<>|(){}".contains(c))
        };
        if !is_plain(host) || user.is_some_and(|user| !is_plain(user)) {
            return Err(wrong("that is no user or no host"));
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port: port.transpose()? })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh:")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) => write!(f, "{}:{port}", bracketed(&self.host)),
            None => f.write_str(&self.host),
        }
    }
}

/// What the far end listens on for those who want the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// This address of its own.
    Address(IpAddr),
    /// Every address that it has.
    Every,
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" | "0.0.0.0" | "::" => Ok(Self::Every),
            _ => text.parse().map(Self::Address).map_err(|_| {
                format!("{text:?} is nothing to listen on: write an address of the far end, 10.0.0.7 say, or *")
            }),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Every => f.write_str("*"),
        }
    }
}

/// A host as it stands before a colon and a port.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
