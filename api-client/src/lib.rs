//! The way to an API server: [`kube`]'s client over connections of our own.
//!
//! ```text
//!   kube::Client ──▶ base URL, retries, credentials ──▶ Wire ─┬─ the server speaks HTTP/2 ──▶ Pool ─┬─▶ Connection
//!                                                             │                                     ├─▶ Connection
//!                                                             │                                     └─▶ …
//!                                                             └─ it does not ──▶ a connection for each request under way
//! ```
//!
//! The kubelet and all of client-go speak HTTP/2: requests and watches share a connection, which an API server lets 100 of
//! them do. [`kube`] itself speaks HTTP/1.1, where each watch is a TLS connection of its own, with its buffers here and a
//! few goroutines there. hyper-util's client for HTTP/2 has one connection for each host, on which a request that finds it
//! full waits for one that ends: behind a hundred watches that is for ever. So there is a pool of connections here, which
//! grows when all are full, as that of Go's `net/http` does.
//!
//! Whether the server speaks HTTP/2 is found out by the TLS handshake (ALPN) of the first connection. What does not speak
//! TLS is spoken to in HTTP/1.1.

mod body;
mod call;
mod chain;
mod connect;
mod observed;
mod pool;
mod proxy;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::path::Path;
use std::time::Duration;

use kube::client::{ClientBuilder, ConfigExt, retry::RetryPolicy};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

pub use call::{CallError, call_within};
pub use chain::chain;
use connect::Connector;
pub use connect::{connect, first_hop};
use observed::Observed;
pub use observed::{Ended, Observer};
pub use transport::Transport;
use wire::Wire;

/// What a [`Client`] cannot be made of.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The credentials, or the certificates that the server is known by.
    #[error("the kubeconfig's credentials or certificates cannot be used")]
    Credentials(#[source] Box<kube::Error>),
    /// The name that the server's certificate is to be for.
    #[error("the kubeconfig's tls-server-name {0:?} is neither a host name nor an address")]
    ServerName(String),
    /// The proxy.
    #[error(
        "the proxy {0:?} (the kubeconfig's proxy-url, or $HTTPS_PROXY) cannot be used: it must be http:// or socks5://, with a host"
    )]
    Proxy(String),
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Until a connection is up, TLS and HTTP/2 included.
    connect: Duration,
    /// The longest silence while an answer is awaited, or the next piece of one.
    read: Option<Duration>,
    /// The longest time until a piece of a request is taken (HTTP/1.1).
    write: Option<Duration>,
    /// A connection that is silent for so long is asked whether it is there (HTTP/2).
    ask_after: Duration,
    /// It is lost when it does not answer that in time.
    answer_within: Duration,
    /// How long a connection stays open that nobody uses.
    idle: Duration,
}

impl Limits {
    /// As client-go's dialer: `k8s.io/client-go/transport/cache.go`.
    const CONNECT: Duration = Duration::from_secs(30);
    /// As the kubelet's: `HTTP2_READ_IDLE_TIMEOUT_SECONDS` in `k8s.io/apimachinery/pkg/util/net/http.go`.
    const ASK_AFTER: Duration = Duration::from_secs(30);
    /// As the kubelet's: `HTTP2_PING_TIMEOUT_SECONDS`, there too.
    const ANSWER_WITHIN: Duration = Duration::from_secs(15);
    /// As `http.DefaultTransport` of Go, which client-go takes it from.
    const IDLE: Duration = Duration::from_secs(90);

    fn of(config: &Config) -> Self {
        Self {
            connect: config.connect_timeout.unwrap_or(Self::CONNECT),
            read: config.read_timeout,
            write: config.write_timeout,
            ask_after: Self::ASK_AFTER,
            answer_within: Self::ANSWER_WITHIN,
            idle: Self::IDLE,
        }
    }
}

/// What a kubeconfig says, and nothing of the environment: that counts when connections are made.
///
/// # Errors
/// When it does not lead to a cluster.
pub async fn config(kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    let proxy = proxy::of_kubeconfig(&kubeconfig);
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.proxy_url = proxy;
    Ok(config)
}

/// The same of what is where kubectl looks for a kubeconfig; without one, of the pod's own ServiceAccount.
///
/// # Errors
/// When there is neither.
pub async fn infer() -> Result<Config, InferConfigError> {
    let mut config = Config::infer().await?;
    config.proxy_url = Kubeconfig::read().ok().as_ref().and_then(proxy::of_kubeconfig);
    Ok(config)
}

/// A client for the API server that `config` leads to, through the kubeconfig's proxy or that of the environment if there is one. It connects when it is first used.
///
/// Must be called in a tokio runtime.
///
/// # Errors
/// When credentials, certificates, names or the proxy of the kubeconfig cannot be used.
pub fn client(config: &Config) -> Result<Client, Unusable> {
    limited(config, Limits::of(config))
}

/// The same, and somebody is told how each request has ended.
///
/// # Errors
/// As [`client`].
pub fn observed(config: &Config, observer: Observer) -> Result<Client, Unusable> {
    build(config, Limits::of(config), None, Some(observer))
}

/// As [`client`], by a Unix socket that somebody forwards to the server, as `ssh -L socket:host:port` does. Where it is not there, it
/// is waited for as long as a connection may take. The server is the one of `config` all the same: its certificate must be for
/// that name. A proxy of `config` has no part in it.
///
/// # Errors
/// As [`client`].
pub fn client_by_socket(config: &Config, socket: &Path) -> Result<Client, Unusable> {
    build(config, Limits::of(config), Some(socket), None)
}

fn limited(config: &Config, limits: Limits) -> Result<Client, Unusable> {
    build(config, limits, None, None)
}

fn build(
    config: &Config,
    limits: Limits,
    socket: Option<&Path>,
    observer: Option<Observer>,
) -> Result<Client, Unusable> {
    let unusable = |error| Unusable::Credentials(Box::new(error));
    let wire = Wire::new(&config.cluster_url, Connector::new(config, socket)?, limits);
    let retries = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries)
        .option_layer(config.auth_layer().map_err(unusable)?)
        .layer(config.extra_headers_layer().map_err(unusable)?)
        .service(Observed { wire, observer });
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}
