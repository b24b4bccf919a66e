//! Who may ask the kubelet's API: nobody without an identity, and of the others those whom the API server allows.
//!
//! ```text
//!   connection ── client certificate ──▶ its subject ─┐
//!   request ───── bearer token ── TokenReview ────────┴▶ user ── SubjectAccessReview for each subresource ──▶ handler
//!                     │ neither                                        │ all denied
//!                     ▼                                                ▼
//!              401 Unauthorized                                  403 Forbidden
//! ```
//!
//! What a route needs is decided in [`vk_node_core::authz`]. The words and times are the kubelet's.

mod access;
mod certificate;
mod kept;
mod review;
mod token;
mod user;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use kube::Client;
use tracing::{debug, warn};
use vk_api_client::chain;
use vk_node_core::authz::{self, Needed};

pub(super) use certificate::{ClientAuthority, Shown};
pub(super) use user::User;

/// The guard before the kubelet's API of one node.
pub(super) struct Guard {
    tokens: token::Tokens,
    access: access::Access,
}

impl Guard {
    /// A guard that asks by `client` who may do what on `node`.
    pub(super) fn new(client: Client, node: String) -> Self {
        Self { tokens: token::Tokens::new(client.clone()), access: access::Access::new(client, node) }
    }

    /// Who makes this request; none where it does not say so, or not truly.
    async fn who(&self, shown: Option<&Shown>, headers: &HeaderMap) -> Result<Option<Arc<User>>, review::Failed> {
        if let Some(user) = shown.and_then(|shown| shown.user_at(Timestamp::now())) {
            return Ok(Some(user));
        }
        match headers.get(header::AUTHORIZATION).and_then(token::bearer) {
            Some(token) => self.tokens.user_of(token).await,
            None => Ok(None),
        }
    }

    /// Whether one of the subresources may be had.
    async fn allows(&self, user: &Arc<User>, needed: Needed) -> Result<bool, review::Failed> {
        for subresource in needed.any_of {
            if self.access.is_allowed(user, needed.verb, *subresource).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Lets a request through, with its [`User`] among its extensions, or answers it with the reason why not.
pub(super) async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let shown = request.extensions().get::<Shown>();
    let user = match guard.who(shown, request.headers()).await {
        Ok(Some(user)) => user,
        Ok(None) => return unauthorized(),
        Err(error) => {
            warn!(error = chain(&error), "cannot ask the API server whose a token is");
            return unauthorized();
        }
    };
    let needed = authz::needed(request.method().as_str(), request.uri().path());
    match guard.allows(&user, needed).await {
        Ok(true) => {
            // A handler has no use for somebody's token.
            request.headers_mut().remove(header::AUTHORIZATION);
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Ok(false) => {
            debug!(user = user.name, %needed, "forbidden");
            (StatusCode::FORBIDDEN, format!("Forbidden (user={}, {needed})\n", user.name)).into_response()
        }
        Err(error) => {
            warn!(user = user.name, %needed, error = chain(&error), "cannot ask the API server who may do what");
            let message = format!("Authorization error (user={}, {needed})", user.name);
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, "Unauthorized").into_response()
}
