//! TCP, proxies and TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use crate::proxy::{self, Proxy, Speaks};
use crate::transport::Transport;
use crate::{Limits, Unusable};

/// The kernel asks after a peer that is silent for so long: as Go's dialer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What leads to the server's port, through a proxy or a socket that is forwarded if there is one.
pub(crate) type Dial = BoxCloneSyncService<Uri, TokioIo<Transport>, BoxError>;

/// A connection that says which protocol was agreed on.
pub(crate) type Io = MaybeHttpsStream<TokioIo<Transport>>;

/// Connects to the server of a kubeconfig, and makes sure that it is that one.
#[derive(Clone)]
pub(crate) struct Connector {
    /// Offers HTTP/2 and HTTP/1.1.
    pub(crate) either: HttpsConnector<Dial>,
    /// Speaks HTTP/1.1.
    pub(crate) http1: HttpsConnector<Dial>,
}

impl Connector {
    pub(crate) fn new(config: &Config, socket: Option<&Path>) -> Result<Self, Unusable> {
        let mut tls = config.rustls_client_config().map_err(|error| Unusable::Credentials(Box::new(error)))?;
        let resolver: Arc<dyn ResolveServerName + Send + Sync> = match &config.tls_server_name {
            Some(name) => {
                let name = name.clone().try_into().map_err(|_| Unusable::ServerName(name.clone()))?;
                Arc::new(FixedServerNameResolver::new(name))
            }
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let dial = match socket {
            Some(socket) => by_socket(socket, Limits::of(config)),
            None => dial(config)?,
        };
        let http1 = HttpsConnector::new(dial.clone(), tls.clone(), false, resolver.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { either: HttpsConnector::new(dial, tls, false, resolver), http1 })
    }
}

/// By a socket that somebody forwards to the server. A proxy has no part in that.
fn by_socket(socket: &Path, limits: Limits) -> Dial {
    let socket: Arc<Path> = socket.into();
    BoxCloneSyncService::new(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok(TokioIo::new(Transport::by_socket(&socket, limits.connect).await?)) }
    }))
}

/// What leads to the server by TCP.
fn by_tcp<S>(service: S) -> Dial
where
    S: Service<Uri, Response = TokioIo<TcpStream>, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    let transport = |io: TokioIo<TcpStream>| TokioIo::new(Transport::Tcp(io.into_inner()));
    BoxCloneSyncService::new(service.map_err(Into::into).map_response(transport))
}

/// As the kubeconfig or the environment wants it: straight, or through a proxy.
fn dial(config: &Config) -> Result<Dial, Unusable> {
    Ok(through(proxy::of(config)?, Limits::of(config).connect))
}

/// Straight, or through this proxy.
fn through(proxy: Option<Proxy>, within: Duration) -> Dial {
    let mut http = HttpConnector::new();
    // TLS is on top of it.
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEP_ALIVE));
    http.set_connect_timeout(Some(within));
    let Some(Proxy { at, speaks }) = proxy else { return by_tcp(http) };
    let shown = proxy::shown(&at);
    let dial = match speaks {
        Speaks::Connect(None) => by_tcp(Tunnel::new(at, http)),
        Speaks::Connect(Some(login)) => by_tcp(Tunnel::new(at, http).with_auth(login)),
        Speaks::Socks(None) => by_tcp(SocksV5::new(at, http)),
        Speaks::Socks(Some((user, password))) => by_tcp(SocksV5::new(at, http).with_auth(user, password)),
    };
    let why = move |source| -> BoxError { Box::new(NoWayThrough { proxy: shown.clone(), source }) };
    BoxCloneSyncService::new(dial.map_err(why))
}

/// A proxy does not lead to the server.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} does not lead there")]
struct NoWayThrough {
    proxy: String,
    source: BoxError,
}

/// A connection to a server that is no API server: `https://HOST:PORT`. By a socket that somebody forwards to it; else straight, or
/// through the proxy that the environment names.
///
/// # Errors
/// When there is none, or none in this time.
pub async fn connect(server: &Uri, socket: Option<&Path>, within: Duration) -> Result<Transport, BoxError> {
    let dialled = async {
        match socket {
            Some(socket) => Ok(Transport::by_socket(socket, within).await?),
            None => Ok(through(proxy::of_environment(server)?, within).oneshot(server.clone()).await?.into_inner()),
        }
    };
    tokio::time::timeout(within, dialled).await.map_err(|_| TooLong(within))?
}

/// A connection did not come up in time.
#[derive(Debug, thiserror::Error)]
#[error("there was no answer within {} s", .0.as_secs())]
struct TooLong(Duration);

/// Where a connection to the server of a kubeconfig goes first, host and port: to the server, or to its proxy.
///
/// # Errors
/// When the proxy is one that cannot be gone through.
pub fn first_hop(config: &Config) -> Result<(String, u16), Unusable> {
    let proxy = proxy::of(config)?;
    let url = proxy.as_ref().map_or(&config.cluster_url, |proxy| &proxy.at);
    let default = match url.scheme_str() {
        Some("https") => 443,
        Some("socks5" | "socks5h") => 1080,
        _ => 80,
    };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Ok((host, url.port_u16().unwrap_or(default)))
}
