//! What the API server is told of a pod.

mod conditions;
mod container;
mod phase;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_task::MAX_TERMINATION_MESSAGE_BYTES;

use crate::admit::{Refusal, Role};
use crate::ending::OUT_OF_WALLTIME;
use crate::evict::EVICTED;
use crate::facts::{Facts, Trouble};
use crate::life::Progress;
use crate::look::Look;

pub use self::conditions::{OURS as OUR_CONDITIONS, is_ours};

/// The reason of a pod that was ended for its deadline, and of the request that ended its tasks: the kubelet's word.
pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// The reason of a pod some of whose processes do not end although they were killed: the kubelet's word.
pub const FAILED_KILL_POD: &str = "FailedKillPod";
/// The most that the last words of all containers of a pod may come to: the kubelet's figure.
const MAX_MESSAGES_BYTES: usize = 3 * MAX_TERMINATION_MESSAGE_BYTES;

/// Whether the pod's life is over, and how that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It goes on; what ends may be run again.
    Living,
    /// Its processes are being ended, or come to their end; nothing is run again.
    Stopping,
    ByItself,
    PastDeadline,
    /// It was evicted, and why.
    Evicted(&'a str),
    /// The node ends.
    NodeEnds {
        /// The pod's reason, where something of it has run.
        reason: &'static str,
        /// For people.
        why: &'a str,
    },
    /// Somebody else has said so.
    Ended,
    /// One of its containers cannot be started, for good.
    CannotStart(&'a Trouble),
}

/// Whether Kubernetes has given the pod up, its node having been gone. From its pod garbage collector (`podgc`).
pub(crate) fn is_given_up(published: &PodStatus) -> bool {
    let all = published.conditions.iter().flatten();
    all.into_iter().any(|condition| {
        condition.type_ == "DisruptionTarget" && condition.reason.as_deref() == Some("DeletionByPodGC")
    })
}

/// Whether a node has said how the containers of a pod have ended, or why it was not run.
pub(crate) fn is_told(published: &PodStatus) -> bool {
    let has_ended = |c: &ContainerStatus| c.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let mains = published.container_statuses.as_deref().unwrap_or_default();
    published.reason.is_some() || !mains.is_empty() && mains.iter().all(has_ended)
}

/// The status of a refused pod.
pub(crate) fn refused(refusal: &Refusal, facts: &Facts<'_>) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(refusal.reason()),
        message: Some(refusal.message(&facts.node.name)),
        start_time: Some(facts.published.start_time.clone().unwrap_or(Time(facts.now))),
        ..facts.published.clone()
    }
}

/// The status of an admitted pod; `None` while there is nothing to tell that the API server does not know.
pub(crate) fn of(look: &Look<'_>, progress: &Progress, verdict: Verdict<'_>) -> Option<PodStatus> {
    let (pod, facts) = (look.pod, look.facts);
    let has_begun = look.all().any(|seen| seen.has_begun());
    let is_told = facts.published.container_statuses.as_ref().is_some_and(|s| !s.is_empty());
    // The first word about a pod is that it runs, or ended, or has trouble: "it will start in a millisecond" is a
    // write that nobody can use.
    if !has_begun && facts.troubles.is_empty() && !is_told && verdict == Verdict::Living {
        return None;
    }
    // One that was deleted before anything ran is told to have failed, as by the kubelet (`TerminatePod`): a finalizer may
    // keep the object, and whoever put it there waits to hear that nothing of it will ever run.
    let lists = Lists::of(look, verdict);
    let phase = phase::of(look, progress, verdict);
    let (reason, message) = match verdict {
        Verdict::PastDeadline => (
            Some(DEADLINE_EXCEEDED.to_owned()),
            Some("the pod was active on the node longer than its activeDeadlineSeconds".to_owned()),
        ),
        Verdict::Evicted(why) => (Some(EVICTED.to_owned()), Some(why.to_owned())),
        // Of what has not begun, as if it had come too late.
        Verdict::NodeEnds { why, .. } if !has_begun => {
            let refusal = facts.end.map_or(OUT_OF_WALLTIME, |end| end.cause.refusal());
            (Some(refusal.to_owned()), Some(why.to_owned()))
        }
        Verdict::NodeEnds { reason, why } => (Some(reason.to_owned()), Some(why.to_owned())),
        // Theirs stay.
        Verdict::Ended => (facts.published.reason.clone(), facts.published.message.clone()),
        Verdict::CannotStart(trouble) => (Some(trouble.reason.clone()), Some(trouble.message.clone())),
        Verdict::Living | Verdict::Stopping => match lingering(facts) {
            Some(message) => (Some(FAILED_KILL_POD.to_owned()), Some(message)),
            None => (None, None),
        },
        Verdict::ByItself => (None, None),
    };
    let first = look.histories.iter().filter_map(|h| h.first_at).min();
    let address = facts.node.address.clone();
    Some(PodStatus {
        phase: Some(phase.into()),
        reason,
        message,
        conditions: Some(conditions::of(look, &lists, phase, verdict)),
        // As the API server does, one that is empty is left out.
        init_container_statuses: Some(lists.init).filter(|list| !list.is_empty()),
        container_statuses: Some(lists.main),
        ephemeral_container_statuses: Some(lists.ephemeral).filter(|list| !list.is_empty()),
        host_ip: Some(address.clone()),
        host_ips: Some(vec![HostIP { ip: address.clone() }]),
        pod_ip: Some(address.clone()),
        pod_ips: Some(vec![PodIP { ip: address }]),
        start_time: Some(facts.published.start_time.clone().unwrap_or(Time(whole(first.unwrap_or(facts.now))))),
        // The API server writes it when the pod is created, and does not let it change.
        qos_class: facts.published.qos_class.clone().or_else(|| Some(pod.qos_class.as_str().into())),
        observed_generation: pod.generation,
        ..facts.published.clone()
    })
}

/// The statuses of a pod's containers.
struct Lists {
    /// In the pod's order.
    init: Vec<ContainerStatus>,
    /// By name, as in the kubelet.
    main: Vec<ContainerStatus>,
    /// By name, as in the kubelet.
    ephemeral: Vec<ContainerStatus>,
}

impl Lists {
    fn of(look: &Look<'_>, verdict: Verdict<'_>) -> Self {
        let mut lists = Self { init: vec![], main: vec![], ephemeral: vec![] };
        for seen in look.all() {
            let status = container::status(look, seen, verdict);
            match seen.container.role {
                Role::Init | Role::Sidecar => lists.init.push(status),
                Role::Main => lists.main.push(status),
                Role::Ephemeral => lists.ephemeral.push(status),
            }
        }
        lists.ephemeral.extend(look.pod.refused.iter().map(container::refused));
        for by_name in [&mut lists.main, &mut lists.ephemeral] {
            by_name.sort_by(|a, b| a.name.cmp(&b.name));
        }
        lists.shorten();
        lists
    }

    /// Cuts the last words of containers to their share of what the pod may say.
    fn shorten(&mut self) {
        let all = [&mut self.init, &mut self.main, &mut self.ephemeral];
        let count = all.iter().map(|list| list.len()).sum::<usize>().max(1);
        let share = (MAX_MESSAGES_BYTES / count).min(MAX_TERMINATION_MESSAGE_BYTES);
        let states = all.into_iter().flatten().flat_map(|status| [&mut status.state, &mut status.last_state]);
        for message in states.flatten().filter_map(message_of) {
            message.truncate(message.floor_char_boundary(share));
        }
    }
}

fn message_of(state: &mut ContainerState) -> Option<&mut String> {
    state.terminated.as_mut()?.message.as_mut()
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

/// `metav1.Time` holds whole seconds: what is written must be what is read back, or each look would find a change.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
