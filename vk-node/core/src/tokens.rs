//! When a token of a ServiceAccount is asked for anew.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use jiff::SignedDuration;

/// The longest that a token is kept, however long it is valid: the kubelet's figure.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// The most by which a renewal comes early, in milliseconds, so that those of many pods do not come at once: the kubelet's
/// figure.
const MOST_JITTER_MILLIS: u64 = 10_000;

/// How long after it was made a token of this lifetime is to be replaced: at four fifths of it, as the kubelet does.
/// `whose` spreads the renewals of tokens that were made at one time.
#[must_use]
pub fn renew_after(lifetime: SignedDuration, whose: &impl Hash) -> SignedDuration {
    let mut hasher = DefaultHasher::new();
    whose.hash(&mut hasher);
    let jitter =
        i64::try_from(hasher.finish() % MOST_JITTER_MILLIS).map_or(SignedDuration::ZERO, SignedDuration::from_millis);
    (lifetime / 5 * 4).min(LONGEST).saturating_sub(jitter).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_replaced_while_it_is_valid(seconds in 0..1_000_000_i64, whose in 0..1000) {
            let after = renew_after(SignedDuration::from_secs(seconds), &whose).as_secs_f64();
            let latest = (0.8 * seconds as f64).min(86_400.0);
            prop_assert!(after <= latest + 1e-6 && after >= (latest - 10.0).max(0.0) - 1.0);
        }
    }
}
