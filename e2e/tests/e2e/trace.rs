//! Each process is told its place in the trace of its job.

use std::collections::BTreeSet;

use kube::ResourceExt;
use serde_json::{Value, json};
use vk_cmd_crds::{State, labels};
use vk_cmd_e2e::exec;

use crate::fixture::SOON;
use crate::ground::{Job, Room, room};

/// What the processes of a job have found in `TRACEPARENT`, each of which is what its pod says.
async fn told(room: &Room, job: &Job) -> Vec<String> {
    let mut all = Vec::new();
    for pod in job.pods().await {
        let said = room.says(&["logs", &pod.name_any()]).await;
        assert_eq!(Some(said.trim()), pod.annotations().get(labels::TRACE_PARENT).map(String::as_str));
        all.push(said.trim().to_owned());
    }
    all
}

#[tokio::test]
async fn each_process_is_told_its_place_in_the_trace_of_its_job() {
    let room = room("trace").await;
    let _site = room.site("vk-trace").await;
    let script = "echo $TRACEPARENT";
    let indexed = json!({"script": script, "completionMode": "Indexed", "completions": 2, "parallelism": 2});
    let own = room.run("own", "vk-trace", indexed).await;
    assert_eq!(own.ended().await.state, Some(State::Complete));
    let uid = own.api.get(&own.name).await.unwrap().uid().unwrap();
    let all = told(&room, &own).await;
    let of_uid = format!("00-{}-", uid.replace('-', ""));
    assert!(all.iter().all(|told| told.starts_with(&of_uid) && told.ends_with("-01")), "{uid} {all:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 2, "{all:?}");

    // Whoever makes the job may have begun the trace. What the job's `env` says counts for more.
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-";
    let given = format!("{trace}00f067aa0ba902b7-00");
    let job = |name: &str, env: Value| {
        let spec = json!({"target": {"node": "vk-trace"}, "script": script, "env": env});
        let metadata = json!({"name": name, "annotations": {labels::TRACE_PARENT: &given}});
        json!({"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": metadata, "spec": spec})
    };
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [
        job("given", json!([])),
        job("mine", json!([{"name": "TRACEPARENT", "value": "mine"}])),
    ]});
    exec::text_with_input(room.kubectl(&["create", "-f", "-"]), both.to_string().as_bytes(), SOON).await.unwrap();
    let given = room.created("given");
    assert_eq!(given.ended().await.state, Some(State::Complete));
    let all = told(&room, &given).await;
    assert!(all.len() == 1 && all[0].starts_with(trace) && all[0].ends_with("-00"), "{all:?}");
    let mine = room.created("mine").ended().await;
    assert_eq!(room.says(&["logs", &mine.attempt().pod]).await, "mine\n");
}
