//! Figures: `cargo test -p vk-pipe --test pipe -- --ignored --nocapture --test-threads 1`, with `--release` for those
//! that count.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use vk_task::{LogLimits, TaskState, WatchEvent};

use crate::Test;
use crate::support::{Host, block_on, exec, id, script, stop_in, until};

pub(crate) const TESTS: &[Test] = &[
    ("figures_memory", memory),
    ("figures_latency", latency),
    ("figures_fifty_at_once", fifty),
    ("figures_output", output),
];

fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|v| v.parse().ok()).unwrap_or_default()
}

fn show_memory(what: &str, pid: i32) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = value(&text, "Private_Clean:") + value(&text, "Private_Dirty:");
    println!(
        "{what}: RSS {} kB, PSS {} kB, private {private} kB, of it dirty {} kB",
        value(&text, "Rss:"),
        value(&text, "Pss:"),
        value(&text, "Private_Dirty:")
    );
}

fn memory() {
    block_on(async {
        let host = Host::new().await;
        show_memory("pipe, idle", host.pipe_pid());
        let mut shim = 0;
        for n in 0..20 {
            let id = id(&format!("m{n}"));
            host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
            shim = host.shim_of(host.running(&id).await);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        show_memory("shim of a silent task (20 of them)", shim);
        let id = id("loud");
        host.client.start(&id, &script("seq 1 100000; sleep 1000")).await.unwrap();
        let main = host.running(&id).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        show_memory("shim of a task that has written", host.shim_of(main));
        show_memory("pipe, 21 tasks", host.pipe_pid());
        let busy = || cpu_ticks(host.pipe_pid()) + cpu_ticks(shim);
        let before = busy();
        tokio::time::sleep(Duration::from_secs(5)).await;
        println!("pipe with 21 tasks and one shim: {} ms of CPU in 5 s", (busy() - before) * 10);
    });
}

/// Clock ticks of 10 ms that a process has used.
fn cpu_ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |p: usize| times[(times.len() - 1) * p / 100];
    println!("{what}: p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, n {}", at(50), at(90), at(99), times.len());
}

fn latency() {
    block_on(async {
        let host = Host::new().await;
        let (mut answered, mut running, mut known) = (vec![], vec![], vec![]);
        for n in 0..50 {
            let (id, mark) = (id(&format!("l{n}")), host.file(&format!("l{n}")));
            let mut events = host.client.watch().await.unwrap();
            let begin = Instant::now();
            // The last thing it does is to write down the time.
            let spec =
                script(&format!("while [ ! -e {0} ]; do sleep 0.005; done; date +%s%N > {0}.end", mark.display()));
            host.client.start(&id, &spec).await.unwrap();
            answered.push(begin.elapsed());
            until(&mut events, &id, |s| matches!(s, TaskState::Running { .. })).await;
            running.push(begin.elapsed());
            fs::write(&mark, "").unwrap();
            until(&mut events, &id, TaskState::is_final).await;
            let now = jiff::Timestamp::now().as_nanosecond();
            let end: i128 = fs::read_to_string(mark.with_extension("end")).unwrap().trim().parse().unwrap();
            known.push(Duration::from_nanos(u64::try_from(now - end).unwrap()));
        }
        percentiles("start -> answered", answered);
        percentiles("start -> seen running", running);
        percentiles("end -> seen ended", known);
        let plain = (0..50).map(|_| {
            let begin = Instant::now();
            Command::new("true").status().unwrap();
            begin.elapsed()
        });
        percentiles("plain fork+exec+wait of `true`", plain.collect());
        let file = host.file("sync");
        let syncs = (0..50).map(|n| {
            let file = fs::File::create(file.with_extension(n.to_string())).unwrap();
            let begin = Instant::now();
            file.sync_all().unwrap();
            begin.elapsed()
        });
        percentiles("plain fsync of a new file", syncs.collect());
    });
}

fn fifty() {
    block_on(async {
        let host = Host::new().await;
        for round in 0..3 {
            let mut events = host.client.watch().await.unwrap();
            let ids: Vec<_> = (0..50).map(|n| id(&format!("f{round}-{n}"))).collect();
            let spec = script("exit 0");
            let begin = Instant::now();
            let started = join_all(ids.iter().map(|id| host.client.start(id, &spec)));
            let ended = async {
                let mut left: std::collections::BTreeSet<_> = ids.iter().cloned().collect();
                while !left.is_empty() {
                    match futures::StreamExt::next(&mut events).await.unwrap().unwrap() {
                        WatchEvent::Changed { task } if task.state.is_final() => {
                            left.remove(&task.id);
                        }
                        _ => {}
                    }
                }
                begin.elapsed()
            };
            let (_, all_ended) = tokio::join!(started, ended);
            println!("50 at once, round {round}: all ended and seen after {all_ended:.1?}");
        }
        let begin = Instant::now();
        let mut children: Vec<_> =
            (0..50).map(|_| Command::new("/bin/sh").args(["-c", "exit 0"]).spawn().unwrap()).collect();
        children.iter_mut().for_each(|c| {
            c.wait().unwrap();
        });
        println!("50 at once, plain fork+exec+wait: {:.1?}", begin.elapsed());
    });
}

/// How much output is measured with.
const OUTPUT_BYTES: usize = 256 << 20;

/// A rate in MB/s.
fn rate(bytes: usize, time: f64) -> f64 {
    bytes as f64 / 1e6 / time
}

fn output() {
    let line = "1234567890123456789012345678901234567890123456789012345678901234567890123456789\n";
    for (what, data) in
        [("lines of 80 bytes", line.repeat(OUTPUT_BYTES / line.len())), ("no newlines", "\0".repeat(OUTPUT_BYTES))]
    {
        block_on(async {
            let host = Host::new().await;
            let source = host.file("data");
            fs::write(&source, &data).unwrap();
            for (kept, limits) in
                [("50 MiB kept", LogLimits::default()), ("all kept", LogLimits { file_bytes: 1 << 30, files: 2 })]
            {
                for round in 0..3 {
                    let id = id(&format!("{}-{round}-{}", what.len(), kept.len()));
                    let done = host.file(&format!("done-{id}"));
                    let text = format!("cat {}; : > {}; exec sleep 1000", source.display(), done.display());
                    let mut task = script(&text);
                    task.limits.log = limits;
                    host.client.start(&id, &task).await.unwrap();
                    let shim = host.shim_of(host.running(&id).await);
                    let begin = Instant::now();
                    while !done.exists() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let time = begin.elapsed().as_secs_f64();
                    let cpu = cpu_ticks(shim) as f64 / 100.0;
                    println!(
                        "{what}, {kept}: {:.0} MB/s into the log, {:.0} MB/s per core of the shim",
                        rate(data.len(), time),
                        rate(data.len(), cpu)
                    );
                    host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
                    host.ended(&id).await;
                    if round == 2 {
                        let begin = Instant::now();
                        let mut stream = host.client.logs(&id, &vk_task::LogQuery::default()).await.unwrap();
                        let mut n = 0;
                        while let Some(part) = futures::StreamExt::next(&mut stream).await {
                            n += part.unwrap().len();
                        }
                        println!("{what}, {kept}: {:.0} MB/s out of the log", rate(n, begin.elapsed().as_secs_f64()));
                    }
                    host.client.remove(&id).await.unwrap();
                }
            }
            for _ in 0..3 {
                let sink = host.file("sink");
                let text = format!("cat {} | cat > {}", source.display(), sink.display());
                let begin = Instant::now();
                assert!(Command::new("/bin/sh").args(["-c", &text]).status().unwrap().success());
                println!(
                    "{what}: {:.0} MB/s through `cat` into a file",
                    rate(data.len(), begin.elapsed().as_secs_f64())
                );
                fs::remove_file(sink).unwrap();
            }
        });
    }
}
