//! The story of a job in one timeline: what happened when, and how long it took from one thing to the next.
//!
//! ```text
//!   you ──submitted──▶ operator ──taken up──▶ pod made ──▶ node: taken, process started, ended ──▶ operator: reported
//! ```
//!
//! Kubernetes tells most times in whole seconds, so a delay may be off by one.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use serde::Serialize;
use vk_cmd_crds::{AttemptState, CmdJob, labels};
use vk_words::counted;

use crate::{age, exit, plain, table};

/// The headings of [`Story::rows`].
pub const HEADINGS: [&str; 4] = ["TIME", "AFTER", "WHO", "WHAT"];

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What comes first of two things of one second.
    #[serde(skip)]
    rank: u8,
    /// Who has done it: you, operator, scheduler, or a node's name.
    pub who: String,
    /// What.
    pub what: String,
}

/// The story.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// The job.
    pub name: String,
    /// Where it is now, in one word.
    pub state: String,
    /// Why, in plain words.
    pub reason: String,
    /// The code of whoever waits for it, if it has ended.
    pub exit_code: Option<u8>,
    /// What has happened, in order.
    pub timeline: Vec<Entry>,
    /// From its submission to its first start, in seconds; none, if it has not started.
    pub waited_seconds: Option<i64>,
    /// From its first start to the end of its last process, in seconds.
    pub ran_seconds: Option<i64>,
    /// From that end to the operator's report of it, in seconds.
    pub reported_after_seconds: Option<i64>,
}

/// The story of a job, by its pods and by what was told of it and of them.
#[must_use]
pub fn story(job: &CmdJob, pods: &[Pod], events: &[Event]) -> Story {
    let status = job.status.clone().unwrap_or_default();
    let mut all = Vec::new();
    let mut add = |at: Option<Timestamp>, rank: u8, who: &str, what: String| {
        all.extend(at.map(|at| Entry { at: seconds(at), rank, who: who.to_owned(), what }));
    };
    let submitted = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    add(submitted, 0, "you", format!("submitted it, for {}", crate::list::target(&job.spec.target)));
    // It is written with the first state, by when the first pod may have been made.
    let first_pod = pods.iter().filter_map(|pod| pod.metadata.creation_timestamp.as_ref()).map(|time| time.0).min();
    let taken_up = status.start_time.as_ref().map(|time| first_pod.map_or(time.0, |first| first.min(time.0)));
    add(taken_up, 1, "operator", "took it up".to_owned());
    for event in events {
        let at = event.event_time.as_ref().map(|time| time.0);
        let at = at.or_else(|| event.deprecated_last_timestamp.as_ref().map(|time| time.0));
        if let Some((who, what)) = worth_telling(event) {
            add(at, 2, &who, what);
        }
    }
    for pod in pods {
        of_pod(pod, &mut add);
    }
    let known = |uid: &str| pods.iter().any(|pod| pod.metadata.uid.as_deref() == Some(uid));
    for attempt in status.attempts.iter().filter(|attempt| !known(&attempt.pod_uid)) {
        let which = which(attempt.index, attempt.attempt);
        add(
            attempt.started_at.as_ref().map(|time| time.0),
            6,
            &attempt.node,
            format!("started the process of {which}"),
        );
        let how = match (exit::of_attempt(attempt), &attempt.signal) {
            (_, Some(signal)) => format!("was killed by {signal}"),
            (Some(code), None) => format!("ended with exit code {code}"),
            (None, None) => format!("is {}", attempt.state),
        };
        if attempt.state.is_final() && attempt.state != AttemptState::Refused {
            add(attempt.finished_at.as_ref().map(|time| time.0), 7, &attempt.node, format!("{which} {how}"));
        }
    }
    for condition in &status.conditions {
        let is_told = matches!(&*condition.type_, "Complete" | "Failed") && condition.status == "True";
        if is_told {
            let what = format!("reported it as {}: {}", condition.type_, condition.message);
            add(Some(condition.last_transition_time.0), 9, "operator", what);
        }
    }
    add(job.metadata.deletion_timestamp.as_ref().map(|time| time.0), 8, "you", "asked for its deletion".to_owned());
    all.sort();
    all.dedup();
    let of = |rank: u8| all.iter().filter(move |entry| entry.rank == rank).map(|entry| entry.at);
    let (first_start, last_end) = (of(6).min(), of(7).max().filter(|_| plain::is_over(job)));
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.duration_since(from?).as_secs().max(0));
    Story {
        name: plain::name(job).to_owned(),
        state: plain::state(job),
        reason: plain::reason(job),
        exit_code: exit::of(job),
        waited_seconds: between(submitted.map(seconds), first_start),
        ran_seconds: between(first_start, last_end),
        reported_after_seconds: between(last_end, plain::ended_at(&status)),
        timeline: all,
    }
}

/// What one pod tells.
fn of_pod(pod: &Pod, add: &mut impl FnMut(Option<Timestamp>, u8, &str, String)) {
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key)?.parse().ok();
    let which = which(label(labels::INDEX).unwrap_or_default(), label(labels::ATTEMPT).unwrap_or_default());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    add(made, 3, "operator", format!("made the pod {name} of {which}, for {node}"));
    let Some(status) = &pod.status else { return };
    add(status.start_time.as_ref().map(|time| time.0), 5, node, format!("took {which}"));
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let state = containers.iter().find(|told| told.name == labels::MAIN_CONTAINER).and_then(|told| told.state.as_ref());
    let running = state.and_then(|state| state.running.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref());
    let started = running.and_then(|running| running.started_at.as_ref()).or_else(|| ended?.started_at.as_ref());
    add(started.map(|time| time.0), 6, node, format!("started the process of {which}"));
    if let Some(ended) = ended {
        let how = match ended.signal {
            Some(signal) if signal != 0 => format!("was killed by signal {signal}"),
            Some(_) | None => format!("ended with exit code {}", ended.exit_code),
        };
        let why = ended.reason.as_deref().filter(|why| !matches!(*why, "Completed" | "Error"));
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        add(ended.finished_at.as_ref().map(|time| time.0), 7, node, format!("{which} {how}{why}"));
    }
}

/// Of Events only what is told nowhere else: what somebody should look at, and pauses.
fn worth_telling(event: &Event) -> Option<(String, String)> {
    let reason = event.reason.as_deref().unwrap_or_default();
    let is_warning = event.type_.as_deref() == Some("Warning");
    let is_of_job = event.regarding.as_ref().and_then(|about| about.kind.as_deref()) == Some(labels::KIND);
    let is_told_elsewhere = is_of_job && event.note.is_some() && ENDS.contains(&reason);
    if is_told_elsewhere || !(is_warning || matches!(reason, "Suspended" | "Resumed")) {
        return None;
    }
    let count = event
        .series
        .as_ref()
        .map(|series| format!(" ({})", counted(series.count, "time", "times")))
        .unwrap_or_default();
    let note = table::one_line(event.note.as_deref().unwrap_or_default());
    let who = match (is_of_job, event.reporting_instance.as_deref()) {
        (true, _) => "operator".to_owned(),
        (false, Some(instance)) if instance.starts_with(vk_cmd_crds::names::NODE_PREFIX) => instance.to_owned(),
        (false, _) => event.reporting_controller.clone().unwrap_or_else(|| "cluster".to_owned()),
    };
    Some((who, format!("{reason}: {note}{count}")))
}

/// The reasons of a job's end, of which its conditions tell.
const ENDS: [&str; 8] = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "PodFailurePolicy",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "DependencyNeverSatisfied",
    "UnknownEnd",
    "Completed",
];

fn which(index: i32, attempt: i32) -> String {
    match index {
        0 => format!("attempt {attempt}"),
        index => format!("attempt {attempt} at index {index}"),
    }
}

/// In whole seconds, as Kubernetes tells most times: what is known more exactly would stand behind what followed it.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

impl Story {
    /// The timeline as rows below [`HEADINGS`].
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let before = std::iter::once(None).chain(self.timeline.iter().map(|entry| Some(entry.at)));
        let row = |(entry, before): (&Entry, Option<Timestamp>)| {
            let after = before.map(|before| format!("+{}", age::delay(entry.at.duration_since(before))));
            vec![entry.at.to_string(), after.unwrap_or_default(), entry.who.clone(), entry.what.clone()]
        };
        self.timeline.iter().zip(before).map(row).collect()
    }

    /// The delays in a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let length = |seconds: i64| age::human(SignedDuration::from_secs(seconds));
        let parts = [
            self.waited_seconds.map(|seconds| format!("waited {}", length(seconds))),
            self.ran_seconds.map(|seconds| format!("ran {}", length(seconds))),
            self.reported_after_seconds.map(|seconds| format!("reported {} after its end", length(seconds))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let now = format!("{}: {}: {}", self.name, self.state, table::one_line(&self.reason));
        if parts.is_empty() { now } else { format!("{now}\n{}: {}", self.name, parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plain::tests::job;

    fn pod() -> Pod {
        let ended = json!({"exitCode": 5, "reason": "Error", "startedAt": "2026-01-02T03:05:11Z", "finishedAt": "2026-01-02T03:07:31Z"});
        let container = json!({"name": "main", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": {"terminated": ended}});
        let pod = json!({
            "metadata": {"name": "a-x", "uid": "p1", "creationTimestamp": "2026-01-02T03:05:10Z",
                         "labels": {"vk-cmd.io/index": "0", "vk-cmd.io/attempt": "0"}},
            "spec": {"nodeName": "vk-a", "containers": []},
            "status": {"startTime": "2026-01-02T03:05:10Z", "containerStatuses": [container]},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn event(reason: &str, kind: &str, note: &str) -> Event {
        let event = json!({
            "metadata": {}, "eventTime": "2026-01-02T03:04:07.123456Z", "type": kind, "reason": reason, "note": note,
            "regarding": {"kind": "CmdJob", "name": "a"}, "reportingController": "vk-operator",
        });
        serde_json::from_value(event).unwrap()
    }

    fn status() -> Value {
        let attempt = json!({
            "index": 0, "attempt": 0, "pod": "a-x", "podUid": "p1", "node": "vk-a", "state": "Failed", "exitCode": 5,
            "startedAt": "2026-01-02T03:05:11Z", "finishedAt": "2026-01-02T03:07:31Z",
        });
        let failed = json!({
            "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": "2026-01-02T03:07:32Z",
            "message": "attempt 0 on vk-a ended with exit code 5",
        });
        json!({
            "state": "Failed", "exitCode": 5, "startTime": "2026-01-02T03:04:05Z", "attempts": [attempt], "conditions": [failed],
            "message": "attempt 0 on vk-a ended with exit code 5",
        })
    }

    #[test]
    fn a_story_is_told_from_submission_to_report() {
        let events = [
            event("NodeMissing", "Warning", "no vk-cmd node has the name vk-a"),
            event("SuccessfulCreate", "Normal", "Created pod: a-x on vk-a"),
            event("BackoffLimitExceeded", "Warning", "told by the condition"),
        ];
        let story = story(&job("a", &json!({}), &status()), &[pod()], &events);
        let expected = "\
TIME                   AFTER    WHO        WHAT
2026-01-02T03:04:05Z            you        submitted it, for vk-a
2026-01-02T03:04:05Z   +0s      operator   took it up
2026-01-02T03:04:07Z   +2s      operator   NodeMissing: no vk-cmd node has the name vk-a
2026-01-02T03:05:10Z   +63s     operator   made the pod a-x of attempt 0, for vk-a
2026-01-02T03:05:10Z   +0s      vk-a       took attempt 0
2026-01-02T03:05:11Z   +1s      vk-a       started the process of attempt 0
2026-01-02T03:07:31Z   +2m20s   vk-a       attempt 0 ended with exit code 5
2026-01-02T03:07:32Z   +1s      operator   reported it as Failed: attempt 0 on vk-a ended with exit code 5
";
        assert_eq!(table::render(&HEADINGS, &story.rows(), None, table::plain), expected);
        assert_eq!(
            story.summary(),
            "a: Failed: attempt 0 on vk-a ended with exit code 5\na: waited 66s, ran 2m20s, reported 1s after its end"
        );
        assert_eq!(json!(story)["timeline"][5]["what"], "started the process of attempt 0");
        assert_eq!(story.exit_code, Some(5));
    }

    #[test]
    fn what_is_left_of_a_pod_that_is_gone_is_told() {
        let with = story(&job("a", &json!({}), &status()), &[pod()], &[]);
        let without = story(&job("a", &json!({}), &status()), &[], &[]);
        assert_eq!(without.ran_seconds, with.ran_seconds);
        assert_eq!(without.timeline.len(), with.timeline.len() - 2);
    }

    #[test]
    fn one_that_waits_has_no_delays_yet() {
        let story = story(&job("a", &json!({}), &json!({"state": "Waiting", "message": "no room"})), &[], &[]);
        assert_eq!(story.summary(), "a: Waiting: no room");
        assert_eq!((story.waited_seconds, story.timeline.len()), (None, 1));
    }
}
