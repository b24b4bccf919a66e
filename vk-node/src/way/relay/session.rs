//! One connection to the relay, dialled: TLS, and on it HTTP/2, of which the node is the server.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper::server::conn::http2::{Builder, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vk_api_client::Transport;
use vk_api_client::chain;
use vk_relay_core::protocol::{
    ALPN, Leave, Message, NODE_STREAMS, PING_AFTER_SECONDS, PING_TIMEOUT_SECONDS, SEND_BUFFER, STREAM_WINDOW,
};

use super::super::{Counts, Passed};
use super::Relay;
use super::answers::Answers;
use crate::credentials::ClientPair;

/// How long the relay may take to be reached, and how long its handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages wait to be looked at.
const MESSAGES: usize = 4;

/// What it goes by.
type Stream = TokioIo<TlsStream<Transport>>;

/// A connection to the relay.
pub(super) struct Session {
    connection: Pin<Box<Connection<Stream, Answers, TokioExecutor>>>,
    messages: mpsc::Receiver<Message>,
}

impl Session {
    /// Dials. Connections that come by it go to `entrance`.
    pub(super) async fn dial(
        relay: &Relay,
        ca_file: &Path,
        certificate: ClientPair,
        entrance: mpsc::Sender<Passed>,
        counts: Counts,
    ) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(Arc::new(tls(ca_file, certificate)?));
        let host = relay.address.host.as_str();
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no name of a server"))?;
        let url =
            format!("https://{}", relay.address).parse::<http::Uri>().with_context(|| format!("{host} is no host"))?;
        let stream = vk_api_client::connect(&url, relay.socket.as_deref(), STEP_TIMEOUT).await;
        let stream = stream.map_err(|error| anyhow!(error)).context("it cannot be reached")?;
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
        let answers = Answers::new(sender, entrance, counts);
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

    /// Goes on as before until it is `over`, or the relay has another connection of this node; then only with what is open, until
    /// that has ended.
    pub(super) async fn see_off(mut self, over: impl Future<Output = ()>) {
        let mut over = pin!(over);
        loop {
            // Cancel-safe: see `next`; the other only waits.
            tokio::select! {
                next = self.next() => match next {
                    Ok(Message::Leave { why: Leave::Replaced, .. }) => break,
                    // What it says for the second time.
                    Ok(Message::Leave { why: Leave::Stopping, .. } | Message::Welcome { .. } | Message::Refused { .. }) => {}
                    Err(_) => return,
                },
                () = &mut over => break,
            }
        }
        self.connection.as_mut().graceful_shutdown();
        let _ = self.connection.await;
    }
}

fn tls(ca_file: &Path, certificate: ClientPair) -> anyhow::Result<ClientConfig> {
    let file = ca_file.display();
    let pem = std::fs::read(ca_file).with_context(|| format!("cannot read the relay's authority {file}"))?;
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
