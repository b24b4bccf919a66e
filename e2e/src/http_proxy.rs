//! An HTTP proxy as sites have them, whose users get nowhere else: it passes on what CONNECT asks for, to hosts that it knows, for those
//! who show the right user and password.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The longest head of a request.
const HEAD: usize = 8 << 10;

/// A proxy. Dropping it ends it, with all that goes through it.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    login: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// `user:password`.
    login: String,
    /// Where hosts are, by what they are called in requests: `api.example.org:6443`.
    known: HashMap<String, SocketAddr>,
    passed: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
}

impl HttpProxy {
    /// Starts one at an address of this host. `login` is what it asks for, `user:password`.
    pub async fn start(at: Ipv4Addr, login: &str, known: &[(&str, SocketAddr)]) -> Result<Self> {
        let listener = TcpListener::bind((at, 0)).await.context("cannot listen for the proxy")?;
        let address = listener.local_addr().context("the proxy has no address")?;
        let known = known.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let (passed, refused) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { login: login.to_owned(), known, passed, refused });
        let all = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = all.clone();
                connections.spawn(async move {
                    // How it ends is for the two ends to say.
                    let _ = shared.serve(client).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, login: login.to_owned(), shared, task })
    }

    /// Its URL, with what it asks for: as one writes it into `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}@{}", self.login, self.address)
    }

    /// The same with another user and password.
    pub fn url_for(&self, login: &str) -> String {
        format!("http://{login}@{}", self.address)
    }

    /// What it was asked for and has passed on, in that order.
    pub fn passed(&self) -> Vec<String> {
        lock(&self.shared.passed).clone()
    }

    /// What it was asked for and has refused.
    pub fn refused(&self) -> Vec<String> {
        lock(&self.shared.refused).clone()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > HEAD {
                bail!("the head is too long");
            }
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8(head)?;
        let asked = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let shown = format!("basic {}", STANDARD.encode(&self.login)).to_ascii_lowercase();
        let is_known = head.lines().any(|line| {
            let header = line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value));
            header.is_some_and(|(name, value)| name == "proxy-authorization" && value.to_ascii_lowercase() == shown)
        });
        let answer = match self.known.get(asked) {
            _ if !is_known => "407 Proxy Authentication Required",
            None => "403 Forbidden",
            Some(at) => {
                let mut server = TcpStream::connect(at).await?;
                lock(&self.passed).push(asked.to_owned());
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                copy_bidirectional(&mut client, &mut server).await?;
                return Ok(());
            }
        };
        lock(&self.refused).push(asked.to_owned());
        client.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
