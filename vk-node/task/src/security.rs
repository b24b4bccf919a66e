//! What a task's processes may not become: of the security context of core/v1, the part that a process can be held to.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is taken from a task before its program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Security {
    /// No program that it executes gets more than it has: set-uid programs stay without effect. See
    /// `PR_SET_NO_NEW_PRIVS` in prctl(2).
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Capabilities that it has not, nor can get.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drop_capabilities: BTreeSet<Capability>,
    /// It may write to its volumes and its own directories, and to no other file. On the host that takes a mount namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root: bool,
}

/// A capability of Linux: see capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

/// A word that is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability of Linux: write one of capabilities(7), without CAP_, in capitals")]
pub struct InvalidCapability(pub String);

/// The names, by number from 0: `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Security {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it leaves no capability.
    #[must_use]
    pub fn drops_all(&self) -> bool {
        self.drop_capabilities.len() == NAMES.len()
    }
}

impl Capability {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        (0u8..).take(NAMES.len()).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Capability {
    type Err = InvalidCapability;

    /// As Kubernetes writes it, `NET_RAW`, and as Linux does, `CAP_NET_RAW`.
    fn from_str(text: &str) -> Result<Self, InvalidCapability> {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        let number = NAMES.iter().position(|known| *known == name).and_then(|n| u8::try_from(n).ok());
        number.map(Self).ok_or_else(|| InvalidCapability(text.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.get(usize::from(self.0)).copied().unwrap_or_default())
    }
}

impl TryFrom<String> for Capability {
    type Error = InvalidCapability;

    fn try_from(text: String) -> Result<Self, InvalidCapability> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for capability in Capability::all() {
            assert_eq!(capability.to_string().parse(), Ok(capability));
            assert_eq!(format!("CAP_{capability}").parse(), Ok(capability));
        }
        assert_eq!("NET_RAW".parse::<Capability>().map(Capability::number), Ok(13));
        for bad in ["", "ALL", "net_raw", "CAP_"] {
            assert_eq!(bad.parse::<Capability>(), Err(InvalidCapability(bad.to_owned())));
        }
    }
}
