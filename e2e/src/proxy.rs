//! The way of one client to a server: a forwarder of TCP connections that can be closed and opened again.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A way to a server on 127.0.0.1. Dropping it closes it for good.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    is_open: watch::Sender<bool>,
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
        let is_open = watch::Sender::new(true);
        let opened = is_open.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, (Ipv4Addr::LOCALHOST, port).into(), opened.clone()));
            }
        });
        Ok(Self { port: own, is_open, task })
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and lets none through until it is opened.
    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow_and_update() {
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
        _ = is_open.wait_for(|open| !open) => {}
    }
}
