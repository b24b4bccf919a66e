//! `GET /containerLogs/{namespace}/{pod}/{container}`: what `kubectl logs` reads.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStateWaiting;
use vk_api_client::chain;
use vk_pipe::client::ClientError;
use vk_task::{LogQuery, LogStream, TaskState, TaskView};

use super::Context;
use super::found::{Named, Refused, runs, status_of};

pub(super) fn routes() -> Router<Context> {
    Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
}

/// The options of a request, as the API server passes them on: core/v1 `PodLogOptions`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    since: Option<Since>,
    stream: Option<LogStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Seconds(i64),
    Time(Timestamp),
}

/// What is wrong with the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// They cannot be read.
    Unreadable,
    /// They make no sense: see `ValidatePodLogOptions` in Kubernetes.
    Invalid,
}

impl Wrong {
    /// The kubelet's words.
    fn refused(self) -> Refused {
        match self {
            Self::Unreadable => Refused(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#.into()),
            Self::Invalid => Refused(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#.into()),
        }
    }
}

impl Options {
    fn read(query: &HashMap<String, String>) -> Result<Self, Wrong> {
        let text = |name: &str| query.get(name).map(String::as_str);
        let is = |name: &str| text(name).is_some_and(|text| !matches!(&*text.to_lowercase(), "false" | "0"));
        let number = |name: &str| text(name).map(|text| text.parse::<i64>().map_err(|_| Wrong::Unreadable)).transpose();
        // An older name of the same.
        let tail = match text("tail") {
            Some("all") => None,
            Some("") | None => number("tailLines")?,
            Some(_) => number("tail")?,
        };
        let time = text("sinceTime").map(|text| text.parse().map_err(|_| Wrong::Unreadable)).transpose()?;
        let since = match (number("sinceSeconds")?, time) {
            (Some(_), Some(_)) => return Err(Wrong::Invalid),
            (Some(seconds), None) if seconds < 1 => return Err(Wrong::Invalid),
            (Some(seconds), None) => Some(Since::Seconds(seconds)),
            (None, time) => time.map(Since::Time),
        };
        let stream = match text("stream") {
            None | Some("All") => None,
            Some("Stdout") => Some(LogStream::Stdout),
            Some("Stderr") => Some(LogStream::Stderr),
            Some(_) => return Err(Wrong::Invalid),
        };
        let limit = number("limitBytes")?;
        if limit.is_some_and(|limit| limit < 1) || stream.is_some() && tail.is_some() {
            return Err(Wrong::Invalid);
        }
        let natural = |n: i64| u64::try_from(n).map_err(|_| Wrong::Invalid);
        Ok(Self {
            follow: is("follow"),
            previous: is("previous"),
            timestamps: is("timestamps"),
            tail_lines: tail.map(natural).transpose()?,
            limit_bytes: limit.map(natural).transpose()?,
            since,
            stream,
        })
    }

    fn query(&self, now: Timestamp) -> LogQuery {
        let since_time = self.since.map(|since| match since {
            // Before the beginning of time is since ever.
            Since::Seconds(seconds) => {
                now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
            }
            Since::Time(time) => time,
        });
        LogQuery {
            follow: self.follow,
            tail_lines: self.tail_lines,
            since_time,
            timestamps: self.timestamps,
            limit_bytes: self.limit_bytes,
            stream: self.stream,
        }
    }
}

/// Answers with the container's output.
async fn logs(
    State(context): State<Context>,
    Path(named): Path<Named>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    answer(&context, &named, &query).await.unwrap_or_else(Refused::into_response)
}

async fn answer(context: &Context, named: &Named, query: &HashMap<String, String>) -> Result<Response, Refused> {
    let options = Options::read(query).map_err(Wrong::refused)?;
    let not_found = |message: String| Refused(StatusCode::NOT_FOUND, message);
    let pod = named.pod(context).map_err(|_| not_found(format!("pod {:?} does not exist", named.pod)))?;
    if named.stdio(&pod).is_none() {
        return Err(not_found(format!("container {:?} not found in pod {:?}", named.container, named.pod)));
    }
    let waiting = named.status(&pod).and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let task = choose(runs(context, &pod, &named.container), waiting, named, options.previous)?;
    let output = context.pipe.logs(&task.id, &options.query(Timestamp::now())).await.map_err(|error| match &error {
        ClientError::Refused(refusal) => Refused(status_of(refusal), refusal.message.clone()),
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Protocol(_) => {
            Refused(StatusCode::SERVICE_UNAVAILABLE, chain(&error))
        }
    })?;
    let headers = [("content-type", "text/plain"), ("transfer-encoding", "chunked")];
    Ok((headers, Body::from_stream(output)).into_response())
}

/// The run whose output is meant, of all runs of a container, the last one last. That of a container that waits is that of
/// its last run, and so is its previous one.
fn choose(
    mut runs: Vec<TaskView>,
    waiting: Option<&ContainerStateWaiting>,
    named: &Named,
    previous: bool,
) -> Result<TaskView, Refused> {
    runs.retain(|task| !matches!(task.state, TaskState::Accepted { .. }));
    let (container, pod) = (&named.container, &named.pod);
    let refuse = |message: String| Refused(StatusCode::BAD_REQUEST, message);
    let last = runs.pop();
    if previous {
        let ended = |task: &TaskView| !matches!(task.state, TaskState::Running { .. });
        let last = last.filter(|last| waiting.is_some() && ended(last));
        return last
            .or_else(|| runs.pop())
            .ok_or_else(|| refuse(format!("previous terminated container {container:?} in pod {pod:?} not found")));
    }
    last.ok_or_else(|| {
        let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("ContainerCreating");
        let why = match why {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            other => other,
        };
        refuse(format!("container {container:?} in pod {pod:?} is waiting to start: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Options, Wrong> {
        Options::read(&form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn options_are_read_as_by_the_kubelet() {
        let options = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            Ok(options)
        };
        assert_eq!(read(""), options(|_| {}));
        assert_eq!(
            read("follow=true&previous=1&timestamps"),
            options(|o| (o.follow, o.previous, o.timestamps) = (true, true, true))
        );
        assert_eq!(read("follow=false&previous=0&timestamps=False"), options(|_| {}));
        assert_eq!(read("tailLines=0&limitBytes=1"), options(|o| (o.tail_lines, o.limit_bytes) = (Some(0), Some(1))));
        assert_eq!(read("tail=5"), options(|o| o.tail_lines = Some(5)));
        assert_eq!(read("tail=all&tailLines=3"), options(|_| {}));
        assert_eq!(read("sinceSeconds=10"), options(|o| o.since = Some(Since::Seconds(10))));
        assert_eq!(read("stream=Stderr"), options(|o| o.stream = Some(LogStream::Stderr)));
        assert_eq!(read("stream=All&tailLines=1"), options(|o| o.tail_lines = Some(1)));
        assert!(read("sinceTime=2026-01-01T00:00:00Z").unwrap().since.is_some());
        for invalid in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            "stream=stdout",
            "stream=Stdout&tailLines=1",
        ] {
            assert_eq!(read(invalid), Err(Wrong::Invalid), "{invalid}");
        }
        for unreadable in ["tailLines=x", "limitBytes=1.5", "sinceTime=yesterday", "sinceSeconds="] {
            assert_eq!(read(unreadable), Err(Wrong::Unreadable), "{unreadable}");
        }
    }

    /// A run in one of its states: `a`ccepted, `r`unning, `e`nded.
    fn run(n: u32, state: char) -> TaskView {
        let at = "1970-01-01T00:00:00Z";
        let state = match state {
            'a' => serde_json::json!({"phase": "accepted", "at": at}),
            'r' => serde_json::json!({"phase": "running", "pid": 1, "startedAt": at}),
            _ => serde_json::json!({
                "phase": "ended", "startedAt": at, "finishedAt": at, "end": {"how": "exited", "code": 0},
            }),
        };
        let view = serde_json::json!({"id": format!("u_c_{n}"), "origin": {"kind": "fifo"}, "state": state});
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn the_run_that_is_meant_is_that_of_the_kubelet() {
        let named: Named =
            serde_json::from_value(serde_json::json!({"namespace": "n", "pod": "p", "container": "c"})).unwrap();
        let waits = |reason: &str| ContainerStateWaiting { reason: Some(reason.into()), message: None };
        let chosen = |states: &str, waiting: Option<&ContainerStateWaiting>, previous| {
            let runs = (0..).zip(states.chars()).map(|(n, state)| run(n, state)).collect();
            choose(runs, waiting, &named, previous).map(|task| task.id.to_string()).map_err(|refused| refused.1)
        };
        let backs_off = waits("CrashLoopBackOff");
        for (states, waiting, now, before) in [
            ("r", None, Some(0), None),
            ("e", None, Some(0), None),
            ("er", None, Some(1), Some(0)),
            ("ee", None, Some(1), Some(0)),
            ("ee", Some(&backs_off), Some(1), Some(1)),
            ("ea", Some(&backs_off), Some(0), Some(0)),
            ("a", None, None, None),
            ("", None, None, None),
        ] {
            let wanted = |n: Option<u32>| n.map(|n| format!("u_c_{n}"));
            assert_eq!(chosen(states, waiting, false).ok(), wanted(now), "{states}");
            assert_eq!(chosen(states, waiting, true).ok(), wanted(before), "previous of {states}");
        }
        for (reason, said) in [("PodInitializing", "PodInitializing"), ("ErrImagePull", "image can't be pulled")] {
            let wanted = format!("container \"c\" in pod \"p\" is waiting to start: {said}");
            assert_eq!(chosen("", Some(&waits(reason)), false), Err(wanted));
        }
        assert!(chosen("", None, false).unwrap_err().ends_with("is waiting to start: ContainerCreating"));
        assert_eq!(chosen("r", None, true), Err("previous terminated container \"c\" in pod \"p\" not found".into()));
    }

    #[test]
    fn seconds_are_counted_back_from_now() {
        let now = Timestamp::from_second(1000).unwrap();
        let since =
            |seconds| Options { since: Some(Since::Seconds(seconds)), ..Options::default() }.query(now).since_time;
        assert_eq!(since(10), Some(Timestamp::from_second(990).unwrap()));
        assert_eq!(since(i64::MAX), Some(Timestamp::UNIX_EPOCH));
    }
}
