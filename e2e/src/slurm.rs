//! A real Slurm cluster of Debian's packages, private to this process: slurmctld and several slurmd on loopback, with a munged of their
//! own, all in one scratch directory. No service of the machine is started or asked.

mod conf;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use crate::control_plane::ports;
use crate::janitor::{self, SITE_VARIABLE};
use crate::process::{self, Process};
use crate::scratch::{Scratch, write_private};
use crate::wait::{self, Probe};
use crate::{exec, packages, runtimes};

/// How many machines the partition `all` has, which all share.
pub const SHARED: usize = 3;
/// The machine that is alone in the partition `lone`: nobody else minds when it goes down.
pub const LONE: usize = SHARED;
/// The machines that two partitions have.
pub const CONTESTED: [Contested; 2] = [
    Contested { machine: LONE + 1, low: "low", high: "high", mode: "PreemptMode=REQUEUE" },
    Contested { machine: LONE + 2, low: "scavenge", high: "urgent", mode: "PreemptMode=CANCEL GraceTime=30" },
];
/// The machine whose prolog may fail, and the partition that has it alone.
pub const FAULTY_MACHINE: usize = LONE + 1 + CONTESTED.len();
/// The name of its partition.
pub const FAULTY: &str = "faulty";
/// How many machines the cluster has.
pub const NODES: usize = FAULTY_MACHINE + 1;
/// How long Slurm leaves a job between TERM and KILL, in seconds.
pub const KILL_WAIT_SECONDS: u64 = 5;

/// The variable by which Slurm's own processes of a machine are known.
const MACHINE_VARIABLE: &str = "VK_CMD_E2E_MACHINE";

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] =
    [("munged", "munge"), ("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("sbatch", "slurm-client")];

/// Generous: all tests start at the same time.
const START_LIMIT: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(100);

/// A machine that two partitions have: jobs of the one take the place of those of the other.
#[derive(Clone, Copy, Debug)]
pub struct Contested {
    /// Its number.
    machine: usize,
    /// The partition whose jobs give way.
    pub low: &'static str,
    /// The partition for whose jobs they do.
    pub high: &'static str,
    /// What becomes of them then, in the words of slurm.conf.
    mode: &'static str,
}

/// A cluster. Dropping it stops it.
#[derive(Debug)]
pub struct Slurm {
    /// The slurmd, those that are not killed.
    machines: std::sync::Mutex<Vec<Option<Process>>>,
    _controller: Process,
    _munge: Process,
    scratch: Scratch,
}

/// The cluster, once in this process; `None`, after a loud word about what is missing, where it cannot be had.
///
/// # Panics
/// Where it cannot be had and [`runtimes::REQUIRE_VARIABLE`] is set.
pub async fn shared() -> Option<&'static Slurm> {
    static SHARED: OnceCell<Result<Slurm, String>> = OnceCell::const_new();
    let made = SHARED.get_or_init(async || Slurm::start().await.map_err(|error| format!("{error:#}"))).await;
    runtimes::or_skipped("Slurm", made.as_ref())
}

impl Slurm {
    /// Installs what is missing, starts one, and waits until all its machines are there.
    ///
    /// # Errors
    /// What is missing, or does not start.
    pub async fn start() -> Result<Self> {
        packages::installed("the tests with Slurm", &PROGRAMS).await?;
        let scratch = Scratch::new("vk-slurm-")?;
        let root = scratch.path();
        // What a job has left behind goes with it: slurmstepd and its children are not tied to us by themselves.
        janitor::end_processes_at_exit(root)?;
        for directory in ["state", "log"] {
            std::fs::create_dir(root.join(directory)).with_context(|| format!("cannot make {directory}"))?;
        }
        let munge = start_munge(root)?;
        let ports = ports::free::<{ NODES + 1 }>()?;
        conf::write(root, ports)?;
        let controller = start_daemon(root, "slurmctld", None)?;
        let mut machines = Vec::new();
        for number in 0..NODES {
            machines.push(Some(start_daemon(root, "slurmd", Some(number))?));
        }
        let this = Self { machines: machines.into(), _controller: controller, _munge: munge, scratch };
        this.idle().await.inspect_err(|_| this.scratch.keep())?;
        Ok(this)
    }

    /// The file that tells Slurm's commands of this cluster, for `SLURM_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.scratch.path().join("slurm.conf")
    }

    /// The directory with its logs.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves the logs there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// For a test that has failed: leaves the logs there for good, and says how the queue and the machines are.
    pub fn post_mortem(&self) -> String {
        self.keep_logs();
        let mut text = format!("Slurm's logs are in {}\n", self.directory().join("log").display());
        for (program, arguments) in [
            ("squeue", &["--states=all", "--format=%A %j %T %D %R %L"][..]),
            ("sinfo", &["--Node", "--format=%N %T %C %E"]),
        ] {
            let mut command = Command::new("timeout");
            command.args(["10", program]).args(arguments).env("SLURM_CONF", self.conf());
            let said = match command.output() {
                Ok(output) => [output.stdout, output.stderr].concat(),
                Err(error) => error.to_string().into_bytes(),
            };
            text.push_str(&format!("{program}:\n{}", String::from_utf8_lossy(&said)));
        }
        text
    }

    /// One of Slurm's commands.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", self.conf());
        command
    }

    /// What one of Slurm's commands prints; it must succeed.
    ///
    /// # Errors
    /// If it does not.
    pub async fn says(&self, program: &str, arguments: &[&str]) -> Result<String> {
        exec::text(self.command(program, arguments), SOON).await
    }

    /// Waits until all machines are there.
    async fn idle(&self) -> Result<()> {
        wait::until("Slurm's machines to be there", START_LIMIT, GLANCE, async || {
            let seen = exec::output(self.command("sinfo", &["--noheader", "--Node", "--format=%N %T"]), SOON).await?;
            let text = String::from_utf8_lossy(&seen.stdout).into_owned();
            // A machine of two partitions is there twice.
            let idle = text.lines().filter(|line| line.ends_with(" idle")).collect::<BTreeSet<_>>().len();
            let why = || format!("{text}{}", String::from_utf8_lossy(&seen.stderr));
            Ok(if idle == NODES { Probe::Ready(()) } else { Probe::not_yet(why()) })
        })
        .await
    }

    /// From now on nothing can be started on [`FAULTY_MACHINE`]; or again.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn prolog_fails(&self, fails: bool) -> Result<()> {
        let path = self.scratch.path().join(format!("prolog-fails.{}", machine(FAULTY_MACHINE)));
        let done = if fails { std::fs::write(&path, "") } else { std::fs::remove_file(&path) };
        done.with_context(|| format!("cannot change {}", path.display()))
    }

    /// `kill -9` of a machine's slurmd, and all that runs on the machine, as when its power goes.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill_machine(&self, number: usize) -> Result<()> {
        let running = {
            let mut machines = self.machines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            machines.get_mut(number).and_then(Option::take)
        };
        running.context("the machine is not running")?.kill()?;
        // Those of Slurm first: what runs there must not be seen to end.
        for variable in [MACHINE_VARIABLE, "SLURMD_NODENAME"] {
            process::kill_by_environment(&[format!("{variable}={}", machine(number)).into_bytes()])?;
        }
        Ok(())
    }

    /// Starts a machine that was killed.
    ///
    /// # Errors
    /// If slurmd does not start.
    pub fn start_machine(&self, number: usize) -> Result<()> {
        let mut machines = self.machines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let machine = machines.get_mut(number).context("there is no such machine")?;
        *machine = Some(start_daemon(self.scratch.path(), "slurmd", Some(number))?);
        Ok(())
    }
}

/// The name of a machine, in Slurm's words a node: one that no other cluster of tests has, because by it the machine's processes are
/// known.
pub fn machine(number: usize) -> String {
    format!("vk{}n{number}", std::process::id())
}

/// munged by whose word the daemons know each other. It would refuse a socket in a directory that is ours alone (`--force`).
fn start_munge(root: &Path) -> Result<Process> {
    let mut key = [0; 1024];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key)).context("cannot make a key")?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&root.join("munge.key"), &text)?;
    let mut munged = Command::new(packages::find("munged").context("munged is gone")?);
    munged.args(["--foreground", "--force", "--num-threads=2"]);
    for (option, file) in [
        ("--key-file", "munge.key"),
        ("--socket", "munge.socket"),
        ("--pid-file", "munge.pid"),
        ("--seed-file", "munge.seed"),
        ("--log-file", "log/munge.log"),
    ] {
        munged.arg(format!("{option}={}", root.join(file).display()));
    }
    Process::start("munged", munged, root.join("log/munged.out"))
}

fn start_daemon(root: &Path, program: &str, number: Option<usize>) -> Result<Process> {
    let mut command = Command::new(packages::find(program).with_context(|| format!("{program} is gone"))?);
    command.env_clear().arg("-D").arg("-f").arg(root.join("slurm.conf"));
    let mut name = program.to_owned();
    if let Some(number) = number {
        command.arg("-N").arg(machine(number)).env(MACHINE_VARIABLE, machine(number));
        name = format!("{program}-{number}");
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", root).env(SITE_VARIABLE, root).env("SLURM_CONF", root.join("slurm.conf"));
    let log = root.join("log").join(format!("{name}.out"));
    Process::start(name, command, log)
}
