//! Long-running programs that we start: their output goes to a log file, and they end when we do, however we end.

mod marked;
mod spawner;
mod terminal;

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

pub use marked::{kill_by_environment, list_by_environment};
pub use spawner::spawn;
pub use terminal::Terminal;

/// How long a program gets between TERM and KILL when its [`Process`] is dropped.
const GRACE: Duration = Duration::from_secs(5);

/// A running program. Dropping it stops it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// It gets a process group of its own, so that a Ctrl-C on the terminal reaches us and we decide in which order things stop.
    pub fn start(name: impl Into<String>, mut command: Command, log: impl Into<PathBuf>) -> Result<Self> {
        let (name, log) = (name.into(), log.into());
        let shown = Path::new(command.get_program()).display().to_string();
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open the log file {} for {name}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share the log file {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = spawn(command).with_context(|| format!("cannot start {name} ({shown})"))?;
        Ok(Self { name, log, child, ended: None })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id. While this value lives and [`exited`](Self::exited) is none, no other process can have it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Fails, with the end of its log, if it has ended.
    pub fn must_be_running(&mut self) -> Result<()> {
        if let Some(status) = self.exited()? {
            bail!(
                "{} ended by itself with {status}; its log is {}, the end of which is:\n{}",
                self.name,
                self.log.display(),
                self.log_tail(20)
            );
        }
        Ok(())
    }

    /// Sends a signal. To one that has already ended this does nothing.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the number is still its own.
        rustix::process::kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {} (process {})", self.name, self.child.id()))
    }

    /// Waits until it ends; an error if that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                bail!("{} (process {}) did not end within {limit:.0?}", self.name, self.child.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(GRACE)
    }

    /// TERM, and KILL if that has not helped after `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match self.wait(grace) {
            Ok(status) => Ok(status),
            Err(_) => self.kill(),
        }
    }

    /// The last `lines` lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_else(|error| format!("(cannot read {}: {error})", self.log.display()))
    }

    /// Resident memory in bytes, as the kernel counts it now.
    pub fn resident_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no VmRSS: {} has ended", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; PDEATHSIG ends it with us at the latest.
        let _ = self.stop(GRACE);
    }
}

fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    const WINDOW: u64 = 16 * 1024;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n"))
}
