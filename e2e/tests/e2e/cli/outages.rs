//! What the plugin does while the API server is away, when streams are cut, and when its credentials run out: nothing is lost, nothing comes
//! twice, and somebody is told.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vk_cmd_crds::State;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::proxy::Proxy;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::wait::{self, Probe};

use super::{Done, Plugin};
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

/// A way to the API server that can be cut, and what is run by it.
struct Wire<'a> {
    plugin: Plugin<'a>,
    proxy: Proxy,
    scratch: Scratch,
    kubeconfig: PathBuf,
}

/// A plugin that runs, and what it has said so far.
struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl<'a> Wire<'a> {
    async fn of(room: &'a Room) -> Self {
        Self::with(room, room.ground.plane.kubeconfig()).await
    }

    /// With the credentials of a kubeconfig.
    async fn with(room: &'a Room, kubeconfig: &std::path::Path) -> Self {
        let plane = room.ground.plane;
        let proxy = Proxy::to(plane.address().port()).await.unwrap();
        let scratch = Scratch::new("vk-wire-").unwrap();
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        assert!(text.contains(&plane.server_url()), "{text}");
        let by_proxy = scratch.path().join("kubeconfig");
        std::fs::write(&by_proxy, text.replace(&plane.server_url(), &format!("https://127.0.0.1:{}", proxy.port())))
            .unwrap();
        Self { plugin: Plugin::of(room).await, proxy, scratch, kubeconfig: by_proxy }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.plugin.command(words);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn start(&self, name: &str, words: &[&str]) -> Running {
        let place = |kind: &str| self.scratch.path().join(format!("{name}.{kind}"));
        let (out, err) = (place("out"), place("err"));
        let file = |path: &PathBuf| Stdio::from(std::fs::File::create(path).unwrap());
        let child = self.command(words).stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
        Running { child, out, err }
    }

    /// Cuts the wire until each of these has noticed, and `meanwhile` is done.
    async fn away(&self, noticing: &[&Running], meanwhile: impl AsyncFnOnce()) {
        self.proxy.close();
        for running in noticing {
            running.says("asked again", "the API server is asked again").await;
        }
        meanwhile().await;
        self.proxy.open();
    }
}

impl Running {
    fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until it has said this, wherever.
    async fn says(&self, what: &str, text: &str) {
        let said = wait::until(what, LONG, GLANCE, async || {
            let all = format!("{}{}", self.out(), self.err());
            Ok(if all.contains(text) { Probe::Ready(()) } else { Probe::not_yet(all) })
        });
        said.await.unwrap();
    }

    async fn ended(mut self) -> Done {
        let code = wait::until("the plugin to end", LONG, GLANCE, async || {
            Ok(match self.child.try_wait()? {
                Some(status) => Probe::Ready(status.code()),
                None => Probe::not_yet(self.err()),
            })
        });
        let code = code.await.unwrap();
        Done { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script that writes numbered lines until a file is there, and then the last, and ends with 7.
fn counts(go: &std::path::Path) -> String {
    format!("n=0; until test -e {}; do n=$((n+1)); echo line $n; sleep 0.02; done; echo last $n; exit 7", go.display())
}

/// Each line once and in its order; how many there were.
fn are_whole(lines: &str) -> usize {
    let lines: Vec<&str> = lines.lines().collect();
    let (last, counted) = lines.split_last().unwrap();
    let expected: Vec<String> = (1..=counted.len()).map(|n| format!("line {n}")).collect();
    let wrong = counted.iter().zip(&expected).position(|(line, expected)| line != expected);
    assert_eq!(wrong, None, "{:?}", wrong.map(|at| &counted[at.saturating_sub(3)..(at + 3).min(counted.len())]));
    assert_eq!(**last, format!("last {}", counted.len()));
    counted.len()
}

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_costs_no_result() {
    let room = room("cli-away").await;
    let site = room.site("vk-cli-away").await;
    let wire = Wire::of(&room).await;
    let go = site.home().join("go");
    let gone = room.script("gone", "vk-cli-away", "sleep 100000").await;
    let list = wire.start("list", &["list", "--watch"]);
    let objects = wire.start("objects", &["list", "--watch", "-o", "json"]);
    let wait =
        wire.start("wait", &["run", "-w", "vk-cli-away", "--name", "waits", "--wait", "--rm", "--wrap", &counts(&go)]);
    let follow = wire.start("follow", &["run", "-w", "vk-cli-away", "--name", "writes", "-f", "--wrap", &counts(&go)]);
    follow.says("a line", "line 20\n").await;
    for name in ["gone", "waits", "writes"] {
        list.says("that all run", &format!("{name}: Running: ")).await;
    }
    let logs = wire.start("logs", &["logs", "-f", "writes"]);
    logs.says("a line", "line 20\n").await;
    let until = wire.start("until", &["wait", "waits", "--for", "end", "-o", "json"]);
    until.says("that it runs", "waits: Running").await;

    wire.away(&[&list, &objects, &wait, &follow, &logs, &until], async || {
        // All of it ends, or is deleted, while nobody is heard.
        std::fs::write(&go, "").unwrap();
        for name in ["waits", "writes"] {
            let ended = room.created(name).ended().await;
            assert_eq!(ended.state, Some(State::Failed));
        }
        let plugin = Plugin::of(&room).await;
        plugin.says(&["cancel", &gone.name]).await;
    })
    .await;

    let done = follow.ended().await;
    assert_eq!(done.code, Some(7), "{done:?}");
    let lines = are_whole(&done.out);
    assert!(lines >= 20 && done.err.contains("exit code 7"), "{}", done.err);
    let done = logs.ended().await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    are_whole(&done.out);
    // It was waited for by two, of whom one removes it.
    let done = wait.ended().await;
    assert_eq!(done.code, Some(7), "{done:?}");
    let done = until.ended().await;
    match done.code {
        Some(7) => assert_eq!(serde_json::from_str::<Value>(&done.out).unwrap()["status"]["state"], "Failed"),
        code => assert!(code == Some(125) && done.err.contains("was deleted before"), "{done:?}"),
    }
    for line in ["writes: Failed: ", "gone: gone\n", "waits: gone\n", "the API server answers again"] {
        list.says("what has become of them", line).await;
    }
    let told = list.out();
    assert_eq!(told.matches("gone: gone").count(), 1, "{told}");
    assert_eq!(told.matches("writes: Running").count(), 1, "what was told is not told again: {told}");
    objects.says("the same as objects", r#""state":"Failed""#).await;
    assert!(objects.out().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", objects.out());
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on_where_it_was() {
    let room = room("cli-cut").await;
    let mut site = room.site("vk-cli-cut").await;
    let wire = Wire::of(&room).await;
    let go = site.home().join("go");
    room.script("writes", "vk-cli-cut", &counts(&go)).await.running().await;
    let logs = wire.start("logs", &["logs", "-f", "writes"]);
    let mut seen = 0;
    for n in 0..6 {
        seen += 40;
        logs.says("more lines", &format!("line {seen}\n")).await;
        match n % 2 {
            // Between the plugin and the API server: in the middle of whatever is on its way.
            0 => wire.proxy.cut(),
            // Between the API server and the node, which for the plugin is a stream that has ended.
            _ => {
                site.kill_node().unwrap();
                site.start_node().unwrap();
            }
        }
    }
    std::fs::write(&go, "").unwrap();
    let done = logs.ended().await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(are_whole(&done.out) >= 240);
}

#[tokio::test]
async fn a_node_that_is_gone_holds_up_no_result() {
    let room = room("cli-unreadable").await;
    let mut site = room.site("vk-cli-unreadable").await;
    let plugin = Plugin::of(&room).await;
    let job = room.script("writes", "vk-cli-unreadable", "echo hello; exit 3").await;
    job.ended().await;
    site.kill_node().unwrap();
    let done = plugin.does(&["logs", "-f", "writes"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("cannot be read now, and is asked for again"), "{done:?}");
    assert!(!done.err.contains("Status {") && done.err.contains("connection refused"), "{done:?}");
    assert!(done.err.contains("the rest of the output of writes-"), "{done:?}");
}

#[tokio::test]
async fn credentials_that_have_run_out_are_told_of_and_the_job_goes_on() {
    let room = room("cli-token").await;
    let site = room.site("vk-cli-token").await;
    let plane = room.ground.plane;
    room.says(&["create", "serviceaccount", "scientist"]).await;
    for role in ["edit", "vk-cmd-node-user"] {
        let (role, account) = (format!("--clusterrole={role}"), "--serviceaccount=cli-token:scientist");
        room.says(&["create", "rolebinding", &role[14..], &role, account]).await;
    }
    let token = plane.service_account_kubeconfig(&room.namespace, "scientist").await.unwrap();
    let wire = Wire::with(&room, &token).await;
    let go = site.home().join("go");
    let words = ["run", "-w", "vk-cli-token", "--name", "long", "-f", "--wrap", &counts(&go)];
    // Roles that were made just now are known a moment later.
    let wait = wait::until("the right to run jobs", LONG, GLANCE, async || {
        let may = exec::output(wire.command(&["list"]), SOON).await?;
        Ok(if may.status.success() { Probe::Ready(()) } else { Probe::not_yet(format!("{may:?}")) })
    });
    wait.await.unwrap();
    let follow = wire.start("follow", &words);
    follow.says("a line", "line 5\n").await;

    // A token is good no longer when its account is gone; the API server remembers for ten seconds that it was.
    room.says(&["delete", "serviceaccount", "scientist"]).await;
    let refused = wait::until("the token to be refused", LONG, Duration::from_millis(500), async || {
        let done = Done::of(exec::output(wire.command(&["list"]), SOON).await?);
        Ok(if done.err.contains("401") { Probe::Ready(done) } else { Probe::not_yet(format!("{done:?}")) })
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    wire.proxy.cut();
    let done = follow.ended().await;
    assert_eq!(done.code, Some(125), "{done:?}");
    for words in ["log in anew, or renew the token that has run out", "kubectl cmdjob logs -f -n cli-token long"] {
        assert!(done.err.contains(words), "{words}: {done:?}");
    }
    room.created("long").running().await;
    std::fs::write(&go, "").unwrap();
    room.created("long").ended().await;
}
