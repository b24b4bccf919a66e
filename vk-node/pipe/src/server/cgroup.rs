//! Whether a cgroup (version 2) is delegated to this pipe, and getting ready to use it.
//!
//! ```text
//!   which directory? ──the option names one──────────────┐
//!      │ auto: the pipe's own group, if it is delegated   │
//!      ▼                                                  ▼
//!   it holds processes other than the pipe? ──no──▶ the pipe goes into its leaf `pipe` ──▶ controllers are turned on
//!      │ yes                                                                                          │
//!      └──▶ groups without controllers: they still prove which processes are a task's, and kill ◀─────┘ none there
//! ```
//!
//! A group may have controllers for the groups below it only while it holds no process itself: hence the leaf. (The root of
//! the hierarchy is free of that rule.) Processes that are not the pipe's own are never moved.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tracing::{info, warn};
use vk_record::cgroup::{self, Controllers, LEAF};
use vk_task::{CgroupChoice, Enforcement, Enforcer};

/// Gets ready; says what holds tasks to their limits from now on, and says it in the log.
///
/// # Errors
/// When a directory was named that cannot be used.
pub(super) fn prepare(choice: &CgroupChoice) -> anyhow::Result<Enforcement> {
    let base = match choice {
        CgroupChoice::Off => None,
        CgroupChoice::Auto => own_group().and_then(|own| {
            let base = delegated(&own)?;
            adopt(&base, &own).inspect_err(|e| warn!("no cgroup is used: {}: {e:#}", base.display())).ok()?;
            Some(base)
        }),
        CgroupChoice::Directory(path) => {
            let base = fs::canonicalize(path).with_context(|| format!("there is no cgroup {}", path.display()))?;
            if !mounts(&read("/proc/self/mountinfo")).iter().any(|mount| base.starts_with(&mount.at)) {
                bail!("{} is in no cgroup file system of version 2", base.display());
            }
            let own = own_group().unwrap_or_default();
            adopt(&base, &own).with_context(|| {
                format!("the cgroup {} cannot be used: have it delegated to this user", base.display())
            })?;
            Some(base)
        }
    };
    let enforcement = enforcement(base.as_deref().map(Controllers::below).unwrap_or_default(), base);
    let Enforcement { cgroup, memory, cpu, processes } = &enforcement;
    info!(?cgroup, ?memory, ?cpu, ?processes, "what holds tasks to their limits");
    Ok(enforcement)
}

/// What holds tasks to their limits. Pure.
fn enforcement(controllers: Controllers, cgroup: Option<PathBuf>) -> Enforcement {
    let by = |has: bool, otherwise| if has { Enforcer::Cgroup } else { otherwise };
    Enforcement {
        cgroup,
        memory: by(controllers.memory, Enforcer::Watchdog),
        cpu: by(controllers.cpu, Enforcer::Affinity),
        processes: by(controllers.pids, Enforcer::Watchdog),
    }
}

/// The cgroup that a pipe that was started here would have, if one is delegated.
pub(super) fn delegated_here() -> Option<PathBuf> {
    delegated(&own_group()?)
}

/// The directory of this process's group.
fn own_group() -> Option<PathBuf> {
    let group = own_path(&read("/proc/self/cgroup"))?;
    mounts(&read("/proc/self/mountinfo")).iter().find_map(|mount| mount.directory_of(&group)).filter(|p| p.is_dir())
}

/// The delegated directory, seen from the group of this process: itself, or the one above if this is the leaf that an
/// earlier pipe or `DelegateSubgroup=pipe` of systemd.exec(5) has put it into.
fn delegated(own: &Path) -> Option<PathBuf> {
    let is_leaf = own.file_name().is_some_and(|name| name == LEAF);
    let above = own.parent().filter(|_| is_leaf).filter(|above| is_delegated(above));
    above.or_else(|| Some(own).filter(|own| is_delegated(own))).map(Path::to_owned)
}

/// Whether this user may do as he likes there. To root all of them are open, so there it takes the mark that systemd leaves
/// on those that it has delegated: otherwise they are systemd's.
fn is_delegated(dir: &Path) -> bool {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return ["trusted.delegate", "user.delegate"].iter().any(|name| {
            let mut value = [0; 8];
            rustix::fs::getxattr(dir, *name, &mut value).is_ok_and(|n| value.get(..n) == Some(b"1"))
        });
    }
    use std::os::unix::fs::MetadataExt;
    let is_ours = |path: &Path| fs::metadata(path).is_ok_and(|m| m.uid() == uid.as_raw());
    is_ours(dir) && is_ours(&dir.join("cgroup.procs"))
}

/// Makes `base` ready to hold tasks' groups; `own` is the group of this process.
fn adopt(base: &Path, own: &Path) -> anyhow::Result<()> {
    let leaf = base.join(LEAF);
    let moving = match own {
        // All have to leave, or none.
        own if own == base => own_processes().into_iter().filter(|_| may_leave(base)).collect(),
        own if own.starts_with(base) => Vec::new(),
        // A shim that is born elsewhere could not put its task there. What the node is in does not matter.
        _ => vec![std::process::id()],
    };
    if !moving.is_empty() {
        match fs::create_dir(&leaf) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("cannot make {}", leaf.display()));
            }
            _ => {}
        }
        for pid in moving {
            write(&leaf.join("cgroup.procs"), &pid.to_string())
                .with_context(|| format!("cannot move process {pid} into {}", leaf.display()))?;
        }
    }
    for controller in ["+memory", "+pids", "+cpu"] {
        // Which of them are there, and may be turned on, shows in the file afterwards.
        let _ = write(&base.join("cgroup.subtree_control"), controller);
    }
    let probe = base.join(format!("vk-probe-{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).context("cannot make a group in it")?;
    cgroup::sweep(base);
    Ok(())
}

/// Whether nobody but this process, and the node that has started it, is in the group `base`.
fn may_leave(base: &Path) -> bool {
    let ours = own_processes();
    let there = read(base.join("cgroup.procs"));
    there.split_ascii_whitespace().all(|pid| ours.iter().any(|our| our.to_string() == pid))
}

/// This process, and its parent if that is the same program: the node.
fn own_processes() -> Vec<u32> {
    let parent = std::os::unix::process::parent_id();
    let program = |pid: u32| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(format!("/proc/{pid}/exe")).map(|m| (m.dev(), m.ino())).ok()
    };
    let own = std::process::id();
    let is_node = program(parent).is_some() && program(parent) == program(own);
    [own].into_iter().chain(is_node.then_some(parent)).collect()
}

/// A place where the cgroup file system of version 2 is to be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The group that is to be seen there.
    root: PathBuf,
    /// Where.
    pub(super) at: PathBuf,
}

impl Mount {
    /// Where the group `path` is to be seen.
    pub(super) fn directory_of(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        Some(if below.as_os_str().is_empty() { self.at.clone() } else { self.at.join(below) })
    }
}

/// The group of version 2 in the text of `/proc/self/cgroup`: see cgroups(7).
pub(super) fn own_path(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// The mounts of version 2 in the text of `/proc/self/mountinfo`: see proc_pid_mountinfo(5).
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        // A space in a path stands there as \040; no cgroup has one.
        (kind.split(' ').next() == Some("cgroup2")).then(|| Mount { root: root.into(), at: at.into() })
    };
    text.lines().filter_map(mount).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn write(path: &Path, value: &str) -> std::io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_and_written() {
        for text in ["auto", "off", "/sys/fs/cgroup/x"] {
            assert_eq!(text.parse::<CgroupChoice>().unwrap().to_string(), text);
        }
        assert!("on".parse::<CgroupChoice>().is_err());
    }

    #[test]
    fn the_own_group_is_found_on_every_kind_of_host() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "25 24 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      26 25 0:21 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      35 25 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let inside = "50 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let find = |info, group: &str| mounts(info).iter().find_map(|m| m.directory_of(Path::new(group)));
        assert_eq!(own_path("0::/user.slice/a\n"), Some("/user.slice/a".into()));
        assert_eq!(own_path("4:memory:/x\n0::/\n"), Some("/".into()));
        assert_eq!(own_path("4:memory:/x\n"), None);
        assert_eq!(find(unified, "/user.slice/a"), Some("/sys/fs/cgroup/user.slice/a".into()));
        assert_eq!(find(hybrid, "/"), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find(inside, "/docker/abc/x"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(find(inside, "/docker/other"), None);
        assert_eq!(mounts("garbage\n - cgroup2\n1 2 3 - cgroup2 x\n"), vec![]);
    }

    #[test]
    fn what_is_not_held_by_a_controller_is_held_otherwise() {
        let some = Controllers { memory: true, cpu: false, pids: false };
        let said = enforcement(some, Some("/c".into()));
        assert_eq!((said.memory, said.cpu, said.processes), (Enforcer::Cgroup, Enforcer::Affinity, Enforcer::Watchdog));
        assert_eq!(said.cgroup, Some("/c".into()));
    }

    #[test]
    fn controllers_are_turned_on_and_nobody_else_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        for file in ["cgroup.procs", "cgroup.subtree_control"] {
            fs::write(base.join(file), "").unwrap();
        }
        fs::create_dir(base.join(LEAF)).unwrap();
        fs::write(base.join(LEAF).join("cgroup.procs"), "").unwrap();
        let leaf = || read(base.join(LEAF).join("cgroup.procs"));
        // Somebody else is there: all stay.
        fs::write(base.join("cgroup.procs"), format!("{}\n1\n", std::process::id())).unwrap();
        adopt(base, base).unwrap();
        assert_eq!(leaf(), "");
        // This process alone goes into the leaf.
        fs::write(base.join("cgroup.procs"), format!("{}\n", std::process::id())).unwrap();
        adopt(base, base).unwrap();
        assert!(leaf().contains(&std::process::id().to_string()));
        assert!(read(base.join("cgroup.subtree_control")).contains('+'));
        // One that is born below is where it belongs.
        fs::write(base.join(LEAF).join("cgroup.procs"), "").unwrap();
        adopt(base, &base.join(LEAF)).unwrap();
        assert_eq!(leaf(), "");
        assert!(adopt(&base.join("nothing"), base).is_err());
    }
}
