//! A hundred tasks that run and write, and a node and a pipe that are killed again and again all the while.
//!
//! `cargo test` does it with some restarts. A thousand are done by the CI, with
//! `cargo test -p vk-pipe --test pipe -- --ignored --nocapture a_thousand_restarts`, in two minutes on two cores that do other
//! things too. It was five as long as each killed pipe was waited for: see `Host::kill_pipe_and_go_on`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use sha2::{Digest, Sha256};
use vk_record::process::{self, Stat};
use vk_task::{End, LogQuery, TaskId, TaskState};

use crate::Test;
use crate::small_node::{Job, reports};
use crate::support::{Host, PATIENCE, eventually, exec, id};

pub(crate) const TESTS: &[Test] = &[("restarts_lose_and_double_nothing", || restarts(200))];
pub(crate) const LONG_TESTS: &[Test] = &[("a_thousand_restarts_lose_and_double_nothing", || restarts(1000))];

const TASKS: u8 = 100;
/// Between two lines of a task.
const LINE_PAUSE: Duration = Duration::from_millis(50);
/// How much more memory of its own a pipe may have after so many nodes that came and went.
const MEMORY_MARGIN_KB: u64 = 8 << 10;

/// What `<this program> stream <n> <directory>` does: says that it ran, writes numbered lines until it is told to end,
/// and leaves with what it has written: how many lines, and their hash.
pub(crate) fn be_a_stream(args: impl Iterator<Item = OsString>) -> ExitCode {
    let [n, directory] = args.map(|a| a.into_string().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    let directory = PathBuf::from(directory);
    let mut witness = OpenOptions::new().append(true).create(true).open(directory.join(format!("ran-{n}"))).unwrap();
    witness.write_all(b"ran\n").unwrap();
    let (mut hash, mut lines) = (Sha256::new(), 0_u64);
    let (mut out, end) = (std::io::stdout(), directory.join("end"));
    while !end.exists() {
        lines += 1;
        // Some are long, and now and then there is a piece of one without its end.
        let padding = "x".repeat(usize::try_from(lines * 37 % 300).unwrap());
        let text = format!("{n} {lines} {padding}{}", if lines.is_multiple_of(7) { "" } else { "\n" });
        out.write_all(text.as_bytes()).unwrap();
        out.flush().unwrap();
        hash.update(&text);
        std::thread::sleep(LINE_PAUSE);
    }
    let result = directory.join(format!("hash-{n}"));
    fs::write(&result, hex(&hash.finalize())).unwrap();
    ExitCode::from(n.parse::<u8>().unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn restarts(count: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Trouble::begin().await_all(count));
}

/// The host, and its node as a process.
struct Trouble {
    host: Host,
    node: Child,
}

impl Trouble {
    fn begin() -> Self {
        let mut host = Host::without_pipe();
        let me = std::env::current_exe().unwrap();
        let job = |n: u8| Job {
            id: name(n),
            spec: exec(&[me.to_str().unwrap(), "stream", &n.to_string(), host.home().to_str().unwrap()]),
            stop_when: None,
            keep: true,
        };
        let jobs: Vec<Job> = (0..TASKS).map(job).collect();
        fs::write(host.file("jobs"), serde_json::to_vec(&jobs).unwrap()).unwrap();
        spawn_pipe(&mut host);
        let node = spawn_node(&host);
        Self { host, node }
    }

    async fn await_all(mut self, count: u32) {
        let begin = Instant::now();
        // From the very start on, while the tasks are being started; the first third of nodes with one pipe.
        let with_one_pipe = count / 3;
        self.host.wait_for_pipe().await;
        let before = own_memory_kb(self.host.pipe_pid());
        for n in 0..with_one_pipe {
            self.kill_node();
            self.pause(n).await;
        }
        let after = own_memory_kb(self.host.pipe_pid());
        println!("the pipe's own memory: {before} kB, and {after} kB after {with_one_pipe} nodes");
        for n in with_one_pipe..count {
            if n % 2 == 0 {
                self.kill_node();
            }
            self.host.kill_pipe_and_go_on();
            spawn_pipe(&mut self.host);
            self.pause(n).await;
        }
        println!("{count} restarts in {:.1?}", begin.elapsed());
        self.host.reap();
        eventually("all tasks run", || (0..TASKS).all(|n| self.file("ran", n).exists())).await;
        self.host.wait_for_pipe().await;
        let at_last = own_memory_kb(self.host.pipe_pid());

        fs::write(self.host.file("end"), "").unwrap();
        let until = Instant::now() + PATIENCE;
        while self.node.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the node does not come to the end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.check().await;
        println!("all checked after {:.1?}; the last pipe's own memory: {at_last} kB", begin.elapsed());
        assert!(after < before + MEMORY_MARGIN_KB && at_last < before + MEMORY_MARGIN_KB, "{before} {after} {at_last}");
    }

    /// Each ran once, ended once, and its log is what it wrote.
    async fn check(&self) {
        let reports = reports(&self.host.file("reports"));
        for n in 0..TASKS {
            assert_eq!(fs::read_to_string(self.file("ran", n)).unwrap(), "ran\n", "task {n}");
            let of_this: Vec<_> = reports.iter().filter(|r| r.id == name(n)).collect();
            assert!(
                matches!(&of_this[..], [r] if matches!(r.state, TaskState::Ended { end: End::Exited { code }, .. } if code == n)),
                "task {n}: {of_this:?}"
            );
            let mut hash = Sha256::new();
            let mut parts = self.host.client.logs(&name(n), &LogQuery::default()).await.unwrap();
            while let Some(part) = parts.next().await {
                hash.update(part.unwrap());
            }
            assert_eq!(hex(&hash.finalize()), fs::read_to_string(self.file("hash", n)).unwrap(), "task {n}");
        }
        assert_eq!(self.host.client.list().await.unwrap().len(), usize::from(TASKS));
        // Nothing is left but the pipe.
        let home = format!("HOME={}", self.host.home().display());
        let is_left = |s: &Stat| !s.zombie && s.pid != self.host.pipe_pid() && process::has_variable(s.pid, &home);
        eventually("all shims are gone", || !process::all().unwrap().values().any(is_left)).await;
    }

    fn file(&self, what: &str, n: u8) -> PathBuf {
        self.host.file(&format!("{what}-{n}"))
    }

    fn kill_node(&mut self) {
        let _ = self.node.kill();
        self.node.wait().unwrap();
        self.node = spawn_node(&self.host);
    }

    /// Sometimes none, sometimes a few milliseconds, sometimes until the pipe answers.
    async fn pause(&mut self, n: u32) {
        match n % 4 {
            0 => {}
            1 => self.host.wait_for_pipe().await,
            _ => tokio::time::sleep(Duration::from_micros(u64::from(n) * 7919 % 40_000)).await,
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

fn name(n: u8) -> TaskId {
    id(&format!("stream-{n}"))
}

fn spawn_pipe(host: &mut Host) {
    let mut command = host.pipe_command();
    command.stderr(Stdio::null());
    host.spawn_pipe_as(command);
}

fn spawn_node(host: &Host) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("node").arg(host.directory()).arg(host.file("jobs")).arg(host.file("reports"));
    command.env("HOME", host.home()).stdin(Stdio::null()).spawn().unwrap()
}

/// What a process has in memory that is no file's.
fn own_memory_kb(pid: i32) -> u64 {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
