//! One at a time for each thing that has a name.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::lock;

/// Those things that somebody makes, changes or removes at this moment.
#[derive(Debug)]
pub(super) struct Busy<K>(Mutex<HashMap<K, Arc<AsyncMutex<()>>>>);

impl<K> Default for Busy<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Busy<K> {
    /// Waits until nobody else is at it; others wait for as long as the guard is held.
    pub(super) async fn with(&self, key: &K) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut busy = lock(&self.0);
            busy.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            Arc::clone(busy.entry(key.clone()).or_default())
        };
        mutex.lock_owned().await
    }
}
