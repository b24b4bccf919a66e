//! Gathers what bears on one CmdJob, from the caches.

use vk_operator_core::dependencies::{self, State};
use vk_operator_core::{Seen, ValidJob};

use crate::cache::Caches;

/// Looks at the job's pods, the nodes that they are on, and the jobs that it waits for.
pub fn observe(caches: &Caches, job: &ValidJob<'_>) -> Seen {
    let after = dependencies::all(job.name, job.after, &|name| {
        let cached = caches.job(job.namespace, name)?;
        // One that cannot be read is not finished.
        Some(cached.0.as_ref().map_or_else(|_| State::default(), State::of))
    });
    caches.floor(|floor| Seen::of(job, floor.pods().of_job(job.uid), floor.nodes(), after))
}
