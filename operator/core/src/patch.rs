//! The smallest write that turns one status into another.

use serde::Serialize;
use serde_json::{Map, Value, json};
use vk_cmd_crds::{CmdJobStatus, ConditionType, Reason, State, labels};

use crate::plan::Leave;
use crate::{Object, words};

/// A JSON merge patch (RFC 7396) for the status subresource that turns `recorded` into `wanted`, or nothing if they are
/// the same.
///
/// It names the object's UID and the resource version that `recorded` was read at: the API server refuses it if the
/// object is another one by now, or has changed since, and then the decision is made anew.
pub fn status<T: Serialize>(
    recorded: &T,
    wanted: &T,
    uid: &str,
    resource_version: Option<&str>,
) -> Result<Option<Value>, serde_json::Error> {
    let (before, after) = (serde_json::to_value(recorded)?, serde_json::to_value(wanted)?);
    Ok(difference(&before, &after)
        .map(|status| json!({ "metadata": { "uid": uid, "resourceVersion": resource_version }, "status": status })))
}

/// The merge patch that turns one value into another, if they differ. Inside objects too: what is gone there has to be said as
/// well, or it stays.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = match old.get(key) {
            Some(known) => difference(known, value)?,
            None => value.clone(),
        };
        Some((key.clone(), patch))
    });
    let patch: Map<String, Value> = changed.chain(removed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Whether a change of the status is written at once. What only tells how far the work is may wait a moment, for the next such
/// change is often near: a short job then has one write instead of three.
pub fn is_urgent(recorded: &CmdJobStatus, wanted: &CmdJobStatus) -> bool {
    let conditions = |status: &CmdJobStatus| -> Vec<(String, String, String)> {
        let all = status.conditions.iter().filter(|c| c.type_ != <&str>::from(ConditionType::Reconciling));
        all.map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect()
    };
    let goes_on = matches!(wanted.state, Some(State::Pending | State::Running));
    let ledger = |status: &CmdJobStatus| (status.ledger.tries.clone(), status.ledger.stopping.clone());
    !goes_on
        || conditions(recorded) != conditions(wanted)
        || ledger(recorded) != ledger(wanted)
        || recorded.nodes != wanted.nodes
        || recorded.failed_indexes != wanted.failed_indexes
}

/// A JSON merge patch that adds our finalizer to those that an object has, if it is still that object in that version.
pub fn hold(finalizers: &[String], uid: &str, resource_version: Option<&str>) -> Value {
    let all: Vec<&str> = finalizers.iter().map(String::as_str).chain([labels::FINALIZER]).collect();
    json!({ "metadata": { "uid": uid, "resourceVersion": resource_version, "finalizers": all } })
}

/// A JSON merge patch that takes our finalizer from those that an object has, if it is still that object in that version.
pub fn release(finalizers: &[String], uid: &str, resource_version: Option<&str>) -> Value {
    let others: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != labels::FINALIZER).collect();
    let mut patch = json!({ "metadata": { "uid": uid, "finalizers": others } });
    if let (Some(version), Some(meta)) = (resource_version, patch.get_mut("metadata").and_then(Value::as_object_mut)) {
        meta.insert("resourceVersion".to_owned(), json!(version));
    }
    patch
}

/// A strategic merge patch that takes our finalizer from a pod, if it is still that pod. What others have put there stays, so that
/// it need not be read before. From the Job controller (`removeTrackingFinalizerPatch`).
pub fn release_pod(uid: &str) -> Value {
    json!({ "metadata": { "uid": uid, "$deleteFromPrimitiveList/finalizers": [labels::FINALIZER] } })
}

/// A JSON merge patch for the status of a CmdJob that does not fit its type, `why` being what does not. Nothing in it depends
/// on the time, so writing it again changes nothing.
pub fn unreadable(uid: &str, generation: Option<i64>, why: &str) -> Value {
    json!({
        "metadata": { "uid": uid },
        "status": {
            "observedGeneration": generation,
            "state": State::Invalid,
            "reason": Reason::Invalid.to_string(),
            "message": format!("the operator cannot read this object, and leaves it alone until it is changed: {why}"),
        },
    })
}

/// The same for one that is being deleted.
pub fn unreadable_leaving(object: &Object<'_>, leave: &Leave) -> Value {
    let tally = leave.tally;
    json!({
        "metadata": { "uid": object.uid },
        "status": {
            "observedGeneration": object.generation,
            "state": State::Terminating,
            "reason": Reason::Deleting.to_string(),
            "message": words::ended(words::DELETING, leave.unheard.as_deref()),
            "active": tally.active,
            "ready": tally.ready,
            "terminating": tally.terminating,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Tally;
    use vk_cmd_crds::Ledger;

    #[test]
    fn nothing_to_write_is_nothing() {
        let status_ = CmdJobStatus { exit_code: Some(5), ..CmdJobStatus::default() };
        assert_eq!(status(&status_, &status_, "u", Some("1")).unwrap(), None);
    }

    #[test]
    fn what_is_gone_inside_is_said_too() {
        let with = |tries: &str, stopping: &str| CmdJobStatus {
            ledger: Ledger { done: String::new(), tries: tries.into(), stopping: stopping.into() },
            ..CmdJobStatus::default()
        };
        let said = |before: &CmdJobStatus, after: &CmdJobStatus| {
            status(before, after, "u", None).unwrap().unwrap()["status"]["ledger"].clone()
        };
        assert_eq!(said(&with("", "0"), &with("0:1/0", "")), json!({"tries": "0:1/0", "stopping": null}));
        assert_eq!(said(&with("0:1/0", ""), &with("", "")), json!(null));
    }

    #[test]
    fn what_is_said_of_one_that_cannot_be_read_fits_the_type() {
        let metadata = serde_json::from_value(json!({
            "namespace": "n", "name": "j", "uid": "u", "generation": 3, "deletionTimestamp": "2026-01-02T03:04:05Z",
        }))
        .unwrap();
        let leave =
            Leave { steps: vec![], tally: Tally { active: 0, ready: 0, terminating: 2 }, unheard: Some("why".into()) };
        let said = unreadable_leaving(&Object::of(&metadata).unwrap(), &leave);
        let status: CmdJobStatus = serde_json::from_value(said["status"].clone()).unwrap();
        assert_eq!((status.state, status.reason.as_deref()), (Some(State::Terminating), Some("Deleting")));
        assert_eq!((status.active, status.terminating, status.observed_generation), (0, 2, Some(3)));
        assert_eq!(status.message.as_deref(), Some("the CmdJob is being deleted; why"));
        let status: CmdJobStatus = serde_json::from_value(unreadable("u", Some(3), "why")["status"].clone()).unwrap();
        assert_eq!(status.state, Some(State::Invalid));
    }

    #[test]
    fn names_what_changed_and_what_is_gone() {
        let before = CmdJobStatus { exit_code: Some(5), message: Some("m".into()), ..CmdJobStatus::default() };
        let after = CmdJobStatus { failed: 1, message: Some("m".into()), ..CmdJobStatus::default() };
        let patch = status(&before, &after, "u", Some("7")).unwrap().unwrap();
        assert_eq!(
            patch,
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"failed": 1, "exitCode": null}})
        );
    }
}
