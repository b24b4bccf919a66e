//! The processes: the ssh that connects, and those that give it orders.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use vk_node_core::tunnel::argv::{self, Asking, Order};
use vk_node_core::tunnel::forward::{self, Forward, Granted, Refused};

/// How long an order may take: the answer of the far end is part of it.
const ORDER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the last that it said may take to come once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// An ssh that connects.
pub(super) struct Ssh {
    child: Child,
    stderr: Lines,
}

/// What it says, line by line. A server's banner may be in any encoding.
struct Lines {
    from: BufReader<ChildStderr>,
    part: Vec<u8>,
}

impl Lines {
    /// The next line; none at the end. Cancel-safe: what has come of a line stays.
    async fn next(&mut self) -> Option<String> {
        let read = self.from.read_until(b'\n', &mut self.part).await;
        let line = std::mem::take(&mut self.part);
        (read.is_ok() && !line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
    }
}

impl Ssh {
    /// Starts it. It ends when this value is dropped, and when this process does.
    pub(super) fn start(program: &Path, args: Vec<OsString>, asking: Asking) -> anyhow::Result<Self> {
        // The name of the running file may be gone (an update replaces it); this link still leads to it.
        let ours = std::process::id();
        let mut command = Command::new(format!("/proc/{ours}/exe"));
        command.arg("leash").arg(ours.to_string()).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        if asking == Asking::Nobody {
            command.process_group(0);
        }
        let mut child = command.spawn().context("cannot start ssh")?;
        let stderr = child.stderr.take().context("ssh has no standard error")?;
        let stderr = Lines { from: BufReader::new(stderr), part: Vec::new() };
        Ok(Self { child, stderr })
    }

    /// The next that it says, or how it ended. Cancel-safe: a line that has not come is there at the next call.
    pub(super) async fn next(&mut self) -> Said {
        // A jump host's process may hold its standard error open for longer than it lives.
        tokio::select! {
            biased;
            line = self.stderr.next() => match line {
                Some(line) => Said::Line(line),
                None => Said::Ended(describe(self.child.wait().await)),
            },
            ended = self.child.wait() => match timeout(LAST_WORDS, self.stderr.next()).await {
                Ok(Some(line)) => Said::Line(line),
                Ok(None) | Err(_) => Said::Ended(describe(ended)),
            },
        }
    }

    /// Tells it to end.
    pub(super) fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It is not waited for yet, so the number is still its own; if it has ended, all is well.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it by force.
    pub(super) fn kill(&mut self) {
        // If it has ended, all is well.
        let _ = self.child.start_kill();
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

/// What an ssh does.
pub(super) enum Said {
    Line(String),
    Ended(String),
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Has the ssh at `control` do this.
pub(super) async fn order(program: &Path, control: &Path, forward: &Forward) -> Result<Granted, Refused> {
    let (succeeded, stdout, stderr) = run(program, argv::order(control, Order::Forward(forward))).await;
    forward::outcome(forward, succeeded, &stdout, &stderr)
}

/// Has the ssh at `control` no longer do this.
pub(super) async fn cancel(program: &Path, control: &Path, forward: &Forward) {
    // Where it is not possible any more, it is not needed any more.
    let _ = run(program, argv::order(control, Order::Cancel(forward))).await;
}

/// Whether an ssh takes orders at `control`.
pub(super) async fn answers(program: &Path, control: &Path) -> bool {
    run(program, argv::order(control, Order::Check)).await.0
}

/// Runs an ssh that is done at once: whether it succeeded, and what it wrote.
pub(super) async fn run(program: &Path, args: Vec<OsString>) -> (bool, String, String) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match timeout(ORDER_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => (output.status.success(), text(output.stdout), text(output.stderr)),
        Ok(Err(error)) => (false, String::new(), error.to_string()),
        Err(_) => (false, String::new(), format!("no answer in {} s", ORDER_TIMEOUT.as_secs())),
    }
}

/// Who is there to be asked.
pub(super) fn asking() -> Asking {
    let stdin = std::io::stdin();
    // In the background of a terminal, who asks is stopped.
    let in_foreground = rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp());
    let askpass = std::env::var("SSH_ASKPASS").ok();
    Asking::by(stdin.is_terminal() && std::io::stderr().is_terminal() && in_foreground, askpass.as_deref())
}
