//! What a pilot is called: the same number of the same fleet always the same.

use sha2::{Digest, Sha256};
use vk_cmd_crds::names::NODE_PREFIX;

/// The name of a pilot: `FLEET-NUMBER`. It is that of its CmdJob, and the names of its nodes begin with it. Names are locks: whoever
/// decides the same again finds that it has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PilotName {
    text: String,
    in_batch_system: String,
}

impl PilotName {
    /// The pilot of this number of the fleet of this name and UID.
    pub fn new(fleet: &str, uid: &str, number: u64) -> Self {
        let digest = Sha256::digest(format!("{uid}/{number}"));
        let short: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        Self { text: format!("{fleet}-{number}"), in_batch_system: format!("vk-{fleet}-{number}-{short}") }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is called in the batch system, where another cluster, or a fleet that was made again, may have one of the same
    /// name.
    pub fn in_batch_system(&self) -> &str {
        &self.in_batch_system
    }

    /// What the names of its nodes begin with, before `-INDEX`.
    pub fn node_prefix(&self) -> String {
        format!("{NODE_PREFIX}{}", self.text)
    }
}

/// What the names of the nodes of all pilots of a fleet begin with.
pub fn nodes_of(fleet: &str) -> String {
    format!("{NODE_PREFIX}{fleet}-")
}

/// Whether a node of this name can be one of the pilot: what a node says of itself in labels is not enough.
pub fn is_node_of(node: &str, pilot: &str) -> bool {
    let index = node
        .strip_prefix(NODE_PREFIX)
        .and_then(|rest| rest.strip_prefix(pilot))
        .and_then(|rest| rest.strip_prefix('-'));
    index.is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The number of a pilot of this fleet.
pub fn number(pilot: &str, fleet: &str) -> Option<u64> {
    pilot.strip_prefix(fleet)?.strip_prefix('-')?.parse().ok()
}
