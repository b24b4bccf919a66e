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
use tokio::sync::watch;
use tokio::time::Instant;
use vk_operator_core::lease;

use crate::cache::Caches;
use crate::metrics::Metrics;

/// When the election was last looked after; none: there is none.
pub type Looked = Option<watch::Receiver<Instant>>;

/// Serves health until it is dropped.
pub async fn serve(address: SocketAddr, caches: Caches, looked: Looked, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for health probes: choose another --health-address, or an empty one for none"
        )
    })?;
    let router = Router::new().route("/readyz", get(readyz)).with_state(caches.clone());
    let router = router.merge(Router::new().route("/livez", get(livez)).with_state(looked));
    let router = router.merge(Router::new().route("/metrics", get(measured)).with_state((caches, metrics)));
    axum::serve(listener, router).await.context("cannot serve health probes")
}

/// Whoever answers lives: there is one thread for all. But the election may wait for something that never comes; then nobody
/// would act, or two.
async fn livez(State(looked): State<Looked>) -> (StatusCode, &'static str) {
    let since = looked.map(|looked| looked.borrow().elapsed()).unwrap_or_default();
    if lease::is_stuck(since) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the lease has not been looked at for long: the election hangs\n");
    }
    (StatusCode::OK, "ok\n")
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
