//! The CmdJob that a pilot is.

use serde_json::json;
use vk_cmd_crds::{CmdJob, labels};

use super::launcher::ValidLauncher;
use super::name::PilotName;
use super::script;

/// Ends of the script that nothing is to be tried again after: see `script/frame.sh`.
const VERDICTS: [i32; 3] = [10, 11, 12];
/// How often the script is run again of which nobody knows how it ended: its gateway was rebooted, say. Each time it finds its
/// allocation again.
const AGAIN: i32 = 100;

/// The CmdJob of the pilot of this number.
///
/// # Errors
/// Never: what is written here can be read.
pub fn of(launcher: &ValidLauncher<'_>, number: u64) -> serde_json::Result<CmdJob> {
    let name = PilotName::new(launcher.fleet, launcher.fleet_uid, number);
    serde_json::from_value(json!({
        "apiVersion": format!("{}/{}", labels::GROUP, labels::VERSION),
        "kind": labels::KIND,
        "metadata": {
            "namespace": launcher.namespace,
            "name": name.as_str(),
            "labels": {labels::FLEET: launcher.fleet, labels::PILOT: name.as_str(), labels::LAUNCHER: launcher.digest},
            // When the fleet goes, its pilots go, and each cancels its allocation.
            "ownerReferences": [{
                "apiVersion": format!("{}/{}", labels::GROUP, labels::VERSION),
                "kind": labels::FLEET_KIND, "name": launcher.fleet, "uid": launcher.fleet_uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "target": {"node": launcher.gateway},
            "script": script::of_pilot(launcher, &name),
            "backoffLimit": AGAIN,
            "onUnknown": "Retry",
            "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": VERDICTS}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]},
            "terminationGracePeriodSeconds": launcher.cancel_seconds,
        },
    }))
}
