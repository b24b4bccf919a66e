//! `/livez` and `/readyz` for the kubelet's probes, and `/metrics` for Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures::FutureExt;
use tokio::net::TcpListener;

use crate::cache::Caches;
use crate::metrics::Metrics;

/// Serves health until it is dropped.
pub async fn serve(address: SocketAddr, caches: Caches, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for health probes: choose another --health-address, or an empty one for none"
        )
    })?;
    let router = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(caches.clone());
    let router = router.merge(Router::new().route("/metrics", get(measured)).with_state((caches, metrics)));
    axum::serve(listener, router).await.context("cannot serve health probes")
}

/// Whoever answers lives: there is one thread for all.
async fn livez() -> &'static str {
    "ok\n"
}

/// Ready when the caches have been filled.
async fn readyz(State(caches): State<Caches>) -> (StatusCode, &'static str) {
    if caches.filled().now_or_never() == Some(true) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the CmdJobs, pods and nodes have not been listed yet\n")
    }
}

async fn measured(
    State((caches, metrics)): State<(Caches, Arc<Metrics>)>,
) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", prometheus::TEXT_FORMAT)], metrics.text(&caches))
}
