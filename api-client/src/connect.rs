//! TCP, proxies and TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

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

/// As the kubeconfig wants it: straight, or through a proxy.
fn dial(config: &Config) -> Result<Dial, Unusable> {
    let mut http = HttpConnector::new();
    // TLS is on top of it.
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEP_ALIVE));
    http.set_connect_timeout(Some(Limits::of(config).connect));
    let Some(proxy) = &config.proxy_url else {
        return Ok(by_tcp(http));
    };
    let unusable = || Unusable::Proxy(redacted(proxy));
    if proxy.host().is_none() {
        return Err(unusable());
    }
    let login = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@')).map(|(login, _)| login);
    match proxy.scheme_str() {
        Some("http") => {
            let mut tunnel = Tunnel::new(proxy.clone(), http);
            if let Some(login) = login {
                let credentials = STANDARD.encode(percent_decode_str(login).collect::<Vec<u8>>());
                let value = HeaderValue::from_str(&format!("Basic {credentials}")).map_err(|_| unusable())?;
                tunnel = tunnel.with_auth(value);
            }
            Ok(by_tcp(tunnel))
        }
        Some("socks5") => {
            let mut socks = SocksV5::new(proxy.clone(), http);
            if let Some((user, password)) = login.and_then(|login| login.split_once(':')) {
                let plain = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
                socks = socks.with_auth(plain(user), plain(password));
            }
            Ok(by_tcp(socks))
        }
        _ => Err(unusable()),
    }
}

/// A proxy without the password that may be in its address.
fn redacted(proxy: &Uri) -> String {
    format!("{}://{}", proxy.scheme_str().unwrap_or_default(), proxy.host().unwrap_or_default())
}
