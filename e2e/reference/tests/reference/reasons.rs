//! reasons.md, what CmdJobs and CmdFleets say: written from the enums, whose documentation it is.

use std::fmt::Display;

use strum::{EnumMessage, EnumProperty, VariantArray};
use vk_cmd_crds::{AttemptState, ConditionType, FleetCondition, FleetReason, PilotState, Reason, State};
use vk_reference::{code, table};

use crate::same;

/// Words that explain themselves.
fn words<T: Display + EnumMessage + VariantArray>(head: &str) -> String {
    let rows = T::VARIANTS.iter().map(|word| [code(&word.to_string()), meaning(word)]);
    table([head, "meaning"], rows)
}

/// The same with when they are met, and what to do then.
fn reasons<T: Display + EnumMessage + EnumProperty + VariantArray>(when: &str) -> String {
    let rows = T::VARIANTS.iter().map(|word| {
        let said = |name: &str| word.get_str(name).unwrap_or_else(|| panic!("{word} has no {name}")).to_owned();
        [code(&word.to_string()), said("states"), meaning(word), said("advice")]
    });
    table(["reason", when, "meaning", "what to do"], rows)
}

fn meaning<T: Display + EnumMessage>(word: &T) -> String {
    word.get_documentation().unwrap_or_else(|| panic!("{word} says nothing of itself")).to_owned()
}

#[test]
fn of_cmdjobs() {
    same("reasons.md", "cmdjob-states", &words::<State>("`status.state`"));
    same("reasons.md", "cmdjob-conditions", &words::<ConditionType>("condition"));
    same("reasons.md", "cmdjob-reasons", &reasons::<Reason>("state"));
    same("reasons.md", "attempt-states", &words::<AttemptState>("`status.attempts[].state`"));
}

#[test]
fn of_cmdfleets() {
    same("reasons.md", "fleet-conditions", &words::<FleetCondition>("condition"));
    same("reasons.md", "fleet-reasons", &reasons::<FleetReason>("condition"));
    same("reasons.md", "pilot-states", &words::<PilotState>("`status.pilots.recent[].state`"));
}
