//! What ends a pod besides itself and a deletion: too much room taken on disk, and a phase that somebody else writes.

use serde_json::json;

use crate::events::told;
use crate::ground::{Room, room};
use crate::plain_pods::{phase, placed};

impl Room {
    async fn sized(&self, name: &str, node: &str, fields: &serde_json::Value) {
        let mut spec = placed(node);
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec["automountServiceAccountToken"] = json!(false);
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})).await;
    }
}

#[tokio::test]
async fn a_pod_that_takes_more_room_than_it_may_is_evicted() {
    let room = room("evicted").await;
    let _site = room.site("vk-evicted").await;
    let fills = |file: &str| format!("head -c 3000000 /dev/zero > {file}; exec sleep 1000");
    let container = |script: String, limits| {
        json!([{
            "name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-c", script], "resources": {"limits": limits},
            "volumeMounts": [{"name": "scratch", "mountPath": "scratch"}],
        }])
    };
    let volumes = |empty_dir| json!([{"name": "scratch", "emptyDir": empty_dir}]);
    let two = json!({"sizeLimit": "2Mi"});
    let in_volume = json!({"containers": container(fills("scratch/file"), json!({})), "volumes": volumes(two)});
    room.sized("volume", "vk-evicted", &in_volume).await;
    let two = json!({"ephemeral-storage": "2Mi"});
    let in_directory = json!({"containers": container(fills("file"), two.clone()), "volumes": volumes(json!({}))});
    room.sized("directory", "vk-evicted", &in_directory).await;
    let none = json!({"containers": container("exec sleep 1000".to_owned(), two), "volumes": volumes(json!({}))});
    room.sized("modest", "vk-evicted", &none).await;
    for (name, message) in [
        ("volume", "Usage of EmptyDir volume \"scratch\" exceeds the limit \"2Mi\". "),
        ("directory", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
    ] {
        let pod = room.pod(name, "to be evicted", |pod| phase(pod) == "Failed").await;
        let status = pod.status.unwrap();
        assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some(message)));
        let container = &status.container_statuses.unwrap()[0];
        assert_eq!(container.state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 143);
        told(&room.client, Some("evicted"), name, &[("Evicted", message)]).await;
    }
    room.pod("modest", "to run on", |pod| phase(pod) == "Running").await;
    let metrics = room.of_kubelet("vk-evicted", "/metrics").await.unwrap();
    for signal in ["emptydirfs.limit", "ephemeralpodfs.limit"] {
        let line = format!("kubelet_evictions{{eviction_signal=\"{signal}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn a_pod_that_somebody_else_calls_failed_ends_and_stays_so() {
    let room = room("called-failed").await;
    let site = room.site("vk-called-failed").await;
    let script =
        format!("trap 'touch {}; exit 3' TERM; while :; do sleep 0.1; done", site.home().join("told").display());
    let container = json!([{"name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-c", script]}]);
    room.sized("lost", "vk-called-failed", &json!({"containers": container, "restartPolicy": "Always"})).await;
    room.pod("lost", "to run", |pod| phase(pod) == "Running").await;
    let patch = json!({"status": {"phase": "Failed", "reason": "NodeLost", "message": "says the test"}}).to_string();
    room.says(&["patch", "pod", "lost", "--subresource=status", "-p", &patch]).await;
    let ended = room.pod("lost", "to be told as ended", |pod| {
        let status = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
        status[0].state.as_ref().unwrap().terminated.is_some()
    });
    let status = ended.await.status.unwrap();
    assert!(site.home().join("told").exists());
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 0);
    let said = [status.phase, status.reason, status.message].map(Option::unwrap_or_default);
    assert_eq!(said, ["Failed", "NodeLost", "says the test"]);
}
