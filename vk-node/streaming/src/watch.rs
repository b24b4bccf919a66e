//! Whether the client is still there, and when it was last heard of or written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection may be without a word from either side: the figure of container runtimes for the kubelet.
pub(crate) const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How often a client is sent something that it need not look at: a client that has gone without a word is found so, and
/// connections through balancers stay open.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a client that has been told the end may take to read the rest and close the connection. Only then nothing of
/// what is on its way is lost, for a socket that is closed while the client still sends throws away what was not read. The
/// figure is the kubelet's.
pub(crate) const LINGER: Duration = Duration::from_secs(15 * 60);

/// Shared by all that use one connection.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    gone: CancellationToken,
    begun: Instant,
    last: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { gone: CancellationToken::new(), begun: Instant::now(), last: Arc::default() }
    }

    /// Whether it is over: cancelled when the client has gone, or nobody here wants it any more.
    pub(crate) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Something has come or gone out.
    pub(crate) fn active(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has come or gone out for [`IDLE`]; ends when the client is gone.
    pub(crate) async fn idle(&self) {
        loop {
            let until = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed)) + IDLE;
            if Instant::now() >= until {
                return;
            }
            // Cancel-safe: both only wait.
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.gone.cancelled() => return,
            }
        }
    }

    /// Waits until the client is gone, for no longer than [`LINGER`].
    pub(crate) async fn lingered(&self) {
        let _ = tokio::time::timeout(LINGER, self.gone.cancelled()).await;
    }
}
