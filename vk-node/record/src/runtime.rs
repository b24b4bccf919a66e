//! What a container runtime's programs are given, and how what is left of a container is removed: by the shim, or by the
//! pipe when the shim is gone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use vk_task::{Lingering, RUN_VARIABLE, RuntimeLaunch, TASK_VARIABLE, TaskId};

/// How long one command may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How soon what failed is tried again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// The environment of a runtime's client: the `base`, what the launch says, and the marks that prove its processes to be
/// the task's, which nothing takes the place of.
#[must_use]
pub fn environment(
    launch: &RuntimeLaunch,
    id: &TaskId,
    run: &str,
    base: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = base.into_iter().collect();
    env.extend(launch.env.iter().map(|(name, value)| (name.as_str().into(), value.into())));
    env.insert(TASK_VARIABLE.into(), id.as_str().into());
    env.insert(RUN_VARIABLE.into(), run.into());
    env
}

/// The removal of what may be left of a task's container.
#[derive(Clone, Debug)]
pub struct Removal {
    runtime: String,
    commands: Vec<Vec<String>>,
    env: BTreeMap<OsString, OsString>,
}

/// Why a removal has not worked.
#[derive(Debug)]
pub struct NotRemoved {
    runtime: String,
    command: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    CannotRun(io::Error),
    Ended(ExitStatus),
    TookTooLong(Duration),
}

impl Removal {
    /// For a task that was launched so; `None` when there is nothing to run. The commands have the client's environment.
    #[must_use]
    pub fn new(
        launch: &RuntimeLaunch,
        id: &TaskId,
        run: &str,
        base: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Option<Self> {
        (!launch.remove.is_empty()).then(|| Self {
            runtime: launch.runtime.clone(),
            commands: launch.remove.clone(),
            env: environment(launch, id, run, base),
        })
    }

    /// Runs the commands in their order, each for `patience` at most, up to the first that fails. What they say goes where
    /// `complaints` leads to.
    ///
    /// # Errors
    /// When one fails, or takes too long: then it was killed, with its process group.
    pub fn attempt(&self, patience: Duration, complaints: impl Fn() -> Stdio) -> Result<(), NotRemoved> {
        for argv in &self.commands {
            self.run(argv, patience, &complaints).map_err(|why| NotRemoved {
                runtime: self.runtime.clone(),
                command: argv.join(" "),
                why,
            })?;
        }
        Ok(())
    }

    fn run(&self, argv: &[String], patience: Duration, complaints: impl Fn() -> Stdio) -> Result<(), Why> {
        let (program, arguments) = argv.split_first().ok_or_else(|| Why::CannotRun(io::ErrorKind::NotFound.into()))?;
        let home = self.env.get(OsStr::new("HOME")).map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(complaints())
            .stderr(complaints())
            .spawn()
            .map_err(Why::CannotRun)?;
        match ended_within(&mut child, patience).map_err(Why::CannotRun)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Why::Ended(status)),
            None => Err(Why::TookTooLong(patience)),
        }
    }
}

/// Waits for a child that leads a process group; kills the group (`None`) when it takes longer than `patience`.
fn ended_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    // Until it is waited for its number is its own, and so is that of its group.
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let waited = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
        let timeout = Timespec::try_from(patience).ok();
        poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], timeout.as_ref())
    });
    match waited {
        Ok(ready) if ready > 0 => child.wait().map(Some),
        other => {
            let _ = kill_process_group(pid, Signal::KILL);
            child.wait()?;
            other.map(|_| None).map_err(io::Error::from)
        }
    }
}

/// How long to wait after so many failures.
#[must_use]
pub fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LAST_PAUSE)
}

impl NotRemoved {
    /// As a view of the task shows it.
    #[must_use]
    pub fn lingering(&self) -> Lingering {
        Lingering { pid: 0, name: format!("{} container", self.runtime), why: self.to_string() }
    }
}

impl fmt::Display for NotRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what may be left of it cannot be removed: `{}` ", self.command)?;
        match &self.why {
            Why::CannotRun(e) => write!(f, "cannot be run: {e}")?,
            Why::Ended(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "ended with exit code {code}")?,
                (None, Some(signal)) => write!(f, "was ended by signal {signal}")?,
                (None, None) => write!(f, "ended in an unknown way")?,
            },
            Why::TookTooLong(patience) => write!(f, "took longer than {patience:?}")?,
        }
        write!(f, "; it is tried again (what it says is in shim.err of the task's directory)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_task::{EnvName, ExecVia};

    fn launch(remove: &[&str]) -> RuntimeLaunch {
        RuntimeLaunch {
            terminate: vk_task::Terminate::Tree,
            confine_client: false,
            runtime: "podman".into(),
            argv: vec!["podman".into()],
            env: [("A", "launch"), (RUN_VARIABLE, "forged")].map(|(n, v)| (EnvName::new(n).unwrap(), v.into())).into(),
            remove: remove.iter().map(|text| ["/bin/sh", "-c", text].map(str::to_owned).into()).collect(),
            exec: ExecVia::Namespaces,
        }
    }

    fn attempt(remove: &[&str], dir: &std::path::Path) -> Result<(), NotRemoved> {
        let base = [("HOME".into(), dir.into()), ("A".into(), "base".into())];
        let removal = Removal::new(&launch(remove), &TaskId::new("t").unwrap(), "r", base).unwrap();
        removal.attempt(Duration::from_millis(300), Stdio::null)
    }

    #[test]
    fn all_commands_run_in_order_with_the_clients_environment() {
        let dir = tempfile::tempdir().unwrap();
        let text = "echo $A $VK_CMD_TASK $VK_CMD_RUN >> seen";
        attempt(&[text, "echo second >> seen"], dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("seen")).unwrap(), "launch t r\nsecond\n");
        assert!(Removal::new(&launch(&[]), &TaskId::new("t").unwrap(), "r", []).is_none());
    }

    #[test]
    fn the_first_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for (text, word) in [("exit 7", "exit code 7"), ("kill -9 $$", "signal 9"), ("sleep 1000", "longer than 300ms")]
        {
            let failed = attempt(&[text, "echo >> seen"], dir.path()).unwrap_err().lingering();
            assert!(failed.why.contains(word) && failed.why.contains(text), "{failed:?}");
            assert_eq!((failed.pid, failed.name.as_str()), (0, "podman container"));
        }
        assert!(!dir.path().join("seen").exists());
        let mut nothing = launch(&[]);
        nothing.remove = vec![vec!["/no/such/program".into()], vec![]];
        let removal = Removal::new(&nothing, &TaskId::new("t").unwrap(), "r", []).unwrap();
        let failed = removal.attempt(PATIENCE, Stdio::null).unwrap_err();
        assert!(failed.to_string().contains("cannot be run"), "{failed}");
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(2), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX), LAST_PAUSE);
    }
}
