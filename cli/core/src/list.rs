//! The rows of `list`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use vk_cmd_crds::{CmdJob, Target};

use crate::{age, exit, plain};

/// The headings.
pub const HEADINGS: [&str; 8] = ["NAME", "STATE", "DONE", "NODE", "TIME", "EXIT", "AGE", "REASON"];

/// A job as a row below [`HEADINGS`].
#[must_use]
pub fn row(job: &CmdJob, now: Timestamp) -> Vec<String> {
    row_by(job, now, age::between)
}

/// The same; `lasting` writes how long something has lasted that still does.
#[must_use]
pub fn row_by(job: &CmdJob, now: Timestamp, lasting: fn(Timestamp, Timestamp) -> String) -> Vec<String> {
    let told = job.status.as_ref().and_then(|status| status.exit_code);
    let age = job.metadata.creation_timestamp.as_ref().map(|time| lasting(time.0, now));
    let code = exit::of(job).filter(|_| told.is_some());
    let code = code.map(|code| code.to_string()).or_else(|| told.map(|code| code.to_string()));
    vec![
        plain::name(job).to_owned(),
        plain::state(job),
        done(job),
        node(job),
        time(job, now, lasting),
        code.unwrap_or_default(),
        age.unwrap_or_default(),
        plain::reason(job),
    ]
}

/// How many have succeeded of how many: `3/10`.
fn done(job: &CmdJob) -> String {
    let status = job.status.as_ref();
    let succeeded = status.map(|status| status.succeeded).unwrap_or_default();
    let nodes = status.map(|status| status.nodes.len()).filter(|_| job.spec.every_node);
    match (nodes, job.spec.completions, job.spec.parallelism) {
        (Some(0), _, _) | (None, None, Some(_)) => format!("{succeeded}/?"),
        (Some(nodes), _, _) => format!("{succeeded}/{nodes}"),
        (None, completions, _) => format!("{succeeded}/{}", completions.unwrap_or(1)),
    }
}

/// Where it runs, or has run last; before that, where it shall.
fn node(job: &CmdJob) -> String {
    let attempts = job.status.as_ref().map(|status| status.attempts.as_slice()).unwrap_or_default();
    let open: BTreeSet<&str> =
        attempts.iter().filter(|attempt| !attempt.state.is_final()).map(|attempt| &*attempt.node).collect();
    let all: BTreeSet<&str> = attempts.iter().map(|attempt| &*attempt.node).collect();
    let nodes = if open.is_empty() { all } else { open };
    match (nodes.len(), nodes.first()) {
        (1, Some(node)) => (*node).to_owned(),
        (0, _) | (_, None) => target(&job.spec.target),
        (many, Some(_)) => format!("{many} nodes"),
    }
}

/// Where a job shall run, in short.
#[must_use]
pub fn target(target: &Target) -> String {
    let labels = || {
        let labels: Vec<String> =
            target.node_selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        labels.join(",")
    };
    match (&target.node, &target.fleet) {
        (Some(node), _) => node.clone(),
        (None, Some(fleet)) => format!("fleet/{fleet}"),
        (None, None) => labels(),
    }
}

/// How long it has run: from the first start that is known to the end of the last attempt, or until now.
fn time(job: &CmdJob, now: Timestamp, lasting: fn(Timestamp, Timestamp) -> String) -> String {
    let attempts = job.status.as_ref().map(|status| status.attempts.as_slice()).unwrap_or_default();
    let Some(start) = attempts.iter().filter_map(|attempt| attempt.started_at.as_ref()).map(|time| time.0).min() else {
        return String::new();
    };
    let runs = attempts.iter().any(|attempt| !attempt.state.is_final());
    let end = attempts.iter().filter_map(|attempt| attempt.finished_at.as_ref()).map(|time| time.0).max();
    match end.filter(|_| !runs) {
        Some(end) => age::between(start, end),
        None => lasting(start, now),
    }
}

/// Whether a job belongs into a list of those that have not ended.
#[must_use]
pub fn is_active(job: &CmdJob) -> bool {
    !plain::is_over(job)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plain::tests::job;
    use crate::table;

    const NOW: &str = "2026-01-02T03:06:05Z";

    fn attempt(index: i32, state: &str, node: &str, start: Option<&str>, end: Option<&str>) -> Value {
        json!({
            "index": index, "attempt": 0, "pod": format!("p{index}"), "podUid": "u", "node": node, "state": state,
            "startedAt": start, "finishedAt": end,
        })
    }

    #[test]
    fn a_list_says_of_each_job_why() {
        let (start, end) = (Some("2026-01-02T03:05:00Z"), Some("2026-01-02T03:05:30Z"));
        let jobs = [
            job("new", &json!({}), &json!(null)),
            job(
                "queued",
                &json!({"target": {"fleet": "perlmutter"}}),
                &json!({"state": "Waiting", "reason": "NoRoom", "message": "none of 4 nodes takes it now"}),
            ),
            job(
                "array",
                &json!({"completions": 10, "parallelism": 2, "completionMode": "Indexed"}),
                &json!({"state": "Running", "message": "3 succeeded, 2 active", "succeeded": 3, "exitCode": 0, "attempts": [
                    attempt(2, "Succeeded", "vk-a", start, end),
                    attempt(3, "Running", "vk-a", start, None),
                    attempt(4, "Running", "vk-b", start, None),
                ]}),
            ),
            job(
                "failed",
                &json!({}),
                &json!({"state": "Failed", "exitCode": 5, "message": "attempt 0 on vk-a ended with exit code 5",
                        "attempts": [attempt(0, "Failed", "vk-a", start, end)]}),
            ),
        ];
        let rows: Vec<_> = jobs.iter().map(|job| row(job, NOW.parse().unwrap())).collect();
        let expected = "\
NAME     STATE     DONE   NODE               TIME   EXIT   AGE   REASON
new      New       0/1    vk-a                             2m    the operator has not looked at it yet
queued   Waiting   0/1    fleet/perlmutter                 2m    none of 4 nodes takes it now
array    Running   3/10   2 nodes            65s    0      2m    3 succeeded, 2 active
failed   Failed    0/1    vk-a               30s    5      2m    attempt 0 on vk-a ended with exit code 5
";
        assert_eq!(table::render(&HEADINGS, &rows, None, table::plain), expected);
        let active: Vec<&str> = jobs.iter().filter(|job| is_active(job)).map(plain::name).collect();
        assert_eq!(active, ["new", "queued", "array"]);
    }

    #[test]
    fn what_is_not_known_is_a_question_mark() {
        let any = job("any", &json!({"parallelism": 3}), &json!({"succeeded": 1}));
        assert_eq!(done(&any), "1/?");
        let labels = json!({"target": {"nodeSelector": {"a": "b", "c": "d"}}, "everyNode": true});
        let every = job("every", &labels, &json!({"nodes": ["vk-a", "vk-b"]}));
        assert_eq!((done(&every), node(&every)), ("0/2".to_owned(), "a=b,c=d".to_owned()));
    }
}
