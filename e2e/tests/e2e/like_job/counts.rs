//! How many attempts there are, and which.

use serde_json::json;

use super::scenario::{Rest, Scenario, scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("succeeds", "One success", "exit 0", "backoffLimit: 0"),
        scenario("fails", "One failure, `backoffLimit: 0`", "exit 3", "backoffLimit: 0"),
        scenario("fails-thrice", "Failures until `backoffLimit: 2` is used up", "exit 3", "backoffLimit: 2"),
        scenario("second-time", "A failure, then a success, within `backoffLimit`", "test $n -gt 0", "backoffLimit: 2"),
        scenario("default-limit", "A failure, then it would succeed; `backoffLimit` left out", "test $n -gt 0", ""),
        scenario("killed", "A process that kills itself by a signal", "kill -KILL $$$$", "backoffLimit: 0"),
        scenario("not-found", "A program that does not exist", "", "backoffLimit: 0")
            .command(&["no-such-program-anywhere"]),
        scenario(
            "five-by-three",
            "`completions: 5`, `parallelism: 3`",
            "pass go",
            "backoffLimit: 0, completions: 5, parallelism: 3",
        )
        .gate("go")
        .until(|seen| seen.active == 3 && seen.has_begun(3, 3))
        .open("go"),
        scenario(
            "more-than-wanted",
            "`parallelism` above `completions`",
            "pass go",
            "backoffLimit: 0, completions: 2, parallelism: 5",
        )
        .gate("go")
        .until(|seen| seen.active == 2 && seen.has_begun(2, 2))
        .open("go"),
        scenario(
            "one-of-three-fails",
            "One of three that run at a time fails beyond the limit: the others are ended",
            "pass go-$n; exit $((n == 0))",
            "backoffLimit: 0, completions: 3, parallelism: 3",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-0"),
        scenario(
            "queue",
            "A work queue (`completions` left out): the first success ends it, the others are waited for",
            "pass go-$n",
            "backoffLimit: 0, parallelism: 3",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-0")
        .until(|seen| seen.succeeded == 1)
        .open("go-1")
        .open("go-2"),
        scenario(
            "queue-late-failure",
            "A work queue: a failure after the first success is not made good",
            "pass go-$n; exit $((n > 0))",
            "backoffLimit: 2, parallelism: 2",
        )
        .gates(2)
        .until(|seen| seen.has_begun(2, 2))
        .open("go-0")
        .until(|seen| seen.succeeded == 1)
        .open("go-1"),
        scenario(
            "queue-late-failure-counts",
            "A work queue: a failure after the first success, beyond the limit",
            "pass go-$n; exit $((n > 0))",
            "backoffLimit: 0, parallelism: 2",
        )
        .gates(2)
        .until(|seen| seen.has_begun(2, 2))
        .open("go-0")
        .until(|seen| seen.succeeded == 1)
        .open("go-1"),
        scenario("nothing-wanted", "`completions: 0`", "exit 0", "backoffLimit: 0, completions: 0"),
        scenario(
            "no-indexes",
            "`completions: 0`, Indexed",
            "exit 0",
            "backoffLimit: 0, completions: 0, completionMode: Indexed",
        ),
        scenario(
            "indexed",
            "Indexed, all succeed",
            "exit 0",
            "backoffLimit: 0, completions: 5, parallelism: 5, completionMode: Indexed",
        ),
        scenario(
            "indexed-one-by-one",
            "Indexed, one at a time",
            "exit 0",
            "backoffLimit: 0, completions: 3, completionMode: Indexed",
        ),
        scenario(
            "indexed-one-fails",
            "Indexed, one index fails beyond the limit: the others are ended",
            "pass go-$JOB_COMPLETION_INDEX; exit $((JOB_COMPLETION_INDEX == 1))",
            "backoffLimit: 0, completions: 3, parallelism: 3, completionMode: Indexed",
        )
        .gates(3)
        .until(|seen| seen.has_begun(3, 3))
        .open("go-0")
        .until(|seen| seen.succeeded == 1)
        .open("go-1"),
        scenario(
            "indexed-second-time",
            "Indexed, one index fails and then succeeds",
            "test $JOB_COMPLETION_INDEX -ne 1 -o $n -gt 0",
            "backoffLimit: 1, completions: 3, parallelism: 3, completionMode: Indexed",
        ),
        scenario("no-parallelism", "`parallelism: 0`", "exit 0", "backoffLimit: 0, parallelism: 0").rests(Rest::Left),
        scenario("managed", "`managedBy` somebody else", "exit 0", "backoffLimit: 0, managedBy: example.com/other")
            .rests(Rest::Left),
        scenario("runs", "It runs: two at a time", "pass go", "backoffLimit: 0, completions: 3, parallelism: 2")
            .gate("go")
            .until(|seen| seen.has_begun(2, 2) && seen.active == 2 && seen.ready == 2)
            .rests(Rest::Left),
        scenario("queue-fails", "A work queue that fails", "pass go; exit 1", "backoffLimit: 1, parallelism: 2")
            .gate("go")
            .until(|seen| seen.has_begun(2, 2))
            .open("go"),
        scenario("unknown-end", "Nobody knows how an attempt ended, within `backoffLimit`", UNKNOWN, "backoffLimit: 1"),
        scenario("unknown-end-retried", "The same, and the CmdJob says `onUnknown: Retry`", UNKNOWN, "backoffLimit: 1")
            .own(json!({"onUnknown": "Retry"})),
    ]
}

/// The first process kills the one that would have written down how it ended.
const UNKNOWN: &str = "test $n -gt 0 || { kill -KILL $PPID; exit 0; }";
