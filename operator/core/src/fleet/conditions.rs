//! The conditions of a fleet, as kstatus reads them.

use crate::pilots::Paused;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vk_cmd_crds::{CmdFleetStatus, FleetCondition, FleetReason};

/// How it is with a fleet, in one word and in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Say {
    pub(super) reason: FleetReason,
    pub(super) message: String,
}

/// The conditions that say so. One that keeps its status keeps the time of its last transition.
pub(super) fn of(
    recorded: &CmdFleetStatus,
    say: &Say,
    paused: Option<&Paused>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (is_ready, other) = match say.reason {
        FleetReason::NodesReady | FleetReason::Cordoned | FleetReason::Drained => (true, None),
        FleetReason::TooFewNodes | FleetReason::Cordoning | FleetReason::Draining | FleetReason::Uncordoning => {
            (false, Some(FleetCondition::Reconciling))
        }
        FleetReason::Invalid | FleetReason::PilotsFail => (false, Some(FleetCondition::Stalled)),
    };
    let build = |(kind, yes, reason, message): (FleetCondition, bool, FleetReason, &str)| {
        let (kind, status) = (kind.to_string(), if yes { "True" } else { "False" });
        let before = recorded.conditions.iter().find(|before| before.type_ == kind && before.status == status);
        Condition {
            last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
            type_: kind,
            status: status.to_owned(),
            reason: reason.to_string(),
            message: message.to_owned(),
            observed_generation: generation,
        }
    };
    let ready = (FleetCondition::Ready, is_ready, say.reason, &*say.message);
    let other = other.map(|other| (other, true, say.reason, &*say.message));
    let paused = paused.map(|paused| (FleetCondition::LauncherPaused, true, paused.reason, &*paused.message));
    [Some(ready), other, paused].into_iter().flatten().map(build).collect()
}
