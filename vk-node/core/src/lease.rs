//! The node's Lease in `kube-node-lease`: its heartbeat, and what keeps two nodes from sharing a name.
//!
//! A kubelet writes its node's name as the holder. Here the holder also says which pipe it speaks for, so that a
//! second `vk-node` of the same name on another host sees that the name is taken, while the same one restarted goes
//! on at once.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};

/// How long a lease holds after its last renewal: the kubelet's figure.
pub const DURATION: SignedDuration = SignedDuration::from_secs(40);
/// How often it is renewed: the kubelet's figure, a quarter of the duration.
pub const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// Where node leases live.
pub const NAMESPACE: &str = "kube-node-lease";

/// What may be done about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours to take or keep.
    Ours,
    /// Another holder has it, at least until then.
    TakenUntil {
        /// The holder.
        holder: String,
        /// When it loses it if it does not renew.
        until: Timestamp,
    },
}

/// Decides whether `identity` may hold a node's name, from the lease that is there.
#[must_use]
pub fn claim(lease: Option<&Lease>, identity: &str, now: Timestamp) -> Claim {
    let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else { return Claim::Ours };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let lasts = spec.lease_duration_seconds.map_or(DURATION, |s| SignedDuration::from_secs(i64::from(s)));
    match &spec.renew_time {
        Some(MicroTime(renewed)) if !holder.is_empty() && holder != identity && *renewed + lasts > now => {
            Claim::TakenUntil { holder: holder.to_owned(), until: *renewed + lasts }
        }
        Some(_) | None => Claim::Ours,
    }
}

/// The lease of node `node`, renewed at `now`, on top of the one that is there.
#[must_use]
pub fn renewed(
    before: Option<Lease>,
    node: &str,
    owner: Option<OwnerReference>,
    identity: &str,
    now: Timestamp,
) -> Lease {
    let before = before.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let mut metadata = before.metadata;
    if metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
        metadata.owner_references = owner.map(|owner| vec![owner]);
    }
    let spec = before.spec.unwrap_or_default();
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(now)),
            ..spec
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, renewed_at: i64) -> Lease {
        let at = Timestamp::from_second(renewed_at).unwrap();
        renewed(None, "vk-a", None, holder, at)
    }

    #[test]
    fn a_name_is_taken_only_from_a_silent_holder() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(claim(None, "a", at(0)), Claim::Ours);
        assert_eq!(claim(Some(&held_by("a", 100)), "a", at(101)), Claim::Ours);
        let taken = Claim::TakenUntil { holder: "b".into(), until: at(140) };
        assert_eq!(claim(Some(&held_by("b", 100)), "a", at(139)), taken);
        assert_eq!(claim(Some(&held_by("b", 100)), "a", at(140)), Claim::Ours);
    }
}
