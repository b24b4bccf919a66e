//! What `kubectl describe` tells of a CmdJob: events with the reasons that the Job controller has.

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use vk_cmd_crds::State;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, Job, LONG, Room, room};

/// The events of a CmdJob, once `last` is among them: how often there is which.
async fn told(room: &Room, job: &Job, last: &str) -> BTreeMap<String, usize> {
    let events: Api<Event> = Api::namespaced(room.client.clone(), &room.namespace);
    let reached = wait::until("the events of a CmdJob", LONG, GLANCE, async || {
        let mut told = BTreeMap::<String, usize>::new();
        for event in events.list(&ListParams::default()).await?.items {
            let of = event.regarding.unwrap_or_default();
            if (of.kind.as_deref(), of.name.as_deref()) == (Some("CmdJob"), Some(&*job.name)) {
                *told.entry(event.reason.unwrap_or_default()).or_default() += 1;
            }
        }
        Ok(if told.contains_key(last) { Probe::Ready(told) } else { Probe::not_yet(format!("{told:?}")) })
    });
    reached.await.unwrap()
}

fn times<const N: usize>(wanted: [(&str, usize); N]) -> BTreeMap<String, usize> {
    wanted.map(|(reason, count)| (reason.to_owned(), count)).into()
}

#[tokio::test]
async fn a_cmdjobs_life_is_told_in_events() {
    let room = room("job-events").await;
    let site = room.site("vk-job-events").await;
    let done = site.home().join("done");
    let script = format!("[ -e {0} ] || {{ touch {0}; exit 3; }}", done.display());
    let twice = room.run("twice", "vk-job-events", json!({"script": script, "backoffLimit": 1})).await;
    let fails = room.script("fails", "vk-job-events", "exit 4").await;
    let nowhere = room.script("nowhere", "vk-job-events-missing", "exit 0").await;
    let paused = room.run("paused", "vk-job-events", json!({"script": "exec sleep 1000", "suspend": true})).await;

    assert_eq!(told(&room, &nowhere, "NodeMissing").await, times([("NodeMissing", 1)]));
    assert_eq!(told(&room, &paused, "Suspended").await, times([("Suspended", 1)]));
    let suspend = async |suspend: bool| {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        paused.api.patch(&paused.name, &PatchParams::default(), &patch).await.unwrap();
    };
    suspend(false).await;
    paused.running().await;
    suspend(true).await;
    paused.until("to be suspended", |status| status.state == Some(State::Suspended)).await;
    let ended = told(&room, &paused, "SuccessfulDelete").await;
    assert_eq!((ended["SuccessfulCreate"], ended["Resumed"], ended["SuccessfulDelete"]), (1, 1, 1), "{ended:?}");

    let failed = told(&room, &fails, "BackoffLimitExceeded").await;
    assert_eq!(failed, times([("BackoffLimitExceeded", 1), ("SuccessfulCreate", 1)]));
    twice.ended().await;
    assert_eq!(told(&room, &twice, "Completed").await, times([("Completed", 1), ("SuccessfulCreate", 2)]));
    let described = room.says(&["describe", "cmdjob", "twice"]).await;
    for pod in twice.pods().await {
        let created = format!("Created pod: {} on vk-job-events", pod.metadata.name.unwrap());
        assert!(described.contains(&created), "{described}");
    }
    assert!(described.contains("Job completed: attempt 1 on vk-job-events ended with exit code 0"), "{described}");
}
