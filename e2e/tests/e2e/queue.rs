//! Whose turn it is, and what is said to those whose turn it is not.

use std::path::Path;

use serde_json::{Value, json};
use vk_cmd_crds::{CmdJobStatus, State};
use vk_cmd_e2e::site::Settings;

use crate::ground::{Ground, Job, Room, room};

/// Settings of a node with these flags.
fn with(room: &Room, node: &str, flags: &[&str]) -> Settings {
    let settings = Settings::on(room.ground.plane, node).unwrap();
    Settings { node_flags: flags.iter().map(Into::into).collect(), ..settings }
}

/// A script that writes down its name, and then runs until the file `open` is there.
fn gated(home: &Path, name: &str) -> Value {
    let home = home.display();
    json!({"script": format!("echo {name} >> {home}/order; until [ -e {home}/open ]; do sleep 0.1; done")})
}

fn order(home: &Path) -> Vec<String> {
    std::fs::read_to_string(home.join("order")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn waits(status: &CmdJobStatus, reason: &str) -> bool {
    status.state == Some(State::Waiting) && status.reason.as_deref() == Some(reason)
}

fn with_priority(mut spec: Value, priority: i32) -> Value {
    spec["priority"] = json!(priority);
    spec
}

#[tokio::test]
async fn what_has_no_room_waits_without_a_pod_and_the_most_urgent_comes_first() {
    let room = room("queue").await;
    let site = room.site_with(with(&room, "vk-queue", &["--max-pods", "1"])).await;
    let home = site.home();
    let first = room.run("first", "vk-queue", gated(&home, "first")).await;
    first.running().await;
    let mut waiting = Vec::new();
    for (name, priority) in [("late", 0), ("later", 0), ("urgent", 5)] {
        let job = room.run(name, "vk-queue", with_priority(gated(&home, name), priority)).await;
        let status = job.until("to wait for its turn", |status| waits(status, "NoRoom")).await;
        assert_eq!(
            status.message.as_deref(),
            Some("node vk-queue has no room for a pod at present: the job waits for its turn")
        );
        assert!(job.pods().await.is_empty());
        waiting.push(job);
    }
    std::fs::write(home.join("open"), "").unwrap();
    for job in waiting {
        assert_eq!(job.ended().await.state, Some(State::Complete));
    }
    // The two of the same priority were made within a second, or not: the names decide then, and say the same.
    assert_eq!(order(&home), ["first", "urgent", "late", "later"]);
}

#[tokio::test]
async fn namespaces_share_a_node_however_many_jobs_one_of_them_has() {
    let ground = Ground::shared().await;
    let (many, few) = (ground.room("queue-many").await, ground.room("queue-few").await);
    let site = many.site_with(with(&many, "vk-shared", &["--max-pods", "2"])).await;
    let home = site.home();
    let spec = |name: &str, completions: u32| {
        let mut spec = gated(&home, name);
        spec["completions"] = json!(completions);
        spec["parallelism"] = json!(completions);
        spec
    };
    let flood = many.run("flood", "vk-shared", spec("flood", 12)).await;
    flood.until("to run", |status| status.ready == 2).await;
    let modest = few.run("modest", "vk-shared", spec("modest", 2)).await;
    modest.until("to wait for its turn", |status| waits(status, "NoRoom")).await;
    std::fs::write(home.join("open"), "").unwrap();
    assert_eq!(modest.ended().await.succeeded, 2);
    assert_eq!(flood.ended().await.succeeded, 12);
    let order = order(&home);
    let last = order.iter().rposition(|name| name == "modest").unwrap();
    // Each time that something ends, the namespace that uses less has the next turn.
    assert!(last <= 6, "{order:?}");
}

/// Makes a CmdJob whose target is a fleet.
async fn for_fleet(room: &Room, name: &str, mut spec: Value) -> Job {
    spec["target"] = json!({"fleet": "queue-fleet"});
    room.job(name, spec).await
}

#[tokio::test]
async fn a_job_that_no_node_can_take_says_what_each_of_them_lacks() {
    let room = room("queue-fits").await;
    let member = |name: &str| with(&room, name, &["--label", "vk-cmd.io/fleet=queue-fleet"]);
    let _plain = room.site_with(member("vk-fits-a")).await;
    let ten_minutes = vec![("JIRIAF_WALLTIME".into(), "600".into())];
    let _short = room.site_with(Settings { environment: ten_minutes, ..member("vk-fits-b") }).await;
    let rules = "version: 1\npolicy: {namespaces: {deny: [\"queue-*\"]}}\n".to_owned();
    let _closed = room.site_with(Settings { site_file: Some(rules), ..member("vk-fits-c") }).await;

    let script = "exit 0";
    let large = json!({"script": script, "resources": {"requests": {"memory": "100Ti"}}});
    let job = for_fleet(&room, "large", large).await;
    // The operator hears of each of the nodes a moment later than we do.
    let lacks = "none of 3 nodes takes it now: 1 takes no pods of the namespace queue-fits; 2 lack 100Ti memory";
    let says = |status: &CmdJobStatus| waits(status, "NoNodeFits") && status.message.as_deref() == Some(lacks);
    job.until("to say what they lack", says).await;
    assert!(job.pods().await.is_empty());

    room.says(&["cordon", "vk-fits-a"]).await;
    let long = json!({"script": script, "walltimeSeconds": 7200});
    let job = for_fleet(&room, "long", long).await;
    let cordoned =
        "none of 3 nodes takes it now: 1 is cordoned; 1 takes no pods of the namespace queue-fits; 1 ends at 20";
    let too_short = ", before the 2h that it may take have passed";
    let says = |status: &CmdJobStatus| {
        let message = status.message.as_deref().unwrap_or_default();
        waits(status, "NoNodeFits") && message.starts_with(cordoned) && message.ends_with(too_short)
    };
    job.until("to say why it waits", says).await;
    // What is short enough goes where there is little time left; and what waits goes when a node takes it again.
    let brief = json!({"script": "exit 0", "walltimeSeconds": 60});
    let brief = for_fleet(&room, "brief", brief).await.ended().await;
    assert_eq!(brief.attempt().node, "vk-fits-b");
    room.says(&["uncordon", "vk-fits-a"]).await;
    assert_eq!(job.ended().await.attempt().node, "vk-fits-a");
}
