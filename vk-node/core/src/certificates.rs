//! A node's own certificates: what it asks for, whether one that it has is good, and when it is to have the next.
//!
//! ```text
//!             usable, not yet old                       signed
//!   on disk ──────────────────────▶ in use ◀───────────────────────────┐
//!      │ none, or not usable          │ 70 to 90 % of its time are over │
//!      └──────────────┬───────────────┘                                 │
//!                     ▼                                                 │
//!          key ──▶ CertificateSigningRequest ──── approved ─────────────┘
//!           ▲                │ denied, failed
//!           └── later ───────┘
//! ```
//!
//! The one in use stays in use until the next has come. The times are the kubelet's
//! (`k8s.io/client-go/util/certificate`).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::certificates::{NODES_GROUP, Names, Purpose, user_of};

/// The wait after the first request that could not be made, and the longest.
const TROUBLE_PAUSE: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_mins(5));
/// The wait after the first request that was denied, and the longest: people must do something about it.
const DENIED_PAUSE: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));

/// A certificate that a node is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is for.
    pub purpose: Purpose,
    /// The node's name.
    pub node: String,
    /// Where the node is reached, for a serving certificate; none for a client's.
    pub names: Names,
}

impl Wanted {
    /// The common name of its subject.
    #[must_use]
    pub fn common_name(&self) -> String {
        user_of(&self.node)
    }
}

/// What a certificate says, and whether the key beside it is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The common name of its subject.
    pub common_name: String,
    /// The organizations of its subject.
    pub organizations: Vec<String>,
    /// What it is good for, if for one of the two.
    pub purpose: Option<Purpose>,
    /// The names that it is good for.
    pub names: Names,
    /// When its time began.
    pub not_before: Timestamp,
    /// When its time is over.
    pub not_after: Timestamp,
    /// Whether the key that we have is the one that was certified.
    pub key_matches: bool,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// It is somebody else's.
    #[error("it is that of {0}")]
    OtherSubject(String),
    /// It is for other names and addresses than the node has now.
    #[error("it is not for the addresses that the node has now")]
    OtherNames,
    /// It is for something else.
    #[error("it is not for this use")]
    OtherPurpose,
    /// Its key is another.
    #[error("the key beside it is not its own")]
    OtherKey,
}

/// Whether a certificate is the one that is wanted.
///
/// # Errors
/// When it is not; the reason is the first that was found.
pub fn usable(seen: &Seen, wanted: &Wanted, now: Timestamp) -> Result<(), Unusable> {
    if seen.common_name != wanted.common_name() || !seen.organizations.iter().any(|group| group == NODES_GROUP) {
        return Err(Unusable::OtherSubject(seen.common_name.clone()));
    }
    if seen.purpose != Some(wanted.purpose) {
        return Err(Unusable::OtherPurpose);
    }
    if !seen.key_matches {
        return Err(Unusable::OtherKey);
    }
    if wanted.purpose == Purpose::Serving && seen.names != wanted.names {
        return Err(Unusable::OtherNames);
    }
    if seen.not_after <= now {
        return Err(Unusable::Expired(seen.not_after));
    }
    Ok(())
}

/// When a certificate is replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rotation {
    /// When between 70 and 90 % of its time are over, the same for 0 and 1 of this random number: nodes that were started
    /// together do not ask together.
    Jittered(f64),
    /// So long after it was taken into use. For tests: no signer makes a certificate of less than ten minutes.
    After(SignedDuration),
}

/// When the next certificate is to be asked for, where this one was taken into use at `since`.
#[must_use]
pub fn rotate_at(seen: &Seen, rotation: Rotation, since: Timestamp) -> Timestamp {
    let (base, after) = match rotation {
        Rotation::Jittered(random) => {
            let lifetime = seen.not_after.duration_since(seen.not_before);
            (seen.not_before, lifetime.mul_f64_saturating(0.7 + 0.2 * random.clamp(0.0, 1.0)))
        }
        Rotation::After(after) => (since, after),
    };
    base.checked_add(after).unwrap_or(seen.not_after)
}

/// The request for a certificate. `fingerprint` is one of the key and of all that is asked for: the same request always
/// gets the same name, and a node that was restarted while it waited finds its own again.
#[must_use]
pub fn request(wanted: &Wanted, pem: String, fingerprint: &str, lifetime: Option<i32>) -> CertificateSigningRequest {
    let kind = match wanted.purpose {
        Purpose::Client => "client",
        Purpose::Serving => "serving",
    };
    CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(format!("{}-{kind}-{fingerprint}", wanted.node)), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            expiration_seconds: lifetime,
            request: ByteString(pem.into_bytes()),
            signer_name: wanted.purpose.signer().to_owned(),
            usages: Some(wanted.purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Pending {
        /// Whether it only waits for the signer.
        approved: bool,
    },
    /// The certificate, in PEM.
    Signed(Vec<u8>),
    /// It will not be signed.
    Refused {
        /// Who said so, and why, for people.
        why: String,
    },
    /// Somebody has removed it: the cluster does so with requests that nobody has approved for a day.
    Gone,
}

/// Reads what became of a request.
#[must_use]
pub fn answer(request: Option<&CertificateSigningRequest>) -> Answer {
    let Some(request) = request else { return Answer::Gone };
    let status = request.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let of_type =
        |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    for (kind, said) in [("Denied", "it was denied"), ("Failed", "the signer refuses it")] {
        if let Some(condition) = of_type(kind) {
            let words = [condition.reason.as_deref(), condition.message.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
            let why = if words.is_empty() { said.to_owned() } else { format!("{said}: {}", words.join(": ")) };
            return Answer::Refused { why };
        }
    }
    match status.certificate {
        Some(ByteString(pem)) if !pem.is_empty() => Answer::Signed(pem),
        Some(_) | None => Answer::Pending { approved: of_type("Approved").is_some() },
    }
}

/// How a request for a certificate went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// It could not be made, or what came of it cannot be used.
    Trouble,
    /// It was refused.
    Refused,
}

/// How long to wait before the next request, after so many setbacks in a row, this one included.
#[must_use]
pub fn pause(setback: Setback, in_a_row: u32) -> SignedDuration {
    let (first, longest) = match setback {
        Setback::Trouble => TROUBLE_PAUSE,
        Setback::Refused => DENIED_PAUSE,
    };
    let factor = 1_i32.checked_shl(in_a_row.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

/// A product that cannot be had of a duration is the longest one.
trait MulSaturating {
    fn mul_f64_saturating(self, factor: f64) -> Self;
}

impl MulSaturating for SignedDuration {
    fn mul_f64_saturating(self, factor: f64) -> Self {
        Self::try_from_secs_f64(self.as_secs_f64() * factor).unwrap_or(Self::MAX)
    }
}

#[cfg(test)]
mod tests;
