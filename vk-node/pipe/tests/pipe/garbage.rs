//! Ten thousand pieces of garbage for a live pipe, through each way in: it answers, works on, and does not grow.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vk_fuzz::mutate::{Dice, mutate};
use vk_fuzz::{TARGETS, Target};
use vk_task::{End, Origin, StartFailure, TaskState};

use crate::Test;
use crate::support::{Host, block_on, eventually, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("garbage_on_the_socket_is_refused_and_harms_nobody", socket),
    ("garbage_in_the_fifo_is_told_of_and_harms_nobody", fifo),
    ("garbage_in_the_records_harms_no_other_task", records),
];

const PIECES: usize = 10_000;
/// The pipe may grow by so much: the table of what it knows, and what the allocator keeps.
const MAX_GROWTH_BYTES: u64 = 24 << 20;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let Target { seeds, .. } = TARGETS.into_iter().find(|target| target.name == name).unwrap();
    seeds()
}

/// The memory of a process that is its own or was touched by it.
fn resident(pid: i32) -> u64 {
    vk_record::process::Resident::of(pid).unwrap().bytes
}

/// Runs `work`, and sees that the pipe still answers and has not grown beyond its bound.
async fn unharmed(host: &Host, work: impl AsyncFnOnce()) {
    host.run("before", "true").await;
    let before = resident(host.pipe_pid());
    work().await;
    assert_eq!(host.run("after", "exit 7").await, End::Exited { code: 7 });
    let after = resident(host.pipe_pid());
    assert!(after < before + MAX_GROWTH_BYTES, "it has grown from {before} to {after} bytes");
}

/// What was read; nothing when the pipe has hung up. It must not keep one waiting.
fn answered<T>(read: std::io::Result<T>) -> Option<T> {
    let timed_out = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!read.as_ref().is_err_and(timed_out), "no answer");
    read.ok()
}

/// One request on a connection that is kept; gives the status, or nothing when the pipe hangs up on it. What is asked of
/// the pipe has an answer soon.
fn ask(stream: &mut BufReader<UnixStream>, method: &str, path: &str, body: &[u8]) -> Option<u16> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: p\r\ncontent-length: {}\r\n\r\n", body.len());
    // It hangs up after a request that it cannot make out; then this fails.
    stream.get_mut().write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut line = String::new();
    answered(stream.read_line(&mut line))?;
    let status = line.split(' ').nth(1)?.parse().unwrap();
    let mut length = 0;
    loop {
        line.clear();
        answered(stream.read_line(&mut line))?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    answered(stream.read_exact(&mut vec![0; length]))?;
    Some(status)
}

fn connect(host: &Host) -> UnixStream {
    let stream = UnixStream::connect(host.directory().join("vk-cmd.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn socket() {
    block_on(async {
        let host = Host::new().await;
        // One that is there: what makes sense is answered, and starts nothing.
        host.run("known", "true").await;
        let bodies = [seeds("requests"), seeds("streams")].concat();
        let paths: Vec<Vec<u8>> = ["known", "nobody", "..", "%2e%2e%2f", "a%00b"]
            .iter()
            .flat_map(|id| {
                ["", "/stop", "/signal", "/reported", "/stream", "/logs?tailLines=1"]
                    .map(|end| format!("/v1/tasks/{id}{end}"))
            })
            .map(String::into_bytes)
            .collect();
        unharmed(&host, async || {
            let mut dice = Dice::new(7);
            let mut stream = BufReader::new(connect(&host));
            for n in 0..PIECES {
                let body = mutate(&bodies, &mut dice);
                if n % 10 == 0 {
                    // No request at all: the connection is closed, or the answer is a refusal.
                    let mut raw = connect(&host);
                    let _ = raw.write_all(&body).and_then(|()| raw.shutdown(std::net::Shutdown::Write));
                    let mut answer = Vec::new();
                    let _ = raw.read_to_end(&mut answer);
                    assert!(
                        answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
                        "{:?}",
                        String::from_utf8_lossy(&answer)
                    );
                    continue;
                }
                // A path is what hyper takes for one; the rest is for the line above.
                let mutated = mutate(&paths, &mut dice);
                let path: String = mutated.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect();
                let known = dice.below(2) == 0;
                let path = if known || !path.starts_with("/v1/tasks/") || path.ends_with("/tasks/") {
                    "/v1/tasks/known".to_owned()
                } else {
                    path
                };
                let method = *dice.one_of(&["PUT", "POST", "DELETE", "GET", "PATCH"]).unwrap();
                // The one that is there stays there; and nobody is given a task under a name that is not.
                let harmless = method != "DELETE" && (method != "PUT" || path == "/v1/tasks/known");
                match ask(&mut stream, if harmless { method } else { "GET" }, &path, &body) {
                    Some(status) => assert!(status < 500, "{method} {path}: {status}"),
                    None => stream = BufReader::new(connect(&host)),
                }
            }
        })
        .await;
    });
}

fn fifo() {
    block_on(async {
        let host = Host::new().await;
        const WRITERS: usize = 5;
        unharmed(&host, async || {
            let mut dice = Dice::new(9);
            let texts = [seeds("fifo"), seeds("records"), seeds("processes")].concat();
            for _ in 0..WRITERS {
                let mut fifo = OpenOptions::new().write(true).open(host.directory().join("vk-cmd")).unwrap();
                for _ in 0..PIECES / WRITERS {
                    // What a shell would do with it is not the question, so it is never text: each line of it is refused.
                    let lines = mutate(&texts, &mut dice);
                    let mut bytes: Vec<u8> =
                        lines.split(|b| *b == b'\n').flat_map(|line| [b"\xff", line, b"\n"].concat()).collect();
                    if dice.below(100) == 0 {
                        bytes = [b"VK_CMD_TASK=nobody ".as_slice(), b"true\n"].concat();
                    }
                    fifo.write_all(&bytes).unwrap();
                }
            }
            // A line after all of them has run: all have been read.
            let mut last = OpenOptions::new().write(true).open(host.directory().join("vk-cmd")).unwrap();
            last.write_all(b"touch $HOME/last\n").unwrap();
            eventually("the last line has run", || host.file("last").exists()).await;
        })
        .await;
        let told = fs::read_to_string(host.directory().join("pipeline.err")).unwrap();
        assert!(told.contains("not UTF-8") && told.contains("more lines of the same writer"), "{}", told.len());
        for task in host.client.list().await.unwrap() {
            if matches!(task.origin, Origin::Fifo { .. }) {
                let TaskState::Ended { end, .. } = task.state else { panic!("{task:?}") };
                assert!(matches!(end, End::Exited { code: 0 } | End::NotStarted { failure: StartFailure::Other, .. }));
            }
        }
    });
}

fn records() {
    block_on(async {
        // So many of them as tasks of a pipe that starts; all of them through the functions that read them is vk-fuzz's.
        const TASKS: usize = 400;
        let mut host = Host::new().await;
        host.client.start(&id("good"), &script("while [ ! -e $HOME/go ]; do sleep 0.01; done; exit 5")).await.unwrap();
        host.running(&id("good")).await;
        host.kill_pipe();
        let seeds = seeds("records");
        let names =
            ["start.json", "stop.json", "exit.json", "unknown.json", "lingering.json", "reported", "audited", "log"];
        let mut dice = Dice::new(11);
        for n in 0..TASKS {
            let dir = host.directory().join(format!("tasks/garbage-{n}"));
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            fs::write(dir.join("intent.json"), mutate(&seeds, &mut dice)).unwrap();
            for _ in 0..3 {
                let name = dice.one_of(&names).unwrap();
                fs::write(dir.join(name), mutate(&seeds, &mut dice)).unwrap();
            }
        }
        host.start_pipe().await;
        unharmed(&host, async || {
            for task in host.client.list().await.unwrap() {
                let _ = host.client.remove(&task.id).await;
            }
        })
        .await;
        fs::write(host.file("go"), "").unwrap();
        assert_eq!(host.ended(&id("good")).await, End::Exited { code: 5 });
    });
}
