//! The smallest write that turns one status into another.

use serde_json::{Map, Value, json};
use vk_cmd_crds::{CmdJobStatus, Reason, State};

/// A JSON merge patch (RFC 7396) for the status subresource that turns `recorded` into `wanted`, or nothing if they are
/// the same.
///
/// It names the object's UID and the resource version that `recorded` was read at: the API server refuses it if the
/// object is another one by now, or has changed since, and then the decision is made anew.
pub fn status(
    recorded: &CmdJobStatus,
    wanted: &CmdJobStatus,
    uid: &str,
    resource_version: Option<&str>,
) -> Result<Option<Value>, serde_json::Error> {
    let (Value::Object(before), Value::Object(after)) =
        (serde_json::to_value(recorded)?, serde_json::to_value(wanted)?)
    else {
        return Ok(None);
    };
    let removed = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let status: Map<String, Value> = changed.map(|(key, value)| (key.clone(), value.clone())).chain(removed).collect();
    Ok((!status.is_empty())
        .then(|| json!({ "metadata": { "uid": uid, "resourceVersion": resource_version }, "status": status })))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_write_is_nothing() {
        let status_ = CmdJobStatus { exit_code: Some(5), ..CmdJobStatus::default() };
        assert_eq!(status(&status_, &status_, "u", Some("1")).unwrap(), None);
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
