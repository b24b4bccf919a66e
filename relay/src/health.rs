//! `/livez` and `/readyz` for the kubelet's probes, and `/metrics` for Prometheus.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Relay;
use crate::tls::Door;

/// Serves health, for ever.
///
/// # Errors
/// When there is no port for it.
pub(crate) async fn serve(relay: Arc<Relay>, door: Door) -> anyhow::Result<()> {
    let Some(address) = relay.config.health else { return std::future::pending().await };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for health probes: choose another --health-address, or an empty one for none"
        )
    })?;
    // Whoever answers lives: there is one thread for all.
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/metrics", get(measured))
        .route("/readyz", get(readyz))
        .with_state((relay, door));
    axum::serve(listener, router).await.context("cannot serve health probes")
}

/// Ready when nodes are let in.
async fn readyz(State((relay, door)): State<(Arc<Relay>, Door)>) -> (StatusCode, &'static str) {
    if *relay.stopping.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "the relay was told to end\n")
    } else if door.borrow().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "the authority that signs nodes' certificates is not known yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn measured(State((relay, _)): State<(Arc<Relay>, Door)>) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", prometheus::TEXT_FORMAT)], relay.metrics.text())
}
