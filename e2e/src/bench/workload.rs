//! The process under test: this program again, started by a vk-node. It waits at a gate that the benchmark opens, writes down what
//! the time is, and exits at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode};

use crate::scratch::Scratch;

/// The first argument by which this program knows that it is the workload and not the benchmark.
const ACT: &str = "act-as-workload";
/// The same for a workload that only writes down the time.
const STAMP: &str = "act-as-stamp";

/// The gate of all processes under test, and where they write.
pub(super) struct Workload {
    program: PathBuf,
    scratch: Scratch,
    /// Held open for reading too, so that what is written waits here for a process that has not come to the gate yet.
    gate: File,
}

impl Workload {
    pub(super) fn new() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find out where this program is")?;
        let scratch = Scratch::new("vk-bench-")?;
        let path = scratch.path().join("gate");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).context("cannot make the gate")?;
        let gate = OpenOptions::new().read(true).write(true).custom_flags(libc_nonblock()).open(&path);
        Ok(Self { program, scratch, gate: gate.context("cannot open the gate")? })
    }

    /// The command of the process called `name`.
    pub(super) fn command(&self, name: &str) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            text(&self.program),
            ACT.to_owned(),
            text(&self.scratch.path().join("gate")),
            text(&self.scratch.path().join(name)),
        ]
    }

    /// Lets `count` processes go on to their end.
    pub(super) fn open(&self, count: usize) -> Result<()> {
        (&self.gate).write_all(&vec![b'!'; count]).context("cannot open the gate")
    }

    /// When the process called `name` ended.
    pub(super) fn exit_time(&self, name: &str) -> Result<SystemTime> {
        let path = self.scratch.path().join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the process {name} has ended and not written its time to {}", path.display()))?;
        let nanoseconds = text.parse().with_context(|| format!("{} holds no time: {text:?}", path.display()))?;
        Ok(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
    }
}

/// The command of a process that writes the time of its running to `file`, and ends.
pub(super) fn stamp_command(file: &Path) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("cannot find out where this program is")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(vec![text(&program), STAMP.to_owned(), text(file)])
}

fn libc_nonblock() -> i32 {
    // Opening both ends does not wait in any case; a full gate is an error and not a hang.
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default()
}

/// If this process is a workload: what it has to do.
pub(super) fn act() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let done = match arguments.next()?.to_str()? {
        ACT => wait_and_write(Path::new(&arguments.next()?), Path::new(&arguments.next()?)),
        STAMP => File::create(arguments.next()?).context("cannot make the file for the time").and_then(write_time),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn wait_and_write(gate: &Path, file: &Path) -> Result<()> {
    let file = File::create(file).context("cannot make the file for the time")?;
    // Without a benchmark that holds the gate open this reads its end, or waits to be killed with the site.
    let _ = File::open(gate).and_then(|mut gate| gate.read(&mut [0])).context("cannot wait at the gate")?;
    write_time(file)
}

fn write_time(mut file: File) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    file.write_all(now.as_nanos().to_string().as_bytes()).context("cannot write the time")
}
