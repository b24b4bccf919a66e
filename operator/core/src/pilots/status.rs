//! What the fleet says of its pilots.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::FleetReason;
use vk_cmd_crds::launcher::{PilotState, PilotStatus, PilotsStatus};
use vk_words::counted;

use super::pause::MANY;
use super::{KEPT, Memory, Step, View};
use crate::fleet::quantities;

/// Why the launcher submits nothing: the condition LauncherPaused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// In one word.
    pub reason: FleetReason,
    /// In plain words.
    pub message: String,
}

/// Of a launcher that cannot be used.
pub fn invalid(problems: &[String]) -> Paused {
    let message = format!("spec.launcher cannot be used as it is: {}", problems.join("; "));
    Paused { reason: FleetReason::Invalid, message }
}

/// What there is to say.
pub(super) fn of(view: &View<'_>, memory: &Memory, steps: &[Step]) -> (PilotsStatus, Option<Paused>) {
    let of_state = |wanted: &[PilotState]| {
        let all = view.pilots.iter().filter(|pilot| wanted.contains(&pilot.seen.state(pilot.nodes.len())));
        i32::try_from(all.count()).unwrap_or(i32::MAX)
    };
    let submitted = steps.iter().filter_map(|step| if let Step::Submit(number) = step { Some(*number) } else { None });
    let last = submitted
        .chain(view.facts.pilots.iter().map(|pilot| pilot.number))
        .chain(view.facts.recorded.last_number)
        .max();
    let wanted = view.said().unwrap_or_else(|| {
        let by_queue = view.serving.saturating_add(view.needed.nodes).max(view.facts.wishes.min);
        by_queue.min(view.facts.wishes.max.unwrap_or(u32::MAX))
    });
    let recent = view.pilots.iter().take(KEPT).map(|pilot| PilotStatus {
        name: pilot.seen.name.clone(),
        state: pilot.seen.state(pilot.nodes.len()),
        nodes: i32::try_from(pilot.nodes.len()).unwrap_or(i32::MAX),
        message: pilot.seen.message.clone(),
    });
    let shape = memory.shape().filter(|_| view.facts.launcher.node_resources.is_none());
    let failures = &view.failures;
    let status = PilotsStatus {
        wanted_nodes: i32::try_from(wanted).unwrap_or(i32::MAX),
        pending: of_state(&[PilotState::Waiting, PilotState::Pending]),
        running: of_state(&[PilotState::Running]),
        cancelling: of_state(&[PilotState::Cancelling]),
        failures: i32::try_from(failures.count).unwrap_or(i32::MAX),
        last_number: last.and_then(|number| i64::try_from(number).ok()),
        launcher: Some(view.facts.launcher.digest.clone()),
        last_good_number: memory.good().and_then(|number| i64::try_from(number).ok()),
        node_resources: shape.map(quantities).unwrap_or_default(),
        paused_until: failures.until.filter(|until| view.facts.now < *until).map(Time),
        message: message(view),
        recent: recent.collect(),
    };
    let paused = (failures.count >= MANY).then(|| Paused { reason: FleetReason::PilotsFail, message: fails(view) });
    (status, paused)
}

fn fails(view: &View<'_>) -> String {
    let failures = &view.failures;
    let words = failures.words.as_deref().unwrap_or("see the CmdJobs of the pilots").trim_end();
    let next = failures.until.filter(|until| view.facts.now < *until);
    let next = next
        .map_or_else(|| "the next one is tried now".to_owned(), |until| format!("the next one is tried at {until}"));
    format!(
        "the last {} pilots have failed, and {next}, or when spec.launcher is changed. The last one says: {words}",
        failures.count
    )
}

fn message(view: &View<'_>) -> Option<String> {
    let stuck = view.live().find_map(|pilot| {
        let words = pilot.seen.message.as_deref()?;
        Some(format!("the pilot {} is not submitted yet: {words}", pilot.seen.name))
    });
    let failed = || (view.failures.count > 0).then(|| fails(view));
    let misfits = || {
        let count = view.needed.misfits;
        (count > 0).then(|| {
            let waiting = counted(count, "attempt that waits", "attempts that wait");
            format!("{waiting} would not fit on an empty node of this fleet, or into the walltime of a pilot: no pilot is submitted for that")
        })
    };
    let too_large = || {
        let npp = view.facts.launcher.nodes_per_pilot;
        let max = view.facts.wishes.max.filter(|max| *max < npp && view.lacking() > 0)?;
        Some(format!(
            "a pilot brings {}, and spec.maxNodes is {max}: none can be submitted",
            counted(npp, "node", "nodes")
        ))
    };
    stuck.or_else(failed).or_else(too_large).or_else(misfits)
}
