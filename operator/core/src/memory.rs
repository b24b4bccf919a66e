//! What the operator remembers between looks. Losing it costs a few calls, never a wrong decision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use vk_cmd_crds::CmdJob;

use crate::backoff;
use crate::effects::At;
use crate::status::Outcome;

/// The namespace and name of a CmdJob.
type Key = (String, String);

/// For each CmdJob: the last answer to a write of its status, until the watch has caught up with it, and how many looks have
/// failed in a row.
#[derive(Debug, Default)]
pub struct Memory {
    written: HashMap<Key, Arc<CmdJob>>,
    failures: HashMap<Key, u32>,
    /// Since when there is something to write that is not urgent.
    unwritten: HashMap<Key, Duration>,
    /// What became of the last pods of those whose pods are refused, and until when none are made.
    refused: HashMap<Key, Refused>,
    /// The UIDs of those of which this operator knows all pods and the present status: whatever has happened since, it has done.
    sure: HashMap<Key, String>,
}

/// A pod was refused.
#[derive(Clone, Debug)]
struct Refused {
    outcomes: Vec<Outcome>,
    generation: Option<i64>,
    until: Duration,
}

impl Memory {
    /// What the API server has answered to the last write of this CmdJob's status, if that is newer than the cache.
    ///
    /// The event for a pod often arrives before the one for the status that was written in the same look. Deciding on the older
    /// status would be safe, but would end in a write that the API server refuses.
    pub fn newer(&mut self, cached: &CmdJob) -> Option<Arc<CmdJob>> {
        let key = key(at(cached));
        let answer = self.written.get(&key)?;
        if answer.metadata.uid == cached.metadata.uid && version(answer) > version(cached) {
            return Some(Arc::clone(answer));
        }
        self.written.remove(&key);
        None
    }

    /// Keeps the answer to a write of an object that is still in the cache.
    pub fn keep(&mut self, answer: CmdJob) {
        self.written.insert(key(at(&answer)), Arc::new(answer));
    }

    /// How long there has been something to write that is not urgent. `uptime`: the time since the operator's start.
    pub fn unwritten(&mut self, job: At<'_>, uptime: Duration) -> Duration {
        uptime.saturating_sub(*self.unwritten.entry(key(job)).or_insert(uptime))
    }

    /// There is nothing to write any more.
    pub fn written(&mut self, job: At<'_>) {
        self.unwritten.remove(&key(job));
    }

    /// Forgets the failed looks at an object, because one has succeeded.
    pub fn succeeded(&mut self, job: At<'_>) {
        self.failures.remove(&key(job));
        self.refused.remove(&key(job));
    }

    /// A pod of this generation of a job was refused: none is made until then. Whatever names the job meanwhile, its own status not
    /// least, is no reason to ask again: of several jobs for which there is one room, each would take it from the next, without end.
    pub fn refuse(&mut self, job: At<'_>, generation: Option<i64>, outcomes: Vec<Outcome>, until: Duration) {
        self.refused.insert(key(job), Refused { outcomes, generation, until });
    }

    /// What became of the last pods of this generation, if none are to be made yet, and for how long none is. `uptime`: the time since the
    /// operator's start.
    pub fn refused(&self, job: At<'_>, generation: Option<i64>, uptime: Duration) -> Option<(Vec<Outcome>, Duration)> {
        let refused = self.refused.get(&key(job)).filter(|refused| refused.generation == generation)?;
        let left = refused.until.checked_sub(uptime).filter(|left| !left.is_zero())?;
        Some((refused.outcomes.clone(), left))
    }

    /// Counts a failed look, and says how long to wait before the next one.
    pub fn failed(&mut self, job: At<'_>) -> Duration {
        let count = self.failures.entry(key(job)).or_default();
        *count = count.saturating_add(1);
        backoff::after_reconcile(*count)
    }

    /// Whether this operator knows all pods and the present status of a CmdJob.
    pub fn is_sure(&self, job: At<'_>, uid: &str) -> bool {
        self.sure.get(&key(job)).is_some_and(|sure| sure == uid)
    }

    /// It does.
    pub fn be_sure(&mut self, job: At<'_>, uid: &str) {
        self.sure.insert(key(job), uid.to_owned());
    }

    /// It does not: a pod may have been made, for nobody has heard otherwise.
    pub fn be_unsure(&mut self, job: At<'_>) {
        self.sure.remove(&key(job));
    }

    /// Forgets an object that is gone.
    pub fn gone(&mut self, job: At<'_>) {
        let key = key(job);
        self.written.remove(&key);
        self.failures.remove(&key);
        self.unwritten.remove(&key);
        self.sure.remove(&key);
        self.refused.remove(&key);
    }
}

/// Where a CmdJob is.
pub(crate) fn at(job: &CmdJob) -> At<'_> {
    At::of(&job.metadata)
}

fn key(job: At<'_>) -> Key {
    (job.namespace.to_owned(), job.name.to_owned())
}

/// Resource versions of one object can be compared as numbers (documented by Kubernetes since 1.35, true of etcd always).
fn version(job: &CmdJob) -> Option<u128> {
    job.metadata.resource_version.as_deref()?.parse().ok()
}
