//! The ways to the API server and back.

use std::net::IpAddr;

use super::Verdict::{Failed, Fine, Skipped, Warning};
use super::{Check, Facts, PortFacts, ServerFacts, Verdict};
use crate::config::NodeConfig;

/// The oldest API server that vk-cmd is tried with is of this year's; older ones lack what its CRDs are made of.
const LEAST_VERSION: (u32, u32) = (1, 30);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "dns",
        about: "the API server's name has an address here",
        fix: "see /etc/resolv.conf, or have the site's name for it in the kubeconfig; where it has none here, go by ssh (docs/how-to/tunnel.md)",
        look: dns,
    },
    Check {
        id: "connect",
        about: "the API server can be connected to",
        fix: "see whether a firewall is in between (curl -vk SERVER/version); where only ssh leads out, use --tunnel (docs/how-to/tunnel.md)",
        look: connect,
    },
    Check {
        id: "api-server",
        about: "the API server answers, and is the one that the kubeconfig means",
        fix: "a proxy that breaks TLS, another authority, another name: have a new kubeconfig or join line made",
        look: api_server,
    },
    Check {
        id: "api-version",
        about: "the API server is of Kubernetes 1.30 or later",
        fix: "have the cluster updated",
        look: api_version,
    },
    Check {
        id: "proxy",
        about: "no proxy stands in the way to the API server unless you want it",
        fix: "unset HTTPS_PROXY and its like, or put the API server's host into NO_PROXY",
        look: proxy,
    },
    Check {
        id: "address",
        about: "the API server can reach the node at its address",
        fix: "leave --address away, or name an address of this host; where nobody can connect to it, use --tunnel or --relay \
              (docs/how-to/tunnel.md, docs/how-to/relay.md)",
        look: address,
    },
    Check {
        id: "port",
        about: "the port of the kubelet's API is free",
        fix: "end what has it, or take another with --kubelet-port; 0 takes any that is free",
        look: port,
    },
    Check {
        id: "ssh",
        about: "the ssh client is there and knows the tunnel's destination",
        fix: "see `ssh -G DESTINATION`, and that `ssh DESTINATION true` asks for nothing (docs/how-to/tunnel.md)",
        look: ssh,
    },
    Check {
        id: "relay-authority",
        about: "the file with the relay's authority has a certificate",
        fix: "get it from the Secret vk-cmd-relay-ca (docs/how-to/relay.md)",
        look: relay_authority,
    },
    Check {
        id: "relay",
        about: "the relay can be connected to",
        fix: "see whether a firewall is in between, and whether the relay's Service has this address (docs/how-to/relay.md)",
        look: relay,
    },
];

/// Why nothing was there that could have answered. What is wrong then, its own check says.
fn out_of_reach(server: &ServerFacts) -> Option<&'static str> {
    match (&server.addresses, &server.connected) {
        (Some(Err(_)), _) => Some("its name has no address here"),
        (_, Some(Err(_))) => Some("it cannot be connected to"),
        _ => None,
    }
}

/// What the API server said, as far as it was asked.
fn server<'a, T>(facts: &'a Facts, part: impl Fn(&'a ServerFacts) -> Option<&'a T>) -> Result<&'a T, Verdict> {
    let by_tunnel = facts.config.as_ref().is_ok_and(|config| config.tunnel.is_some());
    let why = if by_tunnel { "it is reached by the tunnel" } else { "it was not asked" };
    facts.server.as_ref().and_then(part).ok_or_else(|| Skipped(why.to_owned()))
}

fn dns(facts: &Facts) -> Verdict {
    match server(facts, |server| server.addresses.as_ref()) {
        Err(verdict) => verdict,
        Ok(Err(why)) => Failed(why.clone()),
        Ok(Ok(addresses)) => Fine(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn connect(facts: &Facts) -> Verdict {
    match server(facts, |server| server.connected.as_ref()) {
        Err(verdict) => verdict,
        Ok(Err(why)) => Failed(why.clone()),
        Ok(Ok(())) => Fine("it can".to_owned()),
    }
}

fn api_server(facts: &Facts) -> Verdict {
    match server(facts, |server| server.answered.as_ref()) {
        Err(verdict) => verdict,
        Ok(Err(why)) => match facts.server.as_ref().and_then(out_of_reach) {
            Some(unreached) => Skipped(unreached.to_owned()),
            None => Failed(why.clone()),
        },
        Ok(Ok(_)) => Fine("it is".to_owned()),
    }
}

fn api_version(facts: &Facts) -> Verdict {
    match server(facts, |server| server.answered.as_ref()) {
        Ok(Ok(answered)) => match answered.version {
            None => Skipped("it does not tell us".to_owned()),
            Some((major, minor)) if (major, minor) < LEAST_VERSION => Warning(format!("it is of {major}.{minor}")),
            Some((major, minor)) => Fine(format!("{major}.{minor}")),
        },
        Ok(Err(_)) => Skipped("it does not answer".to_owned()),
        Err(verdict) => verdict,
    }
}

fn proxy(facts: &Facts) -> Verdict {
    match &facts.proxy {
        None => Fine("none is set".to_owned()),
        Some(proxy) => match server(facts, |server| server.answered.as_ref()) {
            Ok(Ok(_)) => Fine(format!("{proxy}, and the API server answers")),
            Ok(Err(_)) => Warning(proxy.clone()),
            Err(_) => Fine(proxy.clone()),
        },
    }
}

fn config(facts: &Facts) -> Result<&NodeConfig, Verdict> {
    facts.config.as_ref().map_err(|_| Skipped("the configuration is wrong".to_owned()))
}

fn address(facts: &Facts) -> Verdict {
    let config = match config(facts) {
        Ok(config) => config,
        Err(verdict) => return verdict,
    };
    if config.relay.is_some() || config.tunnel.is_some() {
        return Skipped("it is reached by the relay or the tunnel".to_owned());
    }
    let server_is_here = || {
        let addresses = facts.server.as_ref().and_then(|server| server.addresses.as_ref()?.as_ref().ok());
        addresses
            .is_some_and(|all| all.iter().any(|address| address.is_loopback() || facts.addresses.contains(address)))
    };
    for member in &config.members {
        match member.address {
            None => {}
            Some(address) if address.is_loopback() && !server_is_here() => {
                return Warning(format!("{address} is this host's own, and the API server is on another"));
            }
            Some(address) if !address.is_loopback() && !facts.addresses.contains(&address) => {
                // The far end of somebody's own tunnel, say.
                let listens_everywhere = member.listen_address.is_some_and(|at| IpAddr::is_unspecified(&at));
                if !listens_everywhere {
                    return Warning(format!("{address} is no address of this host"));
                }
            }
            Some(_) => {}
        }
    }
    Fine("it is one of this host's".to_owned())
}

fn port(facts: &Facts) -> Verdict {
    match &facts.port {
        PortFacts::Any => Skipped("any will do, or none is needed".to_owned()),
        PortFacts::Free(port) => Fine(format!("{port}")),
        PortFacts::Own(port) => Fine(format!("the node that runs here has {port}")),
        PortFacts::Taken(port, why) => Failed(format!("{port}: {why}")),
    }
}

fn ssh(facts: &Facts) -> Verdict {
    match &facts.ssh {
        None => Skipped("there is no tunnel".to_owned()),
        Some(Err(why)) => Failed(why.clone()),
        Some(Ok(())) => Fine("it does".to_owned()),
    }
}

fn relay_authority(facts: &Facts) -> Verdict {
    match &facts.relay_authority {
        None => Skipped("there is no relay".to_owned()),
        Some(Err(why)) => Failed(why.clone()),
        Some(Ok(0)) => Failed("there is none in it".to_owned()),
        Some(Ok(count)) => Fine(format!("{count}")),
    }
}

fn relay(facts: &Facts) -> Verdict {
    match &facts.relay_reached {
        None => Skipped("there is no relay".to_owned()),
        Some(Err(why)) => Failed(why.clone()),
        Some(Ok(())) => Fine("it can".to_owned()),
    }
}
