//! What the operator remembers between reconciles. Losing it costs a few calls, never a wrong decision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use vk_cmd_crds::CmdJob;
use vk_operator_core::backoff;

/// The namespace and name of a CmdJob.
type Key = (String, String);

/// For each CmdJob: the last answer to a write of its status, until the watch has caught up with it, and how many reconciles
/// have failed in a row.
#[derive(Debug, Default)]
pub struct Memory {
    written: Mutex<HashMap<Key, Arc<CmdJob>>>,
    failures: Mutex<HashMap<Key, u32>>,
    /// Since when there is something to write that is not urgent.
    unwritten: Mutex<HashMap<Key, Instant>>,
}

impl Memory {
    /// What the API server has answered to the last write of this CmdJob's status, if that is newer than the cache.
    ///
    /// The event for a pod often arrives before the one for the status that was written in the same reconcile. Deciding on
    /// the older status would be safe, but would end in a write that the API server refuses.
    pub fn newer(&self, cached: &CmdJob) -> Option<Arc<CmdJob>> {
        let mut written = lock(&self.written);
        let key = key(cached);
        let answer = written.get(&key)?;
        if answer.metadata.uid == cached.metadata.uid && version(answer) > version(cached) {
            return Some(Arc::clone(answer));
        }
        written.remove(&key);
        None
    }

    /// Keeps the answer to a write of an object that is still in the cache.
    pub fn keep(&self, answer: CmdJob) {
        lock(&self.written).insert(key(&answer), Arc::new(answer));
    }

    /// How long there has been something to write that is not urgent.
    pub fn unwritten(&self, job: &CmdJob) -> Duration {
        lock(&self.unwritten).entry(key(job)).or_insert_with(Instant::now).elapsed()
    }

    /// There is nothing to write any more.
    pub fn written(&self, job: &CmdJob) {
        lock(&self.unwritten).remove(&key(job));
    }

    /// Forgets the failed reconciles of an object, because one has succeeded.
    pub fn succeeded(&self, job: &CmdJob) {
        lock(&self.failures).remove(&key(job));
    }

    /// Counts a failed reconcile, and says how long to wait before the next one.
    pub fn failed(&self, namespace: &str, name: &str) -> Duration {
        let mut failures = lock(&self.failures);
        let count = failures.entry((namespace.to_owned(), name.to_owned())).or_default();
        *count = count.saturating_add(1);
        backoff::after_reconcile(*count)
    }

    /// Forgets an object that is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        lock(&self.written).remove(&key);
        lock(&self.failures).remove(&key);
        lock(&self.unwritten).remove(&key);
    }
}

fn key(job: &CmdJob) -> Key {
    (job.namespace().unwrap_or_default(), job.name_any())
}

/// Resource versions of one object can be compared as numbers (documented by Kubernetes since 1.35, true of etcd always).
fn version(job: &CmdJob) -> Option<u128> {
    job.metadata.resource_version.as_deref()?.parse().ok()
}

/// A panic elsewhere does not spoil a map.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
