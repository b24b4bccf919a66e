//! Seeing that logs are written to, or begun anew. One inotify instance serves all readers: a user may have only so many, and shares
//! them with every other program.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::Notify;
use tracing::warn;

use super::lock;

/// What is seen: bytes are added to a file, or a file gets its name.
const MASK: WatchMask = WatchMask::MODIFY.union(WatchMask::CREATE).union(WatchMask::MOVED_TO).union(WatchMask::ONLYDIR);
/// Room for a few events.
const BUFFER_BYTES: usize = 4096;

/// The instance; none if the kernel gives no more of them. Readers then look again from time to time.
#[derive(Default)]
pub(super) struct LogWatch {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    watches: Mutex<Watches>,
    /// The logs that are watched: who waits for each, and how many watch it.
    logs: Mutex<HashMap<WatchDescriptor, (Arc<Notify>, usize)>>,
}

/// A log that is watched, until the value is dropped.
pub(super) struct Watched {
    inner: Arc<Inner>,
    descriptor: WatchDescriptor,
    notify: Arc<Notify>,
}

impl LogWatch {
    /// Makes the instance, and listens to it for as long as the runtime lives.
    pub(super) fn new() -> Self {
        let made = Inotify::init().and_then(|inotify| {
            let watches = Mutex::new(inotify.watches());
            Ok((Arc::new(Inner { watches, logs: Mutex::default() }), inotify.into_event_stream([0; BUFFER_BYTES])?))
        });
        let (inner, mut events) = match made {
            Ok(made) => made,
            Err(e) => {
                warn!("logs are followed with a delay, for the kernel gives no inotify instance: {e}");
                return Self::default();
            }
        };
        let listening = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let Some((notify, _)) = lock(&listening.logs).get(&event.wd) {
                    notify.notify_waiters();
                    // And one ring is kept for a reader that is not waiting just now.
                    notify.notify_one();
                }
            }
        });
        Self { inner: Some(inner) }
    }

    /// Watches the log in the directory at `path`, if that is possible. The directory and not the file, for that is
    /// another one after a rotation.
    pub(super) fn add(&self, path: &Path) -> Option<Watched> {
        let inner = Arc::clone(self.inner.as_ref()?);
        let mut logs = lock(&inner.logs);
        let descriptor = lock(&inner.watches).add(path, MASK).ok()?;
        let (notify, readers) = logs.entry(descriptor.clone()).or_default();
        *readers += 1;
        let notify = Arc::clone(notify);
        drop(logs);
        Some(Watched { inner, descriptor, notify })
    }
}

impl Watched {
    /// Waits until the log is written to.
    pub(super) async fn written(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut logs = lock(&self.inner.logs);
        let Some((_, readers)) = logs.get_mut(&self.descriptor) else { return };
        *readers -= 1;
        if *readers == 0 {
            logs.remove(&self.descriptor);
            // It fails when the log is gone, and its watch with it.
            let _ = lock(&self.inner.watches).remove(self.descriptor.clone());
        }
    }
}

impl std::fmt::Debug for LogWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWatch").field("works", &self.inner.is_some()).finish()
    }
}
