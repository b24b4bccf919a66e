//! Mounts of a task's own: the child at the gate goes into a mount namespace, and where that takes a user namespace, into
//! one in which its user and group are themselves and nobody else. No right is needed for that but the kernel's leave.
//!
//! ```text
//!   unshare ──▶ the host's later mounts still come in, none go out
//!      │
//!      ▼
//!   open the sources ──▶ `plan` ──▶ mirrors, directories and files made, sources shown ──▶ mirrors closed
//!      │                                    │ the root is mirrored: pivot_root
//!      │                                    │ the root is to be read-only: all is shut (`shut`) but volumes and own directories
//!      ▼                                    ▼
//!   the program, or what went wrong with which mount
//! ```
//!
//! A program that is run beside the task's goes into the namespaces of its main process.

mod act;
mod plan;
mod shut;
mod source;
mod try_out;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use vk_task::{Bind, HostSetup};

use act::{Host, carry_out};
use plan::{User, Wanted, plan};
pub(crate) use try_out::try_out;

/// What a program sees of the host's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All as it is.
    #[default]
    Host,
    /// Mounts of its own over it.
    Own(Mounts),
    /// What this process sees.
    Of(i32),
}

/// Mounts to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    pub(crate) binds: Vec<Bind>,
    /// A directory at least two levels below the root, over which a new root can be built.
    pub(crate) spare: PathBuf,
    /// The user's home directory.
    pub(crate) home: PathBuf,
    /// Whether all else is to be read-only, and what is not to be although it is no mount.
    pub(crate) shut: Option<Vec<PathBuf>>,
}

impl Sight {
    /// Takes it on, for the calling process, which must have one thread. What failed is told in words.
    pub(crate) fn take_on(&self) -> Result<(), String> {
        match self {
            Self::Host => Ok(()),
            Self::Own(mounts) => mounts.make(),
            Self::Of(pid) => enter(*pid),
        }
    }
}

impl Mounts {
    fn make(&self) -> Result<(), String> {
        let user = User { is_root: rustix::process::geteuid().is_root(), home: self.home.clone() };
        separate(user.is_root)?;
        let mut sources = Vec::new();
        for bind in &self.binds {
            sources.push(source::open(bind).map_err(|why| self.failed(bind, &why))?);
        }
        let wanted: Vec<Wanted> = (self.binds.iter().zip(&sources))
            .map(|(bind, source)| Wanted { target: bind.target.clone(), is_dir: source.is_dir })
            .collect();
        let steps = plan(&wanted, &user, &Host { sources: &sources }).map_err(|problem| {
            self.binds.get(problem.which).map_or(problem.why.clone(), |bind| self.failed(bind, &problem.why))
        })?;
        carry_out(&steps, &self.binds, &sources, &self.spare)?;
        match &self.shut {
            Some(but) => {
                let writable = self.binds.iter().filter(|bind| !bind.read_only).map(|bind| &bind.target);
                shut::all(but.iter().chain(writable))
            }
            None => Ok(()),
        }
    }

    fn failed(&self, bind: &Bind, why: &str) -> String {
        format!("cannot mount {} at {}: {why}", bind.source.display(), bind.target.display())
    }
}

/// Goes into namespaces of its own.
#[allow(unsafe_code)]
fn separate(is_root: bool) -> Result<(), String> {
    // SAFETY: this process has one thread, and its descriptors stay its own.
    let unshare = |flags| unsafe { unshare_unsafe(flags) };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // Root, where it is really root, needs no user namespace, and so keeps all its rights.
    let needs_user = !(is_root && unshare(UnshareFlags::NEWNS).is_ok());
    if needs_user {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
            .map_err(|e| said("cannot make a user and mount namespace", e))?;
        let write = |file: &str, text: String| {
            std::fs::write(file, text).map_err(|e| format!("cannot write {file} for a user namespace: {e}"))
        };
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|e| said("cannot keep mounts from going out", e))
}

/// Goes into the namespaces of the process `pid`, a child of the shim that has not been waited for.
fn enter(pid: i32) -> Result<(), String> {
    let gone = |e| said("cannot enter the task's mount namespace: its main process may have ended just now", e);
    let open = |of: &str, kind: &str| {
        rustix::fs::open(format!("/proc/{of}/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone)
    };
    // Both before the first is entered: in another user namespace they might not be opened.
    let (user, mounts) = (open(&pid.to_string(), "user")?, open(&pid.to_string(), "mnt")?);
    let identity = |fd: &std::os::fd::OwnedFd| rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).map_err(gone);
    if identity(&user)? != identity(&open("self", "user")?)? {
        move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(|e| said("cannot enter the task's user namespace", e))?;
    }
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(|e| said("cannot enter the task's mount namespace", e))
}

/// What failed, in the kernel's words.
fn said(what: &str, e: Errno) -> String {
    format!("{what}: {}", std::io::Error::from(e))
}

/// Mounts for a task whose records are in `task`.
pub(crate) fn sight(setup: &HostSetup, task: &Path, home: &Path) -> Sight {
    let HostSetup { own, binds, read_only_root, writable, termination_log } = setup;
    if binds.is_empty() && !read_only_root {
        return Sight::Host;
    }
    let own = own.iter().flat_map(|own| [&own.work, &own.tmp]);
    let but = || own.chain(writable).chain(termination_log).cloned().collect();
    let shut = read_only_root.then(but);
    Sight::Own(Mounts { binds: binds.clone(), spare: task.to_owned(), home: home.to_owned(), shut })
}

/// A process's number, as [`Sight::Of`] has it.
pub(crate) fn of(main: Pid) -> Sight {
    Sight::Of(main.as_raw_nonzero().get())
}
