//! What becomes of the records of tasks that have ended.

use std::fs;
use std::path::Path;
use std::time::Duration;

use vk_task::{End, ErrorReason, TaskId};

use crate::Test;
use crate::support::{Host, block_on, eventually, exec, id, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("that_an_end_was_told_of_is_remembered", reported),
    ("records_go_when_they_may_and_not_before", collection),
    ("the_records_of_old_lines_go", old_lines),
    ("where_there_is_no_room_new_tasks_are_refused", quota),
    ("a_collection_that_was_interrupted_is_finished", interrupted),
];

/// With a pipe that keeps records for so many seconds, of so many tasks, in so many bytes.
async fn keeping(seconds: u64, tasks: u64, bytes: u64) -> Host {
    let site = format!("records: {{keepSeconds: {seconds}, keepTasks: {tasks}, maxBytes: {bytes}}}");
    let mut host = Host::of_site(&site);
    host.start_pipe().await;
    host
}

fn is_there(host: &Host, id: &TaskId) -> bool {
    host.directory().join("tasks").join(id.as_str()).exists()
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

fn reported() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("told");
        let reason = |e: vk_pipe::ClientError| e.refusal().unwrap().reason;
        assert_eq!(reason(host.client.reported(&id).await.unwrap_err()), ErrorReason::NotFound);
        host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
        assert_eq!(reason(host.client.reported(&id).await.unwrap_err()), ErrorReason::Conflict);
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
        assert!(!host.client.get(&id).await.unwrap().reported);
        for _ in 0..2 {
            host.client.reported(&id).await.unwrap();
            assert!(host.client.get(&id).await.unwrap().reported);
        }
        host.kill_pipe();
        host.start_pipe().await;
        assert!(host.client.get(&id).await.unwrap().reported);
    });
}

fn collection() {
    block_on(async {
        let host = keeping(0, 1000, 1 << 40).await;
        let (told, untold) = (id("told"), id("untold"));
        host.run("told", "echo some output").await;
        host.run("untold", "exit 1").await;
        host.client.reported(&told).await.unwrap();
        eventually("its records go", || !is_there(&host, &told)).await;
        eventually("all of them", || is_empty(&host.directory().join("trash"))).await;
        assert_eq!(host.client.list().await.unwrap().len(), 1);
        assert_eq!(host.ended(&untold).await, End::Exited { code: 1 });
        assert!(is_there(&host, &untold));
    });
}

fn old_lines() {
    block_on(async {
        let host = keeping(1000, 3, 1 << 40).await;
        fs::write(host.directory().join("vk-cmd"), "echo ran >> $HOME/ran\n".repeat(20)).unwrap();
        let ran = host.file("ran");
        eventually("all have run", || fs::read_to_string(&ran).is_ok_and(|text| text.lines().count() == 20)).await;
        loop {
            let left = host.client.list().await.unwrap();
            if left.len() == 3 && left.iter().all(|t| t.state.is_final()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(fs::read_dir(host.directory().join("tasks")).unwrap().count(), 3);
    });
}

fn quota() {
    block_on(async {
        // Room for the records of some tasks, and not for this output.
        let mut host = keeping(1000, 1000, 1 << 20).await;
        let big = id("big");
        assert_eq!(host.run("big", "head -c 2000000 /dev/zero; exit 3").await, End::Exited { code: 3 });
        let running = id("running");
        let mut refusal = None;
        for n in 0..1000 {
            let name = if n == 0 { running.clone() } else { id(&format!("more-{n}")) };
            match host.client.start(&name, &exec(&["sleep", "1000"])).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(e) => {
                    refusal = Some(e.refusal().unwrap().clone());
                    break;
                }
            }
        }
        let refusal = refusal.expect("one is refused");
        assert_eq!(refusal.reason, ErrorReason::NoSpace);
        assert!(refusal.message.contains("1 end that has not been reported"), "{refusal}");
        // It is so for a pipe that is started anew, too; what is there is told of, and nothing of it is lost.
        host.kill_pipe();
        host.start_pipe().await;
        let refused = async || host.client.start(&id("other"), &script("exit 0")).await.is_err();
        while !refused().await {
            host.client.stop(&id("other"), &stop_in(Duration::ZERO)).await.unwrap();
            host.ended(&id("other")).await;
            host.client.remove(&id("other")).await.unwrap();
        }
        assert_eq!(host.ended(&big).await, End::Exited { code: 3 });
        assert_eq!(host.client.start(&big, &script("exit 0")).await.unwrap().id, big);
        // Once its end has been told of, there is room again.
        host.client.reported(&big).await.unwrap();
        eventually("the big one goes", || !is_there(&host, &big)).await;
        while host.client.start(&id("later"), &script("exit 7")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(host.ended(&id("later")).await, End::Exited { code: 7 });
    });
}

/// A pipe dies between the step that takes a task's records away and their removal, file by file.
fn interrupted() {
    block_on(async {
        let mut host = Host::new().await;
        let [gone, kept] = ["gone", "kept"].map(id);
        host.run("gone", "echo ran >> $HOME/ran").await;
        host.run("kept", "exit 4").await;
        host.kill_pipe();
        let moved = host.directory().join("trash/gone.1");
        fs::rename(host.directory().join("tasks/gone"), &moved).unwrap();
        fs::remove_file(moved.join("exit.json")).unwrap();
        host.start_pipe().await;
        assert_eq!(
            host.client.list().await.unwrap().into_iter().map(|t| t.id).collect::<Vec<_>>(),
            std::slice::from_ref(&kept)
        );
        assert!(is_empty(&host.directory().join("trash")));
        assert_eq!(host.ended(&kept).await, End::Exited { code: 4 });
        assert_eq!(host.client.get(&gone).await.unwrap_err().refusal().unwrap().reason, ErrorReason::NotFound);
        assert_eq!(fs::read_to_string(host.file("ran")).unwrap(), "ran\n");
    });
}
