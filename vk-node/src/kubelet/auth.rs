//! Who may ask the kubelet's API: nobody without an identity, and of the others those whom the API server allows, by
//! the resource and subresource that the kubelet itself asks for. See "Kubelet authentication/authorization" in
//! Kubernetes' documentation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::identity::Identity;

/// How long an allowance holds: the kubelet's `authorization.webhook.cacheAuthorizedTTL`.
const ALLOWED_FOR: Duration = Duration::from_secs(300);
/// How long a denial holds: the kubelet's `authorization.webhook.cacheUnauthorizedTTL`.
const DENIED_FOR: Duration = Duration::from_secs(30);
/// The longest that the API server may take to answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// How many answers are kept.
const MAX_KEPT: usize = 1024;

/// What is asked of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    identity: Identity,
    verb: &'static str,
    subresource: &'static str,
}

/// Asks the API server who may do what, and keeps the answers for a while.
pub(super) struct Authorizer {
    client: Client,
    node: String,
    kept: Mutex<HashMap<Question, (bool, Instant)>>,
}

impl Authorizer {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self { client, node, kept: Mutex::default() }
    }

    async fn allows(&self, question: Question) -> Result<bool, String> {
        if let Some((allowed, until)) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&question)
            && Instant::now() < *until
        {
            return Ok(*allowed);
        }
        let Identity::Certificate { user, groups } = &question.identity else { return Ok(false) };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.clone()),
                groups: Some(groups.iter().cloned().chain(["system:authenticated".to_owned()]).collect()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(question.verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(question.subresource.into()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = timeout(REVIEW_TIMEOUT, reviews.create(&PostParams::default(), &review)).await;
        let answer = answer.map_err(|_| "the API server does not answer".to_owned())?.map_err(|e| e.to_string())?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        let until = Instant::now() + if allowed { ALLOWED_FOR } else { DENIED_FOR };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(question, (allowed, until));
        Ok(allowed)
    }
}

/// Lets a request through, or answers it with the reason why not.
pub(super) async fn check(State(authorizer): State<Arc<Authorizer>>, request: Request, next: Next) -> Response {
    let identity = request.extensions().get::<Identity>().cloned().unwrap_or(Identity::Anonymous);
    let Identity::Certificate { user, .. } = &identity else {
        let message =
            "Unauthorized: the kubelet's API takes no anonymous request; show a client certificate of the cluster";
        return (StatusCode::UNAUTHORIZED, message).into_response();
    };
    let user = user.clone();
    let (verb, subresource) = (verb(request.method()), subresource(request.uri().path()));
    match authorizer.allows(Question { identity, verb, subresource }).await {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let node = &authorizer.node;
            let message = format!("Forbidden (user={user}, verb={verb}, resource=nodes/{subresource}, name={node})");
            (StatusCode::FORBIDDEN, message).into_response()
        }
        Err(error) => {
            warn!(user, "cannot ask the API server who may do what: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error: {error}")).into_response()
        }
    }
}

/// The verb of a method, as the kubelet maps it.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "create",
    }
}

/// The subresource of `nodes` that a path belongs to, as the kubelet maps it.
fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "healthz" => "healthz",
        "pods" => "pods",
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        _ => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_map_as_the_kubelets_do() {
        assert_eq!(subresource("/containerLogs/n/p/c"), "proxy");
        assert_eq!(subresource("/pods"), "pods");
        assert_eq!(subresource("/podsx"), "proxy");
        assert_eq!((verb(&Method::GET), verb(&Method::POST), verb(&Method::OPTIONS)), ("get", "create", "create"));
    }
}
