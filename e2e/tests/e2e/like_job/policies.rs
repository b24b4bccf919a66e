//! What becomes of failures and of successes.

use super::scenario::{Scenario, Step, scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    per_index().into_iter().chain(failure()).chain(success()).collect()
}

fn per_index() -> Vec<Scenario> {
    vec![
        scenario(
            "per-index-none",
            "`backoffLimitPerIndex: 0`: the index has failed, the others go on",
            "exit $((JOB_COMPLETION_INDEX == 1))",
            "completions: 3, completionMode: Indexed, backoffLimitPerIndex: 0",
        ),
        scenario(
            "per-index-one",
            "`backoffLimitPerIndex: 1`: one index uses it up, another does with it",
            "case $JOB_COMPLETION_INDEX in 0) exit 0;; 1) exit 1;; 2) exit $((n == 0));; esac",
            "completions: 3, parallelism: 3, completionMode: Indexed, backoffLimitPerIndex: 1",
        ),
        scenario(
            "per-index-all-fail",
            "`backoffLimitPerIndex: 0`: all indexes fail",
            "exit 1",
            "completions: 3, parallelism: 3, completionMode: Indexed, backoffLimitPerIndex: 0",
        ),
        scenario(
            "per-index-and-whole",
            "`backoffLimitPerIndex` and `backoffLimit`: the whole limit is exceeded first",
            "pass go-$JOB_COMPLETION_INDEX; exit 1",
            "completions: 4, parallelism: 4, completionMode: Indexed, backoffLimitPerIndex: 0, backoffLimit: 1",
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-0")
        .until(|seen| seen.failed == 1)
        .open("go-1"),
        scenario(
            "max-failed-indexes",
            "`maxFailedIndexes` exceeded: what runs is ended",
            "pass go-$JOB_COMPLETION_INDEX; exit 1",
            "completions: 4, parallelism: 4, completionMode: Indexed, backoffLimitPerIndex: 0, maxFailedIndexes: 1",
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-0")
        .until(|seen| seen.failed == 1)
        .open("go-1"),
        scenario(
            "max-failed-indexes-kept",
            "`maxFailedIndexes` not exceeded",
            "exit $((JOB_COMPLETION_INDEX == 1))",
            "completions: 3, completionMode: Indexed, backoffLimitPerIndex: 0, maxFailedIndexes: 1",
        ),
    ]
}

fn failure() -> Vec<Scenario> {
    let policy = |more: &str, rules: &str| format!("{more}, podFailurePolicy: {{rules: [{rules}]}}");
    let codes = |action: &str, operator: &str, codes: &str| {
        format!("{{action: {action}, onExitCodes: {{operator: {operator}, values: [{codes}]}}}}")
    };
    let conditions =
        |action: &str, kind: &str| format!("{{action: {action}, onPodConditions: [{{type: {kind}, status: 'True'}}]}}");
    vec![
        scenario(
            "fail-job",
            "podFailurePolicy FailJob by exit code: what else runs is ended",
            "pass go-$n; exit 42",
            &policy("backoffLimit: 6, completions: 2, parallelism: 2", &codes("FailJob", "In", "42")),
        )
        .gates(2)
        .until(|seen| seen.has_begun(2, 2))
        .open("go-0"),
        scenario(
            "fail-job-not-in",
            "podFailurePolicy FailJob by every exit code but some",
            "exit 3",
            &policy("backoffLimit: 6", &codes("FailJob", "NotIn", "1, 2")),
        ),
        scenario(
            "fail-job-not-met",
            "podFailurePolicy FailJob that no end matches",
            "exit $((n == 0))",
            &policy("backoffLimit: 1", &codes("FailJob", "In", "42")),
        ),
        scenario(
            "first-rule",
            "podFailurePolicy: the first rule that matches decides",
            "exit $((n == 0 ? 42 : 0))",
            &policy("backoffLimit: 0", &format!("{}, {}", codes("Ignore", "In", "42"), codes("FailJob", "In", "42"))),
        ),
        scenario(
            "ignore-code",
            "podFailurePolicy Ignore by exit code",
            "exit $((n == 0 ? 42 : 0))",
            &policy("backoffLimit: 0", &codes("Ignore", "In", "42")),
        ),
        scenario(
            "ignore-eviction",
            "podFailurePolicy Ignore of a pod that is evicted (DisruptionTarget)",
            "test $n -gt 0 || pass go",
            &policy("backoffLimit: 0", &conditions("Ignore", "DisruptionTarget")),
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .then(Step::Evict),
        scenario("evicted", "A pod that is evicted, without a policy", "pass go", "backoffLimit: 0")
            .gate("go")
            .until(|seen| seen.has_begun(1, 1))
            .then(Step::Evict),
        scenario(
            "count",
            "podFailurePolicy Count",
            "exit 1",
            &policy("backoffLimit: 1", &format!("{}, {}", codes("Count", "In", "1"), codes("FailJob", "In", "1"))),
        ),
        scenario(
            "fail-index",
            "podFailurePolicy FailIndex: the index is not tried again",
            "exit $((JOB_COMPLETION_INDEX == 1 ? 42 : 0))",
            &policy(
                "completions: 3, completionMode: Indexed, backoffLimitPerIndex: 3",
                &codes("FailIndex", "In", "42"),
            ),
        ),
        scenario(
            "fail-job-of-index",
            "podFailurePolicy FailJob where an index can fail alone",
            "exit $((JOB_COMPLETION_INDEX == 1 ? 42 : 0))",
            &policy("completions: 3, completionMode: Indexed, backoffLimitPerIndex: 0", &codes("FailJob", "In", "42")),
        ),
        scenario(
            "fail-job-of-index-with-more",
            "The same with attempts left to the index",
            "exit $((JOB_COMPLETION_INDEX == 1 ? 42 : 0))",
            &policy("completions: 3, completionMode: Indexed, backoffLimitPerIndex: 1", &codes("FailJob", "In", "42")),
        ),
        scenario(
            "ignore-of-index",
            "podFailurePolicy Ignore where an index can fail alone",
            "exit $((JOB_COMPLETION_INDEX == 1 && n == 0 ? 42 : 0))",
            &policy("completions: 3, completionMode: Indexed, backoffLimitPerIndex: 0", &codes("Ignore", "In", "42")),
        ),
        scenario(
            "on-condition",
            "podFailurePolicy FailJob by a condition that somebody gives the pod",
            "pass go; exit 1",
            &policy("backoffLimit: 6", &conditions("FailJob", "ConfigIssue")),
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .then(Step::Mark("ConfigIssue"))
        .open("go"),
        scenario(
            "killed-by-policy",
            "podFailurePolicy by the exit code of a signal",
            "kill -KILL $$$$",
            &policy("backoffLimit: 6", &codes("FailJob", "In", "137")),
        ),
    ]
}

fn success() -> Vec<Scenario> {
    let policy =
        |more: &str, rules: &str| format!("completionMode: Indexed, {more}, successPolicy: {{rules: [{rules}]}}");
    let own_gate = "pass go-$JOB_COMPLETION_INDEX";
    vec![
        scenario(
            "success-indexes",
            "successPolicy by indexes: what else runs is ended",
            own_gate,
            &policy("backoffLimit: 0, completions: 4, parallelism: 4", "{succeededIndexes: '0,2'}"),
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-0")
        .until(|seen| seen.succeeded == 1)
        .open("go-2"),
        scenario(
            "success-count",
            "successPolicy by count",
            own_gate,
            &policy("backoffLimit: 0, completions: 4, parallelism: 4", "{succeededCount: 2}"),
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-3")
        .until(|seen| seen.succeeded == 1)
        .open("go-1"),
        scenario(
            "success-count-of-indexes",
            "successPolicy by a count of certain indexes",
            own_gate,
            &policy("backoffLimit: 0, completions: 4, parallelism: 4", "{succeededIndexes: '0-2', succeededCount: 2}"),
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-3")
        .until(|seen| seen.succeeded == 1)
        .open("go-0")
        .until(|seen| seen.succeeded == 2)
        .open("go-1"),
        scenario(
            "success-despite-failure",
            "successPolicy met though an index has failed",
            "test $JOB_COMPLETION_INDEX -eq 1 && exit 1; pass go-$JOB_COMPLETION_INDEX",
            &policy("backoffLimitPerIndex: 0, completions: 3, parallelism: 3", "{succeededIndexes: '0'}"),
        )
        .gates(3)
        .until(|seen| seen.failed == 1 && seen.has_begun(3, 2))
        .open("go-0"),
        scenario(
            "success-politely",
            "successPolicy met: what else runs is ended, and takes its leave with 0",
            "trap 'exit 0' TERM; pass go-$JOB_COMPLETION_INDEX & wait $!",
            &policy("backoffLimit: 0, completions: 3, parallelism: 3", "{succeededIndexes: '0'}"),
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-0"),
        scenario(
            "success-not-met",
            "successPolicy that cannot be met, the index having failed",
            "exit $((JOB_COMPLETION_INDEX == 0))",
            &policy("backoffLimitPerIndex: 0, completions: 2", "{succeededIndexes: '0'}"),
        ),
        scenario(
            "success-by-all",
            "successPolicy, and all indexes succeed",
            "exit 0",
            &policy("backoffLimit: 0, completions: 2", "{succeededIndexes: '1'}"),
        ),
    ]
}
