//! One connection to the relay, dialled: TLS, and on it HTTP/2, of which the node is the server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http2::{Builder, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vk_node_core::config::RelayConfig;
use vk_record::chain;
use vk_relay_core::protocol::{
    ALPN, Message, NODE_STREAMS, PING_AFTER_SECONDS, PING_TIMEOUT_SECONDS, SEND_BUFFER, STREAM_WINDOW,
};

use super::super::Passed;
use super::answers::Answers;
use crate::credentials::ClientPair;

/// How long the relay may take to be reached, and how long its handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages wait to be looked at.
const MESSAGES: usize = 4;

/// What it goes by.
type Stream = TokioIo<TlsStream<TcpStream>>;

/// A connection to the relay.
pub(super) struct Session {
    connection: Pin<Box<Connection<Stream, Answers, TokioExecutor>>>,
    messages: mpsc::Receiver<Message>,
}

impl Session {
    /// Dials. Connections that come by it go to `entrance`.
    pub(super) async fn dial(
        config: &RelayConfig,
        certificate: ClientPair,
        entrance: mpsc::Sender<Passed>,
    ) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(Arc::new(tls(config, certificate)?));
        let host = config.address.host.as_str();
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no name of a server"))?;
        let stream = timeout(STEP_TIMEOUT, TcpStream::connect((host, config.address.port))).await;
        let stream = stream.context("it does not answer")?.context("it cannot be reached")?;
        // Only slower without.
        let _ = stream.set_nodelay(true);
        let stream = timeout(STEP_TIMEOUT, connector.connect(name, stream)).await;
        let stream = stream.context("its handshake took too long")?.context("it is not the relay that was named")?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            // As large as all streams' windows together: what one of them does not read keeps no other waiting.
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(NODE_STREAMS))
            .max_concurrent_streams(NODE_STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(Duration::from_secs(PING_AFTER_SECONDS))
            .keep_alive_timeout(Duration::from_secs(PING_TIMEOUT_SECONDS));
        let answers = Answers::new(sender, entrance);
        Ok(Self { connection: Box::pin(builder.serve_connection(TokioIo::new(stream), answers)), messages })
    }

    /// The next thing that the relay says. Streams go on only while this is waited for. Cancel-safe.
    ///
    /// # Errors
    /// When the connection has ended: how.
    pub(super) async fn next(&mut self) -> Result<Message, String> {
        // Cancel-safe: a message is there until it is taken, and the connection is only driven.
        tokio::select! {
            biased;
            Some(message) = self.messages.recv() => Ok(message),
            ended = &mut self.connection => Err(match ended {
                Ok(()) => "it was closed".to_owned(),
                Err(error) => chain(&error),
            }),
        }
    }

    /// Goes on with what is open until that has ended. No more comes once the relay `has_said` so, now or later.
    pub(super) async fn see_off(mut self, mut has_said: bool) {
        loop {
            if has_said {
                self.connection.as_mut().graceful_shutdown();
                let _ = self.connection.await;
                return;
            }
            match self.next().await {
                Ok(Message::Leave { .. }) => has_said = true,
                Ok(Message::Welcome { .. } | Message::Refused { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

fn tls(config: &RelayConfig, certificate: ClientPair) -> anyhow::Result<ClientConfig> {
    let file = config.ca_file.display();
    let pem = std::fs::read(&config.ca_file).with_context(|| format!("cannot read the relay's authority {file}"))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&pem) {
        let authority = authority.with_context(|| format!("the relay's authority {file} is no PEM"))?;
        roots.add(authority).with_context(|| format!("the relay's authority {file} cannot be used"))?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("there is no TLS 1.3")?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificate.chain, certificate.key)
        .context("the node's certificate and its key cannot be used together")?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection is to show the certificate of its time.
    config.resumption = Resumption::disabled();
    Ok(config)
}
