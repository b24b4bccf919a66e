//! The way of one client to a server: a forwarder of TCP connections that can be closed and opened again, and on which answers may be late.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whether connections are let through.
#[derive(Clone, Copy, Debug)]
struct Gate {
    is_open: bool,
    /// How often all have been cut. Whoever looks late sees that it was done, although it is open again.
    cuts: u64,
}

/// A way to a server on 127.0.0.1. Dropping it closes it for good.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    gate: watch::Sender<Gate>,
    late: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// An open way to the server at `port`.
    pub async fn to(port: u16) -> Result<Self> {
        Self::between(Ipv4Addr::LOCALHOST, port).await
    }

    /// The same, that begins at another address of this host.
    pub async fn between(address: Ipv4Addr, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("cannot listen for the proxy")?;
        let own = listener.local_addr().context("the proxy has no address")?.port();
        let gate = watch::Sender::new(Gate { is_open: true, cuts: 0 });
        let opened = gate.subscribe();
        let late = watch::Sender::new(Duration::ZERO);
        let lateness = late.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, (Ipv4Addr::LOCALHOST, port).into(), opened.clone(), lateness.clone()));
            }
        });
        Ok(Self { port: own, gate, late, task })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and lets none through until it is opened.
    pub fn close(&self) {
        self.gate.send_modify(|gate| gate.is_open = false);
    }

    /// From now on all that the server says arrives so much later, piece by piece; what is said to it does not.
    pub fn delay_answers(&self, by: Duration) {
        self.late.send_replace(by);
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.gate.send_modify(|gate| gate.is_open = true);
    }

    /// Cuts all connections; others are let through at once.
    pub fn cut(&self) {
        self.gate.send_modify(|gate| gate.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        self.task.abort();
    }
}

async fn forward(
    mut client: TcpStream,
    server: SocketAddr,
    mut gate: watch::Receiver<Gate>,
    late: watch::Receiver<Duration>,
) {
    let begun = *gate.borrow_and_update();
    if !begun.is_open {
        return;
    }
    let copied = async {
        let mut server = TcpStream::connect(server).await?;
        let (mut asks, mut answers) = client.split();
        let (mut said, mut heard) = server.split();
        let there = async {
            copy(&mut asks, &mut heard).await?;
            heard.shutdown().await
        };
        let back = async {
            let mut piece = vec![0; 1 << 16];
            loop {
                let length = said.read(&mut piece).await?;
                if length == 0 {
                    return answers.shutdown().await;
                }
                let by = *late.borrow();
                if !by.is_zero() {
                    tokio::time::sleep(by).await;
                }
                answers.write_all(piece.get(..length).unwrap_or_default()).await?;
            }
        };
        tokio::try_join!(there, back)
    };
    // Cancel-safe: what is under way is cut on purpose.
    tokio::select! {
        // An end of either side is the end of the connection, whatever came of it.
        _ = copied => {}
        // So is the end of the proxy.
        _ = gate.wait_for(|gate| !gate.is_open || gate.cuts != begun.cuts) => {}
    }
}
