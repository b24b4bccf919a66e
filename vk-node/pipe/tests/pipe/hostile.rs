//! Somebody who swaps what is in the pipe's directory for links to elsewhere, while tasks are started.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vk_task::{ErrorReason, TaskId, TaskState, TaskView};

use crate::Test;
use crate::support::{Host, block_on, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("whatever_is_swapped_for_links_nothing_elsewhere_is_touched", swaps),
    ("names_that_lead_elsewhere_are_refused", names),
    ("a_number_that_went_to_another_process_is_not_the_tasks", reused),
];

/// All that may be in a task's directory.
const FILES: [&str; 12] = [
    "intent.json",
    "script",
    "lock",
    "start.json",
    "stop.json",
    "log",
    "exit.json",
    "unknown.json",
    "shim.err",
    "lingering.json",
    "reported",
    "audited",
];

/// What is at `dir`, by name: the contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect()
}

async fn ended(host: &Host, id: &TaskId) -> TaskView {
    host.until(id, TaskState::is_final).await
}

/// The status of the answer to a request as it stands here.
fn ask(host: &Host, method: &str, path: &str, body: &str) -> u16 {
    let mut stream = UnixStream::connect(host.directory().join("vk-cmd.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: p\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// Swaps until it is told to end: whole directories, and files in them.
fn attack(tasks: &Path, outside: &Path, task: &Path, stop: &AtomicBool) {
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        for entry in fs::read_dir(tasks).into_iter().flatten().flatten() {
            turn += 1;
            let path = entry.path();
            let Some(name) = FILES.get(turn % FILES.len()) else { continue };
            match turn % 3 {
                0 => {
                    let away = path.with_extension("away");
                    if fs::rename(&path, &away).is_ok() {
                        let _ = symlink(if turn.is_multiple_of(2) { outside } else { task }, &path);
                        // So long that whoever is on the way there arrives.
                        std::thread::sleep(Duration::from_millis(1));
                        let _ = fs::remove_file(&path);
                        let _ = fs::rename(&away, &path);
                    }
                }
                1 => {
                    let _ = fs::remove_file(path.join(name));
                    let _ = symlink(outside.join(name), path.join(name));
                }
                _ => {
                    let _ = fs::remove_file(path.join(name));
                    let _ = fs::hard_link(outside.join(name), path.join(name));
                }
            }
        }
    }
}

fn swaps() {
    block_on(async {
        let host = Host::new().await;
        let outside = host.file("outside");
        fs::create_dir(&outside).unwrap();
        for name in FILES {
            fs::write(outside.join(name), format!("the user's own {name}")).unwrap();
        }
        // A task that was never started.
        let task = host.file("task");
        fs::create_dir(&task).unwrap();
        let intent = host.directory().join("tasks/first/intent.json");
        host.client.start(&id("first"), &script("true")).await.unwrap();
        fs::copy(intent, task.join("intent.json")).unwrap();
        let before = (contents(&outside), contents(&task));
        let stop = Arc::new(AtomicBool::new(false));
        let attacker = {
            let (tasks, stop) = (host.directory().join("tasks"), Arc::clone(&stop));
            let (outside, task) = (outside.clone(), task.clone());
            std::thread::spawn(move || attack(&tasks, &outside, &task, &stop))
        };
        // What becomes of the tasks is the attacker's doing.
        for n in 0..60 {
            let id = id(&format!("t{n}"));
            if host.client.start(&id, &script("echo word; echo word >&2")).await.is_ok() {
                let _ = tokio::time::timeout(Duration::from_millis(30), ended(&host, &id)).await;
            }
            let _ = host.client.remove(&id).await;
        }
        stop.store(true, Ordering::Relaxed);
        attacker.join().unwrap();
        // The pipe works on.
        host.client.start(&id("after"), &script("true")).await.unwrap();
        ended(&host, &id("after")).await;
        assert_eq!((contents(&outside), contents(&task)), before);
    });
}

fn names() {
    block_on(async {
        let host = Host::new().await;
        let long = "x".repeat(256);
        let before = contents(host.home());
        for name in ["..", "%2e%2e", "..%2f..%2fx", "a%00b", ".hidden", "a%2fb", "%ff", long.as_str()] {
            for (method, body) in [("PUT", serde_json::to_string(&script("true")).unwrap()), ("DELETE", String::new())]
            {
                let status = ask(&host, method, &format!("/v1/tasks/{name}"), &body);
                assert!(matches!(status, 400 | 404 | 405), "{method} {name}: {status}");
            }
        }
        assert_eq!(contents(host.home()).len(), before.len());
        assert_eq!(fs::read_dir(host.directory().join("tasks")).unwrap().count(), 0);
        let refused = host.client.get(&id("x")).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().reason, ErrorReason::NotFound);
    });
}

/// A pipe that comes after a crash finds the record of a start whose number another process has now.
fn reused() {
    block_on(async {
        let mut host = Host::new().await;
        host.client.start(&id("a"), &script("sleep 100")).await.unwrap();
        let pid = host.running(&id("a")).await;
        let shim = host.shim_of(pid);
        host.kill_pipe();
        crate::support::kill(shim);
        let mut stranger = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let record = host.directory().join("tasks/a/start.json");
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace(&format!("\"pid\": {pid}"), &format!("\"pid\": {}", stranger.id()))).unwrap();
        host.start_pipe().await;
        let view = host.until(&id("a"), TaskState::is_final).await;
        assert!(matches!(view.state, TaskState::Unknown { .. }), "{view:?}");
        assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    });
}
