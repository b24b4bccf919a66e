//! The kubelet's API itself, asked without the API server between.

use std::io::Write as _;
use std::process::Output;

use serde_json::{Value, json};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::site::Site;

use crate::exec::shown;
use crate::ground::{LONG, Room, room};

/// The API of one node, asked by the cluster's administrator.
pub(crate) struct Kubelet<'a> {
    room: &'a Room,
    server: String,
}

impl<'a> Kubelet<'a> {
    pub(crate) async fn of(room: &'a Room, site: &mut Site) -> Self {
        let node = site.ready(&room.client).await.unwrap();
        let port = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
        Self { room, server: format!("https://127.0.0.1:{port}") }
    }

    async fn ask(&self, verb: &str, path: &str) -> Output {
        let mut kubectl = self.room.kubectl(&[verb, "--raw", path, "--insecure-skip-tls-verify"]);
        // What an answer says is shown at this level only, for some kinds of refusal.
        kubectl.args(["--server", &self.server, "-v=8"]);
        if verb == "create" {
            kubectl.args(["-f", "/dev/null"]);
        }
        exec::output(kubectl, LONG).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let output = self.ask("get", path).await;
        assert!(output.status.success(), "{path}: {:?}", shown(&output));
        shown(&output).1
    }

    /// What it says to what it does not do.
    async fn refusal(&self, verb: &str, path: &str) -> String {
        let output = self.ask(verb, path).await;
        assert!(!output.status.success(), "{path}: {:?}", shown(&output));
        shown(&output).2
    }
}

#[tokio::test]
async fn pods_and_programs_and_refusals() {
    let room = room("kubelet-api").await;
    let mut site = room.site("vk-kubelet-api").await;
    room.running_pod(
        "p",
        "vk-kubelet-api",
        json!({"command": ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]}),
    )
    .await;
    let pod = room.pods().get("p").await.unwrap();
    let uid = pod.metadata.uid.unwrap();
    let kubelet = Kubelet::of(&room, &mut site).await;

    let list: Value = serde_json::from_str(&kubelet.get("/pods").await).unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"], &list["items"][0]["metadata"]["uid"]),
        (&json!("PodList"), &json!("v1"), &json!(uid))
    );
    for path in ["/runningpods/", "/runningpods"] {
        let list: Value = serde_json::from_str(&kubelet.get(path).await).unwrap();
        let wanted = json!({"name": "p", "namespace": "kubelet-api", "uid": uid});
        assert_eq!((&list["kind"], &list["items"][0]["metadata"]), (&json!("PodList"), &wanted));
        assert_eq!(list["items"][0]["spec"]["containers"][0]["name"], "c");
    }

    for path in [format!("/run/kubelet-api/p/{uid}/c"), "/run/kubelet-api/p/c".to_owned()] {
        let ran = kubelet.ask("create", &format!("{path}?cmd=echo%20hello%20there")).await;
        assert_eq!(shown(&ran).1.trim_end(), "hello there", "{:?}", shown(&ran));
    }
    let failed = kubelet.refusal("create", "/run/kubelet-api/p/c?cmd=cat%20/no/such/file").await;
    assert!(failed.contains("exit status 1") && failed.contains("/no/such/file"), "{failed}");

    for (verb, path, words) in [
        ("get", "/nonsense", "404"),
        ("get", "/run/kubelet-api/p/c?cmd=true", "405"),
        ("create", "/containerLogs/kubelet-api/p/c", "405"),
        ("get", "/exec/kubelet-api/p/c?command=true&output=1", "Upgrade request required"),
        ("create", "/exec/kubelet-api/p/c?command=true", "at least 1 of stdin, stdout, stderr"),
        ("create", "/exec/kubelet-api/p/nobody?command=true&output=1", "container not found"),
        ("create", "/exec/kubelet-api/nobody/c?command=true&output=1", "pod does not exist"),
        ("create", "/exec/kubelet-api/p/nonsense/c?command=true&output=1", "pod not found"),
        ("get", "/attach/kubelet-api/p/c?output=1", "Upgrade request required"),
        ("get", "/portForward/kubelet-api/p", "Upgrade request required"),
        ("create", "/portForward/kubelet-api/nobody", "pod does not exist"),
        ("create", "/run/kubelet-api/p/nobody?cmd=true", "container not found"),
        ("get", "/containerLogs/kubelet-api/nobody/c", "does not exist"),
        ("get", "/containerLogs/kubelet-api/p/nobody", "not found in pod"),
        ("get", "/containerLogs/kubelet-api/p/c?tailLines=-1", "Invalid request"),
        ("get", "/containerLogs/kubelet-api/p/c?limitBytes=0", "Invalid request"),
        ("get", "/containerLogs/kubelet-api/p/c?tailLines=x", "Unable to decode query"),
        ("get", "/containerLogs/kubelet-api/p/c?stream=Stdout&tailLines=1", "Invalid request"),
        ("get", "/containerLogs/kubelet-api/p/c?previous=true", "previous terminated container"),
    ] {
        let said = kubelet.refusal(verb, path).await;
        assert!(said.contains(words), "{verb} {path}: {said}");
    }
    let logs = async |query: &str| kubelet.get(&format!("/containerLogs/kubelet-api/p/c?{query}")).await;
    assert_eq!((&*logs("stream=Stdout").await, &*logs("stream=Stderr").await), ("out\n", "err\n"));
    assert_eq!(logs("stream=All").await.len(), 8);
    assert_eq!(logs("tail=all").await.len(), 8);
}

#[tokio::test]
async fn logs_over_rotation_are_whole_and_a_slow_follower_costs_no_memory() {
    const LINES: usize = 300_000;
    let room = room("logs").await;
    let mut site = room.site("vk-logs").await;
    // Some 30 MB: several files of the log.
    let file = site.home().join("lines");
    let mut text = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    for n in 0..LINES {
        writeln!(text, "{n:>9} {}", "x".repeat(n % 180)).unwrap();
    }
    drop(text);
    let all = std::fs::read_to_string(&file).unwrap();
    let script = format!("cat {}; sleep 3; echo late; exec sleep 1000", file.display());
    room.running_pod("p", "vk-logs", json!({"command": ["sh", "-c", &script]})).await;

    // Follows from the beginning, reads a little, and then nothing until all is written.
    let node = site.node().unwrap().pid();
    let mut kubectl = tokio::process::Command::from(room.kubectl(&["logs", "-f", "p"]));
    let mut child = kubectl.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut read = vec![0; 1 << 16];
    tokio::time::timeout(LONG, tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut read)).await.unwrap().unwrap();
    let wanted = format!("{}late\n", all);
    let late = vk_cmd_e2e::wait::until("the last line", LONG, crate::ground::GLANCE, async || {
        let tail = room.says(&["logs", "p", "--tail=1"]).await;
        Ok(if tail == "late\n" { vk_cmd_e2e::wait::Probe::Ready(()) } else { vk_cmd_e2e::wait::Probe::not_yet(tail) })
    });
    late.await.unwrap();
    assert!(crate::exec::resident(node) < 64 << 10, "{} KiB", crate::exec::resident(node));
    let mut rest = vec![0; wanted.len() - read.len()];
    tokio::time::timeout(LONG, tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut rest)).await.unwrap().unwrap();
    read.append(&mut rest);
    assert!(read == wanted.as_bytes(), "what was followed differs");

    let logs = async |options: &[&str]| room.says(&[&["logs", "p"][..], options].concat()).await;
    assert!(logs(&[]).await == wanted, "what is kept differs");
    // More than is in the last file.
    let lines: Vec<&str> = wanted.split_inclusive('\n').collect();
    assert!(logs(&["--tail=200000"]).await == lines[lines.len() - 200_000..].concat(), "the tail differs");
    assert_eq!(logs(&["--since=1s"]).await.len() % 5, 0);
    let stamped = logs(&["--tail=2", "--timestamps"]).await;
    let times: Vec<jiff::Timestamp> =
        stamped.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert!(times[1].duration_since(times[0]) > jiff::SignedDuration::from_secs(2), "{stamped}");
    assert_eq!(logs(&[&format!("--since-time={}", times[1])]).await, "late\n");
    assert!(logs(&["--limit-bytes=20000000"]).await == wanted[..20_000_000], "the beginning differs");
    let both = logs(&["--since-time=2026-01-01T00:00:00Z", "--limit-bytes=7"]).await;
    assert_eq!(both, wanted[..7]);
}
