//! What a task may use at most, and what becomes of it when that is not enough.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use vk_task::{
    Capability, End, LimitKind, Limits, Rlimit, Security, Signal, StartFailure, TaskId, TaskSpec, TaskState,
};

use crate::Test;
use crate::support::{Host, block_on, eventually, exec, id, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("a_task_whose_wall_time_is_over_is_told_so", wall_time),
    ("wall_time_needs_no_pipe", wall_time_without_pipe),
    ("rlimits_are_set_soft_and_hard", rlimits),
    ("a_limit_that_cannot_be_set_means_no_start", impossible_limit),
    ("niceness_and_processors_are_set", nice_and_cpus),
    ("capabilities_are_given_up_and_do_not_come_back", security),
    ("a_task_that_takes_too_much_memory_is_killed", memory_hog),
    ("shared_memory_counts_once", shared_memory),
    ("a_task_of_too_many_processes_is_killed", fork_bomb),
    ("threads_count_as_processes", threads),
    ("a_task_without_limits_costs_nothing_while_it_waits", idle),
];

fn limited(text: &str, limits: Limits) -> TaskSpec {
    TaskSpec { limits, ..script(text) }
}

/// How a task ended, and for which limit.
async fn outcome(host: &Host, id: &TaskId) -> (End, Option<LimitKind>) {
    match host.until(id, TaskState::is_final).await.state {
        TaskState::Ended { end, exceeded, .. } => (end, exceeded),
        other => panic!("{id} is {other:?}"),
    }
}

fn one_second() -> Limits {
    Limits { wall_seconds: Some(1), ..Limits::default() }
}

const SAYS_GOODBYE: &str =
    "trap 'echo term > $HOME/told; exit 7' TERM; touch $HOME/ready; while :; do sleep 1000; done";

/// What a process says of its own capabilities: as root or as another user, whoever runs the tests.
fn security() {
    block_on(async {
        let host = Host::new().await;
        let seen = async |name: &str, security: Security| {
            let id = id(name);
            let text = format!("grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs)' /proc/self/status > $HOME/{name}");
            host.client.start(&id, &TaskSpec { security, ..script(&text) }).await.unwrap();
            assert_eq!(outcome(&host, &id).await, (End::Exited { code: 0 }, None));
            let text = fs::read_to_string(host.file(name)).unwrap();
            let numbers = text.lines().filter_map(|line| line.split_once(":\t"));
            numbers.map(|(key, hex)| (key.to_owned(), u64::from_str_radix(hex, 16).unwrap())).collect::<Vec<_>>()
        };
        let before = seen("plain", Security::default()).await;
        let net_raw: Capability = "NET_RAW".parse().unwrap();
        let one = Security { drop_capabilities: [net_raw].into(), ..Security::default() };
        let is_root = rustix::process::getuid().is_root();
        for ((key, was), (_, is)) in before.iter().zip(seen("one", one).await) {
            match key.as_str() {
                // Who may not shrink the set must not be able to gain from it either.
                "NoNewPrivs" => assert_eq!(is, u64::from(!is_root)),
                "CapBnd" if !is_root => assert_eq!(is, *was),
                _ => assert_eq!(is, was & !(1 << net_raw.number()), "{key}"),
            }
        }
        let all =
            Security { no_new_privileges: true, drop_capabilities: Capability::all().collect(), ..Security::default() };
        for (key, is) in seen("all", all).await {
            match key.as_str() {
                "NoNewPrivs" => assert_eq!(is, 1),
                "CapBnd" if !is_root => {}
                _ => assert_eq!(is, 0, "{key}"),
            }
        }
    });
}

fn wall_time() {
    block_on(async {
        let host = Host::new().await;
        let id = id("long");
        host.client.start(&id, &limited(SAYS_GOODBYE, one_second())).await.unwrap();
        assert_eq!(outcome(&host, &id).await, (End::Exited { code: 7 }, Some(LimitKind::WallTime)));
        assert_eq!(fs::read_to_string(host.file("told")).unwrap(), "term\n");
        // One that ends before is not touched by it.
        assert_eq!(host.run("short", "exit 3").await, End::Exited { code: 3 });
    });
}

fn wall_time_without_pipe() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("alone");
        host.client.start(&id, &limited(SAYS_GOODBYE, one_second())).await.unwrap();
        host.running(&id).await;
        host.kill_pipe();
        let exit = host.directory().join("tasks/alone/exit.json");
        eventually("the shim ends it", || exit.exists()).await;
        assert_eq!(fs::read_to_string(host.file("told")).unwrap(), "term\n");
        host.start_pipe().await;
        assert_eq!(outcome(&host, &id).await, (End::Exited { code: 7 }, Some(LimitKind::WallTime)));
    });
}

/// Runs a script that writes what it sees to `$HOME/seen`; gives that.
async fn seen_by(host: &Host, name: &str, text: &str, limits: Limits) -> String {
    let id = id(name);
    host.client.start(&id, &limited(&format!("{{ {text}; }} > $HOME/seen"), limits)).await.unwrap();
    assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
    fs::read_to_string(host.file("seen")).unwrap()
}

fn rlimits() {
    block_on(async {
        let host = Host::new().await;
        let all = [
            (Rlimit::AddressSpace, 8 << 30, "Max address space"),
            (Rlimit::Core, 4096, "Max core file size"),
            (Rlimit::CpuSeconds, 77, "Max cpu time"),
            (Rlimit::Data, 4 << 30, "Max data size"),
            (Rlimit::FileSize, 1 << 20, "Max file size"),
            (Rlimit::LockedMemory, 1 << 16, "Max locked memory"),
            (Rlimit::OpenFiles, 99, "Max open files"),
            (Rlimit::UserProcesses, 12_345, "Max processes"),
            (Rlimit::Stack, 4 << 20, "Max stack size"),
        ];
        let limits =
            Limits { rlimits: all.iter().map(|(what, most, _)| (*what, *most)).collect(), ..Limits::default() };
        let seen = seen_by(&host, "limited", "cat /proc/self/limits", limits).await;
        for (_, most, name) in all {
            let line = seen.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let words: Vec<&str> = line.split_ascii_whitespace().take(2).collect();
            assert_eq!(words, [most.to_string(), most.to_string()], "{name}");
        }
    });
}

fn impossible_limit() {
    block_on(async {
        let host = Host::new().await;
        // Past what the kernel has at all (fs.nr_open), so that root may not have it either.
        let limits = Limits { rlimits: [(Rlimit::OpenFiles, u64::MAX - 1)].into(), ..Limits::default() };
        let id = id("greedy");
        host.client.start(&id, &limited("touch $HOME/ran", limits)).await.unwrap();
        match host.ended(&id).await {
            End::NotStarted { failure: StartFailure::Other, message } => {
                assert!(message.contains("RLIMIT_NOFILE"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!host.file("ran").exists());
    });
}

fn nice_and_cpus() {
    block_on(async {
        let host = Host::new().await;
        let ask = "cut -d ' ' -f 19 /proc/self/stat; grep Cpus_allowed_list /proc/self/status";
        let limits = Limits { nice: Some(7), cpu_millis: Some(500), ..Limits::default() };
        let seen = seen_by(&host, "nice", ask, limits).await;
        let (nice, cpus) = seen.trim().split_once('\n').unwrap();
        assert_eq!(nice, "7");
        // One processor; on a host of one that is all there are.
        let cpu = cpus.split_once(':').unwrap().1.trim();
        assert!(cpu.parse::<u32>().is_ok(), "{cpus}");
    });
}

/// Takes more and more memory in its own process: the shell's variable doubles.
const HOG: &str = "x=0123456789abcdef; while :; do x=$x$x; sleep 0.05; done";

fn memory_hog() {
    block_on(async {
        let host = Host::new().await;
        let id = id("hog");
        let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
        // In a grandchild in a session of its own: it is the tree that counts.
        let text = format!("setsid sh -c '{HOG}' & while :; do sleep 1000; done");
        host.client.start(&id, &limited(&text, limits)).await.unwrap();
        let (end, exceeded) = outcome(&host, &id).await;
        assert_eq!((end.exit_code(), exceeded), (137, Some(LimitKind::Memory)));
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
    });
}

/// Eight processes use the same 16 MiB, and each has next to nothing of its own.
fn shared_memory() {
    block_on(async {
        let host = Host::new().await;
        let id = id("sharing");
        let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
        let text = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do x=$x$x; done
            for i in 1 2 3 4 5 6 7 8; do (read line < $HOME/never; : $x) & done; sleep 1.5; kill $(jobs -p); exit 9";
        rustix::fs::mkfifoat(rustix::fs::CWD, host.file("never"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        host.client.start(&id, &limited(text, limits)).await.unwrap();
        assert_eq!(outcome(&host, &id).await, (End::Exited { code: 9 }, None));
    });
}

fn fork_bomb() {
    block_on(async {
        let host = Host::new().await;
        let id = id("bomb");
        let limits = Limits { processes: Some(20), ..Limits::default() };
        // It would stop by itself at some 500.
        let text = "i=0; while [ $i -lt 500 ]; do setsid sleep 1000 & i=$((i+1)); sleep 0.005; done; wait";
        host.client.start(&id, &limited(text, limits)).await.unwrap();
        let (end, exceeded) = outcome(&host, &id).await;
        assert_eq!((end.exit_code(), exceeded), (137, Some(LimitKind::Processes)));
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
    });
}

/// What `<this program> threads <count>` does.
pub(crate) fn be_threads(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let count: usize = args.next().unwrap().to_str().unwrap().parse().unwrap();
    let threads: Vec<_> = (0..count).map(|_| std::thread::spawn(std::thread::park)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    ExitCode::SUCCESS
}

fn threads() {
    block_on(async {
        let host = Host::new().await;
        let id = id("threads");
        let me = std::env::current_exe().unwrap();
        let limits = Limits { processes: Some(20), ..Limits::default() };
        let spec = TaskSpec { limits, ..exec(&[me.to_str().unwrap(), "threads", "40"]) };
        host.client.start(&id, &spec).await.unwrap();
        let killed = End::Signaled { signal: Signal(9), core_dumped: false };
        assert_eq!(outcome(&host, &id).await, (killed, Some(LimitKind::Processes)));
    });
}

/// How often a process has gone to sleep and been woken.
fn switches(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

fn idle() {
    block_on(async {
        let host = Host::new().await;
        // A wall time is waited for, not looked for.
        let limits = [Limits::default(), Limits { wall_seconds: Some(1000), ..Limits::default() }];
        let mut shims = Vec::new();
        for (n, limits) in limits.into_iter().enumerate() {
            let id = id(&format!("idle-{n}"));
            host.client.start(&id, &TaskSpec { limits, ..exec(&["sleep", "1000"]) }).await.unwrap();
            shims.push((host.shim_of(host.running(&id).await), id));
        }
        // It settles: what it does at the start is over when nothing happens for a while.
        let count = || shims.iter().map(|(pid, _)| switches(*pid)).collect::<Vec<u64>>();
        let mut before = count();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = count();
            if now == before {
                break;
            }
            before = now;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count(), before);
        for (_, id) in &shims {
            host.client.stop(id, &stop_in(Duration::ZERO)).await.unwrap();
            host.ended(id).await;
        }
    });
}
