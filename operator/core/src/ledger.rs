//! What of a job has been counted: the part of its status that decides.
//!
//! *Pods are the ledger of what is open, the status is the ledger of what is counted, and a pod leaves only after it was
//! counted.* The pod of an attempt is named by index and attempt, and holds a finalizer; so there is never a pod that nobody
//! has counted and nobody can see, and none is counted twice:
//!
//! ```text
//!   made ──► open (attempt = the next one of its index) ──ends──► counted in the status ──► its finalizer may go
//! ```

use std::collections::BTreeMap;

use vk_cmd_crds::{CmdJobStatus, Ledger};

use crate::indexes::IndexSet;
use crate::validate::{Completions, ValidJob};

/// What has been counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// The indexes that have succeeded.
    pub done: IndexSet,
    /// The indexes that have failed, where an index can.
    pub failed: IndexSet,
    /// The attempts at the other indexes that have ended without success.
    pub tries: BTreeMap<u32, Tries>,
    /// The indexes whose open attempt the operator ends of its own accord, without its counting as failed.
    pub stopping: IndexSet,
    /// How many attempts have succeeded.
    pub succeeded: u32,
    /// How many attempts have failed.
    pub failures: u32,
}

/// Attempts at one index that have ended without success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How many there were: the next one has this number.
    pub attempts: u32,
    /// How many of them count as failed.
    pub failures: u32,
}

/// What an attempt's end counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Its index is done.
    Success,
    /// A failure.
    Failure,
    /// A failure, and the index is not tried again.
    FailsIndex,
    /// Nothing: the next attempt is made without anybody's having failed.
    Nothing,
}

impl Counted {
    /// Reads a status. What makes no sense in it was not written by the operator, and counts for nothing: then pods that are
    /// still there are counted again.
    pub fn read(job: &ValidJob<'_>, status: &CmdJobStatus) -> Self {
        let set = |text: &str| IndexSet::parse(text).unwrap_or_default();
        let done = if job.shows_indexes() { status.completed_indexes.as_deref() } else { Some(&*status.ledger.done) };
        Self {
            done: set(done.unwrap_or_default()),
            failed: set(status.failed_indexes.as_deref().unwrap_or_default()),
            tries: status.ledger.tries.split(',').filter_map(read_tries).collect(),
            stopping: set(&status.ledger.stopping),
            succeeded: u32::try_from(status.succeeded).unwrap_or_default(),
            failures: u32::try_from(status.failed).unwrap_or_default(),
        }
    }

    /// Writes it into a status.
    pub fn write(&self, job: &ValidJob<'_>, status: &mut CmdJobStatus) {
        let shown = job.shows_indexes();
        status.completed_indexes = (shown && !self.done.is_empty()).then(|| self.done.to_string());
        status.failed_indexes = job.backoff_limit_per_index.map(|_| self.failed.to_string());
        let tries: Vec<String> = self.tries.iter().map(|(index, tries)| write_tries(*index, *tries)).collect();
        status.ledger = Ledger {
            done: if shown { String::new() } else { self.done.to_string() },
            tries: tries.join(","),
            stopping: self.stopping.to_string(),
        };
        status.succeeded = i32::try_from(self.succeeded).unwrap_or(i32::MAX);
        status.failed = i32::try_from(self.failures).unwrap_or(i32::MAX);
    }

    /// The number of the attempt at this index that is open or comes next.
    pub fn next(&self, index: u32) -> u32 {
        self.tries.get(&index).map_or(0, |tries| tries.attempts)
    }

    /// Whether an attempt has been counted.
    pub fn has(&self, index: u32, attempt: u32) -> bool {
        self.is_over(index) || attempt < self.next(index)
    }

    /// Whether nothing more is to be made at this index.
    pub fn is_over(&self, index: u32) -> bool {
        self.done.contains(index) || self.failed.contains(index)
    }

    /// Counts the end of an attempt.
    pub fn count(&mut self, index: u32, attempt: u32, entry: Entry) {
        self.stopping.remove(index);
        let fails = matches!(entry, Entry::Failure | Entry::FailsIndex);
        self.failures = self.failures.saturating_add(fails.into());
        match entry {
            Entry::Success => {
                self.succeeded = self.succeeded.saturating_add(1);
                self.done.insert(index);
                self.tries.remove(&index);
            }
            Entry::FailsIndex => {
                self.failed.insert(index);
                self.tries.remove(&index);
            }
            Entry::Failure | Entry::Nothing => {
                let tries = self.tries.entry(index).or_default();
                tries.attempts = attempt.saturating_add(1);
                tries.failures = tries.failures.saturating_add(fails.into());
            }
        }
    }

    /// How many attempts at this index have failed.
    pub fn failures_at(&self, index: u32) -> u32 {
        self.tries.get(&index).map_or(0, |tries| tries.failures)
    }

    /// Leaves out what is no longer asked for: the indexes of a job that was made smaller. From batch/v1 Job, which forgets
    /// them too: if it is made larger again, they are tried again. `made`: the attempts whose pods are there, so that none of
    /// them is taken for the next one.
    #[must_use]
    pub fn fitted(mut self, completions: Completions, made: impl Iterator<Item = (u32, u32)>) -> Self {
        let Completions::Of(total) = completions else { return self };
        let before = self.done.len();
        for (index, attempt) in made.filter(|(index, _)| *index >= total) {
            if self.is_over(index) {
                let tries = self.tries.entry(index).or_default();
                tries.attempts = tries.attempts.max(attempt.saturating_add(1));
            }
        }
        self.done = self.done.cut(total);
        self.failed = self.failed.cut(total);
        self.succeeded = self.succeeded.saturating_sub(before.saturating_sub(self.done.len()));
        self
    }
}

fn read_tries(text: &str) -> Option<(u32, Tries)> {
    let (index, counts) = text.split_once(':')?;
    let (attempts, failures) = counts.split_once('/')?;
    Some((index.parse().ok()?, Tries { attempts: attempts.parse().ok()?, failures: failures.parse().ok()? }))
}

fn write_tries(index: u32, Tries { attempts, failures }: Tries) -> String {
    format!("{index}:{attempts}/{failures}")
}
