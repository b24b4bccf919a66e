//! A name that is used again and again: what is told of one pod is never that of the pod which had its name before.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{DeleteParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;

use crate::ground::room;

/// How many names are in use at a time, and how often each.
const NAMES: usize = 20;
const TIMES: usize = 50;

fn pod(name: &str, code: usize) -> Pod {
    // Some have ended when they are deleted, some run, some have not begun.
    let command = if code.is_multiple_of(3) { "sleep 1000".to_owned() } else { format!("exit {code}") };
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {"code": code.to_string()}},
        "spec": {
            "nodeName": "vk-same-name", "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-c", command]}],
        },
    }))
    .unwrap()
}

/// What of a pod's status is another pod's, if anything.
fn foreign(pod: &Pod) -> Option<String> {
    let uid = pod.uid().unwrap();
    let code: i32 = pod.annotations().get("code")?.parse().ok()?;
    let status = pod.status.as_ref()?;
    for container in status.container_statuses.iter().flatten() {
        let states: Vec<&ContainerState> = [&container.state, &container.last_state].into_iter().flatten().collect();
        let ended = || states.iter().filter_map(|state| state.terminated.as_ref());
        let ids = ended().filter_map(|ended| ended.container_id.as_ref()).chain(&container.container_id);
        if let Some(id) = ids.into_iter().find(|id| !id.contains(&uid)) {
            return Some(format!("container {id} in the status of {uid}"));
        }
        // 137 and 143: ended because it was deleted.
        if let Some(other) = ended().find(|ended| ![code, 137, 143].contains(&ended.exit_code)) {
            return Some(format!("exit code {} in the status of one that ends with {code}", other.exit_code));
        }
    }
    None
}

#[tokio::test]
async fn a_pod_never_gets_the_status_of_the_one_that_had_its_name() {
    let room = room("same-name").await;
    let _site = room.site("vk-same-name").await;
    let api = room.pods();
    let (seen, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = Notify::new();
    let watch = async {
        let mut events = pin!(api.watch(&WatchParams::default().timeout(290), "0").await.unwrap());
        let mut codes: BTreeMap<String, i32> = BTreeMap::new();
        // Cancel-safe: what is not looked at any more is not needed.
        while let Some(event) = tokio::select! {
            event = events.try_next() => event.unwrap(),
            () = done.notified() => None,
        } {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) = event else {
                continue;
            };
            assert_eq!(foreign(&pod), None, "{}: {:?}", pod.name_any(), pod.status);
            let terminated = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first()?.state.clone());
            if let Some(end) = terminated.and_then(|state| state.terminated) {
                codes.insert(pod.uid().unwrap(), end.exit_code);
            }
        }
        codes
    };
    let churn = async {
        join_all((0..NAMES).map(|n| {
            let (api, seen, ended) = (&api, &seen, &ended);
            async move { reuse(api, n, seen, ended).await }
        }))
        .await;
        done.notify_one();
    };
    let (codes, ()) = tokio::time::timeout(crate::ground::LONG * 2, futures::future::join(watch, churn)).await.unwrap();
    // Otherwise the statuses would be right because there were none.
    assert_eq!(seen.load(Ordering::Relaxed), NAMES * TIMES);
    assert!(codes.len() >= NAMES * TIMES / 4, "only {} ends were seen", codes.len());
}

/// Makes a pod, waits for a stage of its life, deletes it, and makes the next as soon as the name is free.
async fn reuse(api: &Api<Pod>, n: usize, seen: &AtomicUsize, ended: &AtomicUsize) {
    let name = format!("same-{n}");
    for time in 0..TIMES {
        let code = 1 + (n * TIMES + time) % 120;
        let made = loop {
            match api.create(&PostParams::default(), &pod(&name, code)).await {
                Ok(made) => break made,
                Err(kube::Error::Api(status)) if status.code == 409 => until_gone(api, &name).await,
                Err(error) => panic!("{error}"),
            }
        };
        seen.fetch_add(1, Ordering::Relaxed);
        if time % 2 == 0 && !code.is_multiple_of(3) {
            let events =
                api.watch(&WatchParams::default().fields(&format!("metadata.name={name}")).timeout(100), "0").await;
            let mut events = pin!(events.unwrap());
            while let Some(Ok(event)) = events.next().await {
                if matches!(&event, WatchEvent::Added(pod) | WatchEvent::Modified(pod)
                    if pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Failed"))
                {
                    ended.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
        let parameters = DeleteParams {
            // By force too: then the name is free at once, while the processes are still there.
            grace_period_seconds: (time % 5 == 0).then_some(0),
            preconditions: Some(Preconditions { uid: made.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{error}"),
        }
    }
    until_gone(api, &name).await;
}

async fn until_gone(api: &Api<Pod>, name: &str) {
    let events = api.watch(&WatchParams::default().fields(&format!("metadata.name={name}")).timeout(100), "0").await;
    let mut events = pin!(events.unwrap());
    // The watch begins with what is there.
    if api.get_opt(name).await.unwrap().is_none() {
        return;
    }
    while let Some(Ok(event)) = events.next().await {
        if matches!(event, WatchEvent::Deleted(_)) {
            return;
        }
    }
}
