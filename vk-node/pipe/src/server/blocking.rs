//! Work that waits for the disk, off the one thread that serves everyone.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// How many such works go on at once. They mostly wait for the disk to say that something is durable, and the kernel
/// makes many things durable in one go: more at once is faster, up to a point.
const AT_ONCE: usize = 24;

/// Runs it, so many at once.
#[derive(Debug)]
pub(super) struct Blocking {
    permits: Arc<Semaphore>,
}

impl Default for Blocking {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Blocking {
    /// Runs `work` to its end, whether or not somebody still waits for it.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed; if it were, working without its bound would still be right.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let worker = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match worker.await {
            Ok(value) => value,
            Err(e) => match e.try_into_panic() {
                // A panic in the work is a panic here, as if it had been called.
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down; nobody will see what comes after this.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
