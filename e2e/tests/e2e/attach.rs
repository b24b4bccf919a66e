//! `kubectl attach` and `run -i`: a container's own input and output.

use std::process::{Command, Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use vk_cmd_e2e::exec;

use crate::exec::{BY_SPDY, BY_WEBSOCKET, hash, noise, quoted, shown};
use crate::ground::{LONG, Room, room};

impl Room {
    /// kubectl under `script`, which gives it a terminal.
    pub(crate) async fn at_terminal(
        &self,
        by: [(&str, &str); 2],
        arguments: &[&str],
        keys: &[u8],
    ) -> std::process::Output {
        let kubectl = self.kubectl(arguments);
        let words: Vec<_> = std::iter::once(kubectl.get_program()).chain(kubectl.get_args()).map(quoted).collect();
        let mut script = Command::new("script");
        script.args(["-qec", &words.join(" "), "/dev/null"]).envs(by);
        script.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        exec::output_with_input(script, keys, LONG).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_typed_reaches_the_container() {
    let room = room("attach").await;
    let _site = room.site("vk-attach").await;
    for (name, by) in [("web", BY_WEBSOCKET), ("spdy", BY_SPDY)] {
        let script = "while read -r line; do echo \"<$line>\"; echo \"[$line]\" >&2; done; echo over; exit 5";
        room.running_pod(name, "vk-attach", json!({"command": ["sh", "-c", script], "stdin": true})).await;
        let attach = async || {
            let mut kubectl = tokio::process::Command::from(room.kubectl(&["attach", "-i", name]));
            kubectl.envs(by).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = kubectl.spawn().unwrap();
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (child, stdin, BufReader::new(stdout).lines())
        };
        // Who goes leaves the container alone: its input stays open for the next.
        let (mut child, mut stdin, mut lines) = attach().await;
        stdin.write_all(b"first\n").await.unwrap();
        let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("<first>"));
        child.kill().await.unwrap();
        let (child, mut stdin, mut lines) = attach().await;
        stdin.write_all(b"second\n").await.unwrap();
        let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("<second>"));
        room.says(&["delete", "pod", name, "--wait=false"]).await;
        // The session ends with the container.
        let output = tokio::time::timeout(LONG, child.wait_with_output()).await.unwrap().unwrap();
        assert!(shown(&output).2.contains("[second]"), "{:?}", shown(&output));
    }
    // A container without standard input is looked at; what is typed goes nowhere.
    room.running_pod("mute", "vk-attach", json!({"command": ["sh", "-c", "cat; sleep 2; echo seen"]})).await;
    let output = room.kubectl_by(BY_WEBSOCKET, &["attach", "mute"], b"").await;
    assert_eq!(shown(&output).1, "seen\n", "{:?}", shown(&output));
}

#[tokio::test]
async fn kubectl_run_takes_input_and_gives_the_exit_code() {
    let room = room("run-i").await;
    let _site = room.site("vk-run-i").await;
    let overrides = |container: serde_json::Value| {
        let spec = json!({
            "nodeName": "vk-run-i", "terminationGracePeriodSeconds": 1, "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        });
        format!("--overrides={}", json!({"apiVersion": "v1", "spec": spec}))
    };
    let big = noise(9, 3 << 20);
    for (name, by) in [("web", BY_WEBSOCKET), ("spdy", BY_SPDY)] {
        let container = json!({
            "name": name, "image": "vk-cmd.io/host", "command": ["sh", "-c", "cat; exit 4"], "stdin": true, "stdinOnce": true,
        });
        let overrides = overrides(container);
        let run = ["run", name, "-i", "--rm", "--quiet", "--restart=Never", "--image=vk-cmd.io/host", &overrides];
        let output = room.kubectl_by(by, &run, &big).await;
        assert_eq!(output.status.code(), Some(4), "{:?}", shown(&output).2);
        assert!(output.stdout.len() >= big.len() && hash(&output.stdout[..big.len()]) == hash(&big), "{by:?}");
    }
    let container = json!({
        "name": "tty", "image": "vk-cmd.io/host", "stdin": true, "stdinOnce": true, "tty": true,
        "command": ["sh", "-c", "read -r line; tty; echo \"<$line>\"; exit 6"],
    });
    let overrides = overrides(container);
    let run = ["run", "tty", "-it", "--rm", "--restart=Never", "--image=vk-cmd.io/host", &overrides];
    let output = room.at_terminal(BY_WEBSOCKET, &run, b"typed\n").await;
    let (code, stdout, _) = shown(&output);
    assert!(code == Some(6) && stdout.contains("/dev/pts/") && stdout.contains("<typed>"), "{code:?} {stdout}");
}

#[tokio::test]
async fn kubectl_debug_puts_a_container_beside_the_others() {
    let room = room("debug").await;
    let _site = room.site("vk-debug").await;
    room.sleeper("p", "vk-debug").await;
    for (name, by) in [("web", BY_WEBSOCKET), ("spdy", BY_SPDY)] {
        let debug = [
            "debug",
            "p",
            "-i",
            "--image=vk-cmd.io/host",
            "--container",
            name,
            "--profile=general",
            "--",
            "sh",
            "-c",
            "read -r line; echo \"<$line>\"; exec sleep 1000",
        ];
        let mut kubectl = tokio::process::Command::from(room.kubectl(&debug));
        kubectl.envs(by).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"typed\n").await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some("<typed>"), "{by:?}");
        // It is a container like others: programs run beside it, and its output is kept.
        let beside = room.kubectl_by(by, &["exec", "p", "-c", name, "--", "echo", "beside"], b"").await;
        assert_eq!(shown(&beside).1, "beside\n", "{:?}", shown(&beside));
        assert_eq!(room.says(&["logs", "p", "-c", name]).await, "<typed>\n");
    }
}
