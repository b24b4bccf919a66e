//! A machine that nobody has prepared: a root with a shell, the small programs that are everywhere, and what is put there; an
//! empty home of somebody who is not root; a network of its own, with one wire to this host.
//!
//! ```text
//!   this host                                     the machine
//!   API server 127.0.0.1 ◀─ way in 10.215.n.1 ── veth ── 10.215.n.2   vk-node, by a name in /etc/hosts
//!                 └──────── kubelet's API ───────────────▶ :10250
//! ```
//!
//! It is a process in namespaces of its own (mount, PID, network, UTS, IPC) whose root has been changed by pivot_root, so that nothing
//! of this host's files is there. It needs root; all of it goes with that process.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::control_plane::{ControlPlane, PUBLIC_NAME};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::runtimes::{self, rootfs};
use crate::scratch::Scratch;
use crate::wait::{self, Probe};
use crate::{exec, packages};

const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);
/// How many there can be at a time on this host.
const MOST: u8 = 250;
/// Whose account it is: nobody of importance.
const USER: u32 = 1000;
/// The home, as it is seen there.
const HOME: &str = "/home/newcomer";
/// What the machine is called.
pub const HOST: &str = "login07";
/// With the environment that a login makes, and nothing else.
const ENVIRONMENT: [&str; 3] = ["PATH=/usr/local/bin:/bin", "HOME=/home/newcomer", "USER=newcomer"];

/// Makes the first process: `$1` is the root, then come pairs of a program and where it is to be there.
const INIT: &str = r#"
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmpfs tmp
for device in null zero full random urandom tty; do : > "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
while [ $# -gt 0 ]; do : > "$2"; mount --bind "$1" "$2"; shift 2; done
hostname login07
pivot_root . .
/bin/busybox umount -l .
# It waits for whatever has lost its parent, as the first process of a machine does.
exec /bin/sh -c 'echo > /run/up; while :; do sleep 86400 & wait $!; done'
"#;

/// The machine. Dropping it ends all that runs there.
#[derive(Debug)]
pub struct Bare {
    /// Its first process, by the number that it has here.
    first: String,
    number: u8,
    way_in: Proxy,
    // In the order in which they go: first the processes, then their files.
    _init: Process,
    scratch: Scratch,
}

/// A machine with these programs, which must need no libraries, in `/usr/local/bin`; none, after a loud word, where this one does not
/// let us make one.
///
/// # Panics
/// Where it cannot be made and [`runtimes::REQUIRE_VARIABLE`] is set.
pub async fn machine(plane: &ControlPlane, programs: &[&Path]) -> Option<Bare> {
    runtimes::or_skipped("a machine of its own", Box::pin(Bare::new(plane, programs)).await)
}

impl Bare {
    async fn new(plane: &ControlPlane, programs: &[&Path]) -> Result<Self> {
        packages::installed("tests of newcomers", &[("ip", "iproute2"), ("nsenter", "util-linux")]).await?;
        let busybox = runtimes::static_busybox().await?;
        let scratch = Scratch::new("vk-bare-")?;
        // Not root's only: somebody else lives there.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755))?;
        let root = scratch.path().join("root");
        rootfs::bare(&root, &busybox)?;
        std::fs::write(root.join("etc/passwd"), format!("newcomer:x:{USER}:{USER}::{HOME}:/bin/sh\n"))?;
        std::fs::write(root.join("etc/group"), format!("newcomer:x:{USER}:\n"))?;
        std::fs::create_dir(root.join("home/newcomer"))?;
        chown(root.join("home/newcomer"), Some(USER), Some(USER))?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child=KILL",
            "--",
            "sh",
            "-c",
            INIT,
            "sh",
        ]);
        command.arg(&root);
        for program in programs {
            let name = program.file_name().context("a program has no name")?;
            command.arg(program).arg(Path::new("usr/local/bin").join(name));
        }
        let mut init = Process::start("the first process of a bare machine", command, scratch.path().join("init.log"))?;
        wait::until("a bare machine to be up", LIMIT, GLANCE, async || {
            init.must_be_running()?;
            Ok(if root.join("run/up").exists() { Probe::Ready(()) } else { Probe::not_yet("it is not") })
        })
        .await?;
        let children = format!("/proc/{0}/task/{0}/children", init.pid());
        let first = std::fs::read_to_string(&children).with_context(|| format!("cannot read {children}"))?;
        let first = first.split_whitespace().next().context("the first process is gone")?.to_owned();
        let number = wired(&first).await.context("cannot lay a wire to a bare machine")?;
        let url = plane.server_url();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).context("the API server has no port")?;
        let address = Ipv4Addr::new(10, 215, number, 1);
        let way_in = Proxy::between(address, port).await?;
        std::fs::write(root.join("etc/hosts"), format!("127.0.0.1 localhost {HOST}\n{address} {PUBLIC_NAME}\n"))?;
        Ok(Self { first, number, way_in, _init: init, scratch })
    }

    /// The API server, as it is reached from there.
    pub fn api_server(&self) -> String {
        format!("https://{PUBLIC_NAME}:{}", self.way_in.port())
    }

    /// The machine's address.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 215, self.number, 2)
    }

    /// The home directory, as it is reached from here.
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("root").join(HOME.trim_start_matches('/'))
    }

    /// Where logs may go, on this host.
    pub fn log(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.log"))
    }

    /// Puts a file into the home, as the newcomer's own.
    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.home().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        chown(&path, Some(USER), Some(USER)).with_context(|| format!("cannot give {} away", path.display()))
    }

    /// As where accounts are kept elsewhere, and a program without libraries does not find them.
    pub fn forgets_the_account(&self) -> Result<()> {
        std::fs::write(self.scratch.path().join("root/etc/passwd"), "").context("cannot write /etc/passwd")
    }

    /// A line that the newcomer types at their shell, in their home.
    pub fn types(&self, line: &str) -> Command {
        self.types_with(&ENVIRONMENT, line)
    }

    /// The same with no other variables than these, each `NAME=VALUE`.
    pub fn types_with(&self, environment: &[&str], line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(&self.first)
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"]);
        command.arg(format!("--setuid={USER}")).arg(format!("--setgid={USER}"));
        command.args(["--", "/bin/busybox", "env", "-i"]).args(environment.iter().map(OsString::from));
        // Not every environment has a PATH.
        command.args(["/bin/sh", "-c", &format!("cd {HOME} && {line}")]);
        command
    }
}

/// Lays a wire with the first number that nobody has.
async fn wired(first: &str) -> Result<u8> {
    let start = fastrand::u8(0..MOST);
    let mut why = None;
    for n in (0..MOST).map(|n| start.wrapping_add(n) % MOST) {
        let ours = format!("vk-bare-{n}");
        match run(&format!("ip link add {ours} type veth peer name eth0 netns {first}")).await {
            Ok(()) => {
                let inside = format!("nsenter --net=/proc/{first}/ns/net -- ip");
                for line in [
                    format!("ip address add 10.215.{n}.1/30 dev {ours}"),
                    format!("ip link set {ours} up"),
                    format!("{inside} address add 10.215.{n}.2/30 dev eth0"),
                    format!("{inside} link set eth0 up"),
                    format!("{inside} link set lo up"),
                ] {
                    run(&line).await?;
                }
                return Ok(n);
            }
            Err(error) if error.to_string().contains("File exists") => why = Some(error),
            Err(error) => return Err(error),
        }
    }
    match why {
        Some(why) => Err(why),
        None => bail!("no number is free"),
    }
}

async fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().context("there is nothing to run")?);
    command.args(words);
    exec::text(command, LIMIT).await.map(drop)
}
