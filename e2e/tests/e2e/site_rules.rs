//! What a site does not allow and what it limits, as users see it.

use serde_json::json;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};

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
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].message}"#;
        let said = room.says(&["get", "node", "vk-wrong-file", "-o", path]).await;
        Ok(if said.contains("policies") { Probe::Ready(said) } else { Probe::not_yet(said) })
    });
    let said = told.await.unwrap();
    assert!(said.contains("site.yaml") && said.contains("what it said before is in force"), "{said}");
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
