//! A plain ssh to this machine.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::Process;
use crate::sshd::Sshd;
use crate::wait::{self, Probe};

const LIMIT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);

/// A running sshd, and the way to it. Dropped in this order.
pub(super) struct Ssh {
    _master: Process,
    server: Sshd,
}

impl Ssh {
    /// Starts the server and one connection that others can share.
    pub(super) async fn start() -> Result<Self> {
        let server = Sshd::start("the comparison with ssh", &[]).await?;
        let directory = server.directory();
        let mut command = ssh(&server, &shared(&server), &["-M", "-N"]);
        command.arg(Sshd::HOST);
        let mut master = Process::start("ssh", command, directory.join("ssh.log"))?;
        wait::until("ssh's shared connection", LIMIT, GLANCE, async || {
            master.must_be_running()?;
            let is_there = directory.join("master").exists();
            Ok(if is_there { Probe::Ready(()) } else { Probe::not_yet("its socket is not there") })
        })
        .await?;
        Ok(Self { _master: master, server })
    }

    /// `ssh localhost <what>`.
    pub(super) fn command(&self, what: &str) -> Command {
        let mut command = ssh(&self.server, "ControlPath=none", &[]);
        command.args([Sshd::HOST, what]);
        command
    }

    /// The same over the connection that is there.
    pub(super) fn shared_command(&self, what: &str) -> Command {
        let mut command = ssh(&self.server, &shared(&self.server), &[]);
        command.args([Sshd::HOST, what]);
        command
    }
}

fn shared(server: &Sshd) -> String {
    format!("ControlPath={}/master", server.directory().display())
}

fn ssh(server: &Sshd, connection: &str, more: &[&str]) -> Command {
    let mut command = server.command(&["-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", connection]);
    command.args(more);
    command
}
