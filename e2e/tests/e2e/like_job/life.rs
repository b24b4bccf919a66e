//! What is done to a job on its way: suspended, resumed, made larger and smaller, deleted, or out of time.

use serde_json::json;

use super::scenario::{Cascade, Rest, Scenario, Step, scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    time().into_iter().chain(suspension()).chain(size()).chain(deletion()).collect()
}

fn time() -> Vec<Scenario> {
    let past = || json!({"activeDeadlineSeconds": 1});
    vec![
        scenario("deadline", "`activeDeadlineSeconds` runs out", "pass go", "backoffLimit: 3")
            .gate("go")
            .until(|seen| seen.has_begun(1, 1))
            .change(past()),
        scenario(
            "deadline-politely",
            "`activeDeadlineSeconds` runs out for a process that ends with 0 when it is told to",
            "trap 'exit 0' TERM; pass go & wait",
            "backoffLimit: 3",
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .change(past()),
        scenario(
            "deadline-of-several",
            "`activeDeadlineSeconds` runs out after one of three indexes has succeeded",
            "pass go-$JOB_COMPLETION_INDEX",
            "backoffLimit: 3, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-1")
        .until(|seen| seen.succeeded == 1)
        .change(past()),
        scenario(
            "deadline-of-indexes",
            "`activeDeadlineSeconds` runs out where an index can fail alone",
            "pass go-$JOB_COMPLETION_INDEX; exit $((JOB_COMPLETION_INDEX == 1))",
            "backoffLimitPerIndex: 0, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-1")
        .until(|seen| seen.failed == 1)
        .change(past()),
        scenario(
            "deadline-suspended",
            "`activeDeadlineSeconds` does not run while the job is suspended",
            "exit 0",
            "backoffLimit: 0, suspend: true, activeDeadlineSeconds: 1",
        )
        .until(|seen| seen.is("Suspended"))
        .then(Step::Pass(3))
        .rests(Rest::Suspended),
        scenario(
            "time-to-live",
            "`ttlSecondsAfterFinished`: the job goes, and its pods",
            "exit 0",
            "backoffLimit: 0, ttlSecondsAfterFinished: 1",
        )
        .rests(Rest::Gone),
        scenario(
            "time-to-live-failed",
            "`ttlSecondsAfterFinished` of a job that has failed",
            "exit 1",
            "backoffLimit: 0, ttlSecondsAfterFinished: 1",
        )
        .rests(Rest::Gone),
    ]
}

fn suspension() -> Vec<Scenario> {
    let suspended = || json!({"suspend": true});
    let resumed = || json!({"suspend": false});
    vec![
        scenario("suspended", "Suspended from the start", "exit 0", "backoffLimit: 0, suspend: true")
            .rests(Rest::Suspended),
        scenario(
            "suspended-resumed",
            "Suspended from the start, then resumed",
            "exit 0",
            "backoffLimit: 0, suspend: true",
        )
        .until(|seen| seen.is("Suspended"))
        .change(resumed()),
        scenario("running-suspended", "Suspended while it runs", "pass go", "backoffLimit: 0")
            .gate("go")
            .until(|seen| seen.has_begun(1, 1))
            .change(suspended())
            .rests(Rest::Suspended),
        scenario(
            "running-suspended-resumed",
            "Suspended while it runs, then resumed",
            "test $n -gt 0 || pass go",
            "backoffLimit: 0",
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .change(suspended())
        .until(|seen| seen.is("Suspended") && seen.is_settled())
        .change(resumed()),
        scenario(
            "partly-suspended",
            "Suspended after one of three indexes has succeeded, then resumed",
            "test $n -gt 0 || pass go-$JOB_COMPLETION_INDEX",
            "backoffLimit: 0, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-1")
        .until(|seen| seen.succeeded == 1)
        .change(suspended())
        .until(|seen| seen.is("Suspended") && seen.is_settled())
        .change(resumed()),
        scenario(
            "failed-suspended",
            "Suspended in the attempt after a failure",
            "test $n -gt 0 || exit 1; pass go",
            "backoffLimit: 1",
        )
        .gate("go")
        .until(|seen| seen.failed == 1 && seen.has_begun(2, 1))
        .change(suspended())
        .rests(Rest::Suspended),
        scenario("finished-suspended", "Suspended after its end", "exit 0", "backoffLimit: 0")
            .until(|seen| seen.is("Complete"))
            .change(suspended()),
        scenario(
            "suspended-politely",
            "Suspended while it runs a process that ends with 0 when it is told to, then resumed",
            "trap 'exit 0' TERM; test $n -gt 0 || { pass go & wait; }",
            "backoffLimit: 0",
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .change(suspended())
        .until(|seen| seen.is_settled() && (seen.is("Suspended") || seen.is_finished()))
        .change(resumed()),
    ]
}

fn size() -> Vec<Scenario> {
    let parallelism = |count: u32| json!({"parallelism": count});
    let both = |count: u32| json!({"parallelism": count, "completions": count});
    vec![
        scenario(
            "parallelism-raised",
            "`parallelism` from 0 to 2",
            "exit 0",
            "backoffLimit: 0, completions: 2, parallelism: 0",
        )
        .until(|seen| seen.exists && seen.is_settled())
        .change(parallelism(2)),
        scenario(
            "parallelism-lowered",
            "`parallelism` from 3 to 1 while it runs: two are ended, and do not count",
            "pass go",
            "backoffLimit: 0, completions: 3, parallelism: 3",
        )
        .gate("go")
        .until(|seen| seen.has_begun(3, 3))
        .change(parallelism(1))
        .until(|seen| seen.active == 1 && seen.open == 1 && seen.is_settled())
        .open("go"),
        scenario(
            "parallelism-to-none",
            "`parallelism` from 2 to 0 while it runs",
            "pass go",
            "backoffLimit: 0, completions: 2, parallelism: 2",
        )
        .gate("go")
        .until(|seen| seen.has_begun(2, 2))
        .change(parallelism(0))
        .until(|seen| seen.active == 0 && seen.open == 0)
        .rests(Rest::Left),
        scenario(
            "elastic-raised",
            "Indexed, `completions` and `parallelism` from 2 to 4",
            "pass go",
            "backoffLimit: 0, completions: 2, parallelism: 2, completionMode: Indexed",
        )
        .gate("go")
        .until(|seen| seen.has_begun(2, 2))
        .change(both(4))
        .until(|seen| seen.has_begun(4, 4))
        .open("go"),
        scenario(
            "elastic-lowered",
            "Indexed, `completions` and `parallelism` from 4 to 2: what is above does not count",
            "pass go-$JOB_COMPLETION_INDEX",
            "backoffLimit: 0, completions: 4, parallelism: 4, completionMode: Indexed",
        )
        .gates(4)
        .until(|seen| seen.has_begun(4, 4))
        .open("go-0")
        .open("go-3")
        .until(|seen| seen.succeeded == 2)
        .change(both(2))
        .until(|seen| seen.active == 1 && seen.open == 1 && seen.is_settled())
        .open("go-1"),
        scenario(
            "elastic-lowered-meanwhile",
            "The same while the pod of the lowest index, which was deleted by hand, is still there",
            "test $JOB_COMPLETION_INDEX -eq 0 -a $n -gt 0 && exit 0; trap '' TERM; pass go-$JOB_COMPLETION_INDEX; exit $((JOB_COMPLETION_INDEX == 0))",
            "backoffLimit: 1, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .then(Step::DeletePod(Some(0)))
        .until(|seen| seen.leaving == 1)
        .change(both(2))
        .until(|seen| seen.leaving == 2)
        .open("go-0")
        .open("go-2")
        .until(|seen| seen.succeeded == 1)
        .open("go-1"),
        scenario(
            "elastic-lowered-raised",
            "Indexed, an index that has succeeded is no longer asked for, and then is again",
            "test $n -gt 0 || pass go-$JOB_COMPLETION_INDEX",
            "backoffLimit: 0, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-2")
        .until(|seen| seen.succeeded == 1)
        .change(both(1))
        .until(|seen| seen.active == 1 && seen.open == 1 && seen.succeeded == 0 && seen.is_settled())
        .change(both(3))
        .until(|seen| seen.succeeded == 2)
        .open("go-0"),
        scenario(
            "elastic-failed-lowered",
            "Indexed, an index that has failed is no longer asked for",
            "pass go-$JOB_COMPLETION_INDEX; exit $((JOB_COMPLETION_INDEX == 2))",
            "backoffLimitPerIndex: 0, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-2")
        .until(|seen| seen.failed == 1)
        .change(both(2))
        .open("go-0")
        .open("go-1"),
    ]
}

fn deletion() -> Vec<Scenario> {
    let runs = |name, shows| {
        scenario(name, shows, "pass go", "backoffLimit: 0, completions: 2, parallelism: 2")
            .gate("go")
            .until(|seen| seen.has_begun(2, 2))
    };
    vec![
        scenario("pod-deleted", "A pod is deleted by hand, `backoffLimit: 0`", "pass go", "backoffLimit: 0")
            .gate("go")
            .until(|seen| seen.has_begun(1, 1))
            .then(Step::DeletePod(None)),
        scenario("pod-deleted-at-once", "A pod is deleted by hand with no grace", "pass go", "backoffLimit: 0")
            .gate("go")
            .until(|seen| seen.has_begun(1, 1))
            .then(Step::DeletePodAtOnce),
        scenario(
            "pod-deleted-once",
            "A pod is deleted by hand, within `backoffLimit`",
            "test $n -gt 0 || pass go",
            "backoffLimit: 1",
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .then(Step::DeletePod(None)),
        scenario(
            "pod-deleted-of-index",
            "The pod of one index is deleted by hand, `backoffLimitPerIndex: 0`",
            "pass go-$JOB_COMPLETION_INDEX",
            "backoffLimitPerIndex: 0, completions: 2, parallelism: 2, completionMode: Indexed",
        )
        .gates(2)
        .until(|seen| seen.has_begun(2, 2))
        .then(Step::DeletePod(Some(1)))
        .until(|seen| seen.failed == 1)
        .open("go-0"),
        scenario(
            "pod-deleted-politely",
            "A pod is deleted by hand, and its process ends with 0 when it is told to",
            "trap 'exit 0' TERM; pass go & wait",
            "backoffLimit: 0",
        )
        .gate("go")
        .until(|seen| seen.has_begun(1, 1))
        .then(Step::DeletePod(None)),
        runs("deleted-background", "Deleted while it runs, in the background")
            .then(Step::Delete(Cascade::Background))
            .rests(Rest::Gone),
        runs("deleted-foreground", "Deleted while it runs, in the foreground")
            .then(Step::Delete(Cascade::Foreground))
            .rests(Rest::Gone),
        runs("deleted-orphan", "Deleted while it runs, its pods left to themselves")
            .then(Step::Delete(Cascade::Orphan))
            .until(|seen| !seen.exists)
            .open("go")
            .rests(Rest::Orphaned),
        scenario("deleted-suspended", "Deleted while it is suspended", "exit 0", "backoffLimit: 0, suspend: true")
            .until(|seen| seen.is("Suspended"))
            .then(Step::Delete(Cascade::Foreground))
            .rests(Rest::Gone),
        scenario("deleted-finished", "Deleted after its end", "exit 0", "backoffLimit: 0")
            .until(|seen| seen.is("Complete"))
            .then(Step::Delete(Cascade::Background))
            .rests(Rest::Gone),
    ]
}
