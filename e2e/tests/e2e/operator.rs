//! What the operator does with a CmdJob's life other than its main course: waiting, suspending, deadlines, leaving.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vk_cmd_crds::{AttemptState, CmdJobStatus, State, labels};
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, Job, LONG, room};

/// A script that leaves a line for each run, and then runs until it is ended.
fn until_ended(witness: &Path) -> Value {
    json!({"script": format!("echo run >> {}; exec sleep 1000", witness.display())})
}

fn runs(witness: &Path) -> usize {
    std::fs::read_to_string(witness).unwrap_or_default().lines().count()
}

/// A change to the spec, as by `kubectl patch`.
async fn change(job: &Job, spec: Value) {
    job.api.patch(&job.name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.unwrap();
}

fn is(status: &CmdJobStatus, state: State, reason: &str) -> bool {
    status.state == Some(state) && status.reason.as_deref() == Some(reason)
}

fn condition(status: &CmdJobStatus, kind: &str) -> Option<String> {
    status.conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.clone())
}

#[tokio::test]
async fn a_job_for_a_missing_node_waits_and_says_so() {
    let room = room("missing-node").await;
    let job = room.script("early", "vk-late", "exit 7").await;
    let status = job.until("to wait", |status| is(status, State::Waiting, "NodeMissing")).await;
    let message = status.message.unwrap();
    assert!(message.contains("vk-node run --node-name vk-late"), "{message}");
    assert!(job.pods().await.is_empty());

    // Nothing spins: nobody writes while nothing happens.
    let version = async || job.api.get(&job.name).await.unwrap().metadata.resource_version;
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(version().await, before);

    let mut site = Site::start(Settings::on(room.ground.plane, "vk-late").unwrap()).await.unwrap();
    site.ready(&room.client).await.unwrap();
    let ended = job.ended().await;
    assert_eq!((ended.state, ended.exit_code), (Some(State::Failed), Some(7)), "{ended:?}");
}

/// What no rule of the API server can read.
#[tokio::test]
async fn a_job_of_indexes_that_are_not_there_says_so_and_starts_nothing() {
    let room = room("wrong-indexes").await;
    let policy = |indexes: &str| json!({"rules": [{"succeededIndexes": indexes}]});
    for (name, indexes, help) in [("rising", "3,1", "1 comes after 3"), ("there", "1-5", "there is no index 5")] {
        let spec = json!({
            "script": "exit 0", "completionMode": "Indexed", "completions": 5, "successPolicy": policy(indexes),
        });
        let job = room.run(name, "vk-nowhere", spec).await;
        let status = job.until("to be invalid", |status| is(status, State::Invalid, "Invalid")).await;
        assert!(status.message.as_ref().unwrap().contains(help), "{status:?}");
        assert!(job.pods().await.is_empty());
    }
}

/// An operator that has become stricter finds such jobs, too.
#[tokio::test]
async fn a_job_that_runs_and_is_valid_no_longer_goes_when_it_is_deleted() {
    let room = room("no-longer-valid").await;
    let site = room.site("vk-no-longer-valid").await;
    let witness = site.home().join("witness");
    let script = "trap 'sleep 1; echo ended >> \"$WITNESS\"; exit 0' TERM; echo run >> \"$WITNESS\"; while :; do sleep 0.1; done";
    let spec = json!({
        "script": script, "env": [{"name": "WITNESS", "value": witness}], "completionMode": "Indexed",
        "completions": 2, "parallelism": 2, "successPolicy": {"rules": [{"succeededIndexes": "1"}]},
    });
    let job = room.run("job", "vk-no-longer-valid", spec).await;
    let lines = async |wanted: &[&str]| {
        wait::until("what the processes say", LONG, GLANCE, async || {
            let said = std::fs::read_to_string(&witness).unwrap_or_default();
            let said: Vec<&str> = said.lines().collect();
            Ok(if said == wanted { Probe::Ready(()) } else { Probe::not_yet(format!("{said:?}")) })
        })
        .await
        .unwrap();
    };
    lines(&["run", "run"]).await;

    change(&job, json!({"completions": 1, "parallelism": 1})).await;
    let status = job.until("to be invalid", |status| is(status, State::Invalid, "Invalid")).await;
    assert!(status.message.as_ref().unwrap().contains("there is no index 1"), "{status:?}");
    // What runs goes on.
    let is_left_alone = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && pod.metadata.finalizers.is_some();
    let pods = job.pods().await;
    assert!(pods.len() == 2 && pods.iter().all(is_left_alone), "{pods:?}");

    job.api.delete(&job.name, &DeleteParams::background()).await.unwrap();
    job.until("to say so", |status| is(status, State::Terminating, "Deleting")).await;
    wait::until("the CmdJob to go", LONG, GLANCE, async || {
        let there = job.api.get_opt(&job.name).await?;
        Ok(if there.is_none() { Probe::Ready(()) } else { Probe::not_yet(format!("{there:?}")) })
    })
    .await
    .unwrap();
    // No sooner than its processes.
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), "run\nrun\nended\nended\n");
    wait::until("its pods to go", LONG, GLANCE, async || {
        let pods = job.pods().await;
        Ok(if pods.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{pods:?}")) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cordoned_node_gets_no_pod_until_it_is_uncordoned() {
    let room = room("cordon").await;
    let _site = room.site("vk-cordon").await;
    room.says(&["cordon", "vk-cordon"]).await;
    // The operator's cache hears of it a moment later than we do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let job = room.script("patient", "vk-cordon", "exit 0").await;
    let status = job.until("to wait", |status| is(status, State::Waiting, "NodeCordoned")).await;
    assert!(status.message.unwrap().contains("kubectl uncordon vk-cordon"));
    room.says(&["uncordon", "vk-cordon"]).await;
    assert_eq!(job.ended().await.state, Some(State::Complete));
}

#[tokio::test]
async fn suspending_ends_the_process_and_resuming_runs_it_anew() {
    let room = room("suspend").await;
    let site = room.site("vk-suspend").await;
    let witness = site.home().join("witness");
    let job = room.run("paused", "vk-suspend", until_ended(&witness)).await;
    job.running().await;

    change(&job, json!({"suspend": true})).await;
    let status = job.until("to be suspended", |status| status.state == Some(State::Suspended)).await;
    assert_eq!(status.attempts[0].state, AttemptState::Stopped, "{status:?}");
    assert_eq!((status.failed, status.active, &status.start_time), (0, 0, &None));
    assert_eq!(condition(&status, "Suspended").as_deref(), Some("True"));
    assert_eq!(runs(&witness), 1);

    change(&job, json!({"suspend": false})).await;
    let status = job.running().await;
    assert_eq!(status.attempts.len(), 2);
    assert_eq!(condition(&status, "Suspended").as_deref(), Some("False"));
    wait::until("the second run", LONG, GLANCE, async || {
        Ok(if runs(&witness) == 2 { Probe::Ready(()) } else { Probe::not_yet("not run again") })
    })
    .await
    .unwrap();
}

/// As Kueue does it, and as it can be done to a Job.
#[tokio::test]
async fn a_suspended_job_can_be_given_other_resources_before_it_starts() {
    let room = room("resources-later").await;
    let _site = room.site("vk-resources-later").await;
    let spec = json!({"script": "exit 0", "suspend": true, "resources": {"limits": {"memory": "32Mi"}}});
    let job = room.run("later", "vk-resources-later", spec).await;
    job.until("to be suspended", |status| status.state == Some(State::Suspended)).await;
    change(&job, json!({"resources": {"limits": {"memory": "64Mi"}}})).await;
    change(&job, json!({"suspend": false})).await;
    let ended = job.ended().await;
    assert_eq!(ended.state, Some(State::Complete), "{ended:?}");
    let resources = job.pods().await[0].spec.as_ref().unwrap().containers[0].resources.clone().unwrap();
    assert_eq!(resources.limits.unwrap()["memory"].0, "64Mi");
}

#[tokio::test]
async fn a_deadline_ends_the_job() {
    let room = room("deadline").await;
    let site = room.site("vk-deadline").await;
    let witness = site.home().join("witness");
    let mut spec = until_ended(&witness);
    spec["activeDeadlineSeconds"] = json!(3);
    spec["backoffLimit"] = json!(5);
    let ended = room.run("slow", "vk-deadline", spec).await.ended().await;
    assert!(is(&ended, State::Failed, "DeadlineExceeded"), "{ended:?}");
    assert_eq!(ended.attempt().state, AttemptState::Failed);
    assert_eq!(ended.attempt().reason.as_deref(), Some("DeadlineExceeded"));
    for (kind, expected) in [("Failed", Some("True")), ("FailureTarget", Some("True")), ("Reconciling", None)] {
        assert_eq!(condition(&ended, kind).as_deref(), expected, "{kind}");
    }
    assert_eq!(runs(&witness), 1);
}

#[tokio::test]
async fn a_finished_job_leaves_when_its_time_is_over() {
    let room = room("ttl").await;
    let _site = room.site("vk-ttl").await;
    let job = room.run("short", "vk-ttl", json!({"script": "exit 0", "ttlSecondsAfterFinished": 2})).await;
    job.ended().await;
    wait::until("the CmdJob and its pod to go", LONG, GLANCE, async || {
        let gone = job.api.get_opt(&job.name).await?.is_none() && job.pods().await.is_empty();
        Ok(if gone { Probe::Ready(()) } else { Probe::not_yet("still there") })
    })
    .await
    .unwrap();
}

/// So whoever deletes it, its namespace or the whole API needs no operator for that.
#[tokio::test]
async fn a_finished_job_is_held_by_nobody_and_neither_are_its_pods() {
    let room = room("let-go").await;
    let _site = room.site("vk-let-go").await;
    let several = json!({"script": "exit 0", "completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    let jobs = [room.script("bad", "vk-let-go", "exit 3").await, room.run("well", "vk-let-go", several).await];
    let held = async |job: &Job| {
        let meta = job.api.get(&job.name).await?.metadata;
        let pods = job.pods().await.into_iter().map(|pod| pod.metadata);
        let held: Vec<String> =
            pods.chain([meta]).filter(|meta| meta.finalizers.is_some()).filter_map(|m| m.name).collect();
        Ok(if held.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{held:?} are held")) })
    };
    for job in &jobs {
        job.ended().await;
        wait::until("it to be let go", LONG, GLANCE, async || held(job).await).await.unwrap();
    }
    // As an earlier version has left them.
    let patch = Patch::Merge(json!({"metadata": {"finalizers": [labels::FINALIZER]}}));
    jobs[0].api.patch_metadata("bad", &PatchParams::default(), &patch).await.unwrap();
    wait::until("it to be let go, too", LONG, GLANCE, async || held(&jobs[0]).await).await.unwrap();
    // It has counted what it has counted.
    assert_eq!((jobs[1].ended().await.succeeded, jobs[0].ended().await.failed), (3, 1));
}

#[tokio::test]
async fn a_pod_deleted_by_hand_is_not_run_again_unasked() {
    let room = room("pod-deleted").await;
    let site = room.site("vk-pod-deleted").await;
    let witness = site.home().join("witness");
    let job = room.run("job", "vk-pod-deleted", until_ended(&witness)).await;
    let pod = job.running().await.attempts[0].pod.clone();
    room.pods().delete(&pod, &DeleteParams::default()).await.unwrap();
    let ended = job.ended().await;
    assert!(is(&ended, State::Failed, "BackoffLimitExceeded"), "{ended:?}");
    // Either its end was still seen, or the pod's disappearance is its end.
    let attempt = ended.attempt();
    assert!(
        attempt.signal.as_deref() == Some("SIGTERM") || attempt.reason.as_deref() == Some("PodDeleted"),
        "{attempt:?}"
    );
    assert_eq!(runs(&witness), 1);
}
