//! What a site does not allow, what it limits, and what ends with a pod, as users see it.

use kube::api::DeleteParams;
use serde_json::json;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};
use crate::plain_pods::{phase, placed};

#[tokio::test]
async fn a_denial_reaches_the_pod_and_the_job() {
    let room = room("denied").await;
    let settings = Settings::on(room.ground.plane, "vk-denied").unwrap();
    let file = "version: 1\npolicy:\n  programs: {allow: [\"/bin/true\"]}\n";
    let site = room.site_with(Settings { site_file: Some(file.to_owned()), ..settings }).await;
    let job = room.run("denied", "vk-denied", json!({"command": ["/bin/touch", "ran"]})).await;
    let ended = job.ended().await;
    let attempt = ended.attempt();
    assert_eq!((attempt.exit_code, attempt.reason.as_deref()), (None, Some("DeniedBySitePolicy")), "{ended:?}");
    let message = ended.message.as_deref().unwrap_or_default();
    assert!(message.contains("DeniedBySitePolicy") && message.contains("/bin/touch"), "{message}");
    let status = job.pods().await.remove(0).status.unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeniedBySitePolicy")));
    assert!(status.message.unwrap_or_default().contains("/bin/touch"));
    let allowed = room.run("allowed", "vk-denied", json!({"command": ["/bin/true"]})).await.ended().await;
    assert_eq!(allowed.exit_code, Some(0), "{allowed:?}");
    assert!(!site.home().join("ran").exists());
}

#[tokio::test]
async fn a_wrong_site_file_is_told_by_the_node() {
    let room = room("wrong-file").await;
    let settings = Settings::on(room.ground.plane, "vk-wrong-file").unwrap();
    let site = room.site_with(Settings { site_file: Some("version: 1\n".into()), ..settings }).await;
    site.write_site_file("version: 1\npolicies: {}\n").unwrap();
    let told = wait::until("the node to tell of its site's file", LONG, GLANCE, async || {
        // The pipe looks at the file when it is asked for something.
        let path = r#"jsonpath={.status.conditions[?(@.type=="vk-cmd.io/PipeReady")].message}"#;
        let said = room.says(&["get", "node", "vk-wrong-file", "-o", path]).await;
        Ok(if said.contains("policies") { Probe::Ready(said) } else { Probe::not_yet(said) })
    });
    let said = told.await.unwrap();
    assert!(said.contains("site.yaml") && said.contains("what it said before is in force"), "{said}");
}

/// Pods are admitted by what the site's file says then, not by what it said when the node was started.
#[tokio::test]
async fn a_site_file_that_is_changed_is_in_force_for_new_pods() {
    let room = room("changed-file").await;
    let settings = Settings::on(room.ground.plane, "vk-changed-file").unwrap();
    let without = "version: 1\npolicy: {mountNamespaces: false}\n";
    let site = room.site_with(Settings { site_file: Some(without.to_owned()), ..settings }).await;
    let apply = async |name: &str| {
        let mut spec = placed("vk-changed-file");
        spec["automountServiceAccountToken"] = json!(false);
        spec["restartPolicy"] = json!("Never");
        spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        spec["containers"] = json!([{
            "name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-c", "echo 1 > /vk-volume/x"],
            "volumeMounts": [{"name": "v", "mountPath": "/vk-volume"}],
        }]);
        room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})).await;
        let ended = room.pod(name, "to end", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
        (phase(&ended).to_owned(), ended.status.unwrap().message.unwrap_or_default())
    };
    let (phase, message) = apply("refused").await;
    assert!(phase == "Failed" && message.contains("volumeMounts[v]"), "{phase}: {message}");
    let path = r#"jsonpath={.status.conditions[?(@.type=="vk-cmd.io/PipeReady")].message}"#;
    const NONE: &str = "commands have no mounts of their own";
    let said = room.says(&["get", "node", "vk-changed-file", "-o", path]).await;
    assert!(said.contains(NONE), "{said}");
    site.write_site_file("version: 1\n").unwrap();
    let told = wait::until("the node to learn of it", LONG, GLANCE, async || {
        let said = room.says(&["get", "node", "vk-changed-file", "-o", path]).await;
        Ok(if said.contains(&format!("{NONE}: the site")) { Probe::not_yet(said) } else { Probe::Ready(said) })
    });
    if told.await.unwrap().contains(NONE) {
        println!("left out: the kernel of this machine gives this user no mounts");
        return;
    }
    assert_eq!(apply("admitted").await, ("Succeeded".to_owned(), String::new()));
}

#[tokio::test]
async fn memory_past_its_limit_is_told_as_everywhere() {
    let room = room("oom").await;
    let _site = room.site("vk-oom").await;
    let spec = json!({
        "script": "head -c 300000000 /dev/zero | tail -n 1", "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
    });
    let ended = room.run("eats", "vk-oom", spec).await.ended().await;
    let attempt = ended.attempt();
    assert_eq!((attempt.exit_code, attempt.reason.as_deref()), (Some(137), Some("OOMKilled")), "{ended:?}");
}

#[tokio::test]
async fn a_line_of_a_pod_ends_with_it() {
    let room = room("tied").await;
    let site = room.site("vk-tied").await;
    let file = |name: &str, kind: &str| site.home().join(format!("{name}.{kind}"));
    for (name, then) in [("running", "sleep 1000"), ("over", "exit 0")] {
        let script = format!(
            "echo \"VK_CMD_TASK=$VK_CMD_TASK trap 'echo TERM > {term}; exit' TERM; echo \\$\\$ > {pid}; \
             while :; do sleep 0.1; done\" > \"$HOME/hostpipe/vk-cmd\"; until test -s {pid}; do sleep 0.1; done; {then}",
            term = file(name, "term").display(),
            pid = file(name, "pid").display(),
        );
        let job = room.script(name, "vk-tied", &script).await;
        let started = wait::until("the line to run", LONG, GLANCE, async || {
            let text = std::fs::read_to_string(file(name, "pid")).unwrap_or_default();
            Ok(text.trim().parse::<i32>().map_or_else(|error| Probe::not_yet(error.to_string()), Probe::Ready))
        });
        let pid = started.await.unwrap();
        let is_alive = || std::path::Path::new(&format!("/proc/{pid}")).exists();
        if name == "over" {
            assert_eq!(job.ended().await.exit_code, Some(0));
        } else {
            job.running().await;
        }
        assert!(is_alive() && !file(name, "term").exists(), "{name}: the line goes on");
        job.api.delete(&job.name, &DeleteParams::default()).await.unwrap();
        let gone = wait::until("the pod to be gone", LONG, GLANCE, async || {
            Ok(if job.pods().await.is_empty() { Probe::Ready(()) } else { Probe::not_yet("it is there") })
        });
        gone.await.unwrap();
        // The API server removes a pod that has ended as soon as it is deleted: then the line is ended after it.
        assert!(name == "over" || !is_alive(), "the pod went before its line's processes");
        let ended = wait::until("the line to be ended", LONG, GLANCE, async || {
            Ok(if is_alive() { Probe::not_yet("it runs") } else { Probe::Ready(()) })
        });
        ended.await.unwrap();
        assert_eq!(std::fs::read_to_string(file(name, "term")).unwrap(), "TERM\n", "{name}");
    }
}
