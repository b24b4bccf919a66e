//! What a user may do: the API server is asked, and its answers hold for a while.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::Api;
use vk_node_core::authz::{Subresource, Verb};

use super::kept::Kept;
use super::review::{self, Failed};
use super::user::User;

/// How long an allowance holds: the kubelet's `authorization.webhook.cacheAuthorizedTTL`.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
/// How long a denial holds: the kubelet's `authorization.webhook.cacheUnauthorizedTTL`.
const DENIED_FOR: Duration = Duration::from_secs(30);
/// How many answers are kept.
const MAX_KEPT: usize = 1024;

/// What is asked of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    user: Arc<User>,
    verb: Verb,
    subresource: Subresource,
}

/// Finds out who may do what on one node.
pub(super) struct Access {
    reviews: Api<SubjectAccessReview>,
    node: String,
    kept: Kept<Question, bool>,
}

impl Access {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self { reviews: Api::all(client), node, kept: Kept::new(MAX_KEPT) }
    }

    /// Whether `user` may do `verb` on `nodes/<subresource>` of this node.
    pub(super) async fn is_allowed(
        &self,
        user: &Arc<User>,
        verb: Verb,
        subresource: Subresource,
    ) -> Result<bool, Failed> {
        let question = Question { user: user.clone(), verb, subresource };
        if let Some(answer) = self.kept.get(&question) {
            return Ok(answer);
        }
        let answer = review::ask(&self.reviews, &self.review_of(&question)).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        self.kept.put(question, allowed, if allowed { ALLOWED_FOR } else { DENIED_FOR });
        Ok(allowed)
    }

    fn review_of(&self, question: &Question) -> SubjectAccessReview {
        let User { name, uid, groups, extra } = question.user.as_ref().clone();
        let attributes = ResourceAttributes {
            verb: Some(question.verb.as_str().to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(question.subresource.as_str().to_owned()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(name),
            uid,
            groups: Some(groups),
            extra: Some(extra).filter(|extra| !extra.is_empty()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        SubjectAccessReview { spec, ..SubjectAccessReview::default() }
    }
}
