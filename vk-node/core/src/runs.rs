//! What the pipe's records and the published status together tell of each container's runs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus};
use vk_cmd_crds::labels::CONTAINER_STATUS_UNKNOWN;
use vk_task::{End, LimitKind, Origin, StartFailure, TaskId, TaskState, TaskView};

use crate::admit::{AdmittedPod, RestartPolicy};
use crate::facts::Facts;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many runs came before it.
    pub(crate) restart: u32,
    /// The name of its task.
    pub(crate) id: String,
    /// Where it is.
    pub(crate) state: RunState,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// The pipe has it and has not opened its gate.
    Starting {
        /// Since when.
        since: Timestamp,
    },
    /// Its program runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It is over.
    Over(Outcome),
}

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

/// The runs of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The last run, if there was any.
    pub(crate) latest: Option<Run>,
    /// The one before it.
    pub(crate) previous: Option<Run>,
    /// The number of the next run where there is no latest one.
    pub(crate) next_restart: u32,
    /// When the first run that is still recorded was accepted.
    pub(crate) first_at: Option<Timestamp>,
    /// Runs before the previous one.
    pub(crate) outdated: BTreeSet<TaskId>,
}

/// The exit code of a run whose end nobody saw: as the kubelet gives it.
const UNKNOWN_EXIT_CODE: i32 = 137;
/// What stands before a task's name in a container's id.
pub(crate) const ID_SCHEME: &str = "vk-cmd://";

/// The reasons of a run that was ended because it went past a limit. The first one is the kubelet's word; the kubelet
/// has no such limits as the others.
const OVER_LIMIT: [&str; 4] = ["OOMKilled", "WalltimeExceeded", "TooManyProcesses", "OutputLimitExceeded"];

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

/// Whether a run with this exit code and reason did what it was to do. One that was ended for a limit did not, even if
/// it took its leave with 0.
pub(crate) fn is_success(exit_code: i32, reason: &str) -> bool {
    exit_code == 0 && !OVER_LIMIT.contains(&reason)
}

impl RunState {
    /// Whether processes of it may still run.
    pub(crate) fn is_active(&self) -> bool {
        match self {
            Self::Starting { .. } | Self::Running { .. } => true,
            Self::Over(_) => false,
        }
    }

    fn first_at(&self) -> Timestamp {
        match self {
            Self::Starting { since } | Self::Running { since } => *since,
            Self::Over(outcome) => outcome.started_at,
        }
    }
}

/// Whether nothing is run after `run`.
pub(crate) fn is_done(policy: RestartPolicy, run: &Run) -> bool {
    match (&run.state, policy) {
        (RunState::Starting { .. } | RunState::Running { .. }, _) | (RunState::Over(_), RestartPolicy::Always) => false,
        (RunState::Over(_), RestartPolicy::Never) => true,
        (RunState::Over(outcome), RestartPolicy::OnFailure) => is_success(outcome.exit_code, &outcome.reason),
    }
}

/// The history of each container of `pod`, in the pod's order.
pub(crate) fn histories(pod: &AdmittedPod, facts: &Facts<'_>) -> Vec<History> {
    pod.containers.iter().map(|container| history(&container.name, facts)).collect()
}

fn history(name: &str, facts: &Facts<'_>) -> History {
    let mut runs: Vec<(u32, &TaskView)> = facts
        .tasks
        .iter()
        .filter_map(|task| match &task.origin {
            Origin::Pod(run) if run.container == name => Some((run.restart, task)),
            Origin::Pod(_) | Origin::Fifo { .. } => None,
        })
        .collect();
    runs.sort_by_key(|(restart, _)| *restart);
    let published = facts.published.container_statuses.iter().flatten().find(|status| status.name == name);
    let Some((restart, latest)) = runs.pop() else {
        return from_published(published, facts.now);
    };
    let latest = Run { restart, id: latest.id.to_string(), state: state_of(latest) };
    let previous = runs.pop().map(|(restart, task)| Run { restart, id: task.id.to_string(), state: state_of(task) });
    let first_at = runs.first().map_or_else(|| latest.state.first_at(), |(_, task)| state_of(task).first_at());
    let first_at = previous.as_ref().map_or(first_at, |run| first_at.min(run.state.first_at()));
    History {
        previous: previous.or_else(|| last_published(published)),
        latest: Some(latest),
        next_restart: 0,
        first_at: Some(first_at),
        outdated: runs.into_iter().map(|(_, task)| task.id.clone()).collect(),
    }
}

/// No record speaks of this container. What was published before still does: a run that was seen to run is never
/// taken for one that was not started.
fn from_published(published: Option<&ContainerStatus>, now: Timestamp) -> History {
    let Some(status) = published else { return History::default() };
    let restart = u32::try_from(status.restart_count).unwrap_or_default();
    let id = status.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME)).unwrap_or_default().to_owned();
    let state = status.state.as_ref();
    let over = if let Some(ended) = state.and_then(|s| s.terminated.as_ref()) {
        Some(outcome_of_published(ended, now))
    } else {
        state.and_then(|s| s.running.as_ref()).map(|running| Outcome {
            exit_code: UNKNOWN_EXIT_CODE,
            signal: None,
            reason: CONTAINER_STATUS_UNKNOWN.into(),
            message: Some("it was running, and the records of the pipe no longer tell of it".into()),
            started_at: running.started_at.as_ref().map_or(now, |t| t.0),
            finished_at: now,
        })
    };
    let previous = last_published(published);
    match over {
        Some(outcome) => History {
            first_at: Some(outcome.started_at),
            latest: Some(Run { restart, id, state: RunState::Over(outcome) }),
            previous,
            ..History::default()
        },
        // It was waiting to be run again: what it waits after is the last run, whose number was published.
        None => match previous {
            Some(mut last) => {
                last.restart = restart;
                History { first_at: Some(last.state.first_at()), latest: Some(last), ..History::default() }
            }
            None => History { next_restart: restart, ..History::default() },
        },
    }
}

fn last_published(published: Option<&ContainerStatus>) -> Option<Run> {
    let status = published?;
    let ended = status.last_state.as_ref()?.terminated.as_ref()?;
    let id = ended.container_id.as_deref()?.strip_prefix(ID_SCHEME)?.to_owned();
    let restart = u32::try_from(status.restart_count).unwrap_or_default().saturating_sub(1);
    let started = ended.started_at.as_ref().map(|t| t.0)?;
    Some(Run { restart, id, state: RunState::Over(outcome_of_published(ended, started)) })
}

fn outcome_of_published(ended: &ContainerStateTerminated, otherwise: Timestamp) -> Outcome {
    Outcome {
        exit_code: ended.exit_code,
        signal: ended.signal,
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone(),
        started_at: ended.started_at.as_ref().map_or(otherwise, |t| t.0),
        finished_at: ended.finished_at.as_ref().map_or(otherwise, |t| t.0),
    }
}

fn state_of(task: &TaskView) -> RunState {
    match &task.state {
        TaskState::Accepted { at } => RunState::Starting { since: *at },
        TaskState::Running { started_at, .. } => RunState::Running { since: *started_at },
        TaskState::Ended { started_at, finished_at, end, exceeded } => {
            let stopped = task.stop.as_ref().map(|s| s.reason.as_str());
            let outcome = outcome(end, *started_at, *finished_at, stopped);
            RunState::Over(match exceeded {
                Some(limit) => outcome.exceeded(*limit),
                None => outcome,
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
        End::Exited { code: 0 } => (None, "Completed", None),
        End::Exited { .. } => (None, "Error", None),
        End::Signaled { signal, core_dumped } => {
            let core = if *core_dumped { ", core dumped" } else { "" };
            let why = stopped.map(|why| format!(": {why}")).unwrap_or_default();
            let message = format!("killed by {signal} (signal {}{core}){why}", signal.0);
            (Some(i32::from(signal.0)), "Error", Some(message))
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
    Outcome { exit_code: end.exit_code(), signal, reason: reason.into(), message, started_at, finished_at }
}
