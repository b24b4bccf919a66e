//! The look at how much room the pods use on disk: those that use more than they may are evicted. As in the kubelet, it is
//! done from time to time, and what was decided is remembered until the pod is over (by the requests that end its tasks,
//! where the node is restarted in between).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::SinkExt;
use tracing::{debug, info};
use vk_node_core::admit::PodKey;
use vk_node_core::evict::{Eviction, StorageLimits, StorageUse};

use super::Context;

/// How often: the kubelet's `monitoringInterval`.
const PERIOD: Duration = Duration::from_secs(10);

/// How many pods were evicted, by what for, for `/metrics`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evictions(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Evictions {
    fn count(&self, signal: &'static str) {
        // A panic of another holder leaves the map whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(signal).or_default() += 1;
    }

    /// So far.
    pub(crate) fn so_far(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks for ever.
pub(super) async fn run(context: Arc<Context>) {
    let mut wake = context.wake.clone();
    loop {
        tokio::time::sleep(PERIOD).await;
        for key in look(&context).await {
            // The receiver lives as long as the controller.
            let _ = wake.send(key).await;
        }
    }
}

/// Finds the pods that are to be evicted and are not yet.
async fn look(context: &Context) -> Vec<PodKey> {
    let limited: Vec<(String, (PodKey, StorageLimits))> = context.memory.find(|entry| {
        let pod = entry.admitted.as_ref().ok().filter(|pod| entry.evicted.is_none() && !pod.storage.is_empty())?;
        Some((pod.key.clone(), pod.storage.clone()))
    });
    let runs = |uid: &str| context.mirror.of_pod(uid).iter().any(|task| !task.state.is_final());
    let limited: Vec<_> = limited.into_iter().filter(|(uid, _)| runs(uid)).collect();
    if limited.is_empty() {
        return Vec::new();
    }
    let stats = match context.pipe.stats().await {
        Ok(stats) => stats,
        Err(error) => {
            debug!(%error, "how much room pods use is not known now");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (uid, (key, limits)) in limited {
        let used = StorageUse::of(&uid, &context.mirror.of_pod(&uid), &stats);
        let Some(Eviction { signal, message }) = limits.exceeded(&used) else { continue };
        info!(pod = %key, "evicting it: {message}");
        context.evictions.count(signal);
        context.memory.change(&uid, |entry| entry.evicted = Some(message));
        found.push(key);
    }
    found
}
