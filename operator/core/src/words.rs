//! How things are called in messages.

use std::collections::BTreeMap;

use vk_cmd_crds::labels;
use vk_cmd_crds::{Attempt, AttemptState};

use crate::seen::{self, Absence, PodSeen};
use crate::validate::{Completions, Target, ValidJob};

/// Why a job that is being deleted is in the state that it is in.
pub(crate) const DELETING: &str = "the CmdJob is being deleted";

/// Why processes are being ended, and which node cannot say whether they have been, if there is one.
pub(crate) fn ended(why: &str, unheard: Option<&str>) -> String {
    unheard.map_or_else(|| why.to_owned(), |unheard| format!("{why}; {unheard}"))
}

/// The node that cannot say what its processes do, if there is one: of pods that are not over.
pub(crate) fn unheard(open: &[&PodSeen], nodes: &BTreeMap<String, Absence>) -> Option<String> {
    let (pod, absence) = open.iter().find_map(|pod| Some((pod, nodes.get(&*pod.node)?)))?;
    Some(match absence {
        Absence::Silent(Some(since)) => {
            format!("node {} unreachable since {since}: pod {} may run there or not", pod.node, pod.name)
        }
        Absence::Silent(None) => format!("node {} is unreachable: pod {} may run there or not", pod.node, pod.name),
        Absence::Gone => format!("node {} is gone: pod {} may run where it was, or not", pod.node, pod.name),
    })
}

/// The name of a signal by its number on Linux (signal(7); the numbers are those of x86 and ARM).
pub(crate) fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        other => return format!("SIG{other}"),
    };
    name.to_owned()
}

/// Whether an attempt has failed.
pub(crate) fn is_failure(attempt: &Attempt) -> bool {
    matches!(attempt.state, AttemptState::Failed | AttemptState::Unknown)
}

/// Which attempt a pod is: "attempt 0 on vk-x", "attempt 0 at index 3 on vk-x".
pub(crate) fn attempt(job: &ValidJob<'_>, pod: &PodSeen) -> String {
    which(job, pod.index, pod.attempt, &pod.node)
}

fn which(job: &ValidJob<'_>, index: u32, attempt: u32, node: &str) -> String {
    match job.completions {
        Completions::Of(1) => format!("attempt {attempt} on {node}"),
        Completions::Of(_) | Completions::Any | Completions::EveryNode => {
            format!("attempt {attempt} at index {index} on {node}")
        }
    }
}

/// How an attempt ended, as a clause: "attempt 0 on vk-x ended with exit code 5".
pub(crate) fn ending(job: &ValidJob<'_>, attempt: &Attempt) -> String {
    let who = which(job, attempt.index.cast_unsigned(), attempt.attempt.cast_unsigned(), &attempt.node);
    let how = match (attempt.state, attempt.exit_code, attempt.signal.as_deref()) {
        (AttemptState::Unknown, _, _) => "ended in a way that nobody knows".to_owned(),
        (_, Some(code), Some(signal)) => format!("was killed by {signal} (exit code {code})"),
        (_, Some(code), None) => format!("ended with exit code {code}"),
        (_, None, Some(signal)) => format!("was killed by {signal}"),
        (AttemptState::Stopped, None, None) => "was ended".to_owned(),
        (AttemptState::Refused, None, None) => {
            let of_room = attempt.reason.as_deref().is_none_or(|reason| !seen::says_no_time(reason));
            let what = if of_room { "room for it after all" } else { "time for it any more" };
            format!("was not started, for the node had no {what}")
        }
        (_, None, None) => "failed".to_owned(),
    };
    let why = match (attempt.reason.as_deref(), attempt.message.as_deref()) {
        (Some(reason), Some(message)) => format!(" ({reason}: {message})"),
        (Some(word), None) | (None, Some(word)) => format!(" ({word})"),
        (None, None) => String::new(),
    };
    format!("{who} {how}{why}")
}

/// That no node is meant by a target.
pub(crate) fn no_nodes(target: &Target<'_>) -> String {
    match target {
        Target::Node(node) => no_node(node.as_str()),
        Target::Fleet(fleet) => no_fleet(fleet, true),
        Target::Labels(wanted) => no_labels(wanted),
    }
}

/// That there is no node of this name.
pub(crate) fn no_node(node: &str) -> String {
    format!(
        "no vk-cmd node has the name {node}: start it at the site with \"vk-node run --node-name {node}\"; if the name is wrong, \
         make a new CmdJob with another spec.target.node (kubectl get nodes -l type=virtual-kubelet lists them)"
    )
}

/// That there is no node of this fleet, and perhaps no CmdFleet either.
pub(crate) fn no_fleet(fleet: &str, is_there: bool) -> String {
    let missing = match is_there {
        true => String::new(),
        false => format!(
            ", and there is no CmdFleet of that name: if it is wrong, make a new CmdJob with another spec.target.fleet (kubectl get \
             cmdfleets lists them); a fleet without a CmdFleet is all nodes with the label {}={fleet}",
            labels::FLEET
        ),
    };
    format!(
        "no vk-cmd node belongs to the fleet {fleet}{missing}: start one with the label {}={fleet} (kubectl get nodes -L {} lists what \
         there is)",
        labels::FLEET,
        labels::FLEET
    )
}

/// That there is no node of these labels.
pub(crate) fn no_labels(wanted: &BTreeMap<String, String>) -> String {
    let wanted: Vec<String> = wanted.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!(
        "no vk-cmd node has the labels {} (kubectl get nodes -l type=virtual-kubelet --show-labels lists what there is)",
        wanted.join(",")
    )
}
