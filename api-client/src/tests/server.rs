//! A server that keeps to its limits, and goes away in every way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use http::{Request, Response, Version};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// How long the answer to `/much` is, in bytes.
pub(super) const MUCH: usize = 1 << 20;

/// What the connections that are open are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Serve,
    /// Say the second word.
    Speak,
    /// End when what is under way has ended, and begin with nothing more.
    Leave,
    /// Stay open and do nothing.
    Freeze,
    /// End at once.
    Drop,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Setup {
    /// How many streams there may be on a connection.
    pub(super) streams: Option<u32>,
    /// After how many requests a connection goes away.
    pub(super) requests: Option<usize>,
    /// Whether the first request of a connection is refused unseen.
    pub(super) refuses: bool,
    pub(super) is_http1: bool,
    pub(super) is_plain: bool,
}

pub(super) struct Server {
    address: SocketAddr,
    certificate: Vec<u8>,
    setup: Setup,
    orders: watch::Sender<Order>,
    opened: Arc<AtomicUsize>,
    open: watch::Receiver<usize>,
}

impl Server {
    pub(super) async fn start(setup: Setup) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !setup.is_http1 {
            tls.alpn_protocols.insert(0, b"h2".to_vec());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, ordered) = watch::channel(Order::Serve);
        let opened = Arc::new(AtomicUsize::new(0));
        let (count, open) = watch::channel(0);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let counted = opened.clone();
        tokio::spawn(async move {
            let count = Arc::new(count);
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, opened, count) = (acceptor.clone(), counted.clone(), count.clone());
                let mut ordered = ordered.clone();
                tokio::spawn(async move {
                    ordered.mark_unchanged();
                    if setup.is_plain {
                        opened.fetch_add(1, Ordering::Relaxed);
                        count.send_modify(|count| *count += 1);
                        serve(TokioIo::new(tcp), setup, ordered).await;
                    } else {
                        let Ok(tls) = acceptor.accept(tcp).await else { return };
                        opened.fetch_add(1, Ordering::Relaxed);
                        count.send_modify(|count| *count += 1);
                        if setup.refuses {
                            refuse_one(tls).await;
                        } else {
                            serve(TokioIo::new(tls), setup, ordered).await;
                        }
                    }
                    count.send_modify(|count| *count -= 1);
                });
            }
        });
        Self { address, certificate: cert.der().to_vec(), setup, orders, opened, open }
    }

    pub(super) fn config(&self) -> Config {
        let scheme = if self.setup.is_plain { "http" } else { "https" };
        let mut config = Config::new(format!("{scheme}://{}", self.address).parse().unwrap());
        config.root_cert = Some(vec![self.certificate.clone()]);
        config
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits until no more than so many are open.
    pub(super) async fn until_open(&self, most: usize) {
        let mut open = self.open.clone();
        let reached = open.wait_for(|open| *open <= most);
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("idle connections are closed").unwrap();
    }

    /// Tells those that are open now.
    pub(super) fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }
}

async fn serve<T: Read + Write + Unpin + Send + 'static>(io: T, setup: Setup, mut ordered: watch::Receiver<Order>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let full = Arc::new(tokio::sync::Notify::new());
    let orders = ordered.clone();
    let service = {
        let (seen, full) = (seen.clone(), full.clone());
        service_fn(move |request: Request<Incoming>| {
            if Some(seen.fetch_add(1, Ordering::Relaxed) + 1) == setup.requests {
                full.notify_one();
            }
            answer(request, orders.clone())
        })
    };
    let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(setup.streams.unwrap_or(100));
    let mut connection = std::pin::pin!(server.serve_connection(io, service));
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = full.notified() => connection.as_mut().graceful_shutdown(),
            changed = ordered.changed() => {
                let order = changed.map_or(Order::Drop, |()| *ordered.borrow());
                match order {
                    Order::Serve | Order::Speak => {}
                    Order::Leave => connection.as_mut().graceful_shutdown(),
                    Order::Freeze => return std::future::pending().await,
                    Order::Drop => return,
                }
            }
        }
    }
}

/// Refuses the first request, and answers those after it.
async fn refuse_one<T: AsyncRead + AsyncWrite + Unpin>(io: T) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut is_first = true;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        if std::mem::take(&mut is_first) {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"at last"), true).unwrap();
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    mut orders: watch::Receiver<Order>,
) -> Result<Response<StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>, Infallible> {
    let word = |word: &'static str| Ok(Frame::data(Bytes::from_static(word.as_bytes())));
    let body = match request.uri().path() {
        "/watch" => {
            let second = async move {
                let _ = orders.wait_for(|order| *order == Order::Speak).await;
                word("second\n")
            };
            let rest = stream::once(second).chain(stream::pending());
            stream::once(std::future::ready(word("first\n"))).chain(rest).boxed()
        }
        "/never" => std::future::pending().await,
        "/much" => stream::iter((0..MUCH / 4096).map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; 4096]))))).boxed(),
        _ => stream::iter([word(if request.version() == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" })]).boxed(),
    };
    Ok(Response::new(StreamBody::new(body)))
}

/// A proxy for one connection, and what it was asked.
pub(super) async fn proxy() -> (SocketAddr, impl Future<Output = Result<String, oneshot::error::RecvError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    let relayed = async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(client.read_u8().await.unwrap());
        }
        let asked = String::from_utf8(asked).unwrap();
        let mut server = TcpStream::connect(asked.split(' ').nth(1).unwrap()).await.unwrap();
        tell.send(asked).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    };
    tokio::spawn(relayed.boxed());
    (address, told)
}

/// Forwards a socket to a server, as ssh does, until the test ends.
pub(super) fn forward(socket: &std::path::Path, to: SocketAddr) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
}
