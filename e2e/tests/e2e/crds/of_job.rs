//! Rows of what a CmdJob has of batch/v1 Job: counts, limits, policies.

use super::rows::Native::{Alone, Differs, Same};
use super::rows::Row;
use super::rows::Verdict::{Bad, Good};

pub(super) const COUNTS: &[Row] = &[
    ("backoffLimit: -1", Bad("backoffLimit is a number of further attempts: 0 (never run again) or more"), Same),
    ("backoffLimit: 1.5", Bad("must be of type integer"), Same),
    ("backoffLimit: 6", Good("backoffLimit: 6"), Same),
    ("", Good("backoffLimit: null, completions: null, parallelism: null"), Same),
    ("activeDeadlineSeconds: -1", Bad("leave it out for no limit"), Same),
    ("activeDeadlineSeconds: 0", Good(""), Same),
    ("ttlSecondsAfterFinished: -1", Bad("leave it out to keep the CmdJob"), Same),
    ("ttlSecondsAfterFinished: 0", Good(""), Same),
    ("suspend: 'yes'", Bad("must be of type boolean"), Same),
    ("completions: -1", Bad("completions is 0 or more"), Same),
    ("parallelism: -1", Bad("parallelism is 0 (start nothing) or more"), Same),
    ("completions: 0, parallelism: 0", Good("completions: 0, parallelism: 0"), Same),
    ("completions: 2147483647, parallelism: 2147483647", Good(""), Same),
    ("completions: 2147483648", Bad("completions"), Same),
    ("completionMode: Sorted", Bad("supported values: \"NonIndexed\", \"Indexed\""), Same),
    ("completionMode: Indexed", Good(""), Same),
    ("completionMode: Indexed, parallelism: 2", Bad("an Indexed job needs completions"), Same),
    (
        "completionMode: Indexed, backoffLimitPerIndex: 1, maxFailedIndexes: 2",
        Bad("maxFailedIndexes is at most completions"),
        Same,
    ),
    ("completionMode: Indexed, completions: 100001", Good(""), Same),
    (
        "completionMode: Indexed, completions: 5, parallelism: 100001",
        Bad("parallelism of an Indexed job is at most 100000"),
        Same,
    ),
    ("completionMode: Indexed, completions: 5, parallelism: 100000", Good(""), Same),
    ("backoffLimitPerIndex: 1", Bad("backoffLimitPerIndex is for jobs that have indexes"), Same),
    (
        "completionMode: Indexed, completions: 5, backoffLimitPerIndex: -1",
        Bad("backoffLimitPerIndex is a number of further attempts"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, maxFailedIndexes: 1",
        Bad("maxFailedIndexes needs backoffLimitPerIndex"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, backoffLimitPerIndex: 1, maxFailedIndexes: 6",
        Bad("maxFailedIndexes is at most completions"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, backoffLimitPerIndex: 1, maxFailedIndexes: -1",
        Bad("maxFailedIndexes is 0 or more"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, backoffLimitPerIndex: 1, maxFailedIndexes: 5",
        Good("backoffLimit: null"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 100001, backoffLimitPerIndex: 1",
        Bad("maxFailedIndexes must be set, to 10000 at most"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 100001, backoffLimitPerIndex: 1, maxFailedIndexes: 10001",
        Bad("maxFailedIndexes must be set, to 10000 at most"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 100001, backoffLimitPerIndex: 1, maxFailedIndexes: 10000, parallelism: 10001",
        Bad("parallelism is at most 10000"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 100001, backoffLimitPerIndex: 1, maxFailedIndexes: 10000, parallelism: 10000",
        Good(""),
        Same,
    ),
    ("completionMode: Indexed, completions: 100000, backoffLimitPerIndex: 1, parallelism: 10001", Good(""), Same),
    ("managedBy: kueue.x-k8s.io/multikueue", Good(""), Same),
    ("managedBy: multikueue", Bad("managedBy is a domain and a path"), Same),
    ("managedBy: Kueue/multikueue", Bad("managedBy is a domain and a path"), Same),
    ("managedBy: kueue.io/", Bad("managedBy is a domain and a path"), Same),
    ("managedBy: kueue.io/a b", Bad("managedBy is a domain and a path"), Same),
    (
        "managedBy: kueue.io/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        Bad("may not be more than 63"),
        Same,
    ),
    ("podReplacementPolicy: Failed", Bad("unknown field \"spec.podReplacementPolicy\""), Alone),
];

pub(super) const POLICIES: &[Row] = &[
    (
        "podFailurePolicy: {}",
        Bad("spec.podFailurePolicy.rules: Required value"),
        Differs("a policy without rules says nothing"),
    ),
    ("podFailurePolicy: {rules: []}", Good(""), Same),
    ("podFailurePolicy: {rules: [{action: FailJob}]}", Bad("either onExitCodes or onPodConditions"), Same),
    (
        "podFailurePolicy: {rules: [{action: Stop, onExitCodes: {operator: In, values: [1]}}]}",
        Bad("supported values: \"FailJob\""),
        Same,
    ),
    ("podFailurePolicy: {rules: [{onExitCodes: {operator: In, values: [1]}}]}", Bad("action: Required value"), Same),
    (
        "podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [1]}}]}",
        Bad("FailIndex needs backoffLimitPerIndex"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: Is, values: [1]}}]}",
        Bad("supported values: \"In\", \"NotIn\""),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: In, values: []}}]}",
        Bad("name at least one exit code"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: In, values: [0, 1]}}]}",
        Bad("cannot have 0, which is a success"),
        Same,
    ),
    ("podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: NotIn, values: [0, 1]}}]}", Good(""), Same),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: In, values: [2, 1]}}]}",
        Bad("in rising order"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: In, values: [1, 1]}}]}",
        Bad("Duplicate value"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {containerName: main, operator: In, values: [1, 300]}}]}",
        Good(""),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Count, onExitCodes: {containerName: other, operator: In, values: [1]}}]}",
        Bad("leave containerName out"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}",
        Good(
            "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}]}",
        ),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: Maybe}]}]}",
        Bad("is True, False or Unknown"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: Not a name}]}]}",
        Bad("a name such as DisruptionTarget"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: []}]}",
        Bad("either onExitCodes or onPodConditions"),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [], onExitCodes: {operator: In, values: [1]}}]}",
        Good(""),
        Same,
    ),
    (
        "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: A}], onExitCodes: {operator: In, values: [1]}}]}",
        Bad("either onExitCodes or onPodConditions"),
        Same,
    ),
    ("successPolicy: {rules: [{succeededCount: 1}]}", Bad("successPolicy is for jobs that have indexes"), Same),
    ("completionMode: Indexed, completions: 5, successPolicy: {rules: []}", Bad("successPolicy has no rules"), Same),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{}]}",
        Bad("names succeededIndexes, succeededCount or both"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededCount: -1}]}",
        Bad("succeededCount is 0 or more"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededCount: 6}]}",
        Bad("succeededCount is at most completions"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: 'a-b'}]}",
        Bad("a list of indexes and ranges"),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: '1,,2'}]}",
        Bad("a list of indexes and ranges"),
        Same,
    ),
    ("completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: ''}]}", Good(""), Same),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: '0,2-4', succeededCount: 2}]}",
        Good(""),
        Same,
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: '3,1'}]}",
        Good(""),
        Differs("the operator says so: state Invalid, see docs/reference/cmdjob.md"),
    ),
    (
        "completionMode: Indexed, completions: 5, successPolicy: {rules: [{succeededIndexes: '1-5'}]}",
        Good(""),
        Differs("the operator says so: state Invalid, see docs/reference/cmdjob.md"),
    ),
];
