//! Connections to what a pod listens on. They are made by the host, through the pipe: the node may be in a container
//! from where the host's ports cannot be reached.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use vk_api_client::chain;
use vk_pipe::client::PipeClient;
use vk_pipe::{StreamEvent, StreamInput, StreamOutput};
use vk_task::DirName;
use vk_task::stream::{DialRequest, DialTarget, StreamEnd};

/// How much may be on its way in one direction.
const BUFFER_BYTES: usize = 8 << 10;

/// Makes connections.
pub(super) trait Dial {
    /// One of them.
    type Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to a port of a host, or of the pod's own address.
    fn dial(&self, host: Option<&str>, port: u16) -> impl Future<Output = Result<Self::Connection, DialError>> + Send;
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// Nothing there wants one. This tells something about the pod.
    Refused(String),
    /// It could not even be tried.
    Pipe(String),
}

/// Has the host connect, by way of the pipe.
pub(super) struct PipeDialer {
    pub(super) pipe: PipeClient,
    pub(super) pod: DirName,
}

impl Dial for PipeDialer {
    type Connection = DuplexStream;

    async fn dial(&self, host: Option<&str>, port: u16) -> Result<DuplexStream, DialError> {
        let target = DialTarget::Probe { host: host.map(str::to_owned), port };
        let asked = self.pipe.dial(&DialRequest { pod: self.pod.clone(), target }).await;
        let (input, mut output) = asked.map_err(|e| DialError::Pipe(chain(&e)))?.split();
        // An empty frame says that it is connected.
        let first = match output.next().await.map_err(|e| DialError::Pipe(chain(&e)))? {
            StreamEvent::Stdout(bytes) => bytes,
            StreamEvent::Ended(StreamEnd::Failed { error }) => return Err(DialError::Refused(error.message)),
            StreamEvent::Ended(_) | StreamEvent::Closed(_) | StreamEvent::Stderr(_) => Bytes::new(),
        };
        let (ours, theirs) = duplex(BUFFER_BYTES);
        // It ends when either side does: dropping the connection hangs up.
        tokio::spawn(async move {
            let _ = carry(theirs, first, input, output).await;
        });
        Ok(ours)
    }
}

/// Carries bytes between a connection and the pipe until either has enough.
async fn carry(
    connection: DuplexStream,
    first: Bytes,
    mut input: StreamInput,
    mut output: StreamOutput,
) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(connection);
    to.write_all(&first).await?;
    let out = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let n = from.read(&mut buffer).await?;
            let read = buffer.get(..n).unwrap_or_default();
            if read.is_empty() {
                return Ok(());
            }
            input.write(Bytes::copy_from_slice(read)).await.map_err(io::Error::other)?;
        }
    };
    let back = async {
        loop {
            match output.next().await.map_err(io::Error::other)? {
                StreamEvent::Stdout(bytes) => to.write_all(&bytes).await?,
                StreamEvent::Closed(_) | StreamEvent::Ended(_) => return to.shutdown().await,
                StreamEvent::Stderr(_) => {}
            }
        }
    };
    // Cancel-safe: a probe asks once and takes one answer; when either direction is at its end, so is the probe.
    tokio::select! {
        end = out => end,
        end = back => end,
    }
}

/// Connects to this machine's own ports, whatever the host: for tests of what is spoken over a connection.
#[cfg(test)]
pub(super) struct TcpDialer;

#[cfg(test)]
impl Dial for TcpDialer {
    type Connection = tokio::net::TcpStream;

    async fn dial(&self, _: Option<&str>, port: u16) -> Result<tokio::net::TcpStream, DialError> {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| DialError::Refused(e.to_string()))
    }
}
