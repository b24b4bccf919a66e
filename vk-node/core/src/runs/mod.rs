//! What the pipe's records and the published status together tell of each container's runs.

mod outcome;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use vk_cmd_crds::labels::CONTAINER_STATUS_UNKNOWN;
use vk_task::{TaskId, TaskView};

use self::outcome::{outcome_of_published, state_of};
use crate::admit::AdmittedPod;
use crate::facts::Facts;

pub(crate) use self::outcome::{Outcome, UNKNOWN_EXIT_CODE, definition_changed, probe_failed};

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

/// What stands before a task's name in a container's id.
pub(crate) const ID_SCHEME: &str = "vk-cmd://";

impl RunState {
    /// Whether processes of it may still run.
    pub(crate) fn is_active(&self) -> bool {
        match self {
            Self::Starting { .. } | Self::Running { .. } => true,
            Self::Over(_) => false,
        }
    }

    pub(crate) fn first_at(&self) -> Timestamp {
        match self {
            Self::Starting { since } | Self::Running { since } => *since,
            Self::Over(outcome) => outcome.started_at,
        }
    }
}

/// The history of each container of `pod`, in the pod's order.
pub(crate) fn histories(pod: &AdmittedPod, facts: &Facts<'_>) -> Vec<History> {
    pod.containers.iter().map(|container| history(&container.name, facts)).collect()
}

/// The published status of a container. Names are unique among all containers of a pod.
pub(crate) fn published_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    all_published(status).find(|status| status.name == name)
}

/// The published statuses of all containers.
pub(crate) fn all_published(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let PodStatus { init_container_statuses, container_statuses, ephemeral_container_statuses, .. } = status;
    [init_container_statuses, container_statuses, ephemeral_container_statuses].into_iter().flatten().flatten()
}

fn history(name: &str, facts: &Facts<'_>) -> History {
    let mut runs: Vec<(u32, &TaskView)> =
        facts.tasks.iter().filter_map(|task| Some((task.run_of(name)?, task))).collect();
    runs.sort_by_key(|(restart, _)| *restart);
    let published = published_of(facts.published, name);
    // Records that are older than what was published say nothing of the last run: it was there.
    let is_newest = |restart: u32| published.is_none_or(|status| i64::from(status.restart_count) <= i64::from(restart));
    let Some((restart, latest)) = runs.pop_if(|(restart, _)| is_newest(*restart)) else {
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
