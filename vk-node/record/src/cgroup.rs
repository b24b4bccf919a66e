//! A task's own cgroup (version 2): the kernel's word for which processes are the task's, whatever they have made of their
//! parents, sessions and environments; and, where the directory was delegated with controllers, what holds them to their
//! limits. See cgroups(7) and the kernel's `admin-guide/cgroup-v2`.
//!
//! ```text
//!   <delegated>/                     its controllers are on for what is below (cgroup.subtree_control)
//!     pipe/                          the pipe and the shims: a group with groups below it may hold no process itself
//!     vk-<task>-<run>/               one task; its name holds the mark of the run, so it is no other's
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use vk_task::{Limits, TaskId};

use crate::process::{self, Sent, Stat};

/// How the names of tasks' groups begin.
const PREFIX: &str = "vk-";
/// The group of the pipe and its shims.
pub const LEAF: &str = "pipe";
/// The period over which `cpu.max` counts, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;
/// The least that the kernel takes for a quota of it.
const CPU_LEAST: u64 = 1_000;
/// A group without processes that is older is nobody's who is about to put one into it.
const ABANDONED: Duration = Duration::from_secs(60);

/// Which controllers a group below a directory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `memory`.
    pub memory: bool,
    /// `cpu`.
    pub cpu: bool,
    /// `pids`.
    pub pids: bool,
}

impl Controllers {
    /// Those that are on below the directory `base`.
    #[must_use]
    pub fn below(base: &Path) -> Self {
        Self::parse(&fs::read_to_string(base.join("cgroup.subtree_control")).unwrap_or_default())
    }

    /// Out of a list of names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let has = |name: &str| text.split_ascii_whitespace().any(|word| word == name);
        Self { memory: has("memory"), cpu: has("cpu"), pids: has("pids") }
    }
}

/// What a group is given: a file, and what is to stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    /// Whether the limit is in force without it: a kernel may be without that file.
    may_fail: bool,
}

/// What of the limits a group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Memory.
    pub memory: bool,
    /// Processors.
    pub cpu: bool,
    /// Processes.
    pub processes: bool,
}

/// The files for each limit.
fn memory(bytes: u64) -> Vec<Setting> {
    let setting = |file, value: &str, may_fail| Setting { file, value: value.to_owned(), may_fail };
    vec![
        // All of the task or nothing, as for the watchdog: a tree without one of its processes is of no use to anyone.
        setting("memory.oom.group", "1", true),
        // What does not fit is not to go on in swap space.
        setting("memory.swap.max", "0", true),
        setting("memory.max", &bytes.to_string(), false),
    ]
}

fn cpu(millis: u64) -> Vec<Setting> {
    let quota = millis.saturating_mul(CPU_PERIOD / 1000).max(CPU_LEAST);
    vec![Setting { file: "cpu.max", value: format!("{quota} {CPU_PERIOD}"), may_fail: false }]
}

fn processes(most: u64) -> Vec<Setting> {
    vec![Setting { file: "pids.max", value: most.to_string(), may_fail: false }]
}

/// A task's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes the group of the run `run` of the task `id` in the directory `base`.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn make(base: &Path, id: &TaskId, run: &str) -> io::Result<Self> {
        let path = base.join(format!("{PREFIX}{id}-{run}"));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The group at `path`, if it is there and by its name the one of the run `run`.
    #[must_use]
    pub fn of_run(path: &Path, run: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let is_its = name.starts_with(PREFIX) && name.ends_with(run) && !run.is_empty();
        (is_its && path.join("cgroup.procs").exists()).then(|| Self { path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor of it, to have a process born in it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Moves a process into it; 0 means the caller.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        write(&self.path, "cgroup.procs", &pid.to_string())
    }

    /// Sets those limits that the controllers can hold; gives which they are. What cannot be set is given to `complain`.
    pub fn limit(
        &self,
        limits: &Limits,
        controllers: Controllers,
        mut complain: impl FnMut(&str, &io::Error),
    ) -> Holds {
        let mut set = |on: bool, settings: Option<Vec<Setting>>| {
            let Some(settings) = settings.filter(|_| on) else { return false };
            settings.iter().all(|s| match write(&self.path, s.file, &s.value) {
                Ok(()) => true,
                Err(_) if s.may_fail => true,
                Err(e) => {
                    complain(s.file, &e);
                    false
                }
            })
        };
        Holds {
            memory: set(controllers.memory, limits.memory_bytes.map(memory)),
            cpu: set(controllers.cpu, limits.cpu_millis.map(cpu)),
            processes: set(controllers.pids, limits.processes.map(processes)),
        }
    }

    /// All processes in it and in the groups that its processes have made below it.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for dir in subtree(&self.path) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.split_ascii_whitespace().filter_map(|n| n.parse::<i32>().ok()));
        }
        found
    }

    /// Kills all in it: at once where the kernel can (since 5.14), one by one where not.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn kill(&self) -> io::Result<()> {
        match write(&self.path, "cgroup.kill", "1") {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                for stat in self.processes().into_iter().filter_map(Stat::of) {
                    self.kill_one(&stat)?;
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Kills one that is proven to be in it at that moment.
    ///
    /// # Errors
    /// As [`process::send`].
    pub fn kill_one(&self, stat: &Stat) -> io::Result<Sent> {
        process::send(stat, Signal::KILL, |now| self.processes().contains(&now.pid))
    }

    /// How many of its processes the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        number(&text, "oom_kill").unwrap_or_default()
    }

    /// Removes it, with all groups below it. It fails as long as a process is in one of them, so nothing is lost by trying.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn remove(&self) -> io::Result<()> {
        // The innermost first.
        for dir in subtree(&self.path).iter().rev() {
            match fs::remove_dir(dir) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes groups of tasks below `base` that a shim and a pipe have left, which died before they could.
pub fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_tasks = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let age = entry.metadata().and_then(|m| m.modified()).map(|t| SystemTime::now().duration_since(t));
        let is_abandoned = matches!(age, Ok(Ok(age)) if age >= ABANDONED);
        let events = fs::read_to_string(entry.path().join("cgroup.events")).unwrap_or_default();
        if is_tasks && is_abandoned && number(&events, "populated") == Some(0) {
            // Another time, perhaps.
            let _ = Group { path: entry.path() }.remove();
        }
    }
}

/// The directory and all below it, each before those that are in it.
fn subtree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut at = 0;
    while let Some(dir) = found.get(at).cloned() {
        at += 1;
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        found.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    found
}

/// The number after `name` in a file of lines `name number`.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(n, _)| *n == name)?.1.trim().parse().ok())
}

/// Such a file takes what is written in one go, and is never made.
fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(dir.join(file))?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files that a kernel would put there.
    fn fake(files: &[&str]) -> (tempfile::TempDir, Group) {
        let dir = tempfile::tempdir().unwrap();
        let group = Group::make(dir.path(), &TaskId::new("t").unwrap(), "run").unwrap();
        for file in files {
            fs::write(group.path.join(file), "").unwrap();
        }
        (dir, group)
    }

    fn read(group: &Group, file: &str) -> String {
        fs::read_to_string(group.path.join(file)).unwrap()
    }

    const LIMITS: Limits = Limits {
        memory_bytes: Some(1 << 20),
        cpu_millis: Some(1500),
        processes: Some(9),
        wall_seconds: None,
        output_bytes: None,
        nice: None,
        rlimits: std::collections::BTreeMap::new(),
        log: vk_task::LogLimits { file_bytes: 1, files: 1 },
    };
    const ALL: Controllers = Controllers { memory: true, cpu: true, pids: true };

    #[test]
    fn limits_are_written_where_there_is_a_controller() {
        let files = ["memory.max", "memory.oom.group", "memory.swap.max", "cpu.max", "pids.max"];
        let (_dir, group) = fake(&files);
        let held = group.limit(&LIMITS, ALL, |file, e| panic!("{file}: {e}"));
        assert_eq!(held, Holds { memory: true, cpu: true, processes: true });
        assert_eq!(files.map(|f| read(&group, f)), ["1048576", "1", "0", "150000 100000", "9"]);

        let (_dir, group) = fake(&files);
        assert_eq!(group.limit(&LIMITS, Controllers::default(), |_, _| ()), Holds::default());
        assert_eq!(group.limit(&Limits::default(), ALL, |_, _| ()), Holds::default());
        assert_eq!(files.map(|f| read(&group, f)), [""; 5]);
    }

    #[test]
    fn what_cannot_be_set_is_not_held() {
        let (_dir, group) = fake(&["memory.max", "cpu.max"]);
        let mut complaints = Vec::new();
        let held = group.limit(&LIMITS, ALL, |file, _| complaints.push(file.to_owned()));
        // A kernel without swap or without killing groups holds the limit all the same.
        assert_eq!(held, Holds { memory: true, cpu: true, processes: false });
        assert_eq!(complaints, ["pids.max"]);
    }

    #[test]
    fn a_share_of_a_processor_is_never_less_than_the_kernel_takes() {
        let value = |millis| cpu(millis)[0].value.clone();
        assert_eq!([value(0), value(10), value(2000)], ["1000 100000", "1000 100000", "200000 100000"]);
        assert!(value(u64::MAX).ends_with(" 100000"));
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let (_dir, group) = fake(&["cgroup.procs"]);
        assert_eq!((group.oom_kills(), group.processes()), (0, vec![]));
        fs::write(group.path.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        fs::write(group.path.join("cgroup.procs"), "7\n8\n").unwrap();
        fs::create_dir_all(group.path.join("libpod/x")).unwrap();
        fs::write(group.path.join("libpod/x/cgroup.procs"), "9\n").unwrap();
        assert_eq!((group.oom_kills(), group.processes()), (2, vec![7, 8, 9]));
        let some = Controllers { memory: true, cpu: false, pids: true };
        assert_eq!(Controllers::parse("cpuset memory pids\n"), some);
        assert_eq!(Controllers::parse("cpus mem"), Controllers::default());
    }

    #[test]
    fn a_group_is_known_by_the_run_in_its_name() {
        let (dir, group) = fake(&["cgroup.procs"]);
        assert_eq!(Group::of_run(group.path(), "run"), Some(group.clone()));
        assert_eq!(Group::of_run(group.path(), "other"), None);
        assert_eq!(Group::of_run(group.path(), ""), None);
        assert_eq!(Group::of_run(dir.path(), "run"), None);
        assert_eq!(Group::of_run(Path::new("/"), "run"), None);
    }
}
