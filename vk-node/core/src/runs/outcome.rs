//! How a run ended, in the terms of a pod's status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use vk_cmd_crds::labels::CONTAINER_STATUS_UNKNOWN;
use vk_task::{End, LimitKind, StartFailure, TaskState, TaskView};

use super::RunState;
use crate::ending::{TERMINATED, WALLTIME_EXCEEDED};

/// How a run ended, in the terms of a pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// As a shell gives it: 128 + n for signal n.
    pub(crate) exit_code: i32,
    /// The signal, if one ended it.
    pub(crate) signal: Option<i32>,
    /// One word.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: Option<String>,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// When it ended, or was found to have.
    pub(crate) finished_at: Timestamp,
}

/// The exit code of a run whose end nobody saw: as the kubelet gives it.
pub(crate) const UNKNOWN_EXIT_CODE: i32 = 137;
/// The reason of a run that failed, and of one that was ended because a probe failed.
const ERROR: &str = "Error";
/// How the request to end a run begins if that is for a probe. It is in the pipe's record of the run, and so is known for as
/// long as that is.
const PROBE_FAILED: [&str; 2] = ["Liveness probe failed", "Startup probe failed"];
/// How the request to end a run begins if that is because its container is another one by now.
const CHANGED: &str = "Container definition changed";
/// The reason of such a run.
const DEFINITION_CHANGED: &str = "DefinitionChanged";
/// The reasons of a run that was ended because it went past a limit. The first one is the kubelet's word; the kubelet
/// has no such limits as the others.
const OVER_LIMIT: [&str; 4] = ["OOMKilled", WALLTIME_EXCEEDED, "TooManyProcesses", "OutputLimitExceeded"];

impl Outcome {
    /// The same run, ended because it went past `limit`. The exit code stays what the kernel gave.
    fn exceeded(self, limit: LimitKind) -> Self {
        let [memory, wall_time, processes, output] = OVER_LIMIT;
        let reason = match limit {
            LimitKind::Memory => memory,
            LimitKind::WallTime => wall_time,
            LimitKind::Processes => processes,
            LimitKind::Output => output,
        };
        let how = self.message.map(|how| format!("; {how}")).unwrap_or_default();
        Self {
            reason: reason.into(),
            message: Some(format!("the task was ended because it exceeded {limit}{how}")),
            ..self
        }
    }
}

impl Outcome {
    /// Whether it counts as a success for its pod. A run that was ended for a limit did not do what it was to do, even if
    /// it took its leave with 0.
    pub(crate) fn is_success(&self) -> bool {
        self.exit_code == 0 && !OVER_LIMIT.contains(&self.reason.as_str())
    }

    /// Whether it was ended because its container is another one by now.
    pub(crate) fn is_for_change(&self) -> bool {
        self.reason == DEFINITION_CHANGED
    }

    /// Whether `restartPolicy: OnFailure` lets it rest. What was ended for a probe is run again, whatever its exit code: as
    /// the kubelet, which decides to run it again when it decides to end it.
    pub(crate) fn satisfies_on_failure(&self) -> bool {
        self.is_success() && self.reason != ERROR
    }
}

/// Why a run is ended whose probe failed.
pub(crate) fn probe_failed(is_startup: bool, message: &str) -> String {
    let [liveness, startup] = PROBE_FAILED;
    format!("{}: {message}", if is_startup { startup } else { liveness })
}

/// Why a run is ended whose container is another one by now.
pub(crate) fn definition_changed(from: &str, to: &str) -> String {
    format!("{CHANGED}: the image is {to} instead of {from}")
}

pub(super) fn outcome_of_published(ended: &ContainerStateTerminated, otherwise: Timestamp) -> Outcome {
    Outcome {
        exit_code: ended.exit_code,
        signal: ended.signal,
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone(),
        started_at: ended.started_at.as_ref().map_or(otherwise, |t| t.0),
        finished_at: ended.finished_at.as_ref().map_or(otherwise, |t| t.0),
    }
}

pub(super) fn state_of(task: &TaskView) -> RunState {
    match &task.state {
        TaskState::Accepted { at } => RunState::Starting { since: *at },
        TaskState::Running { started_at, .. } => RunState::Running { since: *started_at },
        TaskState::Ended { started_at, finished_at, end, exceeded } => {
            let stopped = task.stop.as_ref().map(|s| s.reason.as_str());
            let outcome = outcome(end, *started_at, *finished_at, stopped);
            let last_words = task.termination_message.clone().filter(|words| !words.is_empty());
            RunState::Over(match exceeded {
                Some(limit) => outcome.exceeded(*limit),
                // Where there is nothing to explain that the program could not know, it has the last word.
                None => Outcome { message: last_words.or(outcome.message), ..outcome },
            })
        }
        TaskState::Unknown { started_at, noticed_at, message } => RunState::Over(Outcome {
            exit_code: UNKNOWN_EXIT_CODE,
            signal: None,
            reason: CONTAINER_STATUS_UNKNOWN.into(),
            message: Some(message.clone()),
            started_at: *started_at,
            finished_at: *noticed_at,
        }),
    }
}

fn outcome(end: &End, started_at: Timestamp, finished_at: Timestamp, stopped: Option<&str>) -> Outcome {
    let (signal, reason, message) = match end {
        End::Exited { code } => match stopped.filter(|why| PROBE_FAILED.iter().any(|begin| why.starts_with(begin))) {
            Some(why) => (None, ERROR, Some(why.to_owned())),
            None if *code == 0 => (None, "Completed", None),
            None => (None, ERROR, None),
        },
        End::Signaled { signal, core_dumped } => {
            let core = if *core_dumped { ", core dumped" } else { "" };
            let why = stopped.map(|why| format!(": {why}")).unwrap_or_default();
            let message = format!("killed by {signal} (signal {}{core}){why}", signal.0);
            (Some(i32::from(signal.0)), ERROR, Some(message))
        }
        End::NotStarted { failure, message } => {
            let reason = match failure {
                StartFailure::NotFound => "CommandNotFound",
                StartFailure::NotExecutable => "CommandNotExecutable",
                StartFailure::WorkingDirectory => "WorkingDirectoryError",
                StartFailure::Stopped => "StoppedBeforeStart",
                StartFailure::Other => "StartError",
            };
            (None, reason, Some(message.clone()))
        }
    };
    let is_for = |begin: &str| stopped.is_some_and(|why| why.starts_with(begin));
    let (reason, message) = match end {
        _ if is_for(CHANGED) => (DEFINITION_CHANGED, message),
        // It was told to end with its node: what it has done by then, and its exit code, are not the end of its work.
        End::Exited { .. } | End::Signaled { .. } if is_for(WALLTIME_EXCEEDED) => {
            (WALLTIME_EXCEEDED, message.or_else(|| stopped.map(str::to_owned)))
        }
        End::Exited { .. } if is_for(TERMINATED) => (ERROR, message.or_else(|| stopped.map(str::to_owned))),
        End::Exited { .. } | End::Signaled { .. } | End::NotStarted { .. } => (reason, message),
    };
    Outcome { exit_code: end.exit_code(), signal, reason: reason.into(), message, started_at, finished_at }
}
