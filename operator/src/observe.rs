//! Gathers what bears on one CmdJob, from the caches.

use std::collections::BTreeMap;

use vk_cmd_crds::CmdJob;
use vk_operator_core::dependencies::{self, State};
use vk_operator_core::place::{self, NodeState};
use vk_operator_core::{Absence, Seen, ValidJob};

use crate::cache::Caches;

/// Looks at the job's pods, the nodes that they are on, and the jobs that it waits for.
pub fn observe(caches: &Caches, job: &ValidJob<'_>) -> Seen {
    let (pods, nodes, targets) = caches.floor(|floor| {
        let pods = floor.pods().of_job(job.uid);
        let absent = |name: &str| match floor.nodes().get(name).map(|node| &node.state) {
            Some(NodeState::NotReady { since, .. }) => Some(Absence::Silent(*since)),
            Some(NodeState::Ready | NodeState::Cordoned | NodeState::Tainted(_)) => None,
            None => Some(Absence::Gone),
        };
        let nodes: BTreeMap<_, _> =
            pods.values().filter_map(|pod| Some((pod.node.clone(), absent(&pod.node)?))).collect();
        (pods, nodes, place::targets(&job.target, floor.nodes()))
    });
    let after = dependencies::all(job.name, job.after, &|name| {
        let cached = caches.job(job.namespace, name)?;
        // One that cannot be read is not finished.
        Some(cached.0.as_ref().map_or_else(|_| State::default(), state))
    });
    Seen { pods, nodes, targets, after }
}

fn state(job: &CmdJob) -> State {
    State::of(job)
}
