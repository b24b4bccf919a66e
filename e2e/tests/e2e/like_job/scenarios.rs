//! The scenarios: what is asked of a batch/v1 Job and of a CmdJob in the same words.

use serde_json::{Value, json};

/// What happens to the two while they run.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Nothing.
    Nothing,
    /// When so many run: the spec is changed so.
    Change(i64, Value),
    /// When one runs: it is suspended, and resumed when nothing runs any more.
    Suspend,
    /// When one runs: its pod is deleted.
    DeletePod,
    /// When one runs: its pod is evicted, by the eviction API.
    Evict,
}

/// How far the two are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To their end.
    Finished,
    /// Until they say that they are suspended.
    Suspended,
    /// Until they are gone.
    Gone,
    /// For a while, in which nothing is to happen.
    Untouched,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Fields of both specs.
    pub(super) spec: Value,
    /// A script for `/bin/sh`. `$TRY` is a directory in which it can leave something for the next attempt, `$GATE` a file that is
    /// made after the act.
    pub(super) script: &'static str,
    pub(super) act: Act,
    pub(super) until: Until,
}

const GATED: &str = "until [ -e $GATE ]; do sleep 0.1; done";

fn one(name: &'static str, spec: Value, script: &'static str) -> Scenario {
    Scenario { name, spec, script, act: Act::Nothing, until: Until::Finished }
}

fn with(act: Act, scenario: Scenario) -> Scenario {
    Scenario { act, ..scenario }
}

fn until(until: Until, scenario: Scenario) -> Scenario {
    Scenario { until, ..scenario }
}

/// A policy with one rule.
fn policy(action: &str, key: &str, rule: Value) -> Value {
    json!({"rules": [{"action": action, key: rule}]})
}

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "backoffLimit": 0});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let on_exit = |operator: &str, values: Value| json!({"operator": operator, "values": values});
    vec![
        one("succeeds", json!({"backoffLimit": 0}), "exit 0"),
        one("fails", json!({"backoffLimit": 0}), "exit 5"),
        one("fails-and-again", json!({"backoffLimit": 1}), "exit 5"),
        one("fails-once", json!({"backoffLimit": 3}), "[ -e $TRY/once ] || { touch $TRY/once; exit 1; }"),
        one("several", json!({"backoffLimit": 0, "completions": 5, "parallelism": 3}), "exit 0"),
        one("work-queue", json!({"backoffLimit": 0, "parallelism": 3}), "exit 0"),
        one("none-wanted", json!({"backoffLimit": 0, "completions": 0}), "exit 0"),
        one("killed", json!({"backoffLimit": 0}), "sh -c 'kill -9 $PPID'; exit 0"),
        one("not-found", json!({"backoffLimit": 0}), "exec /no/such/program"),
        one("indexed", indexed(json!({"completions": 5, "parallelism": 5})), "exit 0"),
        one(
            "indexed-fails",
            indexed(json!({"completions": 3, "parallelism": 1})),
            "[ $JOB_COMPLETION_INDEX != 1 ] || exit 1",
        ),
        one(
            "per-index",
            json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2, "backoffLimitPerIndex": 0}),
            "[ $JOB_COMPLETION_INDEX != 2 ] || exit 1",
        ),
        one(
            "per-index-again",
            json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 1}),
            "[ $JOB_COMPLETION_INDEX != 1 ] || [ -e $TRY/once ] || { touch $TRY/once; exit 1; }",
        ),
        one(
            "max-failed-indexes",
            json!({
                "completionMode": "Indexed", "completions": 6, "parallelism": 1, "backoffLimitPerIndex": 0,
                "maxFailedIndexes": 1,
            }),
            "[ $JOB_COMPLETION_INDEX -gt 2 ] || exit 1",
        ),
        one(
            "policy-fail-job",
            json!({"backoffLimit": 6, "podFailurePolicy": policy("FailJob", "onExitCodes", on_exit("In", json!([42])))}),
            "exit 42",
        ),
        one(
            "policy-fail-job-not-in",
            json!({"backoffLimit": 6, "podFailurePolicy": policy("FailJob", "onExitCodes", on_exit("NotIn", json!([3])))}),
            "exit 4",
        ),
        one(
            "policy-count",
            json!({"backoffLimit": 0, "podFailurePolicy": policy("Count", "onExitCodes", on_exit("In", json!([5])))}),
            "exit 5",
        ),
        one(
            "policy-ignore",
            json!({"backoffLimit": 0, "podFailurePolicy": policy("Ignore", "onExitCodes", on_exit("In", json!([7])))}),
            "[ -e $TRY/once ] || { touch $TRY/once; exit 7; }",
        ),
        one(
            "policy-fail-index",
            json!({
                "completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 3,
                "podFailurePolicy": policy("FailIndex", "onExitCodes", on_exit("In", json!([42]))),
            }),
            "[ $JOB_COMPLETION_INDEX != 1 ] || exit 42",
        ),
        with(
            Act::Evict,
            one(
                "policy-disruption",
                json!({
                    "backoffLimit": 0,
                    "podFailurePolicy": policy("Ignore", "onPodConditions", json!([{"type": "DisruptionTarget"}])),
                }),
                "[ -e $TRY/once ] || { touch $TRY/once; exec sleep 1000; }",
            ),
        ),
        one(
            "success-policy-indexes",
            indexed(json!({
                "completions": 3, "parallelism": 3, "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
            })),
            "[ $JOB_COMPLETION_INDEX = 0 ] || exec sleep 1000",
        ),
        one(
            "success-policy-count",
            indexed(json!({"completions": 3, "parallelism": 3, "successPolicy": {"rules": [{"succeededCount": 2}]}})),
            "[ $JOB_COMPLETION_INDEX != 2 ] || exec sleep 1000",
        ),
        one("deadline", json!({"backoffLimit": 3, "activeDeadlineSeconds": 12}), "exec sleep 1000"),
        until(Until::Suspended, one("suspended", json!({"backoffLimit": 0, "suspend": true}), "exit 0")),
        with(
            Act::Change(0, json!({"suspend": false})),
            one("resumed", json!({"backoffLimit": 0, "suspend": true}), "exit 0"),
        ),
        with(Act::Suspend, one("suspended-while-it-runs", json!({"backoffLimit": 0}), GATED)),
        with(
            Act::Change(0, json!({"parallelism": 2})),
            one("parallelism-raised", json!({"backoffLimit": 0, "completions": 2, "parallelism": 0}), "exit 0"),
        ),
        with(
            Act::Change(2, json!({"completions": 4, "parallelism": 4})),
            one("elastic-more", indexed(json!({"completions": 2, "parallelism": 2})), GATED),
        ),
        with(
            Act::Change(4, json!({"completions": 2, "parallelism": 2})),
            one("elastic-less", indexed(json!({"completions": 4, "parallelism": 4})), GATED),
        ),
        with(Act::DeletePod, one("pod-deleted", json!({"backoffLimit": 0}), "exec sleep 1000")),
        with(
            Act::DeletePod,
            one(
                "pod-deleted-and-again",
                json!({"backoffLimit": 1}),
                "[ -e $TRY/once ] || { touch $TRY/once; exec sleep 1000; }",
            ),
        ),
        until(Until::Gone, one("ttl", json!({"backoffLimit": 0, "ttlSecondsAfterFinished": 1}), "exit 0")),
        until(
            Until::Untouched,
            one("managed-by-another", json!({"backoffLimit": 0, "managedBy": "example.com/other"}), "exit 0"),
        ),
    ]
}
