//! Pilots: how many nodes a fleet with a launcher is to have, which allocations are asked for and which are given back.
//!
//! ```text
//!   the queue needs it, or replicas, or minNodes
//!      │ Submit: a CmdJob on the gateway, FLEET-NUMBER
//!      ▼
//!   Waiting ────▶ Pending ─────────▶ Running ───────────────▶ Ended     its allocation is over
//!   gateway is    it has submitted,  a node with the label
//!   not there     no node yet        vk-cmd.io/pilot is seen
//!      │             │    │             │  idle for idleSeconds, or too many
//!      │ nobody needs it  │             ▼
//!      │ for idleSeconds  │          Releasing: its nodes are cordoned; what runs there goes on
//!      ▼             ▼    │             │  all of them seen cordoned, nothing on them or kept for them
//!   Cancelling: the CmdJob is deleted, its script cancels the allocation and stays until that is gone ──▶ (nothing)
//!      ▲                  │
//!      │ the fleet is     └──▶ Failed: not taken by the batch system, or its allocation has failed
//!        deleted                  │
//!                                 └─ the next one after 10 s, 20 s … 30 min; from the third one on: LauncherPaused
//! ```
//!
//! Pure: all that [`decide`] knows it is told, and what it wants done comes out as [`Step`]s. What it remembers ([`Memory`]) may be
//! lost: then nodes stay idle a while longer.

mod again;
mod facts;
pub mod job;
mod known;
pub mod launcher;
mod memory;
pub mod name;
mod pause;
pub mod pilot;
pub mod script;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod view;
mod wanted;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::PilotsStatus;

pub use self::facts::{Facts, NodeOfPilot, Recorded, Wishes};
pub use self::known::Known;
pub use self::launcher::ValidLauncher;
pub use self::memory::Memory;
pub use self::pilot::PilotSeen;
pub use self::status::{Paused, invalid};
use self::view::View;

/// How many pilots that have ended are kept, to be looked at, and to tell whether pilots work.
const KEPT: usize = 10;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the CmdJob of the pilot of this number.
    Submit(u64),
    /// Cordon a node, because its pilot is to end.
    Release {
        /// The node.
        node: String,
        /// Its pilot.
        pilot: String,
    },
    /// Delete the CmdJob of a pilot, unless there is a pod on one of these nodes after all.
    Cancel {
        /// The pilot.
        pilot: String,
        /// The UID of its CmdJob.
        uid: String,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// Delete the CmdJob of a pilot that ended long ago.
    Forget {
        /// The pilot.
        pilot: String,
        /// The UID of its CmdJob.
        uid: String,
    },
}

/// What a fleet is to say of its pilots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// How it is with them.
    pub status: Option<PilotsStatus>,
    /// Why nothing is submitted, if that needs somebody's eyes.
    pub paused: Option<Paused>,
}

/// What is to be done, and what is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// For the fleet's status.
    pub status: PilotsStatus,
    /// Why nothing is submitted, if that needs somebody's eyes.
    pub paused: Option<Paused>,
    /// When to look again though nothing is heard; none: nothing changes by itself.
    pub again: Option<Duration>,
}

/// Decides.
pub fn decide(facts: &Facts<'_>, memory: &mut Memory) -> Decision {
    memory.notice(facts);
    let view = View::new(facts, memory);
    let mut steps = view.cancels();
    steps.extend(view.surplus(memory, facts.uptime));
    // What is given back is not asked for again in the same breath.
    if steps.is_empty() {
        steps.extend(view.submits());
    }
    steps.extend(view.forgets());
    let (status, paused) = status::of(&view, memory, &steps);
    let again = again::after(&view, memory, &steps);
    Decision { steps, status, paused, again }
}

/// Whether the caches know all pilots of a fleet that the API server has. If they do not, none is submitted: the watches of fleets and of
/// CmdJobs are not equally fast, and what was submitted a moment ago may look as if it were lacking.
pub fn are_known<'a>(
    launcher: &ValidLauncher<'_>,
    pilots: &[PilotSeen],
    there: impl IntoIterator<Item = &'a ObjectMeta>,
) -> bool {
    let mut pilots_there = there.into_iter().filter(|meta| pilot::is_of(meta, launcher.fleet, launcher.fleet_uid));
    pilots_there.all(|meta| pilots.iter().any(|pilot| Some(&pilot.uid) == meta.uid.as_ref()))
}

fn many(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
