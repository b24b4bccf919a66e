//! What goes out comes back, byte for byte; and what comes in arrives.

use std::fs;
use std::time::Duration;

use futures::StreamExt;
use vk_task::{End, LimitKind, LogLimits, LogQuery, Program, ScriptRunner, TaskId, TaskState};

use crate::Test;
use crate::support::{Host, block_on, exec, id, script, spec, stop_in, with_env};

pub(crate) const TESTS: &[Test] = &[
    ("both_outputs_come_back", both),
    ("ten_mebibytes_survive", ten_mebibytes),
    ("a_line_of_a_mebibyte_survives", long_line),
    ("a_follower_sees_lines_as_they_come", follow),
    ("a_follower_sees_all_of_a_big_output", follow_big),
    ("tails_and_limits", tails),
    ("a_strange_script_runs_unchanged", strange_script),
    ("strange_arguments_and_variables_arrive_unchanged", strange_strings),
    ("a_prompt_without_a_newline_is_seen", prompt),
    ("a_log_that_is_cut_off_is_an_error", cut_off),
    ("of_a_big_output_the_newest_files_are_kept", rotation),
    ("a_follower_loses_and_doubles_nothing_over_rotations", follow_rotation),
    ("a_follower_that_is_too_slow_is_told_what_is_missing", slow_follower),
    ("a_task_that_writes_too_much_is_killed", output_limit),
    ("what_lines_of_the_fifo_write_is_in_pipeline_out", pipeline),
];

async fn read(host: &Host, id: &TaskId, query: &LogQuery) -> Vec<u8> {
    let mut stream = host.client.logs(id, query).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part.unwrap());
    }
    bytes
}

async fn all(host: &Host, id: &TaskId) -> Vec<u8> {
    read(host, id, &LogQuery::default()).await
}

fn both() {
    block_on(async {
        let host = Host::new().await;
        let id = id("both");
        host.run("both", "printf 'out\\n'; sleep 0.2; printf 'err\\n' >&2; sleep 0.2; printf 'no newline'").await;
        assert_eq!(all(&host, &id).await, b"out\nerr\nno newline");
        let log = fs::read_to_string(host.directory().join("tasks/both/log")).unwrap();
        let tags: Vec<_> = log.lines().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(tags, ["stdout F out", "stderr F err", "stdout P no newline"]);
    });
}

fn ten_mebibytes() {
    block_on(async {
        let host = Host::new().await;
        let file = host.file("random");
        // Any bytes, newlines and NULs among them.
        let bytes: Vec<u8> = (0..10 << 20)
            .scan(7_u32, |x, _| {
                *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some((*x >> 24) as u8)
            })
            .collect();
        fs::write(&file, &bytes).unwrap();
        let id = id("big");
        // In a few files.
        let mut task = exec(&["cat", file.to_str().unwrap()]);
        task.limits.log = LogLimits { file_bytes: 3 << 20, files: 100 };
        host.client.start(&id, &task).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
        assert!(all(&host, &id).await == bytes);
        assert!(host.log_files(&id).len() > 3);
    });
}

fn long_line() {
    block_on(async {
        let host = Host::new().await;
        let end = host.run("long", "head -c 1048576 /dev/zero | tr '\\0' x; echo; echo after").await;
        assert_eq!(end, End::Exited { code: 0 });
        let got = all(&host, &id("long")).await;
        assert!(got == [&[b'x'; 1 << 20][..], b"\nafter\n"].concat());
        let tail = LogQuery { tail_lines: Some(2), ..LogQuery::default() };
        assert!(read(&host, &id("long"), &tail).await == got);
    });
}

fn follow() {
    block_on(async {
        let host = Host::new().await;
        let (id, go) = (id("follow"), host.file("go"));
        let text = format!("echo one; while [ ! -e {} ]; do sleep 0.01; done; echo two >&2; exit 1", go.display());
        host.client.start(&id, &script(&text)).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut stream = host.client.logs(&id, &query).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "one\n");
        fs::write(&go, "").unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "two\n");
        while let Some(part) = stream.next().await {
            assert_eq!(part.unwrap(), "");
        }
        assert!(host.client.get(&id).await.unwrap().state.is_final());
    });
}

fn follow_big() {
    block_on(async {
        let host = Host::new().await;
        let id = id("seq");
        host.client.start(&id, &exec(&["seq", "1", "300000"])).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let got = String::from_utf8(read(&host, &id, &query).await).unwrap();
        let wanted: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
        assert!(got == wanted);
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
    });
}

fn tails() {
    block_on(async {
        let host = Host::new().await;
        let id = id("tail");
        host.client.start(&id, &exec(&["seq", "1", "50000"])).await.unwrap();
        host.ended(&id).await;
        let tail = |n| LogQuery { tail_lines: Some(n), ..LogQuery::default() };
        assert_eq!(read(&host, &id, &tail(0)).await, b"");
        assert_eq!(read(&host, &id, &tail(3)).await, b"49998\n49999\n50000\n");
        let many = read(&host, &id, &tail(20_000)).await;
        assert!(many.starts_with(b"30001\n") && many.ends_with(b"\n50000\n"));
        assert_eq!(read(&host, &id, &tail(1_000_000)).await, all(&host, &id).await);
        let limited = LogQuery { limit_bytes: Some(4), ..tail(3) };
        assert_eq!(read(&host, &id, &limited).await, b"4999");
        let future = LogQuery { since_time: Some("2999-01-01T00:00:00Z".parse().unwrap()), ..LogQuery::default() };
        assert_eq!(read(&host, &id, &future).await, b"");
        let stamped = LogQuery { timestamps: true, ..tail(1) };
        let stamped = String::from_utf8(read(&host, &id, &stamped).await).unwrap();
        let (time, text) = stamped.split_once(' ').unwrap();
        assert_eq!((time.len(), text), (30, "50000\n"));
    });
}

fn strange_script() {
    block_on(async {
        let host = Host::new().await;
        let id = id("strange");
        // It prints itself, and is longer than any argument can be.
        let mut text =
            "cat \"$0\"; echo \"$$\" >/dev/null; exit 0\n'\"`$(\\ \u{fc}\u{1f980}\r\n\t$$ %s \\n\n".to_owned();
        while text.len() < 200 << 10 {
            text.push_str("# \"quotes\" 'and' $$ \u{e4}\u{f6}\u{fc} `ticks`\n");
        }
        host.client.start(&id, &script(&text)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
        assert!(all(&host, &id).await == text.as_bytes());
        let shebang = Program::Script { text: "#!/bin/cat\n'$$'\n".into(), runner: ScriptRunner::Shebang };
        let other = crate::support::id("shebang");
        host.client.start(&other, &spec(shebang)).await.unwrap();
        assert_eq!(host.ended(&other).await, End::Exited { code: 0 });
        assert_eq!(all(&host, &other).await, b"#!/bin/cat\n'$$'\n");
    });
}

fn strange_strings() {
    block_on(async {
        let host = Host::new().await;
        let id = id("strings");
        let value = "two\nlines, \"quotes\" 'and' $HOME `x` \\ \u{fc} ";
        let task = exec(&["/bin/sh", "-c", "printf '%s|' \"$@\"", "sh", value, "", "-n"]);
        host.client.start(&id, &task).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
        assert_eq!(String::from_utf8(all(&host, &id).await).unwrap(), format!("{value}||-n|"));
        // Without a shell: some shells do not pass on variables whose names they could not use themselves.
        let id = crate::support::id("variable");
        host.client.start(&id, &with_env(exec(&["printenv", "odd.name-1"]), "odd.name-1", value)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
        assert_eq!(String::from_utf8(all(&host, &id).await).unwrap(), format!("{value}\n"));
    });
}

fn prompt() {
    block_on(async {
        let host = Host::new().await;
        let id = id("prompt");
        host.client.start(&id, &script("printf 'name? '; sleep 1000")).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut stream = host.client.logs(&id, &query).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "name? ");
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
    });
}

fn cut_off() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("cut");
        host.client.start(&id, &script("echo begin; sleep 1000")).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut stream = host.client.logs(&id, &query).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "begin\n");
        host.kill_pipe();
        assert!(stream.next().await.unwrap().is_err());
    });
}

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|n| format!("{n}\n")).collect()
}

fn rotation() {
    block_on(async {
        let host = Host::new().await;
        let id = id("fifty");
        let line = "x".repeat(4000);
        // 50 MiB, of which 5 files of 1 MiB are kept.
        let mut task = script(&format!("i=0; while [ $i -lt 13107 ]; do i=$((i+1)); echo $i {line}; done"));
        task.limits.log = LogLimits { file_bytes: 1 << 20, files: 5 };
        host.client.start(&id, &task).await.unwrap();
        let mut most = 0;
        while !host.client.get(&id).await.unwrap().state.is_final() {
            most = most.max(host.log_files(&id).values().sum());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // For a moment there may be one more, which is being removed.
        assert!(most <= 6 << 20, "{most}");
        let files = host.log_files(&id);
        assert!(files.len() == 5 && files.values().all(|len| *len <= 1 << 20), "{files:?}");
        let got = String::from_utf8(all(&host, &id).await).unwrap();
        assert!(got.len() > 4 << 20);
        let first: u32 = got.split_once(' ').unwrap().0.parse().unwrap();
        let wanted: String = (first..=13107).map(|n| format!("{n} {line}\n")).collect();
        assert!(got == wanted);
        // More than one file holds.
        let tail = LogQuery { tail_lines: Some(600), ..LogQuery::default() };
        let wanted: String = (12508..=13107).map(|n| format!("{n} {line}\n")).collect();
        assert!(read(&host, &id, &tail).await == wanted.as_bytes());
    });
}

fn follow_rotation() {
    block_on(async {
        let host = Host::new().await;
        let id = id("seq");
        let mut task = exec(&["seq", "1", "300000"]);
        // So many that none is thrown away: 16 MB in the log.
        task.limits.log = LogLimits { file_bytes: 128 << 10, files: 1000 };
        host.client.start(&id, &task).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let got = String::from_utf8(read(&host, &id, &query).await).unwrap();
        assert!(got == numbers(1, 300_000));
        assert!(host.log_files(&id).len() > 100);
        assert!(all(&host, &id).await == got.as_bytes());
    });
}

fn slow_follower() {
    block_on(async {
        let host = Host::new().await;
        let (id, go) = (id("slow"), host.file("go"));
        let text = format!("echo first; while [ ! -e {} ]; do sleep 0.01; done; seq 1 300000", go.display());
        let mut task = script(&text);
        task.limits.log = LogLimits { file_bytes: 128 << 10, files: 3 };
        host.client.start(&id, &task).await.unwrap();
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut stream = host.client.logs(&id, &query).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "first\n");
        // What it reads from now on is more than what lies between it and the pipe.
        fs::write(&go, "").unwrap();
        host.ended(&id).await;
        let mut got = Vec::new();
        while let Some(part) = stream.next().await {
            got.extend_from_slice(&part.unwrap());
        }
        let got = String::from_utf8(got).unwrap();
        let gaps: Vec<_> = got.lines().filter(|l| l.contains("bytes of the log are missing")).collect();
        assert!(!gaps.is_empty());
        let lines: Vec<u32> = got.lines().filter_map(|l| l.parse().ok()).collect();
        assert_eq!(lines.len() + gaps.len(), got.lines().count(), "nothing but whole lines");
        assert!(lines.is_sorted() && lines.last() == Some(&300_000));
        let holes = lines.windows(2).filter(|w| w[1] != w[0] + 1).count() + usize::from(lines[0] != 1);
        assert_eq!(holes, gaps.len());
    });
}

fn output_limit() {
    block_on(async {
        let host = Host::new().await;
        let id = id("loud");
        let mut task = script("trap '' TERM; setsid yes & yes");
        task.limits.output_bytes = Some(1_000_001);
        host.client.start(&id, &task).await.unwrap();
        match host.until(&id, TaskState::is_final).await.state {
            TaskState::Ended { end: End::Signaled { signal, .. }, exceeded: Some(LimitKind::Output), .. } => {
                assert_eq!(signal.0, 9);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
        let got = String::from_utf8(all(&host, &id).await).unwrap();
        let told = "vk-cmd: the output is longer than its limit of 1000001 bytes; what follows is not kept\n";
        assert!(got == format!("{}y{told}", "y\n".repeat(500_000)));
    });
}

fn pipeline() {
    block_on(async {
        let host = Host::new().await;
        let line = |name| format!("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo {name} $i; echo {name} >&2; done\n");
        fs::write(host.directory().join("vk-cmd"), line("a") + &line("b") + "printf 'no newline'\n").unwrap();
        loop {
            let tasks = host.client.list().await.unwrap();
            if tasks.len() == 3 && tasks.iter().all(|t| t.state.is_final()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let read = |name| fs::read_to_string(host.directory().join(name)).unwrap();
        let out = read("pipeline.out");
        for name in ["a", "b"] {
            let lines: Vec<_> = out.lines().filter(|l| l.starts_with(name)).collect();
            assert!(lines == (1..=3000).map(|n| format!("{name} {n}")).collect::<Vec<_>>(), "all of it, in order");
            assert_eq!(read("pipeline.err").lines().filter(|l| *l == name).count(), 3000);
        }
        assert_eq!(out.lines().filter(|l| *l == "no newline").count(), 1);
        assert_eq!(out.lines().count(), 6001);
    });
}
