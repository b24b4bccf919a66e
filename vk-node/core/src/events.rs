//! What the events of a pod tell: for people who ask `kubectl describe`, in the kubelet's words.
//!
//! They are derived from what changes in the published status and from what is stopped. So each is told once, whatever is
//! restarted in between, and what came and went between two writes of the status is told with the second.
//!
//! The kubelet's `Pulled` and `Created` are left out: nothing is pulled, and a container is not made before it is started.

use std::fmt;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use vk_task::{StopSignal, TaskId};

use crate::admit::{AdmittedContainer, HookKind, Role};
use crate::probe::Kind;
use crate::probe::machine::Answer;
use crate::runs::ID_SCHEME;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether something is wrong.
    pub kind: NoteKind,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The part of the pod that it is about: `spec.containers{main}`.
    pub field: Option<String>,
}

/// Whether an event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// It does not.
    Normal,
    /// It does.
    Warning,
}

/// A list of containers in a pod's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Init,
    Main,
    Ephemeral,
}

/// What a container waits for where nothing is wrong: no news.
const PLAIN_WAITS: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// The waiting reason of a container that is to be run again later.
const CRASH_LOOP: &str = "CrashLoopBackOff";
/// The reasons of runs whose program was never executed.
const NEVER_RAN: [&str; 5] =
    ["CommandNotFound", "CommandNotExecutable", "WorkingDirectoryError", "StoppedBeforeStart", "StartError"];

impl List {
    /// The one that holds containers with this part in the pod.
    fn of(role: Role) -> Self {
        match role {
            Role::Init | Role::Sidecar => Self::Init,
            Role::Main => Self::Main,
            Role::Ephemeral => Self::Ephemeral,
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "spec.initContainers",
            Self::Main => "spec.containers",
            Self::Ephemeral => "spec.ephemeralContainers",
        })
    }
}

impl Note {
    /// An event about the whole object.
    #[must_use]
    pub fn new(kind: NoteKind, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, reason: reason.to_owned(), message: message.into(), field: None }
    }
}

/// What is new in `after`, for a pod whose published status was `before`.
#[must_use]
pub fn of_change(before: &PodStatus, after: &PodStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    for (list, old, new) in [
        (List::Init, &before.init_container_statuses, &after.init_container_statuses),
        (List::Main, &before.container_statuses, &after.container_statuses),
        (List::Ephemeral, &before.ephemeral_container_statuses, &after.ephemeral_container_statuses),
    ] {
        for container in new.iter().flatten() {
            let old = old.iter().flatten().find(|status| status.name == container.name);
            of_container(list, old, container, &mut notes);
        }
    }
    if let Some(reason) = after.reason.as_ref().filter(|reason| before.reason.as_ref() != Some(*reason)) {
        notes.push(Note::new(NoteKind::Warning, reason, after.message.clone().unwrap_or_default()));
    }
    notes
}

/// A run of a pod's container is being ended.
#[must_use]
pub fn of_stop(task: &TaskId, reason: &str) -> Note {
    // `<uid>_<container>_<run>`, and neither a UID nor a container's name has a `_`.
    let container = task.as_str().split('_').nth(1).unwrap_or_default();
    Note {
        field: Some(format!("{}{{{container}}}", List::Main)),
        ..Note::new(NoteKind::Normal, "Killing", format!("Stopping container {container}: {reason}"))
    }
}

/// A run of a pod's container was warned that its node ends.
#[must_use]
pub fn of_warning(task: &TaskId, signal: StopSignal, why: &str) -> Note {
    let container = task.as_str().split('_').nth(1).unwrap_or_default();
    Note {
        field: Some(format!("{}{{{container}}}", List::Main)),
        ..Note::new(NoteKind::Normal, "NodeEnding", format!("Sent {signal} to container {container}: {why}"))
    }
}

/// That a probe has failed, could not be made, or has something to say. A success says nothing.
#[must_use]
pub fn of_probe(role: Role, container: &str, kind: Kind, answer: &Answer) -> Option<Note> {
    let list = List::of(role);
    let (reason, message) = match answer {
        Answer::Success => return None,
        Answer::Warning { message } => ("ProbeWarning", format!("{kind} probe warning: {message}")),
        Answer::Failure { message } => ("Unhealthy", format!("{kind} probe failed: {message}")),
        Answer::Error { message } => {
            ("Unhealthy", format!("{kind} probe errored and resulted in unknown state: {message}"))
        }
    };
    Some(Note { field: Some(format!("{list}{{{container}}}")), ..Note::new(NoteKind::Warning, reason, message) })
}

/// A hook of a container has failed. Why is not told: it may hold what not everybody who sees events is to see.
#[must_use]
pub fn of_failed_hook(container: &AdmittedContainer, hook: HookKind) -> Note {
    let list = List::of(container.role);
    let (reason, message) = match hook {
        HookKind::PostStart => ("FailedPostStartHook", "PostStartHook failed"),
        HookKind::PreStop => ("FailedPreStopHook", "PreStopHook failed"),
    };
    Note { field: Some(format!("{list}{{{}}}", container.name)), ..Note::new(NoteKind::Warning, reason, message) }
}

fn of_container(list: List, before: Option<&ContainerStatus>, after: &ContainerStatus, notes: &mut Vec<Note>) {
    let field = Some(format!("{list}{{{}}}", after.name));
    let mut add = |kind, reason: &str, message: String| {
        notes.push(Note { field: field.clone(), ..Note::new(kind, reason, message) });
    };
    let known: Vec<&str> = before.into_iter().flat_map(runs).map(|(id, _)| id).collect();
    for (id, failure) in runs(after) {
        if known.contains(&id) {
            continue;
        }
        match failure {
            None => add(NoteKind::Normal, "Started", "Container started".to_owned()),
            Some(why) => add(NoteKind::Warning, "Failed", format!("Error: {why}")),
        }
    }
    let waiting = |status: &ContainerStatus| status.state.as_ref().and_then(|state| state.waiting.clone());
    let Some(now) = waiting(after) else { return };
    let reason = now.reason.as_deref().unwrap_or_default();
    if before.and_then(waiting).as_ref() == Some(&now) || PLAIN_WAITS.contains(&reason) {
        return;
    }
    let message = now.message.clone().unwrap_or_default();
    match reason {
        CRASH_LOOP => add(NoteKind::Warning, "BackOff", message),
        _ => add(NoteKind::Warning, "Failed", format!("Error: {message}")),
    }
}

/// The runs that a status tells of as begun, by their ids; with why, where the program could not be executed.
fn runs(status: &ContainerStatus) -> Vec<(&str, Option<&str>)> {
    let mut all = Vec::new();
    for state in [&status.last_state, &status.state].into_iter().flatten() {
        if let Some(ended) = &state.terminated {
            let id = ended.container_id.as_deref().unwrap_or_default();
            let never = ended.reason.as_deref().is_some_and(|reason| NEVER_RAN.contains(&reason));
            all.push((id, never.then(|| ended.message.as_deref().unwrap_or_default())));
        } else if state.running.is_some() {
            all.push((status.container_id.as_deref().unwrap_or_default(), None));
        }
    }
    all.retain(|(id, _)| id.starts_with(ID_SCHEME));
    all
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn status(containers: Value) -> PodStatus {
        from_value(json!({"containerStatuses": containers})).unwrap()
    }

    fn container(state: Value, last: Value) -> Value {
        json!({
            "name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "containerID": "vk-cmd://u_c_1", "state": state, "lastState": last,
        })
    }

    fn ended(run: u32, reason: &str) -> Value {
        json!({"terminated": {
            "exitCode": 1, "containerID": format!("vk-cmd://u_c_{run}"), "reason": reason, "message": "why"
        }})
    }

    fn told(before: &PodStatus, after: &PodStatus) -> Vec<String> {
        of_change(before, after)
            .iter()
            .map(|n| format!("{:?} {} {} {}", n.kind, n.reason, n.field.as_deref().unwrap_or("-"), n.message))
            .collect()
    }

    #[test]
    fn each_run_is_told_of_once() {
        let none = PodStatus::default();
        let running = status(json!([container(json!({"running": {}}), ended(0, "Error"))]));
        let started = "Normal Started spec.containers{c} Container started";
        // Two runs have begun since the last write.
        assert_eq!(told(&none, &running), [started, started]);
        assert_eq!(told(&running, &running), [""; 0]);
        let over = status(json!([container(ended(1, "Completed"), ended(0, "Error"))]));
        assert_eq!(told(&running, &over), [""; 0]);
        assert_eq!(told(&none, &over), [started, started]);
    }

    #[test]
    fn what_could_not_start_is_a_warning() {
        let over = status(json!([container(ended(1, "CommandNotFound"), json!({}))]));
        assert_eq!(told(&PodStatus::default(), &over), ["Warning Failed spec.containers{c} Error: why"]);
    }

    #[test]
    fn waiting_is_told_where_something_is_wrong() {
        let waits = |reason: &str, message: &str| {
            status(json!([container(json!({"waiting": {"reason": reason, "message": message}}), json!({}))]))
        };
        let none = PodStatus::default();
        assert_eq!(told(&none, &waits("ContainerCreating", "")), [""; 0]);
        let config = waits("CreateContainerConfigError", "configmap \"x\" not found");
        assert_eq!(told(&none, &config), ["Warning Failed spec.containers{c} Error: configmap \"x\" not found"]);
        assert_eq!(told(&config, &config), [""; 0]);
        let loops = waits("CrashLoopBackOff", "back-off 10s");
        assert_eq!(told(&config, &loops), ["Warning BackOff spec.containers{c} back-off 10s"]);
    }

    #[test]
    fn the_pods_own_reason_is_told_when_it_is_new() {
        let late: PodStatus = from_value(json!({"reason": "DeadlineExceeded", "message": "too long"})).unwrap();
        assert_eq!(told(&PodStatus::default(), &late), ["Warning DeadlineExceeded - too long"]);
        assert_eq!(told(&late, &late), [""; 0]);
    }

    #[test]
    fn a_probe_that_fails_is_a_warning() {
        let message = || "why".to_owned();
        let note = |role, answer| of_probe(role, "c", Kind::Liveness, &answer);
        assert_eq!(note(Role::Main, Answer::Success), None);
        for (answer, reason, told) in [
            (Answer::Failure { message: message() }, "Unhealthy", "Liveness probe failed: why"),
            (
                Answer::Error { message: message() },
                "Unhealthy",
                "Liveness probe errored and resulted in unknown state: why",
            ),
            (Answer::Warning { message: message() }, "ProbeWarning", "Liveness probe warning: why"),
        ] {
            let note = note(Role::Sidecar, answer).unwrap();
            assert_eq!((note.reason.as_str(), note.message.as_str()), (reason, told));
            assert_eq!(note.field.as_deref(), Some("spec.initContainers{c}"));
        }
    }

    #[test]
    fn a_stop_names_the_container() {
        let note = of_stop(&TaskId::for_container("0b-9d", "main", 3).unwrap(), "the pod was deleted");
        assert_eq!(note.message, "Stopping container main: the pod was deleted");
        assert_eq!(note.field.as_deref(), Some("spec.containers{main}"));
    }
}
