//! How what runs is ended: hook, turn, `SIGTERM`, `SIGKILL`; and what of it is ended while the pod lives on.
//!
//! ```text
//!   decided ──▶ preStop ──▶ its turn ──▶ TERM ──────────────▶ KILL
//!      │                       │                               at the end of the grace, but 2 s after TERM at the earliest
//!      └── of all containers   └── a sidecar's: when all mains, and the sidecars after it, have ended
//!          at the same time
//! ```
//!
//! The grace counts from when it was decided, and TERM comes at its end whatever is not done by then. The rules are those of
//! the kubelet's `killContainer` and its `terminationOrdering`.

use jiff::{SignedDuration, Timestamp};
use vk_task::{Origin, StopRequest, TaskView};

use super::{Decision, Step};
use crate::admit::{HookKind, Role};
use crate::facts::{Facts, Hook, Probe};
use crate::look::{Look, Seen};
use crate::probe::Kind;
use crate::runs::{definition_changed, probe_failed};

/// The least time between `SIGTERM` and `SIGKILL`: the kubelet's `minimumGracePeriodInSeconds`.
const SHORTEST_GRACE: SignedDuration = SignedDuration::from_secs(2);
/// Why a container is ended whose `postStart` failed: the kubelet's word.
const FAILED_POST_START: &str = "FailedPostStartHook";

/// How something is to be ended.
pub(super) struct Ending<'a> {
    /// When its grace is over.
    pub(super) kill_at: Timestamp,
    /// Why, for people.
    pub(super) reason: &'a str,
}

/// When the grace of a pod is over that is being ended: in time before its node ends, however long it is.
pub(super) fn kill_at(facts: &Facts<'_>, grace: SignedDuration) -> Timestamp {
    let since = facts.stopping_since.map_or(facts.now, |since| facts.present(since));
    let at = since.saturating_add(grace).unwrap_or(Timestamp::MAX);
    facts.end.map_or(at, |end| at.min(end.kill_by))
}

/// Ends all containers of a pod, and what was written to the FIFO if that is wanted.
pub(super) fn all(look: &Look<'_>, ending: &Ending<'_>, with_lines: bool, decision: &mut Decision) {
    for task in look.facts.tasks.iter().filter(|task| !task.state.is_final()) {
        match &task.origin {
            Origin::Fifo { .. } if with_lines => ask(look.facts, task, ending, decision),
            Origin::Fifo { .. } => {}
            Origin::Pod(_) => match look.all().find(|seen| seen.task().is_some_and(|own| own.id == task.id)) {
                Some(seen) => container(look, seen, task, ending, true, decision),
                // The pod no longer has such a container.
                None => ask(look.facts, task, ending, decision),
            },
        }
    }
}

/// Ends all tasks of a pod of which nothing else is known.
pub(super) fn plainly(facts: &Facts<'_>, ending: &Ending<'_>, decision: &mut Decision) {
    for task in facts.tasks.iter().filter(|task| !task.state.is_final()) {
        ask(facts, task, ending, decision);
    }
}

/// Looks after the containers that run: begins `postStart`, and ends those whose hook or probe has failed.
pub(super) fn attend(look: &Look<'_>, decision: &mut Decision) {
    for seen in look.all().filter(|seen| seen.is_running()) {
        let Some(task) = seen.task().filter(|task| task.stop.is_none()) else { continue };
        if let Some((reason, grace)) = ailment(look, seen) {
            let since = seen.begun_pre_stop().map_or(look.facts.now, |since| look.facts.present(since));
            let kill_at = since.saturating_add(grace).unwrap_or(Timestamp::MAX);
            container(look, seen, task, &Ending { kill_at, reason: &reason }, false, decision);
        } else if seen.hook(HookKind::PostStart) == Hook::Unknown {
            run_hook(seen, HookKind::PostStart, decision);
        }
    }
}

/// Why a container that runs is to be ended although its pod lives on, and its grace.
fn ailment(look: &Look<'_>, seen: Seen<'_>) -> Option<(String, SignedDuration)> {
    let grace = look.pod.grace;
    if let Hook::Failed { message, .. } = seen.hook(HookKind::PostStart) {
        return Some((format!("{FAILED_POST_START}: {message}"), grace));
    }
    for kind in [Kind::Liveness, Kind::Startup] {
        if let Some(Probe::Failure { message }) = seen.probe(kind) {
            let own = seen.container.probes.get(kind).and_then(|probe| probe.grace);
            return Some((probe_failed(kind == Kind::Startup, &message), own.unwrap_or(grace)));
        }
    }
    if let Some(status) = seen.as_started().filter(|_| seen.is_changed()) {
        return Some((definition_changed(&status.image, &seen.container.image), grace));
    }
    // Once preStop has been begun there is no way back.
    seen.begun_pre_stop().map(|_| ("its preStop was done".to_owned(), grace))
}

/// Ends a container as soon as its hook, and if it is `in_turn` those before it, let it.
fn container(
    look: &Look<'_>,
    seen: Seen<'_>,
    task: &TaskView,
    ending: &Ending<'_>,
    in_turn: bool,
    decision: &mut Decision,
) {
    let has_time = task.stop.is_none() && look.facts.now < ending.kill_at;
    if has_time && (is_in_pre_stop(seen, decision) || in_turn && !is_its_turn(look, seen)) {
        decision.again(ending.kill_at);
    } else {
        ask(look.facts, task, ending, decision);
    }
}

/// Whether `preStop` is still to be waited for; begins it if need be. A container that has not begun to run has none.
fn is_in_pre_stop(seen: Seen<'_>, decision: &mut Decision) -> bool {
    if !seen.is_running() {
        return false;
    }
    match seen.hook(HookKind::PreStop) {
        Hook::Unknown => {
            run_hook(seen, HookKind::PreStop, decision);
            true
        }
        Hook::Running { .. } => true,
        // That it failed changes nothing.
        Hook::Done { .. } | Hook::Failed { .. } => false,
    }
}

/// Whether nothing runs that the container is there for: sidecars end after the main containers, the last first.
fn is_its_turn(look: &Look<'_>, seen: Seen<'_>) -> bool {
    seen.container.role != Role::Sidecar
        || !look.all().any(|other| {
            other.is_active()
                && match other.container.role {
                    Role::Main => true,
                    Role::Sidecar => other.index > seen.index,
                    Role::Init | Role::Ephemeral => false,
                }
        })
}

fn run_hook(seen: Seen<'_>, hook: HookKind, decision: &mut Decision) {
    let Some(run) = seen.latest() else { return };
    decision.steps.push(Step::RunHook { container: seen.index, restart: run.restart, hook });
}

/// Has the pipe end a task. A request that is there already is repeated only to bring the kill forward.
fn ask(facts: &Facts<'_>, task: &TaskView, ending: &Ending<'_>, decision: &mut Decision) {
    let kill_at = ending.kill_at.max(facts.now.saturating_add(SHORTEST_GRACE).unwrap_or(Timestamp::MAX));
    if task.stop.as_ref().is_none_or(|stop| kill_at < facts.present(stop.kill_at)) {
        let request = StopRequest { kill_at, reason: ending.reason.to_owned() };
        decision.steps.push(Step::Stop { id: task.id.clone(), request });
    }
}
