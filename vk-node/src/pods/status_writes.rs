//! How many statuses were written, for `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatusWrites(Arc<[AtomicU64; 2]>);

impl StatusWrites {
    pub(super) fn count(&self, succeeded: bool) {
        let [written, failed] = &*self.0;
        let counter = if succeeded { written } else { failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that went well, and those that failed.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        let [written, failed] = &*self.0;
        (written.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}
