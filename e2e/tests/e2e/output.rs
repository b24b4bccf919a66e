//! `kubectl logs` shows what the process wrote, byte for byte, during its life and after it.

use std::fmt::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use vk_cmd_e2e::exec;

use crate::fixture::SOON;
use crate::ground::{LONG, room};

#[tokio::test]
async fn output_survives_byte_for_byte() {
    let room = room("log-bytes").await;
    let site = room.site("vk-output").await;
    // 10 MiB of lines of all lengths, and one line of 1 MiB, without a newline at the end.
    let mut big = String::new();
    while big.len() < 10 << 20 {
        let n = big.len();
        let _ = writeln!(big, "{n} {}", "ü".repeat(n % 997));
    }
    let long_line = format!("{}\nend without newline", "x".repeat(1 << 20));
    for (name, text) in [("big", &big), ("long-line", &long_line)] {
        let file = site.home().join(name);
        std::fs::write(&file, text).unwrap();
        let job = room.script(name, "vk-output", &format!("cat {}", file.display())).await;
        let pod = job.ended().await.attempt().pod.clone();
        let logs = room.says(&["logs", &pod]).await;
        assert_eq!(logs.len(), text.len(), "{name}");
        assert!(logs == *text, "{name} differs");
    }
    let both = room.script("both", "vk-output", "echo out; echo err >&2; printf 'last'").await;
    let pod = both.ended().await.attempt().pod.clone();
    let logs = room.says(&["logs", &pod]).await;
    let mut lines: Vec<_> = logs.lines().collect();
    lines.sort_unstable();
    assert!(logs.contains("out\n") && logs.contains("err\n") && logs.ends_with("last"), "{logs:?}");
    assert_eq!(lines.len(), 3, "{logs:?}");
    assert_eq!(room.says(&["logs", &pod, "--limit-bytes=2"]).await.len(), 2);
    assert_eq!(room.says(&["logs", &pod, "--tail=0"]).await, "");
}

#[tokio::test]
async fn options_of_kubectl_logs_are_honoured() {
    let room = room("log-options").await;
    let _site = room.site("vk-log-options").await;
    let job = room.script("lines", "vk-log-options", "seq 1 1000; sleep 2; echo late").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod, "--tail=3"]).await, "999\n1000\nlate\n");
    let stamped = room.says(&["logs", &pod, "--tail=1", "--timestamps"]).await;
    let (time, text) = stamped.split_once(' ').unwrap();
    assert_eq!(text, "late\n");
    let late: jiff::Timestamp = time.parse().unwrap();
    let since = late - jiff::SignedDuration::from_secs(1);
    assert_eq!(room.says(&["logs", &pod, &format!("--since-time={since}")]).await, "late\n");
    // The job is asked for by its name too.
    assert_eq!(room.says(&["logs", "-l", "vk-cmd.io/job=lines", "--tail=1"]).await, "late\n");
}

#[tokio::test]
async fn follow_shows_output_while_it_comes_and_ends_with_the_task() {
    let room = room("follow").await;
    let site = room.site("vk-follow").await;
    let gate = site.home().join("gate");
    let script = format!("echo first; until test -e {}; do sleep 0.05; done; echo second", gate.display());
    let job = room.run("follow", "vk-follow", json!({"script": script})).await;
    let pod = job.running().await.attempts[0].pod.clone();
    let mut kubectl = tokio::process::Command::from(room.kubectl(&["logs", "-f", &pod]));
    let mut child = kubectl.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(first.as_deref(), Some("first"));
    // It runs still: the second line cannot have come before its gate is there.
    std::fs::write(&gate, "").unwrap();
    let opened = Instant::now();
    let second = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(second.as_deref(), Some("second"));
    assert!(opened.elapsed() < Duration::from_secs(10), "the second line took {:?}", opened.elapsed());
    assert_eq!(tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap(), None);
    assert!(tokio::time::timeout(LONG, child.wait()).await.unwrap().unwrap().success());
    let after = exec::text(room.kubectl(&["logs", "-f", &pod]), SOON).await.unwrap();
    assert_eq!(after, "first\nsecond\n");
}
