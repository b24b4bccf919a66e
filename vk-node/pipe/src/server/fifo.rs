//! The FIFO of the original: each line that is written to it is run as a shell of its own.
//!
//! What the kernel holds in the FIFO is lost when the last process that has it open ends, and with it what the pipe had
//! not read. A line that must not be lost goes through the socket, which answers.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Semaphore;
use tracing::info;
use vk_record::{Dir, names};
use vk_task::{Leftovers, Origin, Program, ScriptRunner, TaskId, TaskSpec};

use super::lines::Lines;
use super::{Pipe, complain, start};

/// How many lines are being turned into tasks at once. While that many are, the FIFO is not read, and its writers wait.
const AT_ONCE: usize = 32;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Opens the FIFO, making it if it is not there.
pub(super) fn open(root: &Dir) -> anyhow::Result<Receiver> {
    let path = root.path().join(names::FIFO);
    match rustix::fs::mkfifoat(root, names::FIFO, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).with_context(|| format!("cannot make the FIFO {}", path.display())),
    }
    // For writing too: while the pipe is its own writer it never reads the end of the file.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::openat(root, names::FIFO, flags, Mode::empty())
        .with_context(|| format!("cannot open the FIFO {}", path.display()))?;
    let stat = rustix::fs::fstat(&fd)?;
    let uid = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo || stat.st_uid != uid {
        bail!("{} is there and is no FIFO of uid {uid}: move it away, and start the pipe again", path.display());
    }
    if stat.st_mode & 0o077 != 0 {
        rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    }
    Ok(Receiver::from_owned_fd(fd)?)
}

/// Runs the lines that come, for ever.
pub(super) async fn serve(mut fifo: Receiver, pipe: Arc<Pipe>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut counter = 0_u64;
    loop {
        let n = match fifo.read(&mut chunk).await {
            Ok(n) => n,
            Err(e) => {
                complain("the FIFO cannot be read any more; end the pipe and start it again", &e);
                return;
            }
        };
        for line in lines.push(chunk.get(..n).unwrap_or_default()) {
            match line {
                Ok(line) => {
                    counter += 1;
                    // The semaphore is never closed.
                    let permit = Arc::clone(&permits).acquire_owned().await.ok();
                    let pipe = Arc::clone(&pipe);
                    tokio::spawn(async move {
                        run(&pipe, line, counter).await;
                        drop(permit);
                    });
                }
                Err(e) => complain("the FIFO", &e),
            }
        }
    }
}

async fn run(pipe: &Arc<Pipe>, line: String, counter: u64) {
    let now = Timestamp::now();
    // In as many digits for each, so that they sort as they came.
    let id = match TaskId::new(format!("fifo-{:019}-{counter:06}", now.as_nanosecond())) {
        Ok(id) => id,
        Err(e) => return complain("a line of the FIFO was not run", &e),
    };
    let program = Program::Script { text: line, runner: ScriptRunner::Shell { path: "/bin/sh".to_owned() } };
    let spec = TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Await);
    match start::start(pipe, id.clone(), spec).await {
        Ok(_) => info!("a line of the FIFO is task {id}"),
        Err(e) => complain("a line of the FIFO was not run", &e),
    }
}
