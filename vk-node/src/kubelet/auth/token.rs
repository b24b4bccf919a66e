//! Clients that show a token: the API server tells whose it is.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Client;
use kube::api::Api;
use sha2::{Digest, Sha256};

use super::kept::Kept;
use super::review::{self, Failed};
use super::user::User;

/// How long an answer holds: the kubelet's `authentication.webhook.cacheTTL`.
const HOLDS_FOR: Duration = Duration::from_secs(120);
/// How many answers are kept.
const MAX_KEPT: usize = 1024;
/// The longest token that the API server is asked about; service accounts' have some 1,000 bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// What stands for a token where answers are kept: nobody who reads this process's memory later finds the token itself.
type Fingerprint = [u8; 32];

/// Finds the users of tokens, and remembers them for a while.
pub(super) struct Tokens {
    reviews: Api<TokenReview>,
    kept: Kept<Fingerprint, Option<Arc<User>>>,
}

impl Tokens {
    pub(super) fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), kept: Kept::new(MAX_KEPT) }
    }

    /// The user whose token this is; none where it is nobody's.
    pub(super) async fn user_of(&self, token: &str) -> Result<Option<Arc<User>>, Failed> {
        if token.len() > MAX_LENGTH {
            return Ok(None);
        }
        let fingerprint: Fingerprint = Sha256::digest(token).into();
        if let Some(answer) = self.kept.get(&fingerprint) {
            return Ok(answer);
        }
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let question = TokenReview { spec, ..TokenReview::default() };
        let status = review::ask(&self.reviews, &question).await?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).and_then(User::of_token).map(Arc::new);
        self.kept.put(fingerprint, user.clone(), HOLDS_FOR);
        Ok(user)
    }
}

/// The token in an `Authorization` header: `Bearer <token>`.
pub(super) fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.trim().split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' ')).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_one_word() {
        let cases = [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            (" Bearer abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer  abc", None),
            ("Bearer a b", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ];
        for (header, token) in cases {
            assert_eq!(bearer(&HeaderValue::from_static(header)), token, "{header:?}");
        }
    }
}
