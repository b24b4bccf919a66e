//! Programs that are run beside a task's own, and signals.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal as Sig, kill_process};
use vk_pipe::{ClientError, StreamEvent, StreamHandle, StreamOutput};
use vk_record::process::Stat;
use vk_record::{Dir, Intent, TaskDir, Version};
use vk_site::audit::Event;
use vk_task::stream::{StreamEnd, TerminalSize};
use vk_task::{
    ApiError, End, ErrorReason, ExecVia, HostSetup, Launch, Rlimit, RuntimeLaunch, Signal, StartFailure, TaskId,
    TaskSpec, TaskState,
};

use crate::Test;
use crate::audit;
use crate::support::{Host, block_on, eventually, exec, id, script, stop_in, with_env};

pub(crate) const TESTS: &[Test] = &[
    ("exec_exit_codes_and_signals_are_exact", exec_ends),
    ("exec_streams_are_byte_exact_and_apart", exec_bytes),
    ("exec_has_the_tasks_environment_and_directory", exec_place),
    ("exec_that_cannot_start_says_why", exec_failures),
    ("exec_at_a_terminal", exec_terminal),
    ("exec_makes_a_slow_caller_wait_and_waits_for_it", exec_slow),
    ("exec_ends_when_the_caller_hangs_up", exec_hang_up),
    ("exec_does_not_wait_for_what_it_leaves", exec_background),
    ("exec_ends_with_its_task", exec_task_ends),
    ("exec_ends_with_the_pipe_and_the_task_goes_on", exec_pipe_dies),
    ("a_pipe_that_ends_says_so_on_its_streams", pipe_ends),
    ("exec_is_refused_where_nothing_runs", exec_refused),
    ("a_site_may_forbid_streams", denied),
    ("exec_in_a_container_by_its_runtimes_command", exec_command),
    ("exec_in_a_container_by_its_namespaces", exec_namespaces),
    ("a_signal_reaches_the_main_process", signals),
    ("garbage_on_the_control_socket_harms_nothing", garbage_control),
    ("garbage_on_a_stream_harms_nothing", garbage_stream),
];

/// All that came of a stream.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Option<StreamEnd>,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn take(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Stdout(bytes) => self.stdout.extend_from_slice(&bytes),
            StreamEvent::Stderr(bytes) => self.stderr.extend_from_slice(&bytes),
            StreamEvent::Closed(_) => {}
            StreamEvent::Ended(end) => self.end = Some(end),
        }
    }
}

/// Takes all that comes.
pub(crate) async fn all(output: &mut StreamOutput) -> Got {
    let mut got = Got::default();
    while got.end.is_none() {
        got.take(output.next().await.unwrap());
    }
    got
}

/// Takes what comes until standard output has this text.
pub(crate) async fn until(output: &mut StreamOutput, text: &str) -> Got {
    let mut got = Got::default();
    while !String::from_utf8_lossy(&got.stdout).contains(text) {
        assert_eq!(got.end, None, "{got:?}");
        got.take(output.next().await.unwrap());
    }
    got
}

pub(crate) fn ended(end: End) -> Option<StreamEnd> {
    Some(StreamEnd::Ended { end })
}

pub(crate) fn exited(code: u8) -> Option<StreamEnd> {
    ended(End::Exited { code })
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ApiError {
    result.unwrap_err().refusal().cloned().unwrap()
}

pub(crate) fn failure(end: Option<StreamEnd>) -> ApiError {
    match end {
        Some(StreamEnd::Failed { error }) => error,
        other => panic!("{other:?}"),
    }
}

/// A host with a task that runs.
async fn with_task(spec: TaskSpec) -> (Host, TaskId) {
    let host = Host::new().await;
    let id = id("main");
    host.client.start(&id, &spec).await.unwrap();
    host.running(&id).await;
    (host, id)
}

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|&a| a.to_owned()).collect()
}

async fn start(host: &Host, id: &TaskId, argv: &[&str], stdin: bool, terminal: bool) -> StreamHandle {
    host.client.exec(id, words(argv), stdin, terminal, "tester").await.unwrap()
}

/// Runs a program without input to its end.
async fn run(host: &Host, id: &TaskId, argv: &[&str]) -> Got {
    let (_input, mut output) = start(host, id, argv, false, false).await.split();
    all(&mut output).await
}

fn exec_ends() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        for code in [0, 1, 2, 126, 127, 128, 137, 255] {
            let got = run(&host, &id, &["sh", "-c", &format!("exit {code}")]).await;
            assert_eq!(got.end, exited(code));
        }
        for signal in [1, 2, 9, 15, 34, 64] {
            let got = run(&host, &id, &["sh", "-c", &format!("kill -{signal} $$")]).await;
            assert_eq!(got.end, ended(End::Signaled { signal: Signal(signal), core_dumped: false }));
        }
        assert!(!host.client.get(&id).await.unwrap().state.is_final());
    });
}

fn exec_bytes() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        // All values, NUL, newlines and none at the end.
        let bytes: Vec<u8> = (0..8_u32 << 20)
            .scan(7_u32, |x, _| {
                *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some((*x >> 24) as u8)
            })
            .collect();
        let text = "tee /dev/stderr | sha256sum; exit 5";
        let (mut input, mut output) = start(&host, &id, &["sh", "-c", text], true, false).await.split();
        let typing = async {
            input.write(bytes.clone().into()).await.unwrap();
            input.close().await.unwrap();
        };
        let ((), got) = tokio::join!(typing, all(&mut output));
        assert_eq!(got.end, exited(5));
        assert!(got.stderr == bytes);
        let file = host.file("bytes");
        fs::write(&file, &bytes).unwrap();
        let sum = run(&host, &id, &["sha256sum", file.to_str().unwrap()]).await.text();
        assert_eq!(got.text().split_whitespace().next(), sum.split_whitespace().next());
        // Half-close the other way: an end of output while input goes on.
        let (mut input, mut output) =
            start(&host, &id, &["sh", "-c", "echo out; exec >&-; cat >&2"], true, false).await.split();
        let mut got = Got::default();
        loop {
            match output.next().await.unwrap() {
                StreamEvent::Closed(vk_task::stream::Channel::Stdout) => break,
                event => got.take(event),
            }
        }
        assert_eq!(got.text(), "out\n");
        input.write("still here".into()).await.unwrap();
        input.close().await.unwrap();
        let got = all(&mut output).await;
        assert_eq!((got.stderr, got.end), (b"still here".to_vec(), exited(0)));
        // All that was written comes before the end is told.
        let got = run(&host, &id, &["sh", "-c", "seq 1 50000; seq 1 50000 >&2"]).await;
        let wanted: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
        assert!(got.text() == wanted && got.stderr == wanted.as_bytes());
        // Without input it is at its end from the beginning, and closing it while it is not read is no failure.
        assert_eq!(run(&host, &id, &["cat"]).await.end, exited(0));
        let (mut input, mut output) = start(&host, &id, &["true"], true, false).await.split();
        let _ = input.write(vec![0; 1 << 20].into()).await;
        assert_eq!(all(&mut output).await.end, exited(0));
    });
}

fn exec_place() {
    block_on(async {
        let mut spec = with_env(exec(&["sleep", "1000"]), "COLOUR", "a\nb");
        spec.working_dir = Some("sub".into());
        spec.limits.rlimits.insert(Rlimit::OpenFiles, 123);
        let host = Host::new().await;
        fs::create_dir(host.file("sub")).unwrap();
        let id = id("main");
        host.client.start(&id, &spec).await.unwrap();
        host.running(&id).await;
        let got = run(&host, &id, &["sh", "-c", "pwd; printf '%s' \"$COLOUR $VK_CMD_TASK\""]).await;
        assert_eq!(got.text(), format!("{}\na\nb main", host.file("sub").display()));
        assert_eq!(run(&host, &id, &["sh", "-c", "ulimit -n"]).await.text(), "123\n");
        // What the shim holds is not the program's, and its signals are a fresh program's.
        let text = "ls /proc/self/fd | tr '\\n' ' '; grep SigBlk /proc/self/status";
        let got = run(&host, &id, &["sh", "-c", text]).await;
        assert_eq!(got.text(), "0 1 2 3 SigBlk:\t0000000000000000\n");
    });
}

fn exec_failures() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let got = run(&host, &id, &["no-such-program"]).await;
        match got.end {
            Some(StreamEnd::Ended { end: End::NotStarted { failure: StartFailure::NotFound, message } }) => {
                assert!(message.contains("no-such-program"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        let error = failure(run(&host, &id, &[]).await.end);
        assert_eq!(error.reason, ErrorReason::Invalid);
        let error = failure(run(&host, &id, &["echo", "a\0b"]).await.end);
        assert!(error.reason == ErrorReason::Invalid && error.message.contains("NUL"), "{error:?}");
        // The most that may be asked of a shim; well under what may be sent to the pipe.
        let error = failure(run(&host, &id, &["echo", &"x".repeat(100_000), &"y".repeat(100_000)]).await.end);
        assert!(error.reason == ErrorReason::Invalid && error.message.contains("131072 is the most"), "{error:?}");
        assert_eq!(run(&host, &id, &["echo", &"x".repeat(100_000)]).await.end, exited(0));
    });
}

fn exec_terminal() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let text =
            "test -t 0 && test -t 1 && test -t 2 && echo tty; read line; stty size; : < /dev/tty && echo own; exit 7";
        let (mut input, mut output) = start(&host, &id, &["sh", "-c", text], true, true).await.split();
        until(&mut output, "tty\r\n").await;
        input.resize(TerminalSize { width: 111, height: 44 }).await.unwrap();
        input.write("go\n".into()).await.unwrap();
        let got = all(&mut output).await;
        assert_eq!((got.text().as_str(), got.end), ("go\r\n44 111\r\nown\r\n", exited(7)));
        // Ctrl-C.
        let (mut input, mut output) =
            start(&host, &id, &["sh", "-c", "echo ready; exec cat"], true, true).await.split();
        until(&mut output, "ready").await;
        input.write(Bytes::from_static(&[3])).await.unwrap();
        let got = all(&mut output).await;
        assert_eq!(got.end, ended(End::Signaled { signal: Signal(2), core_dumped: false }));
        // The end of the input is typed.
        let (mut input, mut output) = start(&host, &id, &["cat"], true, true).await.split();
        input.write("line\n".into()).await.unwrap();
        until(&mut output, "line\r\nline\r\n").await;
        input.close().await.unwrap();
        assert_eq!(all(&mut output).await.end, exited(0));
        // Nothing of a big output is lost at the end.
        let got = {
            let (_input, mut output) = start(&host, &id, &["seq", "1", "20000"], false, true).await.split();
            all(&mut output).await
        };
        assert!(got.text() == (1..=20_000).map(|n| format!("{n}\r\n")).collect::<String>());
    });
}

/// The most memory that a process has had.
fn peak_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn exec_slow() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        run(&host, &id, &["head", "-c", "1000000", "/dev/zero"]).await;
        let before = peak_kib(host.pipe_pid());
        let done = host.file("done");
        let text = format!("head -c 67108864 /dev/zero; touch {}", done.display());
        let (_input, mut output) = start(&host, &id, &["sh", "-c", &text], false, false).await.split();
        until(&mut output, "\0").await;
        // Whoever does not read makes it wait...
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!done.exists());
        let mut count = 0;
        let end = loop {
            match output.next().await.unwrap() {
                StreamEvent::Stdout(bytes) => count += bytes.len(),
                StreamEvent::Ended(end) => break end,
                _ => {}
            }
        };
        assert_eq!(Some(end), exited(0));
        assert!(count < 67_108_864 && count > 60_000_000, "{count}");
        // ... and a program that does not read makes the caller wait.
        let (mut input, mut output) = start(&host, &id, &["sleep", "1000"], true, false).await.split();
        let typing = input.write(vec![b'x'; 64 << 20].into());
        assert!(tokio::time::timeout(Duration::from_millis(300), typing).await.is_err());
        let grown = peak_kib(host.pipe_pid()) - before;
        assert!(grown < 16 << 10, "the pipe has grown by {grown} KiB");
        // That the caller hangs up is seen all the same.
        drop(input);
        assert!(tokio::time::timeout(Duration::from_millis(1), output.next()).await.is_err());
        drop(output);
        eventually("the program is ended", || host.processes_of(&id).len() == 1).await;
    });
}

fn exec_hang_up() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let witness = host.file("witness");
        for terminal in [false, true] {
            // One that takes its leave, and one that does not listen, with children in the background and in the
            // foreground.
            let polite = format!("trap 'echo hup >> {}; exit' HUP; echo ready; sleep 1000 & wait", witness.display());
            let (input, mut output) = start(&host, &id, &["sh", "-c", &polite], true, terminal).await.split();
            until(&mut output, "ready").await;
            drop((input, output));
            let deaf = "trap '' HUP; (trap '' HUP; sleep 1000; echo) & echo ready; sleep 1000; echo";
            let (input, mut output) = start(&host, &id, &["sh", "-c", deaf], true, terminal).await.split();
            until(&mut output, "ready").await;
            eventually("all of them are there", || host.processes_of(&id).len() > 3).await;
            drop((input, output));
            eventually("nothing of them is left", || host.processes_of(&id).len() == 1).await;
        }
        assert_eq!(fs::read_to_string(&witness).unwrap(), "hup\nhup\n");
        assert!(!host.client.get(&id).await.unwrap().state.is_final());
    });
}

fn exec_background() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        for terminal in [false, true] {
            let argv = ["sh", "-c", "trap '' HUP; (sleep 1000; echo) & echo hi; exit 3"];
            let (_input, mut output) = start(&host, &id, &argv, false, terminal).await.split();
            let got = all(&mut output).await;
            assert_eq!((got.text().trim_end(), got.end), ("hi", exited(3)));
        }
        // What is left is the task's, and ends with it.
        assert!(host.processes_of(&id).len() > 1);
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
    });
}

fn exec_task_ends() {
    block_on(async {
        // The main process ends by itself.
        let host = Host::new().await;
        let go = host.file("go");
        let main = id("main");
        let text = format!("while [ ! -e {} ]; do sleep 0.01; done; exit 4", go.display());
        host.client.start(&main, &script(&text)).await.unwrap();
        host.running(&main).await;
        let argv = ["sh", "-c", "trap '' HUP TERM; echo ready; while :; do sleep 1000; done"];
        let (_input, mut output) = start(&host, &main, &argv, false, false).await.split();
        until(&mut output, "ready").await;
        fs::write(&go, "").unwrap();
        assert_eq!(host.ended(&main).await, End::Exited { code: 4 });
        assert_eq!(host.processes_of(&main), Vec::<i32>::new());
        let killed = ended(End::Signaled { signal: Signal(9), core_dumped: false });
        assert_eq!(all(&mut output).await.end, killed);
        // The task is told to end.
        let other = id("other");
        host.client.start(&other, &exec(&["sleep", "1000"])).await.unwrap();
        host.running(&other).await;
        let argv = ["sh", "-c", "echo ready; exec sleep 1000"];
        let (_input, mut output) = start(&host, &other, &argv, false, false).await.split();
        until(&mut output, "ready").await;
        host.client.stop(&other, &stop_in(Duration::from_secs(1000))).await.unwrap();
        let told = ended(End::Signaled { signal: Signal(15), core_dumped: false });
        assert_eq!(all(&mut output).await.end, told);
        host.ended(&other).await;
    });
}

fn exec_pipe_dies() {
    block_on(async {
        let (mut host, id) = with_task(script("trap 'exit 6' USR1; while :; do sleep 0.01; done")).await;
        for terminal in [false, true] {
            let argv = ["sh", "-c", "trap '' HUP; echo ready; sleep 1000; echo"];
            let (input, mut output) = start(&host, &id, &argv, true, terminal).await.split();
            until(&mut output, "ready").await;
            let pids: Vec<i32> = host.processes_of(&id);
            host.kill_pipe();
            assert!(output.next().await.is_err());
            drop((input, output));
            let is_exec = |pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.windows(5).any(|w| w == b"ready")
            };
            let execs: Vec<i32> = pids.into_iter().filter(is_exec).collect();
            assert!(!execs.is_empty());
            eventually("the program is ended", || execs.iter().all(|pid| Stat::of(*pid).is_none_or(|s| s.zombie)))
                .await;
            host.start_pipe().await;
        }
        assert_eq!(run(&host, &id, &["echo", "hi"]).await.text(), "hi\n");
        host.client.signal(&id, Signal(10)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 6 });
    });
}

fn pipe_ends() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let (_input, mut output) =
            start(&host, &id, &["sh", "-c", "echo ready; sleep 1000"], false, false).await.split();
        until(&mut output, "ready").await;
        kill_process(Pid::from_raw(host.pipe_pid()).unwrap(), Sig::USR1).unwrap();
        let error = failure(all(&mut output).await.end);
        assert!(error.message.contains("the pipe ends"), "{error:?}");
        eventually("the program is ended", || host.processes_of(&id).len() == 1).await;
    });
}

fn exec_refused() {
    block_on(async {
        let host = Host::new().await;
        let (nothing, done) = (id("nothing"), id("done"));
        assert_eq!(host.run("done", "true").await, End::Exited { code: 0 });
        let exec = |id| host.client.exec(id, words(&["true"]), false, false, "");
        assert_eq!(refusal(exec(&nothing).await).reason, ErrorReason::NotFound);
        assert_eq!(refusal(exec(&done).await).reason, ErrorReason::Conflict);
        let attach = |id| host.client.attach(id, false, true, true, "");
        assert_eq!(refusal(attach(&nothing).await).reason, ErrorReason::NotFound);
        assert_eq!(refusal(attach(&done).await).reason, ErrorReason::Conflict);
        assert_eq!(refusal(host.client.signal(&nothing, Signal(10)).await).reason, ErrorReason::NotFound);
        assert_eq!(refusal(host.client.signal(&done, Signal(10)).await).reason, ErrorReason::Conflict);
    });
}

fn denied() {
    block_on(async {
        let mut host = Host::of_site("policy: {exec: false, attach: {namespaces: {allow: [physics]}}}");
        host.start_pipe().await;
        let (id, witness) = (id("main"), host.file("witness"));
        host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
        host.running(&id).await;
        let error = failure(run(&host, &id, &["touch", witness.to_str().unwrap()]).await.end);
        assert!(error.reason == ErrorReason::Denied && error.message.contains("exec"), "{error:?}");
        let (_input, mut output) = host.client.attach(&id, false, true, true, "").await.unwrap().split();
        let error = failure(all(&mut output).await.end);
        assert!(error.reason == ErrorReason::Denied && error.message.contains("default"), "{error:?}");
        assert!(!witness.exists());
        // What it allows from now on is allowed.
        host.write_site("policy: {exec: true}");
        assert_eq!(run(&host, &id, &["echo", "hi"]).await.text(), "hi\n");
        // All three are in the audit log: who wanted in, what for, and what was said.
        let streams: Vec<_> = audit::entries(&host)
            .into_iter()
            .filter_map(|entry| match entry.event {
                Event::Stream { kind, argv, denied, .. } => Some((kind, argv, denied)),
                _ => None,
            })
            .collect();
        let said = |kind: &str, argv: &[&str], denied: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
            (kind.to_owned(), own(argv), own(denied))
        };
        assert_eq!(
            streams,
            [
                said("exec", &["touch", witness.to_str().unwrap()], &["exec is not allowed"]),
                said("attach", &[], &["attach is not allowed for pods of the namespace default"]),
                said("exec", &["echo", "hi"], &[]),
            ]
        );
    });
}

/// A task that was accepted with this way to run other programs in its container.
async fn in_container(argv: &[&str], exec: ExecVia) -> (Host, TaskId) {
    let mut host = Host::without_pipe();
    let id = id("main");
    let dir = host.directory().join("tasks").join(id.as_str());
    fs::create_dir_all(&dir).unwrap();
    let launch = RuntimeLaunch {
        terminate: vk_task::Terminate::Tree,
        confine_client: false,
        runtime: "test".into(),
        argv: words(argv),
        env: std::collections::BTreeMap::new(),
        remove: Vec::new(),
        exec,
    };
    let intent = Intent {
        version: Version,
        id: id.clone(),
        accepted_at: jiff::Timestamp::now(),
        spec: crate::support::exec(argv),
        launch: Launch::Runtime(launch),
        setup: HostSetup::default(),
    };
    TaskDir { dir: Dir::open(&dir).unwrap() }.write_intent(&intent).unwrap();
    host.start_pipe().await;
    host.running(&id).await;
    (host, id)
}

fn exec_command() {
    block_on(async {
        let via = ExecVia::Command {
            prefix: words(&["env", "PREFIX=1"]),
            stdin: words(&["INPUT=1"]),
            terminal: words(&["TERMINAL=1"]),
            target: words(&["TARGET=1"]),
        };
        let (host, id) = in_container(&["sleep", "1000"], via).await;
        for (stdin, terminal, wanted) in [(false, false, "1..1"), (true, false, "11.1"), (true, true, "1111")] {
            let argv = ["sh", "-c", "echo ${PREFIX-.}${INPUT-.}${TERMINAL-.}${TARGET-.}"];
            let (_input, mut output) = start(&host, &id, &argv, stdin, terminal).await.split();
            assert_eq!(all(&mut output).await.text().trim_end(), wanted);
        }
    });
}

fn exec_namespaces() {
    block_on(async {
        let text = "mount -t tmpfs none /mnt && echo inside > /mnt/where && cd /mnt && INSIDE=yes exec sh -c 'echo > ready; sleep 1000; echo'";
        let argv = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c", text];
        let (host, id) = in_container(&argv, ExecVia::Namespaces).await;
        // The container is being made while the task runs already.
        let argv = ["sh", "-c", "cat /mnt/where && pwd && echo ${INSIDE-no} && exit 9"];
        let got = loop {
            let got = run(&host, &id, &argv).await;
            if got.end == exited(9) {
                break got;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(got.text().starts_with("inside\n"), "{got:?}");
        assert!(!std::path::Path::new("/mnt/where").exists());
        // A task without a container of its own says so.
        let (host, id) = in_container(&["sleep", "1000"], ExecVia::Namespaces).await;
        let error = failure(run(&host, &id, &["true"]).await.end);
        assert!(error.reason == ErrorReason::Conflict && error.message.contains("container"), "{error:?}");
    });
}

fn signals() {
    block_on(async {
        let host = Host::new().await;
        let (witness, id) = (host.file("witness"), id("main"));
        let text = format!(
            "trap 'echo usr1 >> {0}' USR1; trap 'exit 8' RTMIN; touch {0}; while :; do sleep 0.01; done",
            witness.display()
        );
        host.client.start(&id, &exec(&["bash", "-c", &text])).await.unwrap();
        host.running(&id).await;
        eventually("the traps are set", || witness.exists()).await;
        host.client.signal(&id, Signal(10)).await.unwrap();
        eventually("it has come", || fs::read_to_string(&witness).unwrap() == "usr1\n").await;
        for none in [0, 65, 255] {
            assert_eq!(refusal(host.client.signal(&id, Signal(none)).await).reason, ErrorReason::Invalid);
        }
        // By its number: what the C library calls SIGRTMIN.
        host.client.signal(&id, Signal(34)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 8 });
        assert_eq!(refusal(host.client.signal(&id, Signal(10)).await).reason, ErrorReason::Conflict);
        assert!(!host.directory().join("tasks/main/control.sock").exists());
    });
}

fn garbage_control() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let dir = Dir::open(&host.directory().join("tasks/main")).unwrap();
        let mut random = 7_u32;
        let mut byte = move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        for round in 0..500_usize {
            let Ok(socket) = vk_record::control::connect(&dir) else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            let len = if round % 50 == 0 { 150_000 } else { 1 + round % 300 };
            let bytes: Vec<u8> = (0..len).map(|_| byte()).collect();
            let null = fs::File::open("/dev/null").unwrap();
            let fds = vec![std::os::fd::AsFd::as_fd(&null); round % 4];
            let texts: [&[u8]; 4] = [
                &bytes,
                b"{\"kind\":\"exec\",\"argv\":[],\"stdin\":true,\"terminal\":true}",
                b"[]",
                b"{\"kind\":\"input\"}",
            ];
            for text in texts.iter().take(1 + round % 4) {
                let _ = vk_record::control::send(&socket, text, &fds);
            }
        }
        // As many as there may be, and more, that say nothing.
        let idle = std::cell::RefCell::new(Vec::new());
        eventually("there is no room", || {
            idle.borrow_mut().extend(vk_record::control::connect(&dir));
            idle.borrow().iter().any(is_refused)
        })
        .await;
        assert!(idle.borrow().len() > 60);
        let error = failure(run(&host, &id, &["true"]).await.end);
        assert!(error.message.contains("are open"), "{error:?}");
        drop(idle);
        assert_eq!(run(&host, &id, &["echo", "hi"]).await.text(), "hi\n");
        let shim = host.shim_of(host.running(&id).await);
        let open = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
        eventually("the shim has closed all", || open() < 20).await;
        assert!(!host.client.get(&id).await.unwrap().state.is_final());
    });
}

fn is_refused(socket: &std::os::fd::OwnedFd) -> bool {
    matches!(
        vk_record::control::receive::<vk_task::control::ControlAnswer>(socket),
        Ok(vk_record::control::Received::Packet(vk_task::control::ControlAnswer::Refused { .. }, _))
    )
}

fn garbage_stream() {
    block_on(async {
        let (host, id) = with_task(exec(&["sleep", "1000"])).await;
        let path = host.directory().join("vk-cmd.sock");
        let head = format!(
            "POST /v1/tasks/{id}/stream HTTP/1.1\r\nHost: pipe\r\nConnection: Upgrade\r\nUpgrade: vk-stream.v1\r\n\r\n"
        );
        let request = br#"{"kind":"exec","argv":["cat"],"stdin":true,"terminal":false}"#;
        let frame = |channel: u8, payload: &[u8]| {
            [&[channel][..], &u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
        };
        let bad: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0xff; 100],
            vec![0, 0xff, 0xff, 0xff, 0xff],
            frame(16, b"{}"),
            frame(0, b"no request"),
            [frame(16, request), frame(1, b"not mine")].concat(),
            [frame(16, request), frame(4, b"no size")].concat(),
            [frame(16, request), vec![9; 20]].concat(),
        ];
        for bytes in bad {
            let path = path.clone();
            let sent = [head.as_bytes(), &bytes].concat();
            let got = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.write_all(&sent).unwrap();
                let mut got = Vec::new();
                let _ = stream.read_to_end(&mut got);
                String::from_utf8_lossy(&got).into_owned()
            });
            let got = got.await.unwrap();
            assert!(got.contains("101 Switching Protocols") && got.contains("Invalid"), "{got}");
        }
        // Half a request, and then nothing any more.
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&[head.as_bytes(), &frame(16, request)[..20]].concat()).unwrap();
        drop(stream);
        // Without the headers it is no stream.
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(head.replace("Upgrade: vk-stream.v1\r\n", "").as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
        eventually("nothing is left of them", || host.processes_of(&id).len() == 1).await;
        assert_eq!(run(&host, &id, &["echo", "hi"]).await.text(), "hi\n");
        assert!(matches!(host.client.get(&id).await.unwrap().state, TaskState::Running { .. }));
    });
}
