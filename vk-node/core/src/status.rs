//! What the API server is told of a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::admit::{AdmittedContainer, AdmittedPod, REFUSED, Refusal};
use crate::facts::{Facts, Trouble};
use crate::runs::{History, ID_SCHEME, Outcome, Run, RunState, is_done, is_success};

/// The reason of a pod that was ended for its deadline, and of the request that ended its tasks: the kubelet's word.
pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// The reason of a pod some of whose processes do not end although they were killed: the kubelet's word.
pub const FAILED_KILL_POD: &str = "FailedKillPod";

/// Whether the pod's life is over, and how that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It goes on; what ends may be run again.
    Living,
    /// Its processes are being ended, or come to their end; nothing is run again.
    Stopping,
    ByItself,
    PastDeadline,
    /// One of its containers cannot be started, for good.
    CannotStart(&'a Trouble),
}

/// The status of a refused pod.
pub(crate) fn refused(refusal: &Refusal, facts: &Facts<'_>) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(REFUSED.into()),
        message: Some(format!("the node {} cannot run this pod: {refusal}", facts.node.name)),
        start_time: Some(facts.published.start_time.clone().unwrap_or(Time(facts.now))),
        ..facts.published.clone()
    }
}

/// The status of an admitted pod; `None` while there is nothing to tell that the API server does not know.
pub(crate) fn of(
    pod: &AdmittedPod,
    facts: &Facts<'_>,
    histories: &[History],
    verdict: Verdict<'_>,
) -> Option<PodStatus> {
    let has_begun = histories.iter().any(|h| h.latest.as_ref().is_some_and(|run| has_begun(&run.state)));
    let is_told = facts.published.container_statuses.as_ref().is_some_and(|s| !s.is_empty());
    // The first word about a pod is that it runs, or ended, or has trouble: "it will start in a millisecond" is a
    // write that nobody can use.
    if !has_begun && facts.troubles.is_empty() && !is_told && verdict == Verdict::Living {
        return None;
    }
    if !has_begun && verdict == Verdict::ByItself {
        // Deleted before anything ran.
        return None;
    }
    let containers: Vec<ContainerStatus> = pod
        .containers
        .iter()
        .zip(histories)
        .map(|(container, history)| container_status(pod, container, history, facts, verdict))
        .collect();
    let phase = phase(&containers, has_begun, verdict);
    let is_ready = phase == "Running" && containers.iter().all(|c| c.ready);
    let (reason, message) = match verdict {
        Verdict::PastDeadline => (
            Some(DEADLINE_EXCEEDED.to_owned()),
            Some("the pod was active on the node longer than its activeDeadlineSeconds".to_owned()),
        ),
        Verdict::CannotStart(trouble) => (Some(trouble.reason.clone()), Some(trouble.message.clone())),
        Verdict::Living | Verdict::Stopping => match lingering(facts) {
            Some(message) => (Some(FAILED_KILL_POD.to_owned()), Some(message)),
            None => (None, None),
        },
        Verdict::ByItself => (None, None),
    };
    let first = histories.iter().filter_map(|h| h.first_at).min();
    let address = facts.node.address.clone();
    Some(PodStatus {
        phase: Some(phase.into()),
        reason,
        message,
        conditions: Some(conditions(facts, is_ready, phase)),
        container_statuses: Some(containers),
        host_ip: Some(address.clone()),
        host_ips: Some(vec![HostIP { ip: address.clone() }]),
        pod_ip: Some(address.clone()),
        pod_ips: Some(vec![PodIP { ip: address }]),
        start_time: Some(facts.published.start_time.clone().unwrap_or(Time(whole(first.unwrap_or(facts.now))))),
        observed_generation: pod.generation,
        ..facts.published.clone()
    })
}

/// The processes that do not end, in words; the pod stays for as long as they do.
fn lingering(facts: &Facts<'_>) -> Option<String> {
    let all: Vec<String> = facts
        .tasks
        .iter()
        .flat_map(|task| &task.lingering)
        .map(|process| format!("{} ({}): {}", process.pid, process.name, process.why))
        .collect();
    (!all.is_empty()).then(|| {
        format!("some of its processes were killed and do not end; the pod stays until they do: {}", all.join("; "))
    })
}

fn has_begun(state: &RunState) -> bool {
    match state {
        RunState::Starting { .. } => false,
        RunState::Running { .. } | RunState::Over(_) => true,
    }
}

fn phase(containers: &[ContainerStatus], has_begun: bool, verdict: Verdict<'_>) -> &'static str {
    let succeeded = |c: &ContainerStatus| {
        let terminated = c.state.as_ref().and_then(|s| s.terminated.as_ref());
        terminated.is_some_and(|t| is_success(t.exit_code, t.reason.as_deref().unwrap_or_default()))
    };
    match verdict {
        Verdict::PastDeadline | Verdict::CannotStart(_) => "Failed",
        Verdict::ByItself if containers.iter().all(succeeded) => "Succeeded",
        Verdict::ByItself => "Failed",
        Verdict::Living | Verdict::Stopping if has_begun => "Running",
        Verdict::Living | Verdict::Stopping => "Pending",
    }
}

fn container_status(
    pod: &AdmittedPod,
    container: &AdmittedContainer,
    history: &History,
    facts: &Facts<'_>,
    verdict: Verdict<'_>,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: container.image.clone(),
        // Written out where there is none, as the API server does: what is read back must be what was written.
        last_state: Some(history.previous.as_ref().and_then(last_state).unwrap_or_default()),
        ..ContainerStatus::default()
    };
    let waiting = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.into()), message }),
        ..ContainerState::default()
    };
    let trouble = facts.troubles.get(&container.name).map(|t| waiting(&t.reason, Some(t.message.clone())));
    let Some(run) = &history.latest else {
        status.restart_count = i32::try_from(history.next_restart).unwrap_or(i32::MAX);
        status.started = Some(false);
        status.state = Some(trouble.unwrap_or_else(|| waiting("ContainerCreating", None)));
        return status;
    };
    status.restart_count = i32::try_from(run.restart).unwrap_or(i32::MAX);
    status.container_id = Some(container_id(run));
    match &run.state {
        RunState::Starting { .. } => {
            status.started = Some(false);
            status.state = Some(trouble.unwrap_or_else(|| waiting("ContainerCreating", None)));
        }
        RunState::Running { since } => {
            status.started = Some(true);
            status.ready = true;
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(whole(*since))) }),
                ..ContainerState::default()
            });
        }
        RunState::Over(outcome) => {
            status.started = Some(false);
            let over = ContainerState { terminated: Some(terminated(run, outcome)), ..ContainerState::default() };
            if verdict == Verdict::Living && !is_done(pod.restart_policy, run) {
                let message = match outcome.exit_code {
                    0 => "the container ended with exit code 0 and will be run again".to_owned(),
                    code => format!("the container ended with exit code {code} and will be run again"),
                };
                status.state = Some(trouble.unwrap_or_else(|| waiting("CrashLoopBackOff", Some(message))));
                status.last_state = Some(over);
            } else {
                status.state = Some(over);
            }
        }
    }
    status
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

/// `metav1.Time` holds whole seconds: what is written must be what is read back, or each look would find a change.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Our conditions, with the time of their last change kept; those that others wrote stay as they are.
fn conditions(facts: &Facts<'_>, is_ready: bool, phase: &str) -> Vec<PodCondition> {
    let before = facts.published.conditions.as_deref().unwrap_or_default();
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let reason = match phase {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ if !is_ready => Some("ContainersNotReady"),
        _ => None,
    };
    let ours = [
        ("PodReadyToStartContainers", !is_over, None),
        ("Initialized", true, None),
        ("Ready", is_ready, reason),
        ("ContainersReady", is_ready, reason),
    ];
    // In the order in which they are there: the API server keeps it.
    let mut all = before.to_vec();
    for (kind, holds, reason) in ours {
        let status = if holds { "True" } else { "False" };
        let old = before.iter().find(|c| c.type_ == kind);
        let unchanged = old.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        let new = PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.map(Into::into),
            last_transition_time: Some(unchanged.unwrap_or(Time(whole(facts.now)))),
            observed_generation: old.and_then(|c| c.observed_generation),
            ..PodCondition::default()
        };
        match all.iter_mut().find(|c| c.type_ == kind) {
            Some(there) => *there = new,
            None => all.push(new),
        }
    }
    all
}
