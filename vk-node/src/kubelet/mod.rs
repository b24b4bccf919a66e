//! The kubelet's HTTPS API: see `docs/reference/kubelet-api.md`.

mod auth;
mod bridge;
mod command;
mod door;
mod found;
mod logs;
mod metrics;
mod pods;
mod port_forward;
mod streams;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use kube::Client;
use kube_runtime::reflector::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};
use vk_api_client::chain;
use vk_node_core::config::{self, MemberConfig, NodeConfig};
use vk_node_core::facts::NodeFacts;
use vk_pipe::client::PipeClient;

pub(crate) use self::door::ClientCa;
use self::door::{Door, Doors};
pub(crate) use self::metrics::Measured;
pub(crate) use self::streams::Streams;
use crate::credentials::Shown;
use crate::ending::OwnEnd;
use crate::node::{Requests, Tuned};
use crate::pods::{Durations, Evictions, KeptPod, Rejections, StatusWrites};
use crate::probes::Prober;
use crate::tasks::Mirror;
use crate::way::{Connection, Entrance, Figures};

/// How long a client may take over the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many connections are served at a time; the others wait.
const MAX_CONNECTIONS: usize = 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) node: NodeFacts,
    pub(crate) pods: Store<KeptPod>,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) pipe: PipeClient,
    pub(crate) client: Client,
    pub(crate) prober: Prober,
    pub(crate) status_writes: StatusWrites,
    pub(crate) evictions: Evictions,
    pub(crate) rejections: Rejections,
    pub(crate) durations: Durations,
    pub(crate) requests: Requests,
    /// What is measured of the node's way in.
    pub(crate) way: Figures,
    pub(crate) measured: Measured,
    pub(crate) streams: Streams,
    /// When the node ends.
    pub(crate) end: OwnEnd,
    /// What the process was started with, and of that what this node was.
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) member: Arc<MemberConfig>,
    /// What has changed of that since.
    pub(crate) tuned: Tuned,
}

/// Takes the port.
///
/// # Errors
/// When it is not to be had.
pub(crate) async fn bind(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind(SocketAddr::new(address, port)).await.with_context(|| {
        format!(
            "cannot listen on {address} port {port} for the kubelet's API: choose another --kubelet-port, or 0; where the \
             address is not one of this host's, name one that is with --listen-address"
        )
    })
}

/// Serves the API, for ever.
///
/// # Errors
/// When no TLS can be set up from what is given.
pub(crate) fn serve(
    mut entrance: Entrance,
    context: Context,
    serving: Arc<Shown>,
    client_ca: ClientCa,
) -> anyhow::Result<impl Future<Output = ()>> {
    let doors = Doors::new(serving, client_ca)?;
    let door = doors.current();
    let guard = Arc::new(auth::Guard::new(context.client.clone(), context.node.name.clone()));
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/configz", get(configz))
        .merge(metrics::routes())
        .merge(pods::routes())
        .merge(logs::routes())
        .merge(command::routes())
        .merge(port_forward::routes())
        .with_state(context)
        .layer(middleware::from_fn_with_state(guard, auth::check));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = async move {
        loop {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match entrance.accept().await {
                Ok((stream, peer)) => {
                    let (door, router) = (door.borrow().clone(), router.clone());
                    tokio::spawn(async move {
                        if let Err(error) = connection(stream, &door, router).await {
                            debug!(peer, "the connection ended: {}", chain(&*error));
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Too many open files, most likely: it passes when others close.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    Ok(async move {
        futures::future::join(accept, doors.keep()).await;
    })
}

/// What is in force, for whoever asks how this node is set up.
async fn configz(State(context): State<Context>) -> Json<serde_json::Value> {
    let member = context.tuned.node(context.member.name.as_str()).member((*context.member).clone());
    Json(config::configz(&context.config, &member))
}

async fn connection(stream: Connection, door: &Door, router: Router) -> anyhow::Result<()> {
    let stream =
        timeout(HANDSHAKE_TIMEOUT, door.tls.accept(stream)).await.context("the TLS handshake took too long")??;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let router = match door.clients.identify(certificates, Timestamp::now()) {
        Some(shown) => router.layer(Extension(shown)),
        None => router,
    };
    let service = TowerToHyperService::new(router);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))
}
