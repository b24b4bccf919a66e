//! The way of one client to a server: a forwarder of TCP connections that can be closed and opened again.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
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
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, (Ipv4Addr::LOCALHOST, port).into(), opened.clone()));
            }
        });
        Ok(Self { port: own, gate, task })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and lets none through until it is opened.
    pub fn close(&self) {
        self.gate.send_modify(|gate| gate.is_open = false);
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

async fn forward(mut client: TcpStream, server: SocketAddr, mut gate: watch::Receiver<Gate>) {
    let begun = *gate.borrow_and_update();
    if !begun.is_open {
        return;
    }
    let copied = async {
        let mut server = TcpStream::connect(server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    // Cancel-safe: what is under way is cut on purpose.
    tokio::select! {
        // An end of either side is the end of the connection, whatever came of it.
        _ = copied => {}
        // So is the end of the proxy.
        _ = gate.wait_for(|gate| !gate.is_open || gate.cuts != begun.cuts) => {}
    }
}
