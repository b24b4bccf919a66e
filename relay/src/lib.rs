//! The relay: nodes that nobody can dial dial it, and the API server reaches their kubelet API by it.
//!
//! ```text
//!   API server ── TCP ──▶ a port of the relay's address, each node's own
//!                              │ a stream for each connection, byte for byte
//!                              ▼
//!        node ══ TLS 1.3, both sides known, HTTP/2 with the roles reversed ══▶ the relay's public port
//! ```
//!
//! What goes through is TLS from the API server to the node's kubelet API. The relay can neither read it nor write it: it
//! has no certificate that either side would take. What it decides is in [`vk_relay_core`]; docs/how-to/relay.md has the whole.

mod book;
mod dial;
mod health;
mod line;
mod metrics;
mod open_files;
mod passage;
mod seats;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use vk_relay_core::ports::PortRange;

use self::book::Book;
use self::metrics::Metrics;
use self::seats::Seats;

/// What a relay measures, of one that nobody has dialled, in Prometheus' text format: for the documentation.
///
/// # Errors
/// When two of them have one name.
pub fn measures() -> prometheus::Result<String> {
    Metrics::new().map(|metrics| metrics.text())
}

/// What a relay is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where nodes dial.
    pub listen: SocketAddr,
    /// The address that nodes are told to advertise, which the API server dials.
    pub advertise: IpAddr,
    /// The address whose ports are listened on for the API server.
    pub bind: IpAddr,
    /// Those ports.
    pub ports: PortRange,
    /// How long a port stays with a node that is away, whatever happens.
    pub hold: SignedDuration,
    /// Where it is kept which port is whose; none: nowhere.
    pub state_file: Option<PathBuf>,
    /// The file with the relay's certificate, and the certificates of authorities that lead to what nodes know.
    pub certificate_file: PathBuf,
    /// The file with its key.
    pub key_file: PathBuf,
    /// What it takes on.
    pub limits: Limits,
    /// Where to serve health.
    pub health: Option<SocketAddr>,
    /// How long it goes on for those who are connected after it was told to end.
    pub drain: Duration,
}

/// What a relay takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many nodes are connected at a time.
    pub nodes: usize,
    /// How many connections of the API server are passed on to one node at a time.
    pub streams_per_node: usize,
    /// How many to all nodes. Each costs at most some 400 KiB, where one side does not read.
    pub streams: usize,
    /// How many handshakes are under way at a time; the others wait.
    pub handshakes: usize,
    /// How long whoever dials may take until it is known who it is.
    pub handshake: Duration,
}

/// What the parts share.
struct Relay {
    config: Config,
    book: Book,
    seats: Seats,
    metrics: Metrics,
    /// Places for streams.
    streams: Arc<Semaphore>,
    /// Places for connections to nodes' ports of which nothing has come yet.
    knocking: Arc<Semaphore>,
    /// Whether it was told to end.
    stopping: watch::Sender<bool>,
    /// What is done for each node.
    nodes: TaskTracker,
}

/// How many connections to nodes' ports may be open of which nothing has come yet.
const KNOCKING: usize = 1024;

/// Runs a relay until `shutdown`; then nodes are told to go, what is open goes on for a while, and it ends. `client_ca` is
/// the authority, in PEM, that has signed the nodes' certificates; none while it is not known.
///
/// # Errors
/// When it cannot be started, or cannot go on.
pub async fn run(
    config: Config,
    client_ca: watch::Receiver<Option<Vec<u8>>>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {} for nodes that dial: choose another --listen-address", config.listen)
    })?;
    open_files::raise_for(&config.limits);
    let (book, writer) = Book::open(&config)?;
    let relay = Arc::new(Relay {
        book,
        seats: Seats::default(),
        metrics: Metrics::new().context("cannot set up what is measured")?,
        streams: Arc::new(Semaphore::new(config.limits.streams)),
        knocking: Arc::new(Semaphore::new(KNOCKING)),
        stopping: watch::Sender::new(false),
        nodes: TaskTracker::new(),
        config,
    });
    let doors = tls::Doors::new(&relay.config, client_ca)?;
    let health = health::serve(relay.clone(), doors.current());
    let config = &relay.config;
    info!(
        listen = %config.listen, advertise = %config.advertise, ports = %config.ports, nodes = config.limits.nodes,
        "the relay has started"
    );
    let accept = dial::accept(relay.clone(), listener, doors.current());
    let serve = async {
        // Cancel-safe: whoever has dialled and was not taken dials again; those who were are tasks of their own.
        tokio::select! {
            () = shutdown => Ok(()),
            () = accept => Ok(()),
            () = doors.keep() => Ok(()),
        }
    };
    let work = async {
        let ended = serve.await;
        stop(&relay).await;
        ended
    };
    // Cancel-safe: a probe that gets no answer is asked again; and what is not kept on disk yet is kept by the next start
    // as if it had not happened.
    tokio::select! {
        ended = work => ended,
        failed = health => failed,
        () = writer => Ok(()),
    }
}

/// Tells the nodes to go, and waits until what they have open has ended, for as long as that may take.
async fn stop(relay: &Relay) {
    let nodes = relay.seats.count();
    info!(nodes, "told to end: the nodes are sent away, what is open goes on for up to {:?}", relay.config.drain);
    relay.stopping.send_replace(true);
    relay.nodes.close();
    if timeout(relay.config.drain, relay.nodes.wait()).await.is_err() {
        warn!(streams = relay.metrics.open_streams(), "the time is over: what is still open is cut");
    }
    // What is on its way to the nodes leaves.
    sleep(Duration::from_millis(50)).await;
}
