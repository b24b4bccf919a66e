//! The native Job that says the same as a CmdJob: what a user would write who goes from the one to the other.

use serde_json::{Map, Value, json};

/// Fields that a CmdJob has of Job itself.
const OF_JOB: &[&str] = &[
    "completions",
    "parallelism",
    "completionMode",
    "backoffLimit",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "podFailurePolicy",
    "successPolicy",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "suspend",
    "managedBy",
];
/// Those that it has of the one container of Job's pods.
const OF_CONTAINER: &[&str] =
    &["image", "command", "args", "env", "envFrom", "workingDir", "resources", "volumeMounts"];
/// Those that it has of Job's pods.
const OF_POD: &[&str] = &["volumes", "terminationGracePeriodSeconds"];

/// The spec of a Job for the spec of a CmdJob. What is null there is null here, so that changes can be made so, too.
pub(super) fn spec(of: &Value) -> Value {
    let some = |fields: &[&str]| -> Map<String, Value> {
        fields.iter().filter_map(|field| Some(((*field).to_owned(), of.get(field)?.clone()))).collect()
    };
    let mut container = json!({"name": "main", "image": "vk-cmd.io/host"});
    container.as_object_mut().unwrap().append(&mut some(OF_CONTAINER));
    if let Some(script) = of.get("script") {
        container["command"] = json!(["/bin/sh", "-c", script]);
    }
    let mut pod = some(OF_POD);
    pod.insert("restartPolicy".into(), json!("Never"));
    pod.insert("containers".into(), json!([container]));
    let mut job = some(OF_JOB);
    job.insert("template".into(), json!({"spec": pod}));
    Value::Object(job)
}
