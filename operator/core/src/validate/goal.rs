//! What is asked for: where, how many successes, how many at a time, and which failures are put up with. Meanings and defaults
//! are batch/v1 Job's, but for `backoffLimit`, whose default is 0.

use std::collections::BTreeMap;

use vk_cmd_crds::{CmdJobSpec, CompletionMode, NodeName, PodFailurePolicyAction};

use super::{Problem, Problems};
use crate::indexes::IndexSet;

/// Where to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// On this node.
    Node(NodeName),
    /// On any node of this fleet.
    Fleet(&'a str),
    /// On any node with these labels.
    Labels(&'a BTreeMap<String, String>),
}

/// How many successes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completions {
    /// So many.
    Of(u32),
    /// One, by whichever attempt; then what runs is waited for. batch/v1 Job's work queue.
    Any,
    /// One on each node.
    EveryNode,
}

/// One rule of a success policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule {
    /// The indexes that it is about; none: all.
    pub indexes: Option<IndexSet>,
    /// How many of them must have succeeded; none: all of them.
    pub count: Option<u32>,
}

/// All of it.
pub(super) struct Goal<'a> {
    pub(super) target: Target<'a>,
    pub(super) completions: Completions,
    pub(super) parallelism: u32,
    pub(super) indexed: bool,
    pub(super) backoff_limit: u32,
    pub(super) backoff_limit_per_index: Option<u32>,
    pub(super) max_failed_indexes: Option<u32>,
    pub(super) success_policy: Vec<SuccessRule>,
}

/// Reads it.
pub(super) fn read<'a>(spec: &'a CmdJobSpec, problems: &mut Problems) -> Option<Goal<'a>> {
    let target = problems.ok(target(spec));
    let indexed = spec.completion_mode == CompletionMode::Indexed;
    let per_index = natural(problems, "spec.backoffLimitPerIndex", spec.backoff_limit_per_index);
    let completions = natural(problems, "spec.completions", spec.completions);
    let parallelism = natural(problems, "spec.parallelism", spec.parallelism);
    let backoff_limit = natural(problems, "spec.backoffLimit", spec.backoff_limit);
    let max_failed_indexes = natural(problems, "spec.maxFailedIndexes", spec.max_failed_indexes);
    combinations(spec, indexed, problems);
    let success_policy = success_policy(spec, problems);
    // From batch/v1 Job: 1 and 1; but with parallelism alone, the first success is enough.
    let (completions, at_a_time) = match completions {
        _ if spec.every_node => (Completions::EveryNode, u32::MAX),
        Some(total) => (Completions::Of(total), 1),
        None if parallelism.is_some() => (Completions::Any, 1),
        None => (Completions::Of(1), 1),
    };
    Some(Goal {
        target: target?,
        completions,
        parallelism: parallelism.unwrap_or(at_a_time),
        indexed,
        backoff_limit: backoff_limit.unwrap_or(if per_index.is_some() { u32::MAX } else { 0 }),
        backoff_limit_per_index: per_index,
        max_failed_indexes,
        success_policy,
    })
}

fn natural(problems: &mut Problems, field: &'static str, value: Option<i32>) -> Option<u32> {
    problems.least(field, value.unwrap_or_default().into(), 0);
    u32::try_from(value?).ok()
}

fn target(spec: &CmdJobSpec) -> Result<Target<'_>, Problem> {
    let target = &spec.target;
    match (&target.node, &target.fleet, &target.node_selector) {
        (Some(node), None, None) => NodeName::parse(node).map(Target::Node).map_err(Problem::Node),
        (None, Some(fleet), None) => Ok(Target::Fleet(fleet)),
        (None, None, Some(labels)) => Ok(Target::Labels(labels)),
        (None, None, None) => Err(Problem::NoTarget),
        _ => Err(Problem::Targets),
    }
}

/// The most completions of a job whose indexes fail alone, without further limits; and the most parallelism of an Indexed one.
const MANY: i32 = 100_000;
/// What the further limits are.
const LIMIT_OF_MANY: i32 = 10_000;

/// What the CEL rules of the resource say too, for objects that are older than those.
fn combinations(spec: &CmdJobSpec, indexed: bool, problems: &mut Problems) {
    let every_node = spec.every_node;
    let fails_index = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    let fails_index = fails_index.into_iter().any(|rule| rule.action == PodFailurePolicyAction::FailIndex);
    let many = spec.backoff_limit_per_index.is_some() && spec.completions.is_some_and(|all| all > MANY);
    let max_failed = spec.max_failed_indexes;
    for (wrong, why) in [
        (
            every_node && spec.target.node.is_some(),
            "spec.everyNode is about the nodes of a fleet or of a nodeSelector: with one node, leave it out",
        ),
        (
            every_node && (indexed || spec.completions.is_some()),
            "with spec.everyNode the nodes are what is counted: leave completions and completionMode out",
        ),
        (
            indexed && spec.completions.is_none() && spec.parallelism.is_some(),
            "an Indexed job needs spec.completions: how many indexes there are",
        ),
        (
            indexed && spec.parallelism.is_some_and(|most| most > MANY),
            "spec.parallelism of an Indexed job is at most 100000",
        ),
        (
            spec.backoff_limit_per_index.is_some() && !indexed && !every_node,
            "spec.backoffLimitPerIndex is for jobs that have indexes: set completionMode: Indexed, or use backoffLimit",
        ),
        (
            max_failed.is_some() && spec.backoff_limit_per_index.is_none(),
            "spec.maxFailedIndexes needs backoffLimitPerIndex, by which an index can fail alone",
        ),
        (
            max_failed
                .is_some_and(|most| most > spec.completions.unwrap_or(if every_node { MANY } else { 1 }).min(MANY)),
            "spec.maxFailedIndexes is at most completions, and at most 100000",
        ),
        (
            many && max_failed.is_none_or(|most| most > LIMIT_OF_MANY),
            "with spec.backoffLimitPerIndex and more than 100000 completions, maxFailedIndexes must be set, to 10000 at most",
        ),
        (
            many && spec.parallelism.is_some_and(|most| most > LIMIT_OF_MANY),
            "with spec.backoffLimitPerIndex and more than 100000 completions, parallelism is at most 10000",
        ),
        (
            spec.success_policy.is_some() && !indexed,
            "spec.successPolicy is for jobs that have indexes: set completionMode: Indexed",
        ),
        (
            fails_index && spec.backoff_limit_per_index.is_none(),
            "the action FailIndex of spec.podFailurePolicy needs backoffLimitPerIndex",
        ),
    ] {
        if wrong {
            problems.say(Problem::Fields(why));
        }
    }
}

/// From batch/v1 Job (`validateSuccessPolicyRule`). What stands in `succeededIndexes` is looked at here only: by the API server's
/// reckoning, a CEL rule that reads so long a text might cost too much.
fn success_policy(spec: &CmdJobSpec, problems: &mut Problems) -> Vec<SuccessRule> {
    let completions = u32::try_from(spec.completions.unwrap_or(1)).unwrap_or_default();
    let rules = spec.success_policy.iter().flat_map(|policy| &policy.rules).enumerate();
    rules
        .filter_map(|(rule, read)| {
            let indexes =
                read.succeeded_indexes.as_deref().map(|text| IndexSet::parse_of(text, completions)).transpose();
            let indexes = problems.ok(indexes.map_err(|why| Problem::Indexes { rule, why }))?;
            let count = read.succeeded_count.and_then(|count| u32::try_from(count).ok());
            let most = indexes.as_ref().map_or(completions, IndexSet::len);
            if let Some(count) = count.filter(|count| *count > most) {
                problems.say(Problem::SucceededCount { rule, count, most });
            }
            Some(SuccessRule { indexes, count })
        })
        .collect()
}
