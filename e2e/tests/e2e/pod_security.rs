//! CmdJobs in namespaces that enforce a Pod Security Standard, and in those that do not.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use vk_cmd_crds::State;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, Ground, LONG, Room, room};

/// The user of the site, where we are root: no standard lets root in.
const USER: u32 = 65532;

/// A namespace that enforces a standard.
async fn enforcing(name: &str, standard: &str) -> Room {
    let room = Ground::shared().await.room(name).await;
    room.says(&["label", "namespace", name, &format!("pod-security.kubernetes.io/enforce={standard}")]).await;
    room
}

/// The site of somebody who is not root.
fn plain(room: &Room, node: &str) -> Settings {
    let user = rustix::process::geteuid().is_root().then_some(USER);
    Settings { user, ..Settings::on(room.ground.plane, node).unwrap() }
}

#[tokio::test]
async fn a_namespace_that_enforces_restricted_takes_cmdjobs_and_set_uid_programs_work_elsewhere() {
    let (usual, restricted) = (room("standard-none").await, enforcing("standard-restricted", "restricted").await);
    let _site = usual.site_with(plain(&usual, "vk-standards")).await;
    // A set-uid program of another user's: ours, if we are root.
    let scratch = Scratch::new("vk-setuid-").unwrap();
    let program = scratch.path().join("who");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o711)).unwrap();
    let script = format!(
        "grep NoNewPrivs /proc/self/status | tr -d '\\t'; grep CapBnd /proc/self/status | tr -d '\\t'; echo as $({} -u)",
        program.display()
    );
    let is_root = rustix::process::geteuid().is_root();
    let uid = if is_root { USER } else { rustix::process::geteuid().as_raw() };
    for (room, confined) in [(&usual, false), (&restricted, true)] {
        // Several: those after the first are made as it was.
        let spec = json!({"script": script, "completions": 4, "parallelism": 4, "completionMode": "Indexed"});
        let job = room.run("who", "vk-standards", spec).await;
        let ended = job.ended().await;
        assert_eq!((ended.state, ended.succeeded), (Some(State::Complete), 4), "{ended:?}");
        for pod in job.pods().await {
            let said = room.says(&["logs", pod.metadata.name.as_ref().unwrap()]).await;
            let as_whom = if is_root && !confined { 0 } else { uid };
            assert!(said.contains(&format!("NoNewPrivs:{}", u8::from(confined))), "{said}");
            assert!(said.contains(&format!("as {as_whom}\n")), "{said}");
            let spec = pod.spec.unwrap();
            assert_eq!(spec.containers[0].security_context.is_some(), confined);
        }
        let events: Api<Event> = Api::namespaced(room.client.clone(), &room.namespace);
        wait::until("the event of a pod", LONG, GLANCE, async || {
            let all = events.list(&ListParams::default().fields("reason=SuccessfulCreate")).await?.items;
            let Some(note) = all.into_iter().find_map(|event| event.note) else { return Ok(Probe::not_yet("none")) };
            assert_eq!(note.contains("Pod Security Standard restricted"), confined, "{note}");
            Ok(Probe::Ready(()))
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_a_standard_does_not_allow_is_said_in_plain_words() {
    let (low, high) =
        (enforcing("standard-baseline", "baseline").await, enforcing("standard-paths", "restricted").await);
    let _site = low.site_with(plain(&low, "vk-baseline")).await;
    assert_eq!(low.script("well", "vk-baseline", "exit 0").await.ended().await.state, Some(State::Complete));
    for (room, standard) in [(&low, "baseline"), (&high, "restricted")] {
        let spec = json!({
            "script": "ls data", "volumes": [{"name": "data", "hostPath": {"path": "/tmp"}}],
            "volumeMounts": [{"name": "data", "mountPath": "data"}],
        });
        let job = room.run("path", "vk-baseline", spec).await;
        let status = job.until("to be refused", |status| status.reason.as_deref() == Some("PodRefused")).await;
        let message = status.message.unwrap();
        for word in
            [&format!("violates PodSecurity \"{standard}:"), "hostPath", "Leave out of the CmdJob what is named there"]
        {
            assert!(message.contains(word), "{message}");
        }
        // What the standard asks for beside is had, and so is not named.
        assert!(!message.contains("runAsNonRoot"), "{message}");
    }
    // It is asked again, and goes on when it may.
    high.says(&[
        "label",
        "--overwrite",
        "namespace",
        "standard-paths",
        "pod-security.kubernetes.io/enforce=privileged",
    ])
    .await;
    assert_eq!(high.created("path").ended().await.state, Some(State::Complete));
}
