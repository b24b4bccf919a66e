//! Whatever is killed, and whenever: a task is started once at most, and its end is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::{Pid, Signal};
use vk_record::points;
use vk_record::process::Stat;
use vk_record::{Dir, Intent, TaskDir, Version};
use vk_task::{ApiError, End, ErrorReason, HostSetup, Launch, StartFailure, TaskId, TaskSpec, TaskState};

use crate::Test;
use crate::support::{Host, block_on, eventually, exec, id, kill, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("a_pipe_that_dies_at_any_moment_starts_each_task_once", pipe_dies),
    ("a_task_goes_on_without_the_pipe", pipe_dies_while_running),
    ("an_end_without_a_pipe_is_told_later", ends_without_pipe),
    ("a_shim_that_dies_takes_its_task_along", shim_dies),
    ("a_shim_that_dies_without_a_pipe_is_found_out", shim_dies_without_pipe),
    ("a_task_of_the_same_name_in_another_pipe_is_left_alone", twin),
    ("a_shim_that_dies_early_starts_its_task_once_at_most", shim_dies_early),
    ("a_shim_that_oversleeps_its_task_starts_nothing", shim_oversleeps),
    ("a_task_of_an_earlier_boot_is_unknown", other_boot),
    ("a_stop_before_the_start_means_no_start", stop_before_start),
    ("a_task_whose_shim_cannot_live_says_so", no_shim),
    ("an_intent_alone_is_started", intent_alone),
    ("a_directory_without_an_intent_is_nothing", no_intent),
    ("garbage_in_one_record_harms_no_other_task", garbage),
    ("there_is_one_pipe_for_a_directory", one_pipe),
    ("only_what_has_ended_is_removed", remove),
    ("a_long_path_is_no_obstacle", long_path),
];

/// A script that says that it ran.
fn witness(host: &Host, name: &str, then: &str) -> TaskSpec {
    script(&format!("echo ran >> {}; {then}", host.file(name).display()))
}

fn runs(host: &Host, name: &str) -> usize {
    fs::read_to_string(host.file(name)).unwrap_or_default().lines().count()
}

fn task_dir(host: &Host, id: &TaskId) -> TaskDir {
    TaskDir { dir: Dir::open(&host.directory().join("tasks").join(id.as_str())).unwrap() }
}

fn write_intent(host: &Host, id: &TaskId, spec: TaskSpec) {
    fs::create_dir_all(host.directory().join("tasks").join(id.as_str())).unwrap();
    let intent = Intent {
        version: Version,
        id: id.clone(),
        accepted_at: jiff::Timestamp::now(),
        spec,
        launch: Launch::Direct,
        setup: HostSetup::default(),
    };
    task_dir(host, id).write_intent(&intent).unwrap();
}

/// The pipe is killed after so many microseconds, while many tasks are asked for; then it is started again, and all are
/// asked for again, as a node does.
fn pipe_dies() {
    block_on(async {
        let mut host = Host::new().await;
        for (round, delay) in [0, 500, 2_000, 4_000, 8_000, 15_000, 30_000].into_iter().enumerate() {
            let names: Vec<_> = (0..4).map(|n| format!("r{round}-{n}")).collect();
            let tasks: Vec<_> = names.iter().map(|n| (id(n), witness(&host, n, &format!("exit {round}")))).collect();
            let asking = tasks.iter().map(|(id, spec)| host.client.start(id, spec));
            let _ = tokio::time::timeout(Duration::from_micros(delay), join_all(asking)).await;
            host.kill_pipe();
            host.start_pipe().await;
            for (id, spec) in &tasks {
                host.client.start(id, spec).await.unwrap();
            }
            for (name, (id, _)) in names.iter().zip(&tasks) {
                let end = host.until(id, TaskState::is_final).await.state;
                assert!(
                    matches!(&end, TaskState::Ended { end: End::Exited { code }, .. } if usize::from(*code) == round),
                    "{end:?}"
                );
                assert_eq!(runs(&host, name), 1, "{name}");
            }
        }
    });
}

fn pipe_dies_while_running() {
    block_on(async {
        let mut host = Host::new().await;
        let (id, go) = (id("on"), host.file("go"));
        let spec = witness(&host, "w", &format!("while [ ! -e {} ]; do sleep 0.01; done; exit 4", go.display()));
        host.client.start(&id, &spec).await.unwrap();
        let main = host.running(&id).await;
        for _ in 0..3 {
            host.kill_pipe();
            host.start_pipe().await;
            assert_eq!(host.running(&id).await, main);
        }
        fs::write(&go, "").unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 4 });
        assert_eq!(runs(&host, "w"), 1);
    });
}

fn ends_without_pipe() {
    block_on(async {
        let mut host = Host::new().await;
        let (id, go) = (id("late"), host.file("go"));
        let spec = witness(&host, "w", &format!("while [ ! -e {} ]; do sleep 0.01; done; exit 5", go.display()));
        host.client.start(&id, &spec).await.unwrap();
        host.running(&id).await;
        host.kill_pipe();
        fs::write(&go, "").unwrap();
        let exit = host.directory().join("tasks/late/exit.json");
        eventually("the shim writes the end down", || exit.exists()).await;
        host.start_pipe().await;
        assert_eq!(host.ended(&id).await, End::Exited { code: 5 });
        assert_eq!(runs(&host, "w"), 1);
    });
}

const ESCAPING: &str =
    "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &); echo ready >> $HOME/ready; sleep 1000";

fn shim_dies() {
    block_on(async {
        let host = Host::new().await;
        let id = id("orphan");
        host.client.start(&id, &witness(&host, "w", ESCAPING)).await.unwrap();
        let main = host.running(&id).await;
        eventually("its children are there", || host.file("ready").exists()).await;
        kill(host.shim_of(main));
        let state = host.until(&id, TaskState::is_final).await.state;
        assert!(matches!(state, TaskState::Unknown { .. }), "{state:?}");
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
        assert!(Stat::of(main).is_none_or(|s| s.zombie));
        let again = host.client.start(&id, &witness(&host, "w", "true")).await.unwrap();
        assert!(matches!(again.state, TaskState::Unknown { .. }));
        assert_eq!(runs(&host, "w"), 1);
    });
}

fn twin() {
    block_on(async {
        let (one, other) = (Host::new().await, Host::new().await);
        let id = id("twin");
        let mut mains = Vec::new();
        for host in [&one, &other] {
            host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
            mains.push(host.running(&id).await);
        }
        kill(one.shim_of(mains[0]));
        one.until(&id, TaskState::is_final).await;
        assert_eq!(one.processes_of(&id), Vec::<i32>::new());
        assert_eq!(other.processes_of(&id), [mains[1]]);
        other.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        other.ended(&id).await;
    });
}

fn shim_dies_without_pipe() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("orphan");
        host.client.start(&id, &witness(&host, "w", ESCAPING)).await.unwrap();
        let main = host.running(&id).await;
        eventually("its children are there", || host.file("ready").exists()).await;
        let shim = host.shim_of(main);
        host.kill_pipe();
        kill(shim);
        host.start_pipe().await;
        let state = host.until(&id, TaskState::is_final).await.state;
        assert!(matches!(state, TaskState::Unknown { .. }), "{state:?}");
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
        assert_eq!(runs(&host, "w"), 1);
        // It stays so.
        host.kill_pipe();
        host.start_pipe().await;
        assert_eq!(host.client.get(&id).await.unwrap().state, state);
    });
}

/// The first shim of each task is killed after so many microseconds. What it had not started is started by another;
/// what it may have started is never started again.
fn shim_dies_early() {
    block_on(async {
        let mut host = Host::without_pipe();
        let names: Vec<_> = (0..60).map(|n| format!("e{n}")).collect();
        for (n, name) in (0..).zip(&names) {
            write_intent(&host, &id(name), witness(&host, name, "sleep 0.02"));
            let mut shim = host.shim_command(&id(name)).spawn().unwrap();
            tokio::time::sleep(Duration::from_micros(n * 150)).await;
            shim.kill().unwrap();
            shim.wait().unwrap();
        }
        host.start_pipe().await;
        let (mut done, mut lost) = (0, 0);
        for name in &names {
            match (host.until(&id(name), TaskState::is_final).await.state, runs(&host, name)) {
                (TaskState::Ended { end: End::Exited { code: 0 }, .. }, 1) => done += 1,
                (TaskState::Unknown { .. }, 0 | 1) => lost += 1,
                other => panic!("{name}: {other:?}"),
            }
        }
        println!("shims killed early: {done} tasks ended, {lost} are unknown");
        assert!(done > 0);
    });
}

/// A shim stands still before it has the lock, while another one does its work. It wakes when the records are half gone
/// (the pipe stands still in removing them), or all gone.
fn shim_oversleeps() {
    block_on(async {
        for half_gone in [true, false] {
            let mut host = Host::without_pipe();
            let armed = |point: &str| format!("{point}@{}", host.home().display());
            let (asleep, halted) = (armed("ShimBegun"), armed("IntentGone"));
            let mut command = host.pipe_command();
            command.env(points::VARIABLE, asleep);
            host.spawn_pipe_as(command);
            host.wait_for_pipe().await;
            let id = id("late");
            host.client.start(&id, &witness(&host, "w", "exit 3")).await.unwrap();
            eventually("the shim stands still", || host.file("ShimBegun").exists()).await;
            host.kill_pipe();
            let mut command = host.pipe_command();
            if half_gone {
                command.env(points::VARIABLE, halted);
            }
            host.spawn_pipe_as(command);
            host.wait_for_pipe().await;
            assert_eq!(host.ended(&id).await, End::Exited { code: 3 });
            let client = host.client.clone();
            let removal = tokio::spawn(async move { client.remove(&id).await });
            eventually("the intent is gone", || !half_gone || host.file("IntentGone").exists()).await;
            if !half_gone {
                removal.await.unwrap().unwrap();
            }
            let shim = fs::read_to_string(host.file("ShimBegun")).unwrap().parse().unwrap();
            fs::write(host.file("ShimBegun.released"), "").unwrap();
            rustix::process::kill_process(Pid::from_raw(shim).unwrap(), Signal::CONT).unwrap();
            eventually("the shim leaves", || Stat::of(shim).is_none_or(|s| s.zombie)).await;
            assert_eq!(runs(&host, "w"), 1);
        }
    });
}

fn other_boot() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("boot");
        write_intent(&host, &id, witness(&host, "w", "true"));
        // This very process has that number now: it must not be touched.
        let me = Stat::of(std::process::id().cast_signed()).unwrap();
        let start = format!(
            r#"{{"version":1,"pid":{},"startTicks":{},"bootId":"another","run":"r","startedAt":"2026-01-01T00:00:00Z"}}"#,
            me.pid, me.start_ticks
        );
        fs::write(host.directory().join("tasks/boot/start.json"), start).unwrap();
        host.start_pipe().await;
        match host.until(&id, TaskState::is_final).await.state {
            TaskState::Unknown { message, .. } => assert!(message.contains("started anew"), "{message}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(runs(&host, "w"), 0);
    });
}

fn stop_before_start() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("never");
        write_intent(&host, &id, witness(&host, "w", "true"));
        task_dir(&host, &id).write_stop(&stop_in(Duration::from_secs(30))).unwrap();
        host.start_pipe().await;
        let end = host.ended(&id).await;
        assert!(matches!(end, End::NotStarted { failure: StartFailure::Stopped, .. }), "{end:?}");
        assert_eq!(end.exit_code(), 143);
        assert_eq!(runs(&host, "w"), 0);
    });
}

fn no_shim() {
    block_on(async {
        let mut host = Host::without_pipe();
        let shim = host.file("shim");
        fs::write(&shim, "#!/bin/sh\necho 'out of luck' >&2; exit 1\n").unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = host.pipe_command();
        command.arg(&shim);
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        let id = id("unlucky");
        host.client.start(&id, &witness(&host, "w", "true")).await.unwrap();
        match host.ended(&id).await {
            End::NotStarted { failure: StartFailure::Other, message } => {
                assert!(message.contains("out of luck"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(runs(&host, "w"), 0);
    });
}

fn intent_alone() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("alone");
        write_intent(&host, &id, witness(&host, "w", "exit 6"));
        host.start_pipe().await;
        assert_eq!(host.ended(&id).await, End::Exited { code: 6 });
        assert_eq!(runs(&host, "w"), 1);
    });
}

fn no_intent() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("half");
        let dir = host.directory().join("tasks/half");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(".intent.json.1.0"), "{").unwrap();
        host.start_pipe().await;
        assert_eq!(host.client.list().await.unwrap(), []);
        host.client.start(&id, &witness(&host, "w", "exit 6")).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 6 });
    });
}

fn garbage() {
    block_on(async {
        let mut host = Host::without_pipe();
        write_intent(&host, &id("fine"), witness(&host, "w", "true"));
        for (name, file) in [("a", "intent.json"), ("b", "exit.json"), ("c", "start.json"), ("d", "stop.json")] {
            write_intent(&host, &id(name), witness(&host, name, "true"));
            let dir = host.directory().join("tasks").join(name);
            fs::write(dir.join(file), "{\"version\": 7}").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", host.directory().join("tasks/link")).unwrap();
        host.start_pipe().await;
        assert_eq!(host.ended(&id("fine")).await, End::Exited { code: 0 });
        for name in ["b", "c", "d"] {
            let state = host.until(&id(name), TaskState::is_final).await.state;
            assert!(matches!(state, TaskState::Unknown { .. }), "{state:?}");
        }
        // What cannot be understood is not run.
        assert_eq!(["a", "b", "c", "d"].map(|n| runs(&host, n)), [0; 4]);
        let refused = host.client.start(&id("a"), &witness(&host, "a", "true")).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().reason, ErrorReason::Internal);
        let refused = host.client.start(&id("link"), &witness(&host, "a", "true")).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().reason, ErrorReason::Internal);
    });
}

fn one_pipe() {
    block_on(async {
        let host = Host::new().await;
        let output = host.pipe_command().output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(&format!("process {}", host.pipe_pid())), "{words}");
        host.client.info().await.unwrap();
    });
}

fn remove() {
    block_on(async {
        let host = Host::new().await;
        let id = id("gone");
        host.client.start(&id, &script("sleep 1000")).await.unwrap();
        let refused: ApiError = host.client.remove(&id).await.unwrap_err().refusal().unwrap().clone();
        assert_eq!(refused.reason, ErrorReason::Conflict);
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
        host.client.remove(&id).await.unwrap();
        assert_eq!(host.client.list().await.unwrap(), []);
        assert!(!host.directory().join("tasks/gone").exists());
        let refused = host.client.remove(&id).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().reason, ErrorReason::NotFound);
    });
}

fn long_path() {
    block_on(async {
        let mut host = Host::with_directory(&"a-directory-with-a-long-name/".repeat(6));
        host.start_pipe().await;
        assert_eq!(host.run("deep", "exit 9").await, End::Exited { code: 9 });
    });
}
