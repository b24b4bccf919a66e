//! The kubelet's API of a node, asked directly: with any credentials or none, as the API server never would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Node;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LIMIT: Duration = Duration::from_secs(30);

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What a client shows of itself.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// In the TLS handshake.
    pub certificate: Option<Certificate>,
    /// In the header `Authorization`.
    pub token: Option<String>,
}

/// What a request was answered with.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The whole body; empty where the protocol was switched.
    pub body: String,
    /// The certificate that the node has shown.
    pub served: CertificateDer<'static>,
}

/// Where a node has its kubelet's API.
#[derive(Debug, Clone, Copy)]
pub struct Kubelet {
    address: SocketAddr,
}

impl Kubelet {
    /// That of a node.
    pub fn of(node: &Node) -> Result<Self> {
        let status = node.status.as_ref().context("the node has no status")?;
        let endpoint = status.daemon_endpoints.as_ref().and_then(|all| all.kubelet_endpoint.as_ref());
        let port = endpoint.context("the node does not say its port")?.port;
        let addresses = status.addresses.as_deref().unwrap_or_default();
        let address = addresses.iter().find(|address| address.type_ == "InternalIP");
        let address = &address.context("the node does not say its address")?.address;
        Ok(Self { address: SocketAddr::new(address.parse()?, u16::try_from(port)?) })
    }

    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// Makes one request on a connection of its own. A GET may ask to become a WebSocket, as `kubectl exec` does.
    pub async fn ask(&self, who: &Who, method: &Method, path: &str, web_socket: bool) -> Result<Answer> {
        let asked = self.ask_for_long(who, method, path, web_socket);
        tokio::time::timeout(LIMIT, asked).await.with_context(|| format!("no answer to {method} {path}"))?
    }

    async fn ask_for_long(&self, who: &Who, method: &Method, path: &str, web_socket: bool) -> Result<Answer> {
        let stream = TcpStream::connect(self.address).await.context("cannot reach the kubelet's API")?;
        let connector = TlsConnector::from(Arc::new(tls(who, Arc::new(AnyServer))?));
        let stream = connector.connect(ServerName::from(self.address.ip()), stream).await.context("no handshake")?;
        let served = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
        let served = served.clone().into_owned();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        if let Some(token) = &who.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if web_socket {
            request = request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
                .header(header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io");
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = answer.status();
        let body = match status {
            StatusCode::SWITCHING_PROTOCOLS => Bytes::new(),
            _ => answer.into_body().collect().await?.to_bytes(),
        };
        connection.abort();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), served })
    }

    /// Shakes hands as a client that trusts only what `authority` (PEM) has signed for the address that it dials, which
    /// is what an API server with `--kubelet-certificate-authority` is.
    pub async fn verify(&self, authority: &str) -> Result<CertificateDer<'static>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let connector = TlsConnector::from(Arc::new(tls(&Who::default(), verifier)?));
        let stream = TcpStream::connect(self.address).await?;
        let stream = connector.connect(ServerName::from(self.address.ip()), stream).await?;
        let served = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
        Ok(served.clone().into_owned())
    }
}

/// What connects as `who`, to any server, with a handshake in full each time.
pub fn connector(who: &Who) -> Result<TlsConnector> {
    let mut config = tls(who, Arc::new(AnyServer))?;
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn tls(who: &Who, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match &who.certificate {
        Some(Certificate { certificate, key }) => config.with_client_auth_cert(
            CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?,
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
        None => config.with_no_client_auth(),
    })
}

/// Takes any server for what it says: it is the client that is under test.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
