//! Who the node is to the API server.

use jiff::SignedDuration;

use super::Verdict::{Failed, Fine, Skipped, Warning};
use super::{CertificateFacts, Check, Facts, Login, Verdict};

/// The group of all nodes.
const NODES: &str = "system:nodes";
/// What a node's user begins with.
const NODE_USER: &str = "system:node:";
/// A certificate that the node does not renew itself is told of so long before its end.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How much two clocks may differ.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "credentials",
        about: "there is a kubeconfig, or a certificate of the node's own, that leads to an API server",
        fix: "join a fleet (vk-node join), or name a kubeconfig with --kubeconfig or --bootstrap-kubeconfig (docs/explanation/identity.md)",
        look: credentials,
    },
    Check {
        id: "authority",
        about: "the API server is known by its certificate authority",
        fix: "put certificate-authority-data into the kubeconfig, in place of insecure-skip-tls-verify",
        look: authority,
    },
    Check {
        id: "identity",
        about: "the client certificate is that of this node: system:node:NAME in system:nodes",
        fix: "have one made for this name, or name the node as the certificate does (--node-name)",
        look: identity,
    },
    Check {
        id: "certificate",
        about: "the client certificate is good now and for a week to come, or the node renews it itself",
        fix: "set the clock right, have another one made, or use a bootstrap token: then the node renews it (docs/explanation/identity.md)",
        look: certificate,
    },
    Check {
        id: "whoami",
        about: "the API server takes the node for itself",
        fix: "have a new token or certificate made; a bootstrap token may have run out (vk-operator join-token --list)",
        look: whoami,
    },
    Check {
        id: "name-taken",
        about: "no other machine has the node's name",
        fix: "end the other node, or take another name with --node-name: the Lease keeps two from sharing one",
        look: name_taken,
    },
    Check {
        id: "foreign-node",
        about: "the Node object of this name, if there is one, is a vk-node's",
        fix: "take another name with --node-name: a kubelet has this one",
        look: foreign_node,
    },
    Check {
        id: "clock",
        about: "this machine's clock and the API server's differ by less than a minute",
        fix: "set the clock right, or ask an administrator to (chronyc tracking): certificates and leases go by it",
        look: clock,
    },
];

/// The login, or that there is nothing to look at: `credentials` tells why.
fn login(facts: &Facts) -> Result<&Login, Verdict> {
    facts.login.as_ref().map_err(|_| Skipped("there are no credentials".to_owned()))
}

fn own_certificate(facts: &Facts) -> Result<(&Login, &CertificateFacts), Verdict> {
    let login = login(facts)?;
    if login.is_bootstrap {
        return Err(Skipped("the node will ask for one with its bootstrap token".to_owned()));
    }
    let certificate = login.certificate.as_ref();
    certificate
        .map(|certificate| (login, certificate))
        .ok_or_else(|| Skipped("the node shows no certificate".to_owned()))
}

fn credentials(facts: &Facts) -> Verdict {
    match &facts.login {
        Err(why) => Failed(why.clone()),
        Ok(login) if login.is_bootstrap => Fine(format!("a bootstrap token for {}", login.server)),
        Ok(login) => Fine(login.server.clone()),
    }
}

fn authority(facts: &Facts) -> Verdict {
    match login(facts) {
        Err(verdict) => verdict,
        Ok(login) if login.trusts_anybody => {
            Warning("whoever answers is trusted (insecure-skip-tls-verify)".to_owned())
        }
        Ok(login) if login.server.starts_with("http://") => Warning("it is reached without TLS".to_owned()),
        Ok(_) => Fine("it is".to_owned()),
    }
}

fn names(facts: &Facts) -> Vec<&str> {
    let members = facts.config.as_ref().map(|config| config.members.as_slice()).unwrap_or_default();
    members.iter().map(|member| member.name.as_str()).collect()
}

fn identity(facts: &Facts) -> Verdict {
    let (_, certificate) = match own_certificate(facts) {
        Ok(found) => found,
        Err(verdict) => return verdict,
    };
    let user = &certificate.common_name;
    let text = format!("it is of the user {user:?} in {:?}", certificate.organizations);
    match user.strip_prefix(NODE_USER) {
        // A gateway may act for all of its nodes.
        None => Warning(text),
        Some(_) if !certificate.organizations.iter().any(|group| group == NODES) => Failed(text),
        Some(name) if !names(facts).is_empty() && !names(facts).contains(&name) => Failed(text),
        Some(_) => Fine(user.clone()),
    }
}

fn certificate(facts: &Facts) -> Verdict {
    let (_, certificate) = match own_certificate(facts) {
        Ok(found) => found,
        Err(verdict) => return verdict,
    };
    let CertificateFacts { not_before, not_after, .. } = certificate;
    let renews = facts.config.as_ref().is_ok_and(|config| {
        config.certificates.bootstrap_kubeconfig.is_some()
            || config.members.iter().all(|member| member.kubeconfig.is_none())
    });
    match facts.now {
        now if now < *not_before => {
            Failed(format!("it is good from {not_before} on, and this machine's clock says {now}"))
        }
        now if now >= *not_after => Failed(format!("it was good until {not_after}")),
        now if !renews && not_after.duration_since(now) < SOON => {
            Warning(format!("it is good until {not_after}, and nobody renews it"))
        }
        _ => Fine(format!("it is good until {not_after}")),
    }
}

fn whoami(facts: &Facts) -> Verdict {
    let Some(answer) = facts.server.as_ref().and_then(|server| server.whoami.as_ref()) else {
        return Skipped("it was not asked".to_owned());
    };
    let is_bootstrap = facts.login.as_ref().is_ok_and(|login| login.is_bootstrap);
    match answer {
        Err(why) => Failed(why.clone()),
        Ok(who) if is_bootstrap || who.groups.iter().any(|group| group == NODES) => Fine(who.user.clone()),
        Ok(who) => Warning(format!("it takes it for {:?}, who is no node", who.user)),
    }
}

fn object(facts: &Facts) -> Option<&super::NodeObject> {
    facts.server.as_ref()?.node.as_ref()?.as_ref().ok()?.as_ref()
}

fn name_taken(facts: &Facts) -> Verdict {
    let Some(object) = object(facts) else {
        return Skipped("there is no Node object of this name, or it was not asked for".to_owned());
    };
    match (&object.holder, &facts.node) {
        (_, Some(_)) => Fine("the node that runs here has it".to_owned()),
        (Some(holder), None) if object.is_ready => Failed(format!("{holder} has it, and is ready")),
        (Some(holder), None) => Fine(format!("{holder} had it last")),
        (None, None) => Fine("nobody has it".to_owned()),
    }
}

fn foreign_node(facts: &Facts) -> Verdict {
    match object(facts) {
        None => Skipped("there is no Node object of this name, or it was not asked for".to_owned()),
        Some(object) if object.is_vk_node => Fine("it is".to_owned()),
        Some(_) => Failed("it is not: it lacks the label type=virtual-kubelet".to_owned()),
    }
}

fn clock(facts: &Facts) -> Verdict {
    let answered = facts.server.as_ref().and_then(|server| server.answered.as_ref()?.as_ref().ok());
    let Some(date) = answered.and_then(|answered| answered.date) else {
        return Skipped("the API server has not said what time it is".to_owned());
    };
    let off = facts.now.duration_since(date);
    match off.abs() > CLOCKS {
        true => Warning(format!(
            "this one is {} s {}",
            off.as_secs().abs(),
            if off.is_negative() { "behind" } else { "ahead" }
        )),
        false => Fine("they do".to_owned()),
    }
}
