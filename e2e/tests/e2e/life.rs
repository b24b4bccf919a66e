//! The life of a pod with more than one container: the order in which they come and go, hooks, deadlines.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::events::told;
use crate::ground::{GLANCE, LONG, Room, room};
use crate::plain_pods::{phase, placed};

impl Room {
    /// Creates a pod of these containers, with more fields of its specification.
    async fn pod_of(&self, name: &str, node: &str, fields: Value) {
        let mut spec = placed(node);
        spec["automountServiceAccountToken"] = json!(false);
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})).await;
    }
}

/// A container that runs a script.
fn script(name: &str, text: &str) -> Value {
    json!({"name": name, "image": "vk-cmd.io/host", "command": ["sh", "-c", text]})
}

/// What the containers of a test write to, line by line.
struct Witness(PathBuf);

impl Witness {
    fn in_home_of(site: &Site) -> Self {
        Self(site.home().join("witness"))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.0).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    async fn until(&self, wanted: &[&str]) {
        let reached = wait::until("the containers to write", LONG, GLANCE, async || {
            let lines = self.lines();
            Ok(if lines == wanted { Probe::Ready(()) } else { Probe::not_yet(format!("{lines:?}")) })
        });
        reached.await.unwrap();
    }
}

fn main_container(pod: &Pod) -> Option<ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first().cloned()
}

fn is_ready(pod: &Pod) -> bool {
    main_container(pod).is_some_and(|status| status.ready)
}

#[tokio::test]
async fn containers_come_and_go_in_their_order_and_a_restart_of_the_node_changes_nothing() {
    let room = room("order").await;
    let mut site = room.site("vk-order").await;
    let (witness, gate) = (Witness::in_home_of(&site), site.home().join("gate"));
    let w = witness.path().display().to_string();
    let mut side = script(
        "side",
        &format!("trap 'echo side down >> {w}; exit 3' TERM; echo side up >> {w}; while :; do sleep 0.1; done"),
    );
    side["restartPolicy"] = json!("Always");
    side["startupProbe"] = json!({"exec": {"command": ["grep", "-q", "side up", w]}, "periodSeconds": 1});
    let main = format!("echo main >> {w}; until test -e {}; do sleep 0.1; done; echo done >> {w}", gate.display());
    room.pod_of(
        "ordered",
        "vk-order",
        json!({
            "restartPolicy": "Never",
            "initContainers": [script("prep", &format!("echo prep >> {w}")), side],
            "containers": [script("main", &main)],
        }),
    )
    .await;
    let before = room.pod("ordered", "to be ready", is_ready).await;
    witness.until(&["prep", "side up", "main"]).await;
    site.kill_node().unwrap();
    site.start_node().unwrap();
    std::fs::write(gate, "").unwrap();
    let after = room.pod("ordered", "to succeed", |pod| phase(pod) == "Succeeded").await;
    witness.until(&["prep", "side up", "main", "done", "side down"]).await;
    let (before, status) = (before.status.unwrap(), after.status.unwrap());
    assert_eq!(before.pod_ip, before.host_ip);
    assert_eq!(status.observed_generation, after.metadata.generation);
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let init = status.init_container_statuses.unwrap();
    let ends: Vec<(&str, i32, i32)> = init
        .iter()
        .chain(status.container_statuses.as_ref().unwrap())
        .map(|c| (c.name.as_str(), c.restart_count, c.state.clone().unwrap().terminated.unwrap().exit_code))
        .collect();
    assert_eq!(ends, [("prep", 0, 0), ("side", 0, 3), ("main", 0, 0)]);
    let initialized = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Initialized").unwrap();
    assert_eq!((initialized.status.as_str(), initialized.reason.as_deref()), ("True", Some("PodCompleted")));
}

#[tokio::test]
async fn an_init_container_that_fails_fails_the_pod() {
    let room = room("init-fails").await;
    let site = room.site("vk-init-fails").await;
    let witness = Witness::in_home_of(&site);
    let w = witness.path().display();
    room.pod_of(
        "failing",
        "vk-init-fails",
        json!({
            "restartPolicy": "Never",
            "initContainers": [script("prep", &format!("echo prep >> {w}; exit 9"))],
            "containers": [script("main", &format!("echo main >> {w}"))],
        }),
    )
    .await;
    let pod = room.pod("failing", "to fail", |pod| phase(pod) == "Failed").await;
    assert_eq!(witness.lines(), ["prep"]);
    let status = pod.status.unwrap();
    let init = status.init_container_statuses.unwrap();
    assert_eq!(init[0].state.clone().unwrap().terminated.unwrap().exit_code, 9);
    let main = status.container_statuses.unwrap().remove(0);
    assert_eq!(main.state.unwrap().waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
}

#[tokio::test]
async fn hooks_are_done_after_the_start_and_before_the_signal() {
    let room = room("hooks").await;
    let site = room.site("vk-hooks").await;
    let witness = Witness::in_home_of(&site);
    let w = witness.path().display();
    let exec = |text: String| json!({"exec": {"command": ["sh", "-c", text]}});
    let mut main =
        script("main", &format!("trap 'echo term >> {w}; exit 0' TERM; echo main >> {w}; while :; do sleep 0.1; done"));
    main["lifecycle"] = json!({
        "postStart": exec(format!("until grep -q main {w}; do sleep 0.05; done; echo post >> {w}")),
        "preStop": exec(format!("sleep 0.3; echo pre >> {w}")),
    });
    room.pod_of("hooked", "vk-hooks", json!({"containers": [main]})).await;
    room.pod("hooked", "to be ready", is_ready).await;
    assert_eq!(witness.lines(), ["main", "post"]);
    room.says(&["delete", "pod", "hooked", "--timeout=60s"]).await;
    assert_eq!(witness.lines(), ["main", "post", "pre", "term"]);

    let mut main = script("main", "exec sleep 1000");
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    room.pod_of("ill", "vk-hooks", json!({"restartPolicy": "Never", "containers": [main]})).await;
    let pod = room.pod("ill", "to fail", |pod| phase(pod) == "Failed").await;
    let ended = main_container(&pod).unwrap().state.unwrap().terminated.unwrap();
    assert_eq!(ended.signal, Some(15), "{ended:?}");
    assert!(ended.message.as_ref().is_some_and(|why| why.contains("FailedPostStartHook")), "{ended:?}");
    told(&room.client, Some("hooks"), "ill", &[("FailedPostStartHook", "PostStartHook failed")]).await;
}

#[tokio::test]
async fn a_hook_whose_pipe_goes_away_is_done_again_and_ends_nothing() {
    let room = room("midst").await;
    let settings = Settings::on(room.ground.plane, "vk-midst").unwrap().with_separate_pipe();
    let mut site = room.site_with(settings).await;
    let (witness, gate) = (Witness::in_home_of(&site), site.home().join("gate"));
    let (w, gate) = (witness.path().display(), gate.display().to_string());
    let mut main = script("main", "exec sleep 1000");
    let hook = format!("echo post >> {w}; until test -e {gate}; do sleep 0.1; done");
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", hook]}}});
    room.pod_of("steady", "vk-midst", json!({"terminationGracePeriodSeconds": 2, "containers": [main]})).await;
    witness.until(&["post"]).await;
    site.kill_pipe().unwrap();
    site.start_pipe().await.unwrap();
    witness.until(&["post", "post"]).await;
    std::fs::write(gate, "").unwrap();
    let pod = room.pod("steady", "to be ready", is_ready).await;
    assert_eq!(main_container(&pod).unwrap().restart_count, 0);
    room.says(&["delete", "pod", "steady", "--timeout=60s"]).await;
}

#[tokio::test]
async fn a_hook_may_ask_for_a_page() {
    let room = room("page").await;
    let _site = room.site("vk-page").await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut connection, _) = server.accept().await.unwrap();
        let (mut head, mut bytes) = (Vec::new(), [0; 1024]);
        while !head.ends_with(b"\r\n\r\n") {
            let n = connection.read(&mut bytes).await.unwrap();
            head.extend_from_slice(&bytes[..n]);
        }
        // That is no success for a probe, and an answer for a hook.
        connection.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let mut main = script("main", "exec sleep 1000");
    main["lifecycle"] = json!({"preStop": {"httpGet": {"host": "127.0.0.1", "port": port, "path": "/bye?now"}}});
    room.pod_of("polite", "vk-page", json!({"containers": [main]})).await;
    room.pod("polite", "to be ready", is_ready).await;
    room.says(&["delete", "pod", "polite", "--timeout=60s"]).await;
    let head = tokio::time::timeout(LONG, asked).await.unwrap().unwrap();
    assert!(head.starts_with("GET /bye?now HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_deadline_ends_sidecars_as_well() {
    let room = room("late").await;
    let _site = room.site("vk-deadlines").await;
    let mut side = script("side", "exec sleep 1000");
    side["restartPolicy"] = json!("Always");
    room.pod_of(
        "late",
        "vk-deadlines",
        json!({
            "restartPolicy": "Never", "activeDeadlineSeconds": 2,
            "initContainers": [side], "containers": [script("main", "exec sleep 1000")],
        }),
    )
    .await;
    let pod = room.pod("late", "to be past its deadline", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
        let ended = container.state.clone().unwrap().terminated.unwrap();
        assert_eq!(ended.exit_code, 143, "{container:?}");
    }
}

#[tokio::test]
async fn a_resize_that_waits_for_the_next_run_is_told_and_settled_by_it() {
    let room = room("resize").await;
    let site = room.site("vk-resize").await;
    let gate = site.home().join("gate");
    let mut main = script("main", &format!("until rm {} 2> /dev/null; do sleep 0.1; done", gate.display()));
    main["resources"] = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    room.pod_of("resized", "vk-resize", json!({"containers": [main], "terminationGracePeriodSeconds": 1})).await;
    let limit = |pod: &Pod| main_container(pod)?.resources?.limits?.get("cpu").map(|cpu| cpu.0.clone());
    let pending = |pod: &Pod| {
        let all = pod.status.as_ref()?.conditions.clone()?;
        all.into_iter().find(|condition| condition.type_ == "PodResizePending").map(|c| c.reason.unwrap_or_default())
    };
    room.pod("resized", "to be ready", is_ready).await;
    let new = json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "300m"}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": new}]}}).to_string();
    room.says(&["patch", "pod", "resized", "--subresource=resize", "-p", &patch]).await;
    let waits = room.pod("resized", "to be told of the resize", |pod| pending(pod).is_some()).await;
    assert_eq!((pending(&waits).as_deref(), limit(&waits).as_deref()), (Some("Deferred"), Some("200m")));
    std::fs::write(&gate, "").unwrap();
    let settled = |pod: &Pod| pending(pod).is_none() && limit(pod).as_deref() == Some("300m") && is_ready(pod);
    room.pod("resized", "to run with the new resources", settled).await;
}
