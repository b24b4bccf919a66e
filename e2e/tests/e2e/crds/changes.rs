//! Changes of objects: what may have run cannot be changed.

use serde_json::{Value, json};

use super::api::{Asked, Kind};
use super::native;
use super::rows::Native::{Alone, Differs, Same};
use super::rows::Verdict::{Bad, Good};
use super::rows::{Native, Row, check, yaml};

/// Which kind of object is changed.
const ANY: &str = "script: echo hello, shell: /bin/sh, env: [{name: A, value: '1'}], managedBy: e2e.test/nobody";
const INDEXED: &str = "script: echo hello, completionMode: Indexed, completions: 3, backoffLimitPerIndex: 1, \
                       podFailurePolicy: {rules: []}, successPolicy: {rules: [{succeededCount: 2}]}, managedBy: e2e.test/nobody";
const SUSPENDED: &str = "script: echo hello, suspend: true, managedBy: e2e.test/nobody";
const QUEUE: &str = "script: echo hello, parallelism: 2, managedBy: e2e.test/nobody";

const OF_ANY: &[Row] = &[
    ("target: {node: vk-b}", Bad("target cannot be changed"), Alone),
    ("script: echo other", Bad("script cannot be changed"), Same),
    ("script: null, shell: null, command: [echo]", Bad("script cannot be changed"), Same),
    ("shell: null", Bad("shell cannot be changed"), Alone),
    ("shell: /bin/bash", Bad("shell cannot be changed"), Alone),
    ("env: null", Bad("env cannot be changed"), Same),
    ("env: [{name: A, value: '2'}]", Bad("env cannot be changed"), Same),
    ("envFrom: [{configMapRef: {name: x}}]", Bad("envFrom cannot be changed"), Same),
    ("workingDir: /tmp", Bad("workingDir cannot be changed"), Same),
    ("image: a", Bad("image cannot be changed"), Same),
    ("resources: {limits: {cpu: 1}}", Bad("resources cannot be changed but while the job is suspended"), Same),
    ("suspend: true, resources: {limits: {cpu: 1}}", Bad("suspend it first"), Same),
    ("volumes: [{name: v, emptyDir: {}}]", Bad("volumes cannot be changed"), Same),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}]",
        Bad("volumeMounts cannot be changed"),
        Same,
    ),
    ("terminationGracePeriodSeconds: 5", Bad("terminationGracePeriodSeconds cannot be changed"), Same),
    ("completions: 2", Bad("completions can be changed only for an Indexed job"), Same),
    ("completions: 1", Good("completions: 1"), Same),
    ("completionMode: Indexed", Bad("completionMode cannot be changed"), Same),
    ("everyNode: true", Bad("everyNode cannot be changed"), Alone),
    ("managedBy: null", Bad("managedBy cannot be changed"), Same),
    ("managedBy: e2e.test/other", Bad("managedBy cannot be changed"), Same),
    ("podFailurePolicy: {rules: []}", Bad("podFailurePolicy cannot be changed"), Same),
    ("walltimeSeconds: 5", Bad("walltimeSeconds cannot be changed"), Alone),
    ("after: [{name: a}]", Bad("after cannot be changed"), Alone),
    ("backoffLimit: 2, activeDeadlineSeconds: 9, ttlSecondsAfterFinished: 9", Good("backoffLimit: 2"), Same),
    ("suspend: true", Good("suspend: true"), Same),
    ("priority: 5, onUnknown: Retry", Good("priority: 5"), Alone),
    ("script: echo hello", Good(""), Same),
    (
        "parallelism: 2",
        Bad("set completions: 1 as well"),
        Differs("a Job has its completions: 1 filled in, so that it stays"),
    ),
    ("parallelism: 2, completions: 1", Good(""), Same),
];

const OF_INDEXED: &[Row] = &[
    ("completions: 4", Bad("together with parallelism to the same number"), Same),
    ("completions: 4, parallelism: 3", Bad("together with parallelism to the same number"), Same),
    ("completions: 4, parallelism: 4", Good("completions: 4"), Same),
    ("completions: 2, parallelism: 2", Good(""), Same),
    ("completions: 1, successPolicy: {rules: [{succeededCount: 1}]}", Bad("successPolicy cannot be changed"), Same),
    // kube-apiserver 1.36 panics at such a change of a Job with a successPolicy, so it is not asked.
    ("completions: null, parallelism: 3", Bad("an Indexed job needs completions"), Alone),
    ("parallelism: 9", Good(""), Same),
    ("backoffLimitPerIndex: 2", Bad("backoffLimitPerIndex cannot be changed"), Same),
    ("backoffLimitPerIndex: null", Bad("backoffLimitPerIndex cannot be changed"), Same),
    ("maxFailedIndexes: 2", Good("maxFailedIndexes: 2"), Same),
    ("maxFailedIndexes: 4", Bad("maxFailedIndexes is at most completions"), Same),
    ("podFailurePolicy: null", Bad("podFailurePolicy cannot be changed"), Same),
    ("successPolicy: {rules: [{succeededCount: 1}]}", Bad("successPolicy cannot be changed"), Same),
    ("successPolicy: null", Bad("successPolicy cannot be changed"), Same),
];

const OF_SUSPENDED: &[Row] = &[
    ("resources: {limits: {cpu: 1}}", Good("resources: {limits: {cpu: 1}}"), Same),
    ("resources: {limits: {cpu: 1}}, suspend: false", Good("suspend: false"), Same),
    ("script: echo other", Bad("script cannot be changed"), Same),
    ("image: a", Bad("image cannot be changed"), Same),
];

const OF_QUEUE: &[Row] = &[
    ("parallelism: 5", Good("parallelism: 5"), Same),
    ("parallelism: 0", Good("parallelism: 0"), Same),
    ("parallelism: null", Bad("set completions: 1 as well"), Same),
    ("completions: 2", Bad("completions can be changed only for an Indexed job"), Same),
];

/// Both kinds of an object are made, for nobody to run; each row is a change of both that is not made in truth.
async fn changes(namespace: &str, made: &str, rows: &[Row]) {
    let asked = Asked::in_namespace(namespace).await;
    let mut made = yaml(made);
    made["target"] = json!({"node": "vk-a"});
    for kind in [Kind::CmdJob, Kind::Job] {
        asked.make(kind, "made", &made).await;
    }
    check(rows, async |(change, _, native): &Row| {
        let change = yaml(change);
        let said = asked.change(Kind::CmdJob, "made", &change).await;
        let of_native = match native {
            Native::Alone => None,
            // A merge patch replaces a list as a whole, so the one container stands there with all its fields.
            Native::Same | Native::Differs(_) => {
                Some(asked.change(Kind::Job, "made", &job_change(&made, &change)).await)
            }
        };
        (said, of_native)
    })
    .await;
}

/// The change of the Job: of its own fields what is changed, of its pods all that they then are.
fn job_change(made: &Value, change: &Value) -> Value {
    let mut all = made.clone();
    for (field, value) in change.as_object().unwrap() {
        all[field] = value.clone();
    }
    let mut job = native::spec(change);
    job["template"] = native::spec(&all)["template"].take();
    job
}

#[tokio::test]
async fn what_may_have_run_cannot_be_changed() {
    changes("changes", ANY, OF_ANY).await;
}

#[tokio::test]
async fn of_an_indexed_job_completions_can_be_changed_together_with_parallelism() {
    changes("changes-indexed", INDEXED, OF_INDEXED).await;
}

#[tokio::test]
async fn of_a_suspended_job_resources_can_be_changed() {
    changes("changes-suspended", SUSPENDED, OF_SUSPENDED).await;
}

#[tokio::test]
async fn of_a_job_without_completions_parallelism_can_be_changed() {
    changes("changes-queue", QUEUE, OF_QUEUE).await;
}
