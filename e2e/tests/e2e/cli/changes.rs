//! `cancel`, `hold`, `release`, `requeue`, `explain`, `nodes`, `fleets`, `doctor`.

use serde_json::Value;

use super::Plugin;
use crate::ground::{Room, room};

async fn json(plugin: &Plugin<'_>, words: &[&str]) -> Value {
    let text = plugin.says(&[words, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

#[tokio::test]
async fn cancel_returns_when_the_process_is_gone() {
    let room = room("cli-cancel").await;
    let site = room.site("vk-cli-cancel").await;
    let plugin = Plugin::of(&room).await;
    let (pid, saved) = (site.home().join("pid"), site.home().join("saved"));
    let text = format!(
        "trap 'sleep 1; touch {}; exit 0' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        saved.display(),
        pid.display()
    );
    plugin.says(&["run", "-w", "vk-cli-cancel", "--name", "saves", "--wrap", &text]).await;
    plugin.says(&["run", "-w", "vk-cli-cancel", "--name", "other", "--hold", "--", "true"]).await;
    plugin.says(&["wait", "saves", "--for", "running"]).await;
    let cancelled = plugin.does(&["cancel", "saves", "nobody", "other"]).await;
    assert_eq!(cancelled.code, Some(1), "{cancelled:?}");
    assert_eq!(cancelled.out, "cmdjob.vk-cmd.io/saves cancelled\ncmdjob.vk-cmd.io/other cancelled\n");
    assert!(cancelled.err.contains("saves: its process on vk-cli-cancel is being ended"), "{cancelled:?}");
    assert!(cancelled.err.contains("there is no CmdJob nobody"), "{cancelled:?}");
    assert!(saved.exists(), "it came back before the process had ended");
    let number = std::fs::read_to_string(&pid).unwrap();
    assert!(!std::path::Path::new("/proc").join(number.trim()).exists(), "its process is there");
    assert_eq!(plugin.says(&["list", "-o", "name"]).await, "");
    assert_eq!(plugin.does(&["cancel"]).await.code, Some(1));
}

#[tokio::test]
async fn what_is_held_is_released_and_what_runs_is_requeued() {
    let room = room("cli-hold").await;
    let site = room.site("vk-cli-hold").await;
    let plugin = Plugin::of(&room).await;
    let (count, go) = (site.home().join("count"), site.home().join("go"));
    let text = format!("echo x >> {}; until test -e {}; do sleep 0.05; done", count.display(), go.display());
    plugin.says(&["run", "-w", "vk-cli-hold", "--name", "works", "-H", "--wrap", &text]).await;
    let again = plugin.does(&["hold", "works"]).await;
    assert!(again.code == Some(0) && again.err.contains("held already"), "{again:?}");
    plugin.says(&["release", "works"]).await;
    plugin.says(&["wait", "works", "--for", "running"]).await;
    let refused = plugin.does(&["hold", "works"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("--end-running"), "{refused:?}");
    assert_eq!(plugin.says(&["requeue", "works"]).await, "cmdjob.vk-cmd.io/works requeued\n");
    plugin.says(&["wait", "works", "--for", "running"]).await;
    std::fs::write(&go, "").unwrap();
    plugin.says(&["wait", "works"]).await;
    let runs = std::fs::read_to_string(&count).unwrap();
    assert_eq!(runs, "x\nx\n", "once before the requeue and once after it");
    let over = plugin.does(&["requeue", "works"]).await;
    assert!(over.code == Some(1) && over.err.contains("--to NEW"), "{over:?}");
    plugin.says(&["requeue", "works", "--to", "works-again"]).await;
    plugin.says(&["wait", "works-again"]).await;
    explained(&plugin).await;
}

/// The story of that job, which was held, released, begun, requeued and ended.
async fn explained(plugin: &Plugin<'_>) {
    let story = plugin.says(&["explain", "works"]).await;
    for word in [
        "submitted it, for vk-cli-hold",
        "made the pod",
        "started the process of attempt 1",
        "reported it as Complete",
        "works: waited ",
    ] {
        assert!(story.contains(word), "{word}: {story}");
    }
    let story = json(plugin, &["explain", "works"]).await;
    assert_eq!(story["exitCode"], 0);
    let times: Vec<&str> =
        story["timeline"].as_array().unwrap().iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let seconds = |field: &str| story[field].as_i64().unwrap_or_else(|| panic!("{field}: {story}"));
    assert!(seconds("waitedSeconds") >= 0 && seconds("ranSeconds") >= 0 && seconds("reportedAfterSeconds") >= 0);
}

#[tokio::test]
async fn nodes_and_fleets_are_listed_with_what_they_do() {
    let room = room("cli-nodes").await;
    let mut settings = vk_cmd_e2e::site::Settings::on(room.ground.plane, "vk-cli-nodes").unwrap();
    settings.node_flags.extend(["--label", "vk-cmd.io/fleet=cli-nodes"].map(Into::into));
    let _site = room.site_with(settings).await;
    let plugin = Plugin::of(&room).await;
    let nodes = plugin.says(&["nodes", "-p", "cli-nodes"]).await;
    assert!(nodes.starts_with("NAME") && nodes.contains("vk-cli-nodes   cli-nodes   idle"), "{nodes}");
    plugin.says(&["run", "-p", "cli-nodes", "--name", "busy", "-c", "1", "--", "sleep", "1000"]).await;
    plugin.says(&["wait", "busy", "--for", "running"]).await;
    let nodes = plugin.says(&["nodes", "vk-cli-nodes"]).await;
    assert!(nodes.contains("busy") && nodes.contains("runs one pod"), "{nodes}");
    assert_eq!(json(&plugin, &["nodes", "vk-cli-nodes"]).await["metadata"]["name"], "vk-cli-nodes");
    let missing = plugin.does(&["nodes", "vk-nobody"]).await;
    assert!(missing.code == Some(1) && missing.err.contains("there is no vk-node vk-nobody"), "{missing:?}");
    let list = plugin.says(&["list"]).await;
    assert!(
        list.contains("busy   Running   0/1    vk-cli-nodes") && list.contains("the process runs on vk-cli-nodes"),
        "{list}"
    );
    fleet(&room, &plugin).await;
    plugin.says(&["cancel", "--all"]).await;
}

async fn fleet(room: &Room, plugin: &Plugin<'_>) {
    let object =
        r#"{"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": "cli-nodes"}, "spec": {}}"#;
    let mut kubectl = room.ground.plane.kubectl();
    kubectl.args(["create", "-f", "-"]);
    vk_cmd_e2e::exec::text_with_input(kubectl, object.as_bytes(), crate::fixture::SOON).await.unwrap();
    room.says(&["wait", "--for=condition=Ready", "cmdfleet/cli-nodes", "--timeout=60s"]).await;
    let fleets = plugin.says(&["fleets", "cli-nodes"]).await;
    assert!(fleets.starts_with("NAME        WANTED   READY   BUSY"), "{fleets}");
    assert_eq!(json(plugin, &["fleets", "cli-nodes"]).await["status"]["readyNodes"], 1);
    room.says(&["delete", "cmdfleet", "cli-nodes"]).await;
}

#[tokio::test]
async fn doctor_finds_what_is_there_and_what_is_missing() {
    let room = room("cli-doctor").await;
    let _site = room.site("vk-cli-doctor").await;
    let plugin = Plugin::of(&room).await;
    let found = json(&plugin, &["doctor", "--try"]).await;
    assert_eq!(found["ok"], true, "{found:#}");
    let result = |found: &Value, id: &str| {
        let checks = found["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {found:#}"));
        check["result"].as_str().unwrap().to_owned()
    };
    for id in ["kubeconfig", "server", "crd-cmdjobs", "crd-cmdfleets", "operator", "nodes", "rbac-run", "rbac-logs"] {
        assert_eq!(result(&found, id), "ok", "{id}: {found:#}");
    }
    // The job that was made for it goes again.
    let none = vk_cmd_e2e::wait::until(
        "the doctor's job to be gone",
        crate::ground::LONG,
        crate::ground::GLANCE,
        async || {
            let left = plugin.says(&["list", "-o", "name"]).await;
            Ok(if left.is_empty() {
                vk_cmd_e2e::wait::Probe::Ready(())
            } else {
                vk_cmd_e2e::wait::Probe::not_yet(left)
            })
        },
    );
    none.await.unwrap();

    // Somebody who may nothing: each right is named, with what to do.
    let account = room.ground.plane.service_account_kubeconfig("cli-doctor", "default").await.unwrap();
    let done = plugin.does(&["doctor", "--kubeconfig", account.to_str().unwrap(), "-o", "json"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    let found: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((result(&found, "server"), result(&found, "rbac-run")), ("ok".to_owned(), "failed".to_owned()));
    let checks = found["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["result"] != "failed" || check["fix"].is_string()), "{found:#}");
    // Nobody there at all.
    let nowhere = plugin.does(&["doctor", "--kubeconfig", "/does/not/exist"]).await;
    assert!(nowhere.code == Some(1) && nowhere.out.contains("kubeconfig   failed"), "{nowhere:?}");
}
