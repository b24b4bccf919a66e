//! Which way a variable goes: through the environment of the runtime's client, or not.

use std::collections::BTreeMap;

use vk_task::EnvName;

/// Variables that change the dynamic linker, the shell or the libraries of any program.
const COMMON: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "NOTIFY_SOCKET",
    "DBUS_SESSION_BUS_ADDRESS",
];
/// How the names of more of them begin.
const COMMON_PREFIXES: [&str; 6] = ["LD_", "XDG_", "GO", "SSL_CERT_", "LISTEN_", "BASH_"];

/// A task's variables.
pub(super) struct Sides {
    /// Through the client's environment.
    pub(super) inherited: BTreeMap<EnvName, String>,
    /// Another way.
    pub(super) others: BTreeMap<EnvName, String>,
}

impl Sides {
    pub(super) fn of(env: &BTreeMap<EnvName, String>, changes_client: impl Fn(&str) -> bool) -> Self {
        let (others, inherited) = env.clone().into_iter().partition(|(name, _)| changes_client(name.as_str()));
        Self { inherited, others }
    }
}

/// Whether a variable changes programs in general, or those whose own variables begin with one of `prefixes`.
pub(super) fn changes(name: &str, prefixes: &[&str]) -> bool {
    let upper = name.to_ascii_uppercase();
    COMMON.contains(&&*upper) || COMMON_PREFIXES.iter().chain(prefixes).any(|prefix| upper.starts_with(prefix))
}

/// Whether a shell can have a variable of this name.
pub(super) fn is_shell_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
