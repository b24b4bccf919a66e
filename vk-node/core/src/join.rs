//! Joining a fleet with a token: which name the node takes, whether the token can be used for it, what the API server's answer means,
//! and what is written for `vk-node run`.
//!
//! ```text
//!   text ──▶ JoinToken ──▶ name ──▶ in time, of the fleet? ──▶ asked who it is ──▶ bootstrap.kubeconfig, node.yaml ──▶ vk-node run
//!             │ malformed    │ no name    │ over, other name        │ server not the pinned one, not reached, token not known
//!             └──────────────┴────────────┴─────────────────────────┴──▶ Problem: what happened, and what to do next
//! ```

use jiff::Timestamp;
use serde_json::json;
use vk_cmd_crds::NodeName;
use vk_cmd_crds::join::JoinToken;
use vk_site::Pattern;

/// The file with the way to the API server, beside the other.
pub const KUBECONFIG: &str = "bootstrap.kubeconfig";
/// The file with the authorities of the relay, in the same directory.
pub const RELAY_CA: &str = "relay-ca.pem";
/// The file for `vk-node run --config`.
pub const CONFIG: &str = "node.yaml";

/// Why a machine does not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its time is over.
    #[error(
        "the join token could be used until {until}, and that is over: have a new line made (vk-operator join-token --fleet {fleet}); \
         or is this machine's clock wrong?"
    )]
    Over {
        /// The fleet.
        fleet: String,
        /// Until when it could be used.
        until: Timestamp,
    },
    /// It is for other names.
    #[error(
        "the fleet {fleet} has no node named {name}, only {}: take such a name with --node-name, or have spec.nodeNames of the CmdFleet \
         changed and a new line made", .patterns.join(", ")
    )]
    OtherName {
        /// The fleet.
        fleet: String,
        /// The name.
        name: NodeName,
        /// The names that it has.
        patterns: Vec<String>,
    },
    /// There is no name that would do.
    #[error("no name for this machine ({host}) follows from those of the fleet ({}): name it with --node-name", .patterns.join(", "))]
    NoName {
        /// What the machine is called.
        host: String,
        /// The names that the fleet has.
        patterns: Vec<String>,
    },
    /// The API server does not know the token.
    #[error(
        "the API server does not take the join token, which was revoked or has run out: have a new line made (vk-operator join-token \
         --fleet {fleet})"
    )]
    Unknown {
        /// The fleet.
        fleet: String,
    },
    /// The token is one of another fleet, or of none.
    #[error(
        "the API server knows the join token, and not as one of the fleet {fleet}: have a new line made (vk-operator join-token --fleet \
         {fleet})"
    )]
    OtherFleet {
        /// The fleet.
        fleet: String,
    },
    /// The server is not the one that the token means.
    #[error(
        "what answers at {server} is not the API server that the join token means, for no authority in the token has signed its \
         certificate for that name; nothing was sent to it. Is there a proxy in between, or has the cluster a new authority or another \
         name? Then have a new line made (vk-operator join-token, with --server or --certificate-authority)"
    )]
    Untrusted {
        /// Its URL.
        server: String,
    },
    /// The server is not reached.
    #[error(
        "cannot reach the API server at {server} from this machine: see whether a firewall is in between, or whether the site sees it \
         under another name (vk-operator join-token --server URL); where only a proxy leads out, set $HTTPS_PROXY; where there is no way to \
         it but a tunnel, join with --offline"
    )]
    Unreachable {
        /// Its URL.
        server: String,
    },
    /// It answers something else.
    #[error("the API server at {server} refuses to say whether it takes the join token ({code}): {message}")]
    Refused {
        /// Its URL.
        server: String,
        /// The HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
}

/// The name that this machine takes: the given one, or the first that follows from the fleet's names and what the machine is called.
///
/// # Errors
/// When none follows.
pub fn name(given: Option<NodeName>, token: &JoinToken, host: &str) -> Result<NodeName, Problem> {
    if let Some(given) = given {
        return Ok(given);
    }
    let short = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let fitting = |pattern: &String| {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let text = if pattern.contains('*') { format!("{before}{short}{after}") } else { before.to_owned() };
        NodeName::parse(&text).ok().filter(|name| takes(pattern, name))
    };
    // One that stands for many first: the others are for one machine each.
    let (many, single): (Vec<_>, Vec<_>) = token.names.iter().partition(|pattern| pattern.contains(['*', '?']));
    many.into_iter()
        .chain(single)
        .find_map(fitting)
        .ok_or_else(|| Problem::NoName { host: host.to_owned(), patterns: token.names.clone() })
}

/// Whether the token can be used for this name now, as far as it says so itself. The operator has the last word.
///
/// # Errors
/// Why it cannot.
pub fn check(token: &JoinToken, name: &NodeName, now: Timestamp) -> Result<(), Problem> {
    if token.until <= now {
        return Err(Problem::Over { fleet: token.fleet.clone(), until: token.until });
    }
    if !token.names.is_empty() && !token.names.iter().any(|pattern| takes(pattern, name)) {
        let (fleet, patterns) = (token.fleet.clone(), token.names.clone());
        return Err(Problem::OtherName { fleet, name: name.clone(), patterns });
    }
    Ok(())
}

fn takes(pattern: &str, name: &NodeName) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name.as_str()))
}

/// Whether somebody in these groups may ask for certificates of the fleet's nodes.
///
/// # Errors
/// When not.
pub fn known_as(token: &JoinToken, groups: &[String]) -> Result<(), Problem> {
    let is_one = JoinToken::groups(&token.fleet).iter().all(|group| groups.contains(group));
    if is_one { Ok(()) } else { Err(Problem::OtherFleet { fleet: token.fleet.clone() }) }
}

/// What a refusal of the API server means.
#[must_use]
pub fn refused(token: &JoinToken, code: u16, message: &str) -> Problem {
    match code {
        401 => Problem::Unknown { fleet: token.fleet.clone() },
        _ => Problem::Refused { server: token.server.clone(), code, message: message.to_owned() },
    }
}

/// The file for `vk-node run --config`; JSON is YAML too. The other file is beside it.
#[must_use]
pub fn config(token: &JoinToken, name: &NodeName) -> String {
    let mut file = json!({
        "version": 1,
        "nodeName": name.as_str(),
        "fleet": token.fleet,
        "bootstrapKubeconfig": KUBECONFIG,
    });
    if let (Some(relay), Some(file)) = (&token.relay, file.as_object_mut()) {
        file.insert("relay".to_owned(), json!({"address": relay.address, "caFile": RELAY_CA}));
    }
    format!("# Written by vk-node join: the next one overwrites it.\n{file:#}\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vk_cmd_crds::join::{BootstrapToken, Relay};

    use super::*;

    fn token(names: &[&str]) -> JoinToken {
        JoinToken {
            server: "https://api.example.org:6443".to_owned(),
            authorities: vec![vec![1]],
            token: BootstrapToken::parse("abcdef.0123456789abcdef").unwrap(),
            fleet: "f".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            until: "2026-01-02T00:00:00Z".parse().unwrap(),
            relay: None,
        }
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn a_relay_of_the_token_is_dialled() {
        let mut token = token(&["vk-f"]);
        let read = |token: &JoinToken| {
            let settings = crate::config::read(&config(token, &node("vk-f")), Path::new("/d")).unwrap();
            settings.finish(Some("/home/u".into())).unwrap().relay
        };
        assert_eq!(read(&token), None);
        token.relay =
            Some(Relay { address: "r.example.org:8443,s.example.org:8443".to_owned(), authorities: vec![vec![1]] });
        let relay = read(&token).unwrap();
        assert_eq!(
            (relay.addresses.to_string().as_str(), relay.ca_file.as_path()),
            ("r.example.org:8443,s.example.org:8443", Path::new("/d/relay-ca.pem"))
        );
    }

    #[test]
    fn a_machine_is_named_after_itself() {
        let named = |names: &[&str], host: &str| name(None, &token(names), host).map(|name| name.to_string());
        assert_eq!(named(&["vk-f", "vk-f-*"], "Login07.example.org").unwrap(), "vk-f-login07");
        assert_eq!(named(&["vk-only"], "login07").unwrap(), "vk-only");
        assert_eq!(named(&["vk-*-gpu", "vk-x-*"], "a").unwrap(), "vk-a-gpu");
        for (names, host) in [(&["vk-?"][..], "login07"), (&[], "login07"), (&["vk-f-*"], "under_score")] {
            let said = named(names, host).unwrap_err().to_string();
            assert!(said.contains(host) && said.contains("--node-name"), "{said}");
        }
        assert_eq!(name(Some(node("vk-z")), &token(&["vk-f"]), "h").unwrap(), node("vk-z"), "the next step says so");
    }

    #[test]
    fn a_token_is_for_its_time_and_its_names() {
        let token = token(&["vk-f", "vk-f-*"]);
        let (now, over): (Timestamp, Timestamp) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(check(&token, &node("vk-f-1"), now), Ok(()));
        let said = check(&token, &node("vk-f-1"), over).unwrap_err().to_string();
        assert!(said.contains("until 2026-01-02T00:00:00Z") && said.contains("join-token --fleet f"), "{said}");
        let said = check(&token, &node("vk-g-1"), now).unwrap_err().to_string();
        assert!(said.contains("no node named vk-g-1, only vk-f, vk-f-*"), "{said}");
    }

    #[test]
    fn answers_mean_something() {
        let token = token(&[]);
        let groups = |all: &[&str]| all.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>();
        let [all, own] = ["system:bootstrappers:vk-cmd", "system:bootstrappers:vk-cmd:f"];
        assert_eq!(known_as(&token, &groups(&[own, "system:authenticated", all])), Ok(()));
        for few in [&[all][..], &[own], &[all, "system:bootstrappers:vk-cmd:g"], &[]] {
            assert!(known_as(&token, &groups(few)).unwrap_err().to_string().contains("not as one of the fleet f"));
        }
        assert!(refused(&token, 401, "Unauthorized").to_string().contains("revoked or has run out"));
        assert!(refused(&token, 403, "no").to_string().contains("(403): no"));
    }

    #[test]
    fn what_is_written_is_read_by_the_node() {
        let text = config(&token(&[]), &node("vk-f-1"));
        let settings = crate::config::read(&text, Path::new("/there")).unwrap();
        let read = settings.finish(Some("/home/me".into())).unwrap();
        assert_eq!(read.members[0].name, node("vk-f-1"));
        assert_eq!(read.members[0].labels[vk_cmd_crds::labels::FLEET], "f");
        let bootstrap = read.certificates.bootstrap_kubeconfig;
        assert_eq!(bootstrap.as_deref(), Some(Path::new("/there/bootstrap.kubeconfig")));
    }
}
