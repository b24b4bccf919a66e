//! Starts, ends, stops.

use std::fs;
use std::time::Duration;

use vk_task::{End, Signal, StartFailure, TaskState};

use crate::Test;
use crate::support::{Host, block_on, eventually, exec, id, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("what_cannot_start_says_why", failures),
    ("a_start_is_idempotent", idempotent),
    ("a_stop_is_term_to_the_whole_tree", stop_with_trap),
    ("a_task_that_ignores_term_is_killed", stop_ignored),
    ("no_process_outlives_its_task", leftovers),
    ("a_task_begins_clean", clean),
    ("fifty_at_once_are_fifty", fifty),
];

fn failures() {
    block_on(async {
        let host = Host::new().await;
        let plain = host.file("plain");
        fs::write(&plain, "echo hi").unwrap();
        let mut nowhere = exec(&["true"]);
        nowhere.working_dir = Some("no/such/dir".into());
        let mut lonely = script("#!/no/such/interpreter -x\n");
        lonely.program = vk_task::Program::Script {
            text: "#!/no/such/interpreter -x\n".into(),
            runner: vk_task::ScriptRunner::Shebang,
        };
        let cases = [
            (exec(&["no-such-program"]), StartFailure::NotFound, "no-such-program"),
            (exec(&["/no/such/program"]), StartFailure::NotFound, "/no/such/program"),
            (exec(&[plain.to_str().unwrap()]), StartFailure::NotExecutable, "plain"),
            (exec(&["/etc"]), StartFailure::NotExecutable, "/etc"),
            (nowhere, StartFailure::WorkingDirectory, "no/such/dir"),
            (lonely, StartFailure::NotFound, "/no/such/interpreter"),
        ];
        for (i, (spec, wanted, word)) in cases.into_iter().enumerate() {
            let id = id(&format!("case-{i}"));
            host.client.start(&id, &spec).await.unwrap();
            match host.ended(&id).await {
                End::NotStarted { failure, message } => {
                    assert_eq!(failure, wanted, "{message}");
                    assert!(message.contains(word), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

fn idempotent() {
    block_on(async {
        let host = Host::new().await;
        let witness = host.file("witness");
        let spec = script(&format!("echo ran >> {}", witness.display()));
        let id = id("once");
        let starts = (0..10).map(|_| host.client.start(&id, &spec));
        for answer in futures::future::join_all(starts).await {
            answer.unwrap();
        }
        host.ended(&id).await;
        let view = host.client.start(&id, &spec).await.unwrap();
        assert!(view.state.is_final());
        assert_eq!(fs::read_to_string(&witness).unwrap(), "ran\n");
    });
}

fn stop_with_trap() {
    block_on(async {
        let host = Host::new().await;
        let witness = host.file("witness");
        let text =
            format!("trap 'echo term > {0}; exit 7' TERM; touch {0}; while :; do sleep 0.05; done", witness.display());
        let id = id("trap");
        host.client.start(&id, &script(&text)).await.unwrap();
        eventually("the trap is set", || witness.exists()).await;
        let view = host.client.stop(&id, &stop_in(Duration::from_secs(1000))).await.unwrap();
        assert!(view.stop.is_some());
        assert_eq!(host.ended(&id).await, End::Exited { code: 7 });
        assert_eq!(fs::read_to_string(&witness).unwrap(), "term\n");
    });
}

fn stop_ignored() {
    block_on(async {
        let host = Host::new().await;
        let witness = host.file("witness");
        let text = format!(
            "trap '' TERM; setsid sh -c 'touch {}; while :; do sleep 1000; done' & while :; do sleep 1000; done",
            witness.display()
        );
        let id = id("deaf");
        host.client.start(&id, &script(&text)).await.unwrap();
        eventually("the trap is set", || witness.exists()).await;
        host.client.stop(&id, &stop_in(Duration::from_secs(1000))).await.unwrap();
        // The first grace is long: it is the second request that counts.
        host.client.stop(&id, &stop_in(Duration::from_millis(50))).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Signaled { signal: Signal(9), core_dumped: false });
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
    });
}

fn leftovers() {
    block_on(async {
        let host = Host::new().await;
        let (pids, id) = (host.file("pids"), id("escapees"));
        // A background child, one in a session of its own, and a grandchild whose parents are gone and whose
        // environment is not the task's.
        let text = format!(
            "sleep 1000 & echo $! >> {0}
             setsid sh -c 'echo $$ >> {0}; exec sleep 1000' &
             (setsid env -i sh -c 'sh -c \"echo \\$\\$ >> {0}; exec sleep 1000\" &' &)
             while [ $(wc -l < {0}) -lt 3 ]; do sleep 0.01; done
             exit 3",
            pids.display()
        );
        host.client.start(&id, &script(&text)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 3 });
        let pids = fs::read_to_string(&pids).unwrap();
        assert_eq!(pids.lines().count(), 3);
        for pid in pids.lines() {
            let stat = vk_record::process::Stat::of(pid.parse().unwrap());
            assert!(stat.is_none_or(|s| s.zombie), "{stat:?}");
        }
        assert!(matches!(host.client.get(&id).await.unwrap().state, TaskState::Ended { .. }));
    });
}

fn clean() {
    block_on(async {
        let mut host = Host::without_pipe();
        // A pipe that was started in a strange way: signals ignored, files open, variables set.
        let exe = std::env::current_exe().unwrap();
        let text = format!(
            "trap '' TERM HUP USR2 RTMIN+3; ulimit -Sn 512; exec 7</dev/null; STRAY=1 VK_CMD_STRAY=1 exec {} pipe {}",
            exe.display(),
            host.directory().display()
        );
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &text]).env("HOME", host.home());
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        let out = host.file("out");
        let text = format!(
            "{{ ls /proc/self/fd | tr '\\n' ' '; echo; ulimit -n; pwd
               grep -E '^Sig(Ign|Blk)' /proc/self/status; env | grep -E 'STRAY|SHIM'; }} > {0}.new; mv {0}.new {0}",
            out.display()
        );
        assert_eq!(host.run("clean", &text).await, End::Exited { code: 0 });
        let got = fs::read_to_string(&out).unwrap();
        let (got, ignored) = got.trim_end().rsplit_once("SigIgn:\t").unwrap();
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap(), 0);
        let wanted = format!("0 1 2 3 \n512\n{}\nSigBlk:\t0000000000000000\n", host.home().display());
        assert_eq!(got, wanted);
    });
}

fn fifty() {
    block_on(async {
        let host = Host::new().await;
        let witness = host.file("witness");
        let name = |n| id(&format!("fifty-{n}"));
        let started = (0..50_u8).map(|n| {
            let text = format!("cd /; export N={n}; echo {n} >> {}; exit {n}", witness.display());
            let (host, id) = (&host, name(n));
            async move { host.client.start(&id, &script(&text)).await.unwrap() }
        });
        futures::future::join_all(started).await;
        for code in 0..50 {
            assert_eq!(host.ended(&name(code)).await, End::Exited { code });
        }
        let mut lines: Vec<u8> = fs::read_to_string(&witness).unwrap().lines().map(|l| l.parse().unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, (0..50).collect::<Vec<_>>());
    });
}
