//! The node's Lease in `kube-node-lease`: its heartbeat, and what keeps two nodes from sharing a name.
//!
//! A kubelet writes its node's name as the holder. Here the holder also says which pipe it speaks for, so that a
//! second `vk-node` of the same name on another host sees that the name is taken, while the same one restarted goes
//! on at once.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};

/// How long a lease holds after its last renewal where it does not say: the kubelet's figure.
const DURATION: SignedDuration = SignedDuration::from_secs(40);
/// The least that a renewal is later than the one before: a lease holds whole microseconds.
const LEAST_RENEWAL: SignedDuration = SignedDuration::from_micros(1);
/// Where node leases live.
pub const NAMESPACE: &str = "kube-node-lease";

/// What may be done about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours to take or keep.
    Ours,
    /// Another holder has it. If the lease is still of the same version after so much patience, that holder is gone.
    Taken {
        /// The holder.
        holder: String,
        /// The lease's version, which changes whenever it is renewed.
        version: String,
        /// How long to wait, by a clock that never jumps.
        patience: SignedDuration,
    },
}

/// Decides whether `identity` may hold a node's name, from the lease that is there.
///
/// The clocks of two hosts need not agree. So the times in the lease only say how long to wait: whoever is there renews
/// within half of the lease's duration, and is seen to.
#[must_use]
pub fn claim(lease: Option<&Lease>, identity: &str, now: Timestamp) -> Claim {
    let Some((lease, spec)) = lease.and_then(|lease| Some((lease, lease.spec.as_ref()?))) else { return Claim::Ours };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return Claim::Ours;
    }
    let lasts = spec.lease_duration_seconds.map_or(DURATION, |s| SignedDuration::from_secs(i64::from(s)));
    let left = spec.renew_time.as_ref().map_or(SignedDuration::ZERO, |renewed| {
        (renewed.0.saturating_add(lasts).unwrap_or(Timestamp::MAX)).duration_since(now)
    });
    Claim::Taken {
        holder: holder.to_owned(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        patience: left.max(renew_every(lasts) * 2).min(lasts.max(SignedDuration::ZERO)),
    }
}

/// How often a lease of this duration is renewed: a quarter of it, as the kubelet does.
#[must_use]
pub fn renew_every(duration: SignedDuration) -> SignedDuration {
    duration / 4
}

/// The lease of node `node`, renewed at `now`, on top of the one that is there. When it was renewed never goes back, even if
/// the clock does: Kubernetes takes a renewal for one only if it is later than the one before (`nodelifecycle`), whenever
/// that is said to have been.
#[must_use]
pub fn renewed(
    before: Option<Lease>,
    node: &str,
    owner: Option<OwnerReference>,
    identity: &str,
    duration: SignedDuration,
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
    if let Some(owner) = owner {
        // A Node that was made again is another owner.
        metadata.owner_references = Some(vec![owner]);
    }
    let spec = before.spec.unwrap_or_default();
    let after = spec.renew_time.as_ref().and_then(|before| before.0.checked_add(LEAST_RENEWAL).ok());
    let renewed_at = after.map_or(now, |after| after.max(now));
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
            renew_time: Some(MicroTime(renewed_at)),
            ..spec
        }),
    }
}

/// The lease given back: somebody else may take the name at once. When it was last renewed stays, for that is until when
/// the node was there.
#[must_use]
pub fn released(lease: Lease) -> Lease {
    let spec = lease.spec.unwrap_or_default();
    Lease { spec: Some(LeaseSpec { holder_identity: None, ..spec }), ..lease }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, renewed_at: i64) -> Lease {
        let at = Timestamp::from_second(renewed_at).unwrap();
        renewed(None, "vk-a", None, holder, DURATION, at)
    }

    #[test]
    fn a_renewal_is_later_than_the_one_before_whatever_the_clock_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut lease = held_by("a", 1000);
        for now in [1010, 5, 6, 2000, -2000] {
            let before = lease.spec.as_ref().unwrap().renew_time.clone().unwrap().0;
            lease = renewed(Some(lease), "vk-a", None, "a", DURATION, at(now));
            let renewed = lease.spec.as_ref().unwrap().renew_time.clone().unwrap().0;
            assert!(renewed > before && renewed >= at(now), "{renewed} after {before}, at {now}");
        }
    }

    #[test]
    fn a_name_is_taken_only_from_a_silent_holder() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(claim(None, "a", at(0)), Claim::Ours);
        assert_eq!(claim(Some(&held_by("a", 100)), "a", at(101)), Claim::Ours);
        assert_eq!(claim(Some(&released(held_by("b", 100))), "a", at(101)), Claim::Ours);
        // In time, just over, long over; and where the other's clock is far ahead of ours.
        for (now, patience) in [(101, 39), (139, 20), (140, 20), (9999, 20), (-9999, 40)] {
            let taken = Claim::Taken {
                holder: "b".into(),
                version: String::new(),
                patience: SignedDuration::from_secs(patience),
            };
            assert_eq!(claim(Some(&held_by("b", 100)), "a", at(now)), taken, "at {now}");
        }
    }
}
