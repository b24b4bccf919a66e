//! A sshd of our own on a loopback port, with keys and settings of its own, and the ssh that reaches it. Nothing of what the
//! machine or its user has for ssh is read or changed.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::control_plane::free_port;
use crate::exec;
use crate::packages;
use crate::process::Process;
use crate::runtimes::REQUIRE_VARIABLE;
use crate::scratch::{Scratch, write_private};
use crate::wait::{self, Probe};

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] =
    [("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"), ("sshd", "openssh-server")];
const LIMIT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);
/// Where sshd locks itself in; the package's service would make it.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// A running sshd, and the way to it: `ssh -F` [`client_config`](Self::client_config) [`HOST`](Self::HOST). Dropped in this order.
#[derive(Debug)]
pub struct Sshd {
    server: Option<Process>,
    client: PathBuf,
    program: PathBuf,
    port: u16,
    scratch: Scratch,
}

impl Sshd {
    /// By what name the client's config knows it.
    pub const HOST: &'static str = "localhost";

    /// Installs what is missing, makes keys, and starts it with these lines more in its settings. They stand before its own, and
    /// sshd takes the first.
    pub async fn start(why: &str, settings: &[&str]) -> Result<Self> {
        packages::installed(why, &PROGRAMS).await?;
        let program = |name: &str| packages::find(name).with_context(|| format!("{name} is gone"));
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all(PRIVILEGE_SEPARATION)
                .with_context(|| format!("cannot make {PRIVILEGE_SEPARATION}"))?;
        }
        // A short name: the path of the shared connection's socket may have 107 bytes and no more.
        let scratch = Scratch::new("vk-ssh-")?;
        for key in ["host", "user", "other"] {
            let mut keygen = Command::new(program("ssh-keygen")?);
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(scratch.path().join(key));
            exec::text(keygen, LIMIT).await.context("cannot make a key for ssh")?;
        }
        let port = free_port()?;
        let mut this = Self { server: None, client: program("ssh")?, program: program("sshd")?, port, scratch };
        this.know_host("host")?;
        this.let_in("user")?;
        this.write_settings(settings)?;
        this.start_server().await?;
        Ok(this)
    }

    /// The same; `None`, after a loud word about what is missing, where none can be had.
    ///
    /// # Panics
    /// Where one can be had and does not start; and where none can be had and [`REQUIRE_VARIABLE`] is set.
    #[allow(clippy::panic, reason = "a test that must not be skipped fails")]
    pub async fn or_skip(why: &str, settings: &[&str]) -> Option<Self> {
        match packages::installed(why, &PROGRAMS).await {
            Ok(()) => Some(Self::start(why, settings).await.unwrap_or_else(|error| panic!("{error:#}"))),
            Err(error) if std::env::var_os(REQUIRE_VARIABLE).is_some() => panic!("{error:#}"),
            Err(error) => {
                packages::announce(&format!("SKIPPED: a test with sshd. {error:#}"));
                None
            }
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The program `ssh`.
    pub fn client(&self) -> &Path {
        &self.client
    }

    /// The config with which ssh finds it.
    pub fn client_config(&self) -> PathBuf {
        self.directory().join("ssh_config")
    }

    /// Its directory, with a short name, for those who need one.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves that there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// `ssh -F … <arguments>`, whose last but one is to be [`HOST`](Self::HOST).
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("-F").arg(self.client_config()).args(arguments);
        command
    }

    /// Who asks for it meets this key: `host`, which is its own, or `other`.
    pub fn know_host(&self, key: &str) -> Result<()> {
        let text = format!("[{}]:{} {}", Self::HOST, self.port, self.public_key(key)?);
        write_private(&self.directory().join("known_hosts"), &text)
    }

    /// Whose key is let in: `user`, which is the client's, or `other`. Counts from the next connection.
    pub fn let_in(&self, key: &str) -> Result<()> {
        write_private(&self.directory().join("authorized_keys"), &self.public_key(key)?)
    }

    fn public_key(&self, key: &str) -> Result<String> {
        let path = self.directory().join(format!("{key}.pub"));
        std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))
    }

    /// What makes it fast: it does not ask PAM. And the client's settings, and whom it knows: nothing is asked for.
    fn write_settings(&self, more: &[&str]) -> Result<()> {
        let (shown, port) = (self.directory().display(), self.port);
        let more: String = more.iter().map(|line| format!("{line}\n")).collect();
        let server = format!(
            "{more}ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\n"
        );
        write_private(&self.directory().join("sshd_config"), &server)?;
        let client = format!(
            "Host *\n  HostName {host}\n  AddressFamily inet\n  Port {port}\n  IdentityFile {shown}/user\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {shown}/known_hosts\n  GlobalKnownHostsFile none\n  \
             StrictHostKeyChecking yes\n",
            host = Self::HOST
        );
        write_private(&self.client_config(), &client)
    }

    /// Starts it again with other settings, on the same port, whether it runs or not. What is connected stays.
    pub async fn restart(&mut self, settings: &[&str]) -> Result<()> {
        if self.server.is_some() {
            self.stop_server()?;
        }
        self.write_settings(settings)?;
        self.start_server().await
    }

    /// Ends it, and nothing of what is connected.
    pub fn stop_server(&mut self) -> Result<()> {
        self.server.take().context("sshd does not run")?.kill().map(drop)
    }

    async fn start_server(&mut self) -> Result<()> {
        // sshd starts itself again for each connection, and wants to be called by its whole path for that.
        let mut sshd = Command::new(&self.program);
        sshd.args(["-D", "-e", "-f"]).arg(self.directory().join("sshd_config"));
        let mut server = Process::start("sshd", sshd, self.directory().join("sshd.log"))?;
        let port = self.port;
        wait::until("sshd to listen", LIMIT, GLANCE, async || {
            server.must_be_running()?;
            let reached = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            Ok(reached.map_or_else(|error| Probe::not_yet(error.to_string()), |_| Probe::Ready(())))
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    /// The processes that serve one connection each.
    pub fn connections(&self) -> Result<Vec<Pid>> {
        let server = self.server.as_ref().context("sshd does not run")?.pid();
        children(server)
    }

    /// Sends a signal to all that serve a connection.
    pub fn signal_connections(&self, signal: Signal) -> Result<()> {
        for pid in self.connections()? {
            // One that has ended needs none.
            let _ = rustix::process::kill_process(pid, signal);
        }
        Ok(())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Those that were stopped too: nothing else ends them.
        let _ = self.signal_connections(Signal::KILL);
    }
}

/// The children of a process.
pub fn children(parent: u32) -> Result<Vec<Pid>> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw).collect())
}
