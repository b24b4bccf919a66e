//! The FIFO of the original.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use vk_task::{End, Origin, StartFailure, TaskState, TaskView};

use crate::Test;
use crate::support::{Host, block_on, eventually, id, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("a_line_runs_as_it_did_in_the_original", original),
    ("lines_are_isolated_and_parallel", isolated),
    ("a_line_that_is_garbage_spoils_no_other_and_is_told_of", garbage),
    ("a_long_line_and_one_without_a_newline_are_run", long_and_unfinished),
    ("a_line_that_a_pod_wrote_is_that_pods", tied),
    ("of_many_writers_of_long_lines_each_line_is_whole_or_told_of", many_long),
    ("a_thousand_writers_at_once_lose_nothing", thousand),
    ("writers_that_stay_are_served_whenever_they_write", stayers),
    ("what_takes_the_place_of_the_fifo_is_put_right", replaced),
    ("a_file_is_there_before_the_pipe", file_before),
    ("lines_are_run_that_were_written_while_there_was_no_pipe", before_the_pipe),
    ("what_a_killed_pipe_left_unread_is_read_by_the_next", after_a_kill),
];

fn write(host: &Host, bytes: &[u8]) {
    OpenOptions::new().write(true).open(host.directory().join("vk-cmd")).unwrap().write_all(bytes).unwrap();
}

/// All tasks of the FIFO, when there are so many and all have ended.
async fn ended(host: &Host, wanted: usize) -> Vec<TaskView> {
    loop {
        let mut tasks = host.client.list().await.unwrap();
        tasks.retain(|t| matches!(t.origin, Origin::Fifo { .. }) && t.state.is_final());
        if tasks.len() >= wanted {
            return tasks;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn original() {
    block_on(async {
        let host = Host::new().await;
        // As a pod's command does it, shell and all.
        let text = "echo 'echo hello > $HOME/out.txt && ls -l $HOME/out.txt' > $HOME/hostpipe/vk-cmd";
        assert_eq!(host.run("writer", text).await, End::Exited { code: 0 });
        let tasks = ended(&host, 1).await;
        assert!(matches!(&tasks[0].state, TaskState::Ended { end: End::Exited { code: 0 }, .. }), "{tasks:?}");
        assert_eq!(fs::read_to_string(host.file("out.txt")).unwrap(), "hello\n");
        let log = fs::read_to_string(host.directory().join("tasks").join(tasks[0].id.as_str()).join("log")).unwrap();
        assert!(log.contains("out.txt"), "{log}");
    });
}

fn isolated() {
    block_on(async {
        let host = Host::new().await;
        // The first waits for the second: one after the other they would never end.
        write(&host, b"cd /; export A=b; while [ ! -e $HOME/second ]; do sleep 0.01; done; exit 3\n");
        write(
            &host,
            b"pwd > $HOME/pwd; echo \"A=$A\" > $HOME/env; touch $HOME/second\n(sleep 0.1; touch $HOME/late) &\n",
        );
        let mut codes: Vec<_> = ended(&host, 3)
            .await
            .into_iter()
            .map(|t| match t.state {
                TaskState::Ended { end, .. } => end.exit_code(),
                other => panic!("{other:?}"),
            })
            .collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 0, 3]);
        assert_eq!(fs::read_to_string(host.file("pwd")).unwrap().trim(), host.home().to_str().unwrap());
        assert_eq!(fs::read_to_string(host.file("env")).unwrap(), "A=\n");
        // The task went on until the last of its processes had ended.
        assert!(host.file("late").exists());
    });
}

/// Why a line was not run; `None` if it was.
fn refusal(task: &TaskView) -> Option<&str> {
    match &task.state {
        TaskState::Ended { end: End::NotStarted { failure: StartFailure::Other, message }, .. } => Some(message),
        _ => None,
    }
}

/// What `pipeline.err` says.
fn told(host: &Host) -> String {
    fs::read_to_string(host.directory().join("pipeline.err")).unwrap_or_default()
}

/// Starts a shell that writes, as somebody at a terminal does.
fn shell(host: &Host, text: &str) -> Child {
    Command::new("/bin/sh").arg("-c").arg(text).env("HOME", host.home()).spawn().unwrap()
}

fn open(host: &Host) -> fs::File {
    OpenOptions::new().write(true).open(host.directory().join("vk-cmd")).unwrap()
}

fn garbage() {
    block_on(async {
        let host = Host::new().await;
        write(&host, b"\xff\xfe\n\n   \n");
        write(&host, &[b'x'; (1 << 20) + 4096]);
        write(&host, b"\ntouch $HOME/fine\n");
        eventually("the good line has run", || host.file("fine").exists()).await;
        let tasks = ended(&host, 3).await;
        let mut whys: Vec<_> = tasks.iter().filter_map(refusal).collect();
        whys.sort_unstable();
        assert!(matches!(whys.as_slice(), [long, text] if long.contains("longer than") && text.contains("UTF-8")));
        assert_eq!(tasks.len(), 3);
        let audited = fs::read_to_string(host.directory().join("audit.log")).unwrap();
        assert!(audited.contains("longer than 1048576") && audited.contains("not UTF-8"), "{audited}");
        let told = told(&host);
        assert!(told.contains("longer than 1048576 bytes") && told.contains("not UTF-8"), "{told}");
    });
}

fn long_and_unfinished() {
    block_on(async {
        let host = Host::new().await;
        let long = "x".repeat(100 << 10);
        fs::write(host.file("long"), format!("printf %s {long} > $HOME/out\n")).unwrap();
        let mut echo = shell(&host, "echo \"$(cat $HOME/long)\" > $HOME/hostpipe/vk-cmd");
        assert!(echo.wait().unwrap().success());
        let mut printf = shell(&host, "printf 'touch $HOME/unfinished' > $HOME/hostpipe/vk-cmd");
        assert!(printf.wait().unwrap().success());
        let tasks = ended(&host, 2).await;
        assert!(tasks.iter().all(|t| refusal(t).is_none()), "{tasks:?}");
        assert!(fs::read_to_string(host.file("out")).unwrap() == long);
        assert!(host.file("unfinished").exists());
    });
}

fn tied() {
    block_on(async {
        let host = Host::new().await;
        let say = "echo \"VK_CMD_TASK=$VK_CMD_TASK env > \\$HOME/env\" > $HOME/hostpipe/vk-cmd; sleep 100";
        host.client.start(&id("writer"), &script(say)).await.unwrap();
        let tasks = ended(&host, 1).await;
        assert!(matches!(&tasks[0].origin, Origin::Fifo { writer: Some(run) } if run.pod == "p"), "{tasks:?}");
        let env = fs::read_to_string(host.file("env")).unwrap();
        let own = format!("VK_CMD_TASK={}\n", tasks[0].id);
        assert!(env.contains(&own) && env.contains("VK_CMD_POD=p\n") && env.contains("VK_CMD_POD_UID=u\n"), "{env}");
        // A task that is not there, or is no longer, has nothing run for it.
        host.client.stop(&id("writer"), &stop_in(std::time::Duration::ZERO)).await.unwrap();
        host.ended(&id("writer")).await;
        for claim in ["writer", "nobody", "", "../x"] {
            write(&host, format!("VK_CMD_TASK={claim} touch $HOME/wrong\n").as_bytes());
        }
        let tasks = ended(&host, 5).await;
        assert_eq!(
            tasks.iter().filter_map(refusal).filter(|why| why.contains("VK_CMD_TASK") || why.contains("task")).count(),
            4
        );
        assert!(!host.file("wrong").exists());
    });
}

/// A line of 20 KiB that appends its own checksum to a file if it is whole.
const LONG_LINE: &str = r#"n=$1; pad=$(head -c 20000 /dev/zero | tr '\0' "$2")
printf '%s\n' "set -- $pad; printf '%s %s\n' $n \$(printf %s \"\$1\" | cksum | cut -d' ' -f1,2 | tr ' ' -) >> \$HOME/ran" |
dd bs=4096 status=none > $HOME/hostpipe/vk-cmd"#;

fn many_long() {
    block_on(async {
        const WRITERS: usize = 50;
        let host = Host::new().await;
        let writers: Vec<Child> = (0..WRITERS)
            .map(|n| {
                let letter = char::from(b'a' + u8::try_from(n % 26).unwrap()).to_string();
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(LONG_LINE).arg("sh").arg(n.to_string()).arg(letter).env("HOME", host.home());
                command.stderr(Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        let failed = writers.into_iter().map(|mut w| usize::from(!w.wait().unwrap().success())).sum::<usize>();
        let tasks = ended(&host, WRITERS - failed).await;
        let ran = tasks.iter().filter(|t| refusal(t).is_none()).count();
        // Who got an error may have had its beginning told of too.
        assert!(tasks.len() <= WRITERS && tasks.len() + failed >= WRITERS, "{} and {failed}", tasks.len());
        let lines = fs::read_to_string(host.file("ran")).unwrap_or_default();
        assert_eq!(lines.lines().count(), ran);
        for line in lines.lines() {
            let (n, sum) = line.split_once(' ').unwrap();
            let letter = char::from(b'a' + u8::try_from(n.parse::<usize>().unwrap() % 26).unwrap());
            let pad = std::iter::repeat_n(letter, 20_000).collect::<String>();
            assert_eq!(sum, cksum(&pad), "line {n} is not what its writer wrote");
        }
    });
}

/// What cksum(1) says of a text: sum and length.
fn cksum(text: &str) -> String {
    let mut child = Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.trim().replace(' ', "-")
}

fn thousand() {
    block_on(async {
        const WRITERS: usize = 1000;
        let host = Host::new().await;
        let path = host.directory().join("vk-cmd");
        // Threads: for the kernel they are as good as processes, and they are sooner there.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(WRITERS));
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let (path, barrier) = (path.clone(), std::sync::Arc::clone(&barrier));
                let work = move || {
                    barrier.wait();
                    let mut fifo = OpenOptions::new().write(true).open(path).unwrap();
                    fifo.write_all(format!("echo {n} >> $HOME/ran\n").as_bytes()).unwrap();
                };
                std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap()
            })
            .collect();
        // The pipe must not wait for this thread, nor this thread for the pipe.
        tokio::task::spawn_blocking(move || writers.into_iter().for_each(|w| w.join().unwrap())).await.unwrap();
        // Some of the records may have been removed already, so the witness counts.
        let ran = || fs::read_to_string(host.file("ran")).unwrap_or_default();
        eventually("all lines have run", || ran().lines().count() >= WRITERS).await;
        let mut numbers: Vec<usize> = ran().lines().map(|l| l.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..WRITERS));
        assert_eq!(told(&host), "");
    });
}

/// Somebody who holds the FIFO open and writes what it is told.
struct Stayer(Child);

impl Stayer {
    fn new(host: &Host) -> Self {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg("exec cat > $HOME/hostpipe/vk-cmd").env("HOME", host.home());
        Self(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The FIFO that it has open, once it has.
    fn inode(&self) -> Option<u64> {
        let file = fs::metadata(format!("/proc/{}/fd/1", self.0.id())).ok()?;
        let name = fs::read_to_string(format!("/proc/{}/comm", self.0.id())).ok()?;
        (name.trim() == "cat" && file.file_type().is_fifo()).then(|| file.ino())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.stdin.as_mut().unwrap().write_all(bytes)
    }
}

impl Drop for Stayer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stayers() {
    block_on(async {
        // More than get a FIFO of their own.
        const WRITERS: usize = 40;
        let host = Host::new().await;
        let mut held: Vec<Stayer> = (0..WRITERS).map(|_| Stayer::new(&host)).collect();
        eventually("all have it open", || held.iter().all(|s| s.inode().is_some())).await;
        for round in 0..2 {
            for (n, stayer) in held.iter_mut().enumerate() {
                stayer.write(format!("echo {round}-{n} >> $HOME/ran\n").as_bytes()).unwrap();
            }
            let ran = || fs::read_to_string(host.file("ran")).unwrap_or_default().lines().count();
            eventually("all lines of a round have run", || ran() >= (round + 1) * WRITERS).await;
        }
        assert_eq!(told(&host), "");
        // Where two share, a long line is refused, and who goes on writing gets an error.
        let inodes: Vec<_> = held.iter().map(Stayer::inode).collect();
        let shares = |n: &usize| inodes.iter().filter(|inode| **inode == inodes[*n]).count() > 1;
        let one = held.get_mut((0..WRITERS).find(shares).expect("more writers than FIFOs")).unwrap();
        one.write(&[b'x'; 6000]).unwrap();
        while one.0.try_wait().unwrap().is_none() {
            let _ = one.write(b"y");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        eventually("it is told of", || told(&host).contains("not written in one piece")).await;
        // And the FIFO is there for others.
        write(&host, b"touch $HOME/after\n");
        eventually("a line is run", || host.file("after").exists()).await;
    });
}

fn replaced() {
    block_on(async {
        let host = Host::new().await;
        let path = host.directory().join("vk-cmd");
        let is_fifo =
            || fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_fifo() && m.mode() & 0o777 == 0o600);
        let works = async |name: &str| {
            eventually("the FIFO is there again", is_fifo).await;
            write(&host, format!("touch $HOME/{name}\n").as_bytes());
            eventually("a line is run", || host.file(name).exists()).await;
        };
        let aside = |n: u32| host.directory().join(format!("vk-cmd.not-a-fifo.{n}"));
        fs::remove_file(&path).unwrap();
        works("removed").await;
        fs::rename(&path, host.file("away")).unwrap();
        works("renamed").await;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        works("opened").await;
        // As `rm vk-cmd; echo … > vk-cmd` does it.
        fs::write(host.file("file"), "touch $HOME/wrong\n").unwrap();
        fs::rename(host.file("file"), &path).unwrap();
        works("file").await;
        assert_eq!(fs::read_to_string(aside(1)).unwrap(), "touch $HOME/wrong\n");
        fs::write(host.file("target"), "").unwrap();
        symlink(host.file("target"), host.file("link")).unwrap();
        fs::rename(host.file("link"), &path).unwrap();
        works("link").await;
        assert_eq!(fs::read(host.file("target")).unwrap(), b"");
        assert!(aside(2).is_symlink());
        fs::remove_file(&path).unwrap();
        // It may have been put right before this comes.
        if fs::create_dir(&path).is_ok() {
            works("directory").await;
            assert!(aside(3).is_dir());
        }
        // Another FIFO of the user's: whoever has it open is heard.
        rustix::fs::mkfifoat(rustix::fs::CWD, host.file("other"), rustix::fs::Mode::RWXU).unwrap();
        let mut other = OpenOptions::new().read(true).write(true).open(host.file("other")).unwrap();
        other.write_all(b"touch $HOME/heard\n").unwrap();
        fs::rename(host.file("other"), &path).unwrap();
        eventually("the other FIFO is heard", || host.file("heard").exists()).await;
        works("fifo").await;
        assert!(!host.file("wrong").exists());
    });
}

fn file_before() {
    block_on(async {
        let mut host = Host::without_pipe();
        fs::create_dir(host.directory()).unwrap();
        fs::write(host.directory().join("vk-cmd"), "touch $HOME/wrong\n").unwrap();
        host.start_pipe().await;
        assert!(told(&host).contains("was no FIFO"));
        write(&host, b"touch $HOME/fine\n");
        eventually("the line has run", || host.file("fine").exists()).await;
        assert!(!host.file("wrong").exists() && host.directory().join("vk-cmd.not-a-fifo.1").exists());
    });
}

fn before_the_pipe() {
    block_on(async {
        let mut host = Host::new().await;
        host.kill_pipe();
        let mut writers: Vec<Child> =
            (0..5).map(|n| shell(&host, &format!("echo 'touch $HOME/early-{n}' > $HOME/hostpipe/vk-cmd"))).collect();
        // They wait in the kernel for somebody who reads.
        host.start_pipe().await;
        assert!(writers.iter_mut().all(|w| w.wait().unwrap().success()));
        eventually("all have run", || (0..5).all(|n| host.file(&format!("early-{n}")).exists())).await;
        assert_eq!(told(&host), "");
    });
}

fn after_a_kill() {
    block_on(async {
        let mut host = Host::new().await;
        let mut fifo = open(&host);
        // Half a line, which the first pipe reads; the path is another FIFO's by then.
        let first = fifo.metadata().unwrap().ino();
        fifo.write_all(b"touch $HOME/wr").unwrap();
        eventually("the first pipe has read", || rustix::io::ioctl_fionread(&fifo).is_ok_and(|n| n == 0)).await;
        eventually("its own FIFO is at the path no longer", || {
            fs::metadata(host.directory().join("vk-cmd")).is_ok_and(|m| m.ino() != first)
        })
        .await;
        let marked = || {
            let names = fs::read_dir(host.directory()).unwrap().map(|e| e.unwrap().metadata().unwrap());
            names.into_iter().any(|m| m.ino() == first && m.mode() & 0o1000 != 0)
        };
        eventually("the half line is on record", marked).await;
        host.kill_pipe();
        assert!(fifo.write_all(b"x").is_err(), "nobody reads");
        host.start_pipe().await;
        fifo.write_all(b"ong\ntouch $HOME/fine\n").unwrap();
        eventually("the whole line has run", || host.file("fine").exists()).await;
        eventually("the other is told of", || told(&host).contains("may have read its beginning")).await;
        assert!(!host.file("wrong").exists() && !host.file("ong").exists());
    });
}
