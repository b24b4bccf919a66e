//! What the node measures: `/stats/summary`, `/metrics`, `/metrics/resource`, `/metrics/probes`. See docs/reference/metrics.md.

mod measured;
mod own;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tracing::warn;
use vk_api_client::chain;
use vk_node_core::stats::{resource_metrics, text};

pub(crate) use self::measured::Measured;
use super::Context;

/// The routes of this module.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/stats/summary", get(summary).post(summary))
        .route("/metrics", get(own))
        .route("/metrics/resource", get(resource))
        .route("/metrics/probes", get(probes))
}

/// The options of `/stats/summary`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    only_cpu_and_memory: Option<String>,
}

async fn summary(State(context): State<Context>, Query(options): Query<Options>) -> Response {
    let only_cpu_and_memory = options.only_cpu_and_memory.as_deref() == Some("true");
    match measured::summary(&context, only_cpu_and_memory).await {
        Ok(summary) => Json(summary).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, chain(&error)).into_response(),
    }
}

async fn resource(State(context): State<Context>) -> impl IntoResponse {
    let summary = match measured::summary(&context, true).await {
        Ok(summary) => Some(summary),
        Err(error) => {
            warn!("{}", chain(&error));
            None
        }
    };
    as_text(resource_metrics(summary.as_ref()))
}

async fn probes(State(context): State<Context>) -> impl IntoResponse {
    as_text(context.prober.metrics())
}

async fn own(State(context): State<Context>) -> impl IntoResponse {
    as_text(own::metrics(&context))
}

fn as_text(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, text::CONTENT_TYPE)], text)
}
