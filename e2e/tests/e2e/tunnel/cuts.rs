//! The connection is cut in the middle of everything.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use vk_cmd_e2e::wait::{self, Probe};

use super::{GATEWAY, behind, log_says, logs_come, sshd, told_address};
use crate::exec::BY_WEBSOCKET;
use crate::ground::{GLANCE, LONG, Room, room};

/// Counts, a line each.
const COUNT: &str = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.02; done";

/// Says which process it is, and ends with 7 when the file is there.
fn gated(gate: &Path) -> String {
    format!("echo $$ > {0}.pid; until test -e {0}; do sleep 0.05; done; exit 7", gate.display())
}

/// The first `lines` lines of it.
fn counted(lines: usize) -> String {
    (0..lines).map(|n| format!("{n}\n")).collect()
}

/// A kubectl that goes on.
fn start(room: &Room, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut kubectl = tokio::process::Command::from(room.kubectl(arguments));
    kubectl.envs(BY_WEBSOCKET).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = kubectl.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, BufReader::new(stdout))
}

/// Reads up to and with this many lines.
async fn lines(from: &mut BufReader<ChildStdout>, into: &mut String, wanted: usize) {
    while into.lines().count() < wanted {
        assert_ne!(tokio::time::timeout(LONG, from.read_line(into)).await.unwrap().unwrap(), 0, "{into}");
    }
}

/// Waits for the end of a kubectl: whether it succeeded, what it wrote that was not read yet, and what it complained of.
async fn end(mut child: Child, mut stdout: BufReader<ChildStdout>) -> (bool, String, String) {
    let (mut rest, mut complaint) = (String::new(), String::new());
    let mut stderr = child.stderr.take().unwrap();
    let all = async {
        tokio::try_join!(stdout.read_to_string(&mut rest), stderr.read_to_string(&mut complaint)).unwrap();
        child.wait().await.unwrap().success()
    };
    let succeeded = tokio::time::timeout(LONG, all).await.unwrap();
    (succeeded, rest, complaint)
}

async fn process_ends(pid: &str) {
    let ended = wait::until("the process to end", LONG, GLANCE, async || {
        let is_there = Path::new("/proc").join(pid).exists();
        Ok(if is_there { Probe::not_yet("it runs") } else { Probe::Ready(()) })
    });
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_in_the_middle_of_everything_loses_nothing() {
    const NODE: &str = "vk-tunnel-cut";
    let Some(mut sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-cut").await;
    let site = room.site_with(behind(&room, NODE, "127.7.0.3", &sshd)).await;
    let before = told_address(&room, NODE).await;
    let gate = site.home().join("gate");
    let ending = room.script("ending", NODE, &gated(&gate)).await;
    ending.running().await;
    let counter = room.script("counter", NODE, COUNT).await;
    let pod = counter.running().await.attempts[0].pod.clone();
    let (follower, mut followed) = start(&room, &["logs", "--follow", &pod]);
    let mut seen = String::new();
    lines(&mut followed, &mut seen, 50).await;
    room.sleeper("p", NODE).await;
    let (exec, mut said) = start(&room, &["exec", "p", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    let mut pid = String::new();
    lines(&mut said, &mut pid, 1).await;

    let serving = sshd.connections().unwrap();
    sshd.stop_server().unwrap();
    cut(&serving);
    let (succeeded, _, complaint) = end(exec, said).await;
    assert!(!succeeded && !complaint.is_empty(), "{complaint}");
    process_ends(pid.trim()).await;
    // It ends, with no error: the API server tells none of a log that has begun, whatever becomes of a kubelet.
    let (_, rest, complaint) = end(follower, followed).await;
    seen.push_str(&rest);
    assert!(counted(seen.len()).starts_with(&seen), "what was shown is not as it was written: {complaint} {seen}");
    // It ends while nobody can be told.
    let process = std::fs::read_to_string(site.home().join("gate.pid")).unwrap();
    std::fs::write(&gate, "").unwrap();
    process_ends(process.trim()).await;
    log_says(&site, "no tunnel: ", 1).await;

    let cut_until = jiff::Timestamp::now();
    let opened = Instant::now();
    sshd.restart(&[GATEWAY]).await.unwrap();
    let ended = ending.ended().await;
    assert_eq!(ended.exit_code, Some(7));
    let (attempt, told) = (ended.attempt(), opened.elapsed());
    assert!(attempt.finished_at.as_ref().unwrap().0 <= cut_until, "{attempt:?}");
    let whole = logs_come(&room, &pod).await;
    eprintln!(
        "after the cut: the end was told {told:.1?} after the server was back, logs came after {:.1?}",
        opened.elapsed()
    );
    assert!(counted(whole.len()).starts_with(&whole) && whole.starts_with(&seen), "the log is whole");
    let (follower, mut followed) = start(&room, &["logs", "--follow", &pod]);
    let (mut again, wanted) = (String::new(), whole.lines().count() + 20);
    lines(&mut followed, &mut again, wanted).await;
    assert!(again.starts_with(&whole));
    drop(follower);
    assert_eq!(told_address(&room, NODE).await, before, "the same port again");
    assert!(told < Duration::from_secs(60), "{told:?}");
}

fn cut(connections: &[Pid]) {
    assert!(!connections.is_empty());
    for pid in connections {
        rustix::process::kill_process(*pid, Signal::KILL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_found_out_and_the_node_moves_to_another_port() {
    const NODE: &str = "vk-tunnel-hung";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-hung").await;
    let site = room.site_with(behind(&room, NODE, "127.7.0.4", &sshd)).await;
    let before = told_address(&room, NODE).await;
    let gate = site.home().join("gate");
    let ending = room.script("ending", NODE, &gated(&gate)).await;
    ending.running().await;
    room.sleeper("p", NODE).await;
    let (exec, mut said) = start(&room, &["exec", "p", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    let mut pid = String::new();
    lines(&mut said, &mut pid, 1).await;

    let hung = sshd.connections().unwrap();
    sshd.signal_connections(Signal::STOP).unwrap();
    std::fs::write(&gate, "").unwrap();
    // The server itself does well, so that another connection is there at once; the one that hangs keeps its port.
    log_says(&site, "the server does not answer any more", 1).await;
    assert_eq!(ending.ended().await.exit_code, Some(7));
    process_ends(pid.trim()).await;
    let moved = wait::until("the Node to say where it is now", LONG, GLANCE, async || {
        let now = told_address(&room, NODE).await;
        Ok(if now == before { Probe::not_yet("it says what it said") } else { Probe::Ready(now) })
    });
    assert_eq!(moved.await.unwrap().ip(), before.ip());
    let after = room.script("after", NODE, "echo after").await;
    let pod = after.ended().await.attempt().pod.clone();
    assert_eq!(logs_come(&room, &pod).await, "after\n");
    // kubectl hears of it when the far end gives up.
    cut(&hung);
    assert!(!end(exec, said).await.0);
}
