//! What the node measures: `/metrics/probes`. See docs/metrics.md.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use vk_node_core::stats::text;

use super::Context;

/// The routes of this module.
pub(super) fn routes() -> Router<Context> {
    Router::new().route("/metrics/probes", get(probes))
}

async fn probes(State(context): State<Context>) -> impl IntoResponse {
    ([(CONTENT_TYPE, text::CONTENT_TYPE)], context.prober.metrics())
}
