//! Trying out that the far end listens where the API server is to come to: by a connection to there through the tunnel itself, out
//! and back in again.
//!
//! sshd grants a forward and listens on its loopback address only, without a word, where its administrator has not allowed more.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use vk_node_core::facts::Endpoint;
use vk_node_core::tunnel::Forward;
use vk_node_core::tunnel::forward::Elsewhere;
use vk_node_core::tunnel::words::NotOpened;

use super::ssh;

/// How long the answer may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long the word for why there was none may take after that.
const WORD_WITHIN: Duration = Duration::from_millis(500);
/// What no TLS server takes for a beginning: it says so, and that is an answer.
const NO_HELLO: &[u8] = b"\n\n\n\n\n\n\n\n";

/// What ssh says while something is tried out.
#[derive(Debug, Default)]
pub(super) struct Ear(Mutex<Option<Vec<NotOpened>>>);

impl Ear {
    /// Takes what was said, if something is being tried out. What is said of another connection at that moment is said of its next
    /// try, too.
    pub(super) fn takes(&self, said: &NotOpened) -> bool {
        let mut ear = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ear.as_mut().is_some_and(|heard| {
            heard.push(said.clone());
            true
        })
    }

    fn listen(&self) -> Listening<'_> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        Listening(self)
    }
}

/// Nothing is taken any more when it is dropped.
struct Listening<'a>(&'a Ear);

impl Listening<'_> {
    fn heard(&self) -> Vec<NotOpened> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Tries it out, by way of the socket `by`. It has failed only where it is known to: a server may not let us try.
pub(super) async fn prove(
    ear: &Ear,
    program: &Path,
    control: &Path,
    by: PathBuf,
    at: SocketAddr,
) -> Result<(), Elsewhere> {
    let listening = ear.listen();
    let _ = std::fs::remove_file(&by);
    let forward = Forward::Out { socket: by.clone(), to: Endpoint { host: at.ip().to_string(), port: at.port() } };
    if ssh::order(program, control, &forward).await.is_err() {
        return Ok(());
    }
    let answered = matches!(timeout(WITHIN, answers(&by)).await, Ok(Ok(true)));
    if !answered {
        sleep(WORD_WITHIN).await;
    }
    ssh::cancel(program, control, &forward).await;
    let _ = std::fs::remove_file(&by);
    let is_unreachable = listening.heard().iter().any(|said| matches!(said, NotOpened::Unreachable { .. }));
    if !answered && is_unreachable { Err(Elsewhere { at }) } else { Ok(()) }
}

async fn answers(socket: &Path) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(NO_HELLO).await?;
    Ok(stream.read(&mut [0; 16]).await? > 0)
}
