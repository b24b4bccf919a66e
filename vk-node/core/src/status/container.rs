//! The status of one container.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use vk_cmd_crds::labels::CONTAINER_STATUS_UNKNOWN;
use vk_task::Place;

use super::{Verdict, whole};
use crate::admit::{AdmittedContainer, REFUSED, RefusedContainer, Role};
use crate::facts::SiteUser;
use crate::life::BackOff;
use crate::look::{Look, Seen};
use crate::runs::{ID_SCHEME, Outcome, Run, RunState, UNKNOWN_EXIT_CODE};

/// The status of a container.
pub(super) fn status(look: &Look<'_>, seen: Seen<'_>, verdict: Verdict<'_>) -> ContainerStatus {
    let (container, history) = (seen.container, seen.history);
    let (image, resources) = match seen.as_started() {
        Some(status) => (&status.image, status.resources.clone()),
        None => (&container.image, container.resources.clone()),
    };
    let mut status = ContainerStatus {
        // Written out where there is none, as the API server does: what is read back must be what was written.
        last_state: Some(history.previous.as_ref().and_then(last_state).unwrap_or_default()),
        // The kubelet says nothing of the probes of an ephemeral container.
        started: (container.role != Role::Ephemeral).then(|| seen.is_started()),
        ready: seen.is_ready(),
        allocated_resources: resources.as_ref().and_then(|resources| resources.requests.clone()),
        resources,
        volume_mounts: Some(container.told_mounts.clone()).filter(|mounts| !mounts.is_empty()),
        ..named(&container.name, image)
    };
    let trouble = look.facts.troubles.get(&container.name).map(|t| waiting(&t.reason, Some(t.message.clone())));
    let Some(run) = &history.latest else {
        status.restart_count = i32::try_from(history.next_restart).unwrap_or(i32::MAX);
        let is_lost = verdict == Verdict::Ended && super::is_given_up(look.facts.published);
        status.state = Some(if is_lost { not_found(look) } else { trouble.unwrap_or_else(|| not_yet(look)) });
        return status;
    };
    status.restart_count = i32::try_from(run.restart).unwrap_or(i32::MAX);
    status.container_id = Some(container_id(run));
    status.user = user(look, container);
    // Only where the pod says so: an API server without the feature drops it, and would seem to be told of a change for ever.
    status.stop_signal = container.stop_signal.map(|signal| signal.to_string());
    match &run.state {
        RunState::Starting { .. } => status.state = Some(trouble.unwrap_or_else(|| not_yet(look))),
        RunState::Running { since } => {
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(whole(*since))) }),
                ..ContainerState::default()
            });
        }
        RunState::Over(outcome) => {
            let over = ContainerState { terminated: Some(terminated(run, outcome)), ..ContainerState::default() };
            let is_to_run = verdict == Verdict::Living && !seen.is_done();
            match trouble.or_else(|| back_off(look, seen)).filter(|_| is_to_run) {
                Some(why) => {
                    status.state = Some(why);
                    status.last_state = Some(over);
                }
                None => status.state = Some(over),
            }
        }
    }
    status
}

/// As whom its first process runs; who that is in an image is not known here.
fn user(look: &Look<'_>, container: &AdmittedContainer) -> Option<ContainerUser> {
    let node = look.facts.node;
    let SiteUser::Known { uid, gid } = node.user else { return None };
    let linux = LinuxContainerUser {
        uid: i64::from(uid),
        gid: i64::from(gid),
        supplemental_groups: Some(node.groups.iter().map(|group| i64::from(*group)).collect::<Vec<_>>())
            .filter(|groups| !groups.is_empty()),
    };
    (container.place == Place::Host).then_some(ContainerUser { linux: Some(linux) })
}

/// The status of an ephemeral container that cannot be run here.
pub(super) fn refused(container: &RefusedContainer) -> ContainerStatus {
    ContainerStatus {
        last_state: Some(ContainerState::default()),
        state: Some(waiting(REFUSED, Some(container.problems.to_string()))),
        ..named(&container.name, &container.image)
    }
}

fn named(name: &str, image: &str) -> ContainerStatus {
    ContainerStatus { name: name.into(), image: image.into(), image_id: image.into(), ..ContainerStatus::default() }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.into()), message }),
        ..ContainerState::default()
    }
}

/// It has not been started.
fn not_yet(look: &Look<'_>) -> ContainerState {
    let has_init = look.init_part().next().is_some();
    waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, None)
}

/// There is no record of it, and none will come: in the kubelet's words (`TerminatePod`).
fn not_found(look: &Look<'_>) -> ContainerState {
    let now = Time(whole(look.facts.now));
    let terminated = ContainerStateTerminated {
        exit_code: UNKNOWN_EXIT_CODE,
        reason: Some(CONTAINER_STATUS_UNKNOWN.to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        started_at: Some(now.clone()),
        finished_at: Some(now),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// It waits to be run again, for some time yet; in the kubelet's words.
fn back_off(look: &Look<'_>, seen: Seen<'_>) -> Option<ContainerState> {
    let back_off = BackOff::after(seen).filter(|back_off| look.facts.now < back_off.until)?;
    let key = &look.pod.key;
    let message = format!(
        "back-off {back_off} restarting failed container={} pod={}_{}({})",
        seen.container.name, key.name, key.namespace, key.uid
    );
    Some(waiting("CrashLoopBackOff", Some(message)))
}

fn last_state(run: &Run) -> Option<ContainerState> {
    match &run.state {
        RunState::Over(outcome) => {
            Some(ContainerState { terminated: Some(terminated(run, outcome)), ..ContainerState::default() })
        }
        RunState::Starting { .. } | RunState::Running { .. } => None,
    }
}

fn terminated(run: &Run, outcome: &Outcome) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(container_id(run)),
        exit_code: outcome.exit_code,
        signal: outcome.signal,
        reason: Some(outcome.reason.clone()),
        message: outcome.message.clone(),
        started_at: Some(Time(whole(outcome.started_at))),
        finished_at: Some(Time(whole(outcome.finished_at))),
    }
}

fn container_id(run: &Run) -> String {
    format!("{}{}", ID_SCHEME, run.id)
}
