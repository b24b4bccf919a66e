//! A plain ssh to this machine: a sshd of our own on a loopback port, with keys and settings of its own. Nothing of what the
//! machine or its user has for ssh is read or changed.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control_plane::free_port;
use crate::exec;
use crate::packages;
use crate::process::Process;
use crate::scratch::{Scratch, write_private};
use crate::wait::{self, Probe};

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] =
    [("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"), ("sshd", "openssh-server")];
const LIMIT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);
/// Where sshd locks itself in; the package's service would make it.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// A running sshd, and the way to it. Dropped in this order.
pub(super) struct Ssh {
    _master: Process,
    _server: Process,
    client: PathBuf,
    scratch: Scratch,
}

impl Ssh {
    /// Installs what is missing, makes keys, starts the server and one connection that others can share.
    pub(super) async fn start() -> Result<Self> {
        packages::installed("the comparison with ssh", &PROGRAMS).await?;
        let program = |name: &str| packages::find(name).with_context(|| format!("{name} is gone"));
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all(PRIVILEGE_SEPARATION)
                .with_context(|| format!("cannot make {PRIVILEGE_SEPARATION}"))?;
        }
        // A short name: the path of the shared connection's socket may have 107 bytes and no more.
        let scratch = Scratch::new("vk-ssh-")?;
        let directory = scratch.path();
        for key in ["host", "user"] {
            let mut keygen = Command::new(program("ssh-keygen")?);
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key));
            exec::text(keygen, LIMIT).await.context("cannot make a key for ssh")?;
        }
        let port = free_port()?;
        write_settings(directory, port)?;
        // sshd starts itself again for each connection, and wants to be called by its whole path for that.
        let mut sshd = Command::new(program("sshd")?);
        sshd.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
        let mut server = Process::start("sshd", sshd, directory.join("sshd.log"))?;
        wait::until("sshd to listen", LIMIT, GLANCE, async || {
            server.must_be_running()?;
            let reached = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            Ok(reached.map_or_else(|error| Probe::not_yet(error.to_string()), |_| Probe::Ready(())))
        })
        .await?;
        let client = program("ssh")?;
        let mut command = ssh(&client, directory, SHARED);
        command.args(["-M", "-N", "localhost"]);
        let mut master = Process::start("ssh", command, directory.join("ssh.log"))?;
        wait::until("ssh's shared connection", LIMIT, GLANCE, async || {
            master.must_be_running()?;
            let is_there = directory.join("master").exists();
            Ok(if is_there { Probe::Ready(()) } else { Probe::not_yet("its socket is not there") })
        })
        .await?;
        Ok(Self { _master: master, _server: server, client, scratch })
    }

    /// `ssh localhost <what>`.
    pub(super) fn command(&self, what: &str) -> Command {
        let mut command = ssh(&self.client, self.scratch.path(), ALONE);
        command.args(["localhost", what]);
        command
    }

    /// The same over the connection that is there.
    pub(super) fn shared_command(&self, what: &str) -> Command {
        let mut command = ssh(&self.client, self.scratch.path(), SHARED);
        command.args(["localhost", what]);
        command
    }
}

const ALONE: &str = "ControlPath=none";
const SHARED: &str = "ControlPath=%d/master";

fn ssh(client: &Path, directory: &Path, connection: &str) -> Command {
    let mut command = Command::new(client);
    command.arg("-F").arg(directory.join("ssh_config"));
    command.arg("-o").arg(connection.replace("%d", &directory.display().to_string()));
    command
}

/// The server's, with what makes it fast: it does not ask PAM. The client's, and whom it knows: nothing is asked for.
fn write_settings(directory: &Path, port: u16) -> Result<()> {
    let shown = directory.display();
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).with_context(|| format!("no {file}"));
    write_private(&directory.join("authorized_keys"), &read("user.pub")?)?;
    write_private(&directory.join("known_hosts"), &format!("[localhost]:{port} {}", read("host.pub")?))?;
    let server = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\n\
         PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n"
    );
    write_private(&directory.join("sshd_config"), &server)?;
    let client = format!(
        "Host *\n  HostName localhost\n  AddressFamily inet\n  Port {port}\n  IdentityFile {shown}/user\n  \
         IdentitiesOnly yes\n  UserKnownHostsFile {shown}/known_hosts\n  GlobalKnownHostsFile none\n  \
         StrictHostKeyChecking yes\n  BatchMode yes\n  ControlMaster no\n"
    );
    write_private(&directory.join("ssh_config"), &client)
}
