//! The end of a whole tree: what does not end is told of, a container is removed, and only then is the task final.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::fs::StatVfsMountFlags;
use vk_record::process::Stat;
use vk_record::{Dir, Intent, TaskDir, Version};
use vk_task::{
    End, EnvName, ExecVia, HostSetup, Launch, RuntimeLaunch, Signal, TaskId, TaskSpec, TaskState, TaskView, Terminate,
};

use crate::Test;
use crate::support::{
    Host, PATIENCE, block_on, copy_program, eventually, exec, id, kill, script, stop_in, until_view, with_env,
};

pub(crate) const TESTS: &[Test] = &[
    ("a_process_that_a_tracer_holds_on_to_is_told_of", traced),
    ("what_has_become_another_users_is_told_of", another_users),
    ("a_runtimes_client_gets_what_the_launch_says", client),
    ("a_client_that_passes_signals_on_gets_them_alone", signals_by_client),
    ("what_is_to_end_is_sent_its_own_signal", stop_signal),
    ("a_container_is_removed_when_the_whole_tree_is_gone", removed_after_tree),
    ("a_container_that_cannot_be_removed_is_told_of", not_removed),
    ("a_client_that_does_not_exist_has_left_no_container", no_client),
    ("a_container_is_removed_though_its_shim_was_killed", removed_without_shim),
];

fn traced() {
    block_on(async {
        let host = Host::new().await;
        let id = id("traced");
        host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
        let main = host.running(&id).await;
        ptrace::seize(Pid::from_raw(main), ptrace::Options::empty()).unwrap();
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        let view = lingers(&host, &id).await;
        assert!(!view.state.is_final());
        let [left] = view.lingering.as_slice() else { panic!("{view:?}") };
        assert_eq!((left.pid, left.name.as_str()), (main, "sleep"));
        let tracer = rustix::thread::gettid().as_raw_nonzero();
        assert!(left.why.contains(&format!("process {tracer}, which traces it")), "{left:?}");
        // The tracer lets go of it.
        waitpid(Pid::from_raw(main), None).unwrap();
        let view = host.until(&id, TaskState::is_final).await;
        let killed = End::Signaled { signal: Signal(9), core_dumped: false };
        assert!(matches!(&view.state, TaskState::Ended { end, .. } if *end == killed), "{view:?}");
        assert_eq!(view.lingering, []);
    });
}

/// A pipe of an ordinary user, whose task executes a program that has become root's.
fn another_users() {
    const USER: u32 = 65_534;
    let mut host = Host::without_pipe();
    let is_nosuid = rustix::fs::statvfs(host.home()).unwrap().f_flag.contains(StatVfsMountFlags::NOSUID);
    if !rustix::process::geteuid().is_root() || is_nosuid {
        println!("only root can make a set-uid program, where those are allowed");
        return;
    }
    block_on(async {
        let becomes_root = host.file("becomes-root");
        copy_program(&std::env::current_exe().unwrap(), &becomes_root);
        fs::set_permissions(&becomes_root, fs::Permissions::from_mode(0o4755)).unwrap();
        fs::create_dir(host.directory()).unwrap();
        chown(host.directory(), Some(USER), Some(USER)).unwrap();
        host.spawn_pipe_of(USER);
        host.wait_for_pipe().await;
        let (stopped, orphaned) = (id("stopped"), id("orphaned"));
        let mut mains = Vec::new();
        for id in [&stopped, &orphaned] {
            host.client.start(id, &exec(&[becomes_root.to_str().unwrap(), "become-root"])).await.unwrap();
            mains.push(host.running(id).await);
            let ready = host.file(&format!("root-{}", mains.last().unwrap()));
            eventually("it is root's", || ready.exists()).await;
        }
        // One is stopped; of the other the shim is killed, whose death does not kill it: that ended with being set-uid.
        host.client.stop(&stopped, &stop_in(Duration::ZERO)).await.unwrap();
        kill(host.shim_of(mains[1]));
        for (id, main) in [(&stopped, mains[0]), (&orphaned, mains[1])] {
            let view = lingers(&host, id).await;
            assert!(!view.state.is_final(), "{view:?}");
            assert_eq!(view.lingering[0].pid, main);
            assert!(view.lingering[0].why.contains("user 0's, and user 65534 may not end it"), "{view:?}");
            kill(main);
        }
        let state = host.until(&stopped, TaskState::is_final).await.state;
        assert!(matches!(state, TaskState::Ended { .. }), "{state:?}");
        let state = host.until(&orphaned, TaskState::is_final).await.state;
        assert!(matches!(state, TaskState::Unknown { .. }), "{state:?}");
    });
}

/// What `<this program> become-root` does, as a set-uid program.
pub(crate) fn become_root() -> std::process::ExitCode {
    let root = nix::unistd::Uid::from_raw(0);
    nix::unistd::setresuid(root, root, root).unwrap();
    let home = std::env::var("HOME").unwrap();
    fs::write(format!("{home}/root-{}", std::process::id()), "").unwrap();
    std::thread::sleep(crate::support::PATIENCE);
    std::process::ExitCode::SUCCESS
}

/// Waits until something is told to be left of a task.
async fn lingers(host: &Host, id: &TaskId) -> TaskView {
    let mut events = host.client.watch().await.unwrap();
    until_view(&mut events, id, |view| !view.lingering.is_empty()).await
}

/// A task that is launched by shell scripts in place of a runtime's client and its command for removal.
fn launch(host: &Host, id: &TaskId, client: &str, remove: &[&str], spec: TaskSpec) {
    launch_as(host, id, stand_in(client, remove), spec);
}

fn stand_in(client: &str, remove: &[&str]) -> RuntimeLaunch {
    let sh = |text: &str| ["/bin/sh", "-c", text, "stand-in"].map(str::to_owned).to_vec();
    RuntimeLaunch {
        terminate: Terminate::Tree,
        confine_client: false,
        runtime: "stand-in".into(),
        argv: [sh(client), vec!["a b".into(), "$c".into()]].concat(),
        env: [(EnvName::new("OF_THE_CLIENT").unwrap(), "x y".into())].into(),
        remove: remove.iter().map(|text| sh(text)).collect(),
        exec: ExecVia::Namespaces,
    }
}

fn launch_as(host: &Host, id: &TaskId, runtime: RuntimeLaunch, spec: TaskSpec) {
    let dir = host.directory().join("tasks").join(id.as_str());
    fs::create_dir_all(&dir).unwrap();
    let (accepted_at, launch) = (jiff::Timestamp::now(), Launch::Runtime(runtime));
    let intent = Intent { version: Version, id: id.clone(), accepted_at, spec, launch, setup: HostSetup::default() };
    TaskDir { dir: Dir::open(&dir).unwrap() }.write_intent(&intent).unwrap();
}

fn read(host: &Host, name: &str) -> String {
    fs::read_to_string(host.file(name)).unwrap_or_default()
}

fn client() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("client");
        let client = "{ printf '<%s>' \"$@\"; pwd; } > $HOME/seen; env -0 > $HOME/env; exit 4";
        let mut spec = with_env(script("exit 1"), "OF_THE_TASK", "1");
        spec.working_dir = Some("/in/the/container".into());
        launch(&host, &id, client, &["env -0 > $HOME/env-of-removal"], spec);
        host.start_pipe().await;
        assert_eq!(host.ended(&id).await, End::Exited { code: 4 });
        assert_eq!(read(&host, "seen"), format!("<a b><$c>{}\n", host.home().display()));
        // What the shell itself adds is no part of it.
        let variables = |name: &str| -> BTreeSet<String> {
            let is_shells = |v: &&str| ["PWD=", "OLDPWD=", "_=", "SHLVL="].iter().any(|name| v.starts_with(name));
            read(&host, name).split_terminator('\0').filter(|v| !is_shells(v)).map(str::to_owned).collect()
        };
        let env = variables("env");
        assert!(env.contains("OF_THE_CLIENT=x y") && env.contains("VK_CMD_TASK=client"), "{env:?}");
        assert!(env.iter().any(|v| v.starts_with("VK_CMD_RUN=")), "{env:?}");
        assert!(!env.contains("OF_THE_TASK=1"), "{env:?}");
        assert_eq!(variables("env-of-removal"), env);
    });
}

fn removed_after_tree() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("tree");
        // The client leaves processes that do not want to end.
        let client = "for i in 1 2 3; do
              setsid sh -c 'trap \"\" TERM; echo $$ >> $HOME/pids; exec sleep 1000' &
            done
            while [ \"$(cat $HOME/pids 2> /dev/null | wc -l)\" -lt 3 ]; do sleep 0.01; done; exit 6";
        let remove = "for pid in $(cat $HOME/pids); do kill -0 $pid && echo $pid; done >> $HOME/alive 2> /dev/null
            echo first >> $HOME/order";
        launch(&host, &id, client, &[remove, "echo second >> $HOME/order"], script(""));
        host.start_pipe().await;
        assert_eq!(host.ended(&id).await, End::Exited { code: 6 });
        assert_eq!(read(&host, "pids").lines().count(), 3);
        assert_eq!(read(&host, "alive"), "");
        assert_eq!(read(&host, "order"), "first\nsecond\n");
    });
}

fn not_removed() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("stuck");
        let remove = "echo try >> $HOME/tries; [ -e $HOME/now ] || { echo 'no such luck' >&2; exit 3; }";
        launch(&host, &id, "exit 2", &[remove], script(""));
        host.start_pipe().await;
        let view = lingers(&host, &id).await;
        assert!(!view.state.is_final(), "{view:?}");
        let [left] = view.lingering.as_slice() else { panic!("{view:?}") };
        assert_eq!((left.pid, left.name.as_str()), (0, "stand-in container"));
        assert!(left.why.contains("ended with exit code 3"), "{left:?}");
        eventually("it is tried again", || read(&host, "tries").lines().count() > 2).await;
        let words = fs::read_to_string(host.directory().join("tasks/stuck/shim.err")).unwrap();
        assert!(words.contains("no such luck"), "{words}");
        fs::write(host.file("now"), "").unwrap();
        let view = host.until(&id, TaskState::is_final).await;
        assert!(matches!(view.state, TaskState::Ended { end: End::Exited { code: 2 }, .. }), "{view:?}");
        assert_eq!(view.lingering, []);
    });
}

/// The container here would note a `SIGTERM` of its own.
fn signals_by_client() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("passed");
        let container =
            "trap 'echo TERM >> $HOME/said' TERM; trap 'exit 5' USR1; touch $HOME/up; while :; do sleep 0.01; done";
        fs::write(host.file("container"), container).unwrap();
        let client = "sh $HOME/container & c=$!; trap 'kill -USR1 $c' TERM; wait $c; wait $c";
        let runtime = RuntimeLaunch { terminate: Terminate::Client, ..stand_in(client, &[]) };
        launch_as(&host, &id, runtime, script(""));
        host.start_pipe().await;
        eventually("it is up", || host.file("up").exists()).await;
        host.client.stop(&id, &stop_in(PATIENCE)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 5 });
        assert_eq!(read(&host, "said"), "");
    });
}

/// On the host and by a client that passes signals on; and `SIGKILL`, for which there is nothing to wait.
fn stop_signal() {
    const WAITS: &str = "trap 'exit 6' TERM; trap 'exit 5' RTMIN+3; touch $HOME/up-$0; while :; do sleep 0.01; done";
    block_on(async {
        let mut host = Host::without_pipe();
        let with = |signal: &str, spec: TaskSpec| TaskSpec { stop_signal: Some(signal.parse().unwrap()), ..spec };
        let passed = id("passed");
        fs::write(host.file("container"), WAITS).unwrap();
        let client =
            "trap 'kill -RTMIN+3 $c' RTMIN+3; bash -c \"$(cat $HOME/container)\" passed & c=$!; wait $c; wait $c";
        let runtime = RuntimeLaunch {
            terminate: Terminate::Client,
            argv: ["bash", "-c", client].map(str::to_owned).into(),
            ..stand_in("", &[])
        };
        launch_as(&host, &passed, runtime, with("SIGRTMIN+3", script("")));
        host.start_pipe().await;
        for (name, signal, end) in [
            ("own", "SIGRTMIN+3", End::Exited { code: 5 }),
            ("kill", "SIGKILL", End::Signaled { signal: Signal(9), core_dumped: false }),
        ] {
            host.client.start(&id(name), &with(signal, exec(&["bash", "-c", WAITS, name]))).await.unwrap();
            eventually("it is up", || host.file(&format!("up-{name}")).exists()).await;
            host.client.stop(&id(name), &stop_in(PATIENCE * 10)).await.unwrap();
            assert_eq!(host.ended(&id(name)).await, end, "{name}");
        }
        eventually("it is up", || host.file("up-passed").exists()).await;
        host.client.stop(&passed, &stop_in(PATIENCE * 10)).await.unwrap();
        assert_eq!(host.ended(&passed).await, End::Exited { code: 5 });
    });
}

fn no_client() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("none");
        let runtime = RuntimeLaunch {
            terminate: Terminate::Tree,
            confine_client: false,
            runtime: "none".into(),
            argv: vec!["no-such-runtime".into()],
            env: [].into(),
            remove: vec![vec!["no-such-runtime".into(), "rm".into()]],
            exec: ExecVia::Namespaces,
        };
        launch_as(&host, &id, runtime, script(""));
        host.start_pipe().await;
        assert_eq!(host.ended(&id).await.exit_code(), 127);
    });
}

fn removed_without_shim() {
    block_on(async {
        let mut host = Host::without_pipe();
        let id = id("lost");
        let remove = "echo try >> $HOME/tries; [ -e $HOME/now ]";
        launch(&host, &id, "exec sleep 1000", &[remove], script(""));
        host.start_pipe().await;
        let main = host.running(&id).await;
        kill(host.shim_of(main));
        let view = lingers(&host, &id).await;
        assert!(!view.state.is_final() && view.lingering[0].name == "stand-in container", "{view:?}");
        assert!(Stat::of(main).is_none_or(|s| s.zombie));
        // Another pipe goes on with it.
        host.kill_pipe();
        fs::write(host.file("now"), "").unwrap();
        host.start_pipe().await;
        let view = host.until(&id, TaskState::is_final).await;
        assert!(matches!(view.state, TaskState::Unknown { .. }), "{view:?}");
        assert!(read(&host, "tries").lines().count() >= 2);
    });
}
