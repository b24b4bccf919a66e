//! `kubectl exec` and `cp`: what is typed and shown, how it ended, by WebSocket and by SPDY.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, TerminalSize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};

/// By what kubectl and the API server talk: kubectl's own switches.
pub(crate) const BY_WEBSOCKET: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true")];
pub(crate) const BY_SPDY: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

impl Room {
    /// Makes a pod with this container on a node, and waits until it runs.
    pub(crate) async fn running_pod(&self, name: &str, node: &str, mut container: Value) {
        container["name"] = json!("c");
        container["image"] = json!("vk-cmd.io/host");
        let spec = json!({
            "nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}], "containers": [container],
        });
        self.make_pod(name, spec).await;
        self.until_running(name).await;
    }

    /// Makes a pod.
    pub(crate) async fn make_pod(&self, name: &str, spec: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        // A namespace that is new may have no ServiceAccount yet.
        let what = format!("pod {name} to be taken");
        let made = wait::until(&what, LONG, GLANCE, async || {
            Ok(match self.pods().create(&kube::api::PostParams::default(), &pod).await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        });
        made.await.unwrap();
    }

    /// Waits until all containers of a pod run.
    pub(crate) async fn until_running(&self, name: &str) {
        let what = format!("pod {name} to run");
        let runs = wait::until(&what, LONG, GLANCE, async || {
            let pod = self.pods().get(name).await?;
            let status = pod.status.unwrap_or_default();
            let all = status.container_statuses.iter().flatten();
            let runs = all.clone().count() > 0
                && all.clone().all(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()));
            Ok(if runs { Probe::Ready(()) } else { Probe::not_yet(format!("{status:?}")) })
        });
        runs.await.unwrap();
    }

    /// A pod that sleeps.
    pub(crate) async fn sleeper(&self, name: &str, node: &str) {
        self.running_pod(name, node, json!({"command": ["sleep", "1000"]})).await;
    }

    /// Runs kubectl with input, to whatever end.
    pub(crate) async fn kubectl_by(&self, by: [(&str, &str); 2], arguments: &[&str], input: &[u8]) -> Output {
        let mut kubectl = self.kubectl(arguments);
        kubectl.envs(by);
        exec::output_with_input(kubectl, input, LONG).await.unwrap()
    }
}

/// What a program wrote, and how it ended.
pub(crate) fn shown(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Bytes without a pattern, the same each time.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

pub(crate) fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[tokio::test]
async fn outputs_input_and_ends_are_as_with_any_kubelet() {
    let room = room("exec").await;
    let _site = room.site("vk-exec").await;
    room.sleeper("p", "vk-exec").await;
    let big = noise(1, 20 << 20);
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let run = async |arguments: &[&str]| {
            let all = [&["exec", "p", "--"][..], arguments].concat();
            shown(&room.kubectl_by(by, &all, b"").await)
        };
        let (code, stdout, stderr) = run(&["sh", "-c", "echo out; echo err >&2"]).await;
        assert_eq!((code, &*stdout, &*stderr), (Some(0), "out\n", "err\n"), "{by:?}");
        // It sees what the container sees, its mounts included.
        let (_, namespace, stderr) = run(&["cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"]).await;
        assert_eq!(namespace, "exec", "{stderr}");
        for (script, wanted) in [("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143)] {
            let (code, _, stderr) = run(&["sh", "-c", script]).await;
            assert_eq!(code, Some(wanted), "{script}: {stderr}");
            assert!(stderr.contains(&format!("command terminated with exit code {wanted}")), "{stderr}");
        }
        let (code, _, stderr) = run(&["/no/such/program"]).await;
        assert!(code == Some(127) && stderr.contains("/no/such/program"), "{code:?} {stderr}");
        let (code, _, stderr) = run(&["/etc/passwd"]).await;
        assert!(code == Some(126) && stderr.contains("/etc/passwd"), "{code:?} {stderr}");
        // The end of the input reaches the program, and all that came before it comes back.
        let cat = room.kubectl_by(by, &["exec", "-i", "p", "--", "cat"], &big).await;
        assert_eq!((cat.status.code(), cat.stdout.len()), (Some(0), big.len()), "{:?}", shown(&cat).2);
        assert!(hash(&cat.stdout) == hash(&big), "{by:?}");
        let lost = room.kubectl_by(by, &["exec", "p", "-c", "nobody", "--", "true"], b"").await;
        assert!(!lost.status.success() && shown(&lost).2.contains("nobody"), "{:?}", shown(&lost));
    }
}

#[tokio::test]
async fn every_exit_code_comes_back() {
    let room = room("exec-codes").await;
    let _site = room.site("vk-exec-codes").await;
    room.sleeper("p", "vk-exec-codes").await;
    let pods = room.pods();
    let codes = stream::iter(0..=255).map(async |code| {
        let argv = ["sh".to_owned(), "-c".to_owned(), format!("exit {code}")];
        let mut session = pods.exec("p", argv, &AttachParams::default().stdin(false)).await.unwrap();
        let status = tokio::time::timeout(LONG, session.take_status().unwrap()).await.unwrap().unwrap();
        let told = status.details.and_then(|details| details.causes?.first()?.message.clone());
        if code == 0 {
            assert_eq!(status.status.as_deref(), Some("Success"));
        } else {
            assert_eq!((status.reason.as_deref(), told), (Some("NonZeroExitCode"), Some(code.to_string())));
        }
    });
    assert_eq!(codes.buffer_unordered(8).count().await, 256);
}

#[tokio::test]
async fn terminals_have_a_size_that_changes() {
    let room = room("exec-tty").await;
    let _site = room.site("vk-exec-tty").await;
    room.sleeper("p", "vk-exec-tty").await;
    let pods = room.pods();
    let params = AttachParams::interactive_tty();
    let script = "echo ready; while read -r line; do stty size; echo \"<$line>\"; done";
    let mut session = pods.exec("p", ["sh", "-c", script], &params).await.unwrap();
    let mut stdout = session.stdout().unwrap();
    let mut stdin = session.stdin().unwrap();
    let mut sizes = session.terminal_size().unwrap();
    // All that comes until this has come.
    let mut until = async |wanted: &str| {
        let (mut seen, mut buffer) = (String::new(), [0; 1024]);
        while !seen.contains(wanted) {
            let n = tokio::time::timeout(LONG, stdout.read(&mut buffer)).await.unwrap().unwrap();
            assert!(n > 0, "it ended with {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        seen
    };
    until("ready").await;
    futures::SinkExt::send(&mut sizes, TerminalSize { width: 101, height: 33 }).await.unwrap();
    // Sizes and input are on channels of their own, and the client may send what is typed first: typed again, it follows.
    let sized = async {
        loop {
            stdin.write_all(b"typed\n").await.unwrap();
            if until("<typed>").await.contains("33 101") {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, sized).await.unwrap();
    // What is typed at a terminal may end it: ^D at the beginning of a line.
    stdin.write_all(&[4]).await.unwrap();
    let status = tokio::time::timeout(LONG, session.take_status().unwrap()).await.unwrap().unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
    // kubectl itself, at a terminal that `script` makes for it.
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let output = room.at_terminal(by, &["exec", "-it", "p", "--", "sh", "-c", "tty; exit 7"], b"").await;
        let (code, stdout, stderr) = shown(&output);
        assert!(code == Some(7) && stdout.contains("/dev/pts/"), "{code:?} {stdout:?} {stderr:?}");
    }
}

pub(crate) fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"))
}

/// Makes a tree of this many files with so many bytes in all, and the links and names that copies stumble over.
fn make_tree(root: &Path, files: usize, bytes: usize) {
    for n in 0..files {
        let dir = root.join(format!("d{}/ä b", n % 7));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("f{n}")), noise(n as u64, bytes / files)).unwrap();
    }
    std::fs::write(root.join("empty"), b"").unwrap();
    std::fs::create_dir(root.join("nothing")).unwrap();
}

/// The hashes of all files of a tree, by their names.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                all.push((name, Vec::new()));
                left.push(path);
            } else {
                all.push((name, hash(&std::fs::read(&path).unwrap())));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn cp_copies_a_tree_both_ways() {
    let room = room("cp").await;
    let site = room.site("vk-cp").await;
    room.sleeper("p", "vk-cp").await;
    let scratch = vk_cmd_e2e::scratch::Scratch::new("vk-cp-").unwrap();
    let there = site.home().join("there");
    for (n, (by, bytes)) in [(BY_WEBSOCKET, 100 << 20), (BY_SPDY, 20 << 20)].into_iter().enumerate() {
        let source = scratch.path().join(format!("source-{n}"));
        std::fs::create_dir(&source).unwrap();
        make_tree(&source, 50, bytes);
        let wanted = tree(&source);
        let _ = std::fs::remove_dir_all(&there);
        let (source, there) = (source.display().to_string(), there.display().to_string());
        let put = room.kubectl_by(by, &["cp", &source, &format!("p:{there}")], b"").await;
        assert!(put.status.success(), "{:?}", shown(&put));
        assert!(tree(Path::new(&there)) == wanted, "the tree there differs, by {by:?}");
        let back = scratch.path().join(format!("back-{n}"));
        let got = room.kubectl_by(by, &["cp", &format!("p:{there}"), &back.display().to_string()], b"").await;
        assert!(got.status.success(), "{:?}", shown(&got));
        assert!(tree(&back) == wanted, "the tree that came back differs, by {by:?}");
    }
}

/// The memory of a process, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_costs_no_memory() {
    const BYTES: usize = 32 << 20;
    // As much again as the sockets of two connections may hold: 32 MiB where they are read and 4 where they are written
    // (`net.ipv4.tcp_rmem`, `tcp_wmem`), which the kernel gives them or not.
    const ZEROES: usize = 80 << 20;
    let room = room("slow").await;
    let mut site = room.site("vk-slow").await;
    room.sleeper("p", "vk-slow").await;
    let node = site.node().unwrap().pid();
    let file = site.home().join("big");
    std::fs::write(&file, noise(5, BYTES)).unwrap();
    let before = resident(node);
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let script = format!("cat {}; head -c {ZEROES} /dev/zero; touch {0}.done", file.display());
        let mut kubectl = tokio::process::Command::from(room.kubectl(&["exec", "p", "--", "sh", "-c", &script]));
        kubectl.envs(by).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut all = vec![0; 1 << 20];
        tokio::time::timeout(LONG, stdout.read_exact(&mut all)).await.unwrap().unwrap();
        // Nobody reads now. All on the way is full when the memory does not change any more, and the program has to wait.
        let mut last = resident(node);
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = resident(node);
            if now <= last {
                break;
            }
            last = now;
        }
        assert!(last < before + 20 * 1024, "{before} KiB became {last} KiB, by {by:?}");
        let done = site.home().join("big.done");
        assert!(!done.exists(), "this is more than all on the way may hold");
        tokio::time::timeout(LONG, stdout.read_to_end(&mut all)).await.unwrap().unwrap();
        assert_eq!(all.len(), BYTES + ZEROES, "by {by:?}");
        let zeroes = all.split_off(BYTES);
        assert!(hash(&all) == hash(&noise(5, BYTES)) && zeroes == vec![0; ZEROES], "by {by:?}");
        assert!(tokio::time::timeout(LONG, child.wait()).await.unwrap().unwrap().success());
        std::fs::remove_file(done).unwrap();
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_its_program_and_a_node_that_ends_says_so() {
    let room = room("exec-gone").await;
    let mut site = room.site("vk-exec-gone").await;
    room.sleeper("p", "vk-exec-gone").await;
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let pid = site.home().join("pid");
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
        let mut kubectl = tokio::process::Command::from(room.kubectl(&["exec", "p", "--", "sh", "-c", &script]));
        kubectl.envs(by).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        let started = wait::until("the program to start", LONG, GLANCE, async || {
            Ok(match std::fs::read_to_string(&pid) {
                Ok(text) => Probe::Ready(text.trim().to_owned()),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        });
        let number = started.await.unwrap();
        child.kill().await.unwrap();
        let ended = wait::until("the program to end", LONG, GLANCE, async || {
            let there = Path::new("/proc").join(&number).exists();
            Ok(if there { Probe::not_yet("it runs") } else { Probe::Ready(()) })
        });
        ended.await.unwrap();
        std::fs::remove_file(&pid).unwrap();
    }
    let mut open = Vec::new();
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let script = "echo ready; exec sleep 1000";
        let mut kubectl = tokio::process::Command::from(room.kubectl(&["exec", "p", "--", "sh", "-c", script]));
        kubectl.envs(by).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        let mut ready = [0; 6];
        let read = child.stdout.as_mut().unwrap().read_exact(&mut ready);
        tokio::time::timeout(LONG, read).await.unwrap().unwrap();
        open.push((by, child));
    }
    // Told to end, as a batch system tells it.
    site.node().unwrap().signal(rustix::process::Signal::TERM).unwrap();
    for (by, child) in open {
        let output = tokio::time::timeout(LONG, child.wait_with_output()).await.unwrap().unwrap();
        let (code, _, stderr) = shown(&output);
        assert_eq!(output.status.signal(), None);
        assert!(code != Some(0) && stderr.contains("the node ends"), "{by:?}: {code:?} {stderr}");
    }
}
