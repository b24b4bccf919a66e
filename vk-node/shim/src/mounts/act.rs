//! Looking at the host, and doing what `plan` says.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use vk_task::Bind;

use super::plan::{Kind, Look, Makers, Place, Step};
use super::said;
use super::source::Source;

/// No directory with more entries is mirrored: each becomes a mount.
const MAX_ENTRIES: usize = 10_000;
/// What is not mirrored, for a mirror shows what was there at one moment: procfs, sysfs, cgroups of version 1 and 2. See
/// statfs(2).
const KERNELS_OWN: [i128; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
const DIRECTORY: Mode = Mode::from_bits_retain(0o755);
const FILE: Mode = Mode::from_bits_retain(0o644);

/// Where in a mirror the directory itself shows, in which there are devices.
const WHOLE: &CStr = c".host";
/// Devices that show in a mirror as they are: those that programs look at without following links. There may be hundreds of
/// others, and a mount for each took longer than all else of a task's start.
const PLAIN_DEVICES: [&[u8]; 8] = [b"null", b"zero", b"full", b"random", b"urandom", b"tty", b"console", b"ptmx"];

/// The host, and what is to be mounted.
pub(super) struct Host<'a> {
    pub(super) sources: &'a [Source],
}

impl Look for Host<'_> {
    fn kind(&self, place: Place<'_>) -> Result<Option<Kind>, String> {
        let (dir, path) = match place {
            Place::Host(path) => (CWD, path),
            Place::Source(which, path) => match self.sources.get(which) {
                Some(source) => (source.fd.as_fd(), path),
                None => return Ok(None),
            },
        };
        match kind_at(dir, path) {
            Ok(kind) => Ok(Some(kind)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(said(&format!("cannot look at {}", path.display()), e)),
        }
    }

    fn makers(&self, dir: &Path) -> Makers {
        // By the real user, whose rights are the task's: in its own user namespace this process has more.
        if rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            return Makers::Others;
        }
        match rustix::fs::stat(dir) {
            Ok(stat) if Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX | Mode::WOTH) => Makers::Everybody,
            Ok(_) | Err(_) => Makers::User,
        }
    }
}

fn kind_at(dir: impl AsFd, path: impl rustix::path::Arg + Copy) -> Result<Kind, Errno> {
    let stat = rustix::fs::statat(&dir, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => {
            let to = rustix::fs::readlinkat(&dir, path, Vec::new())?;
            Kind::Link(PathBuf::from(OsStr::from_bytes(to.to_bytes())))
        }
        FileType::RegularFile
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Kind::File,
    })
}

/// Where a path is while a new root is being built.
struct Root(Option<PathBuf>);

impl Root {
    fn at(&self, path: &Path) -> PathBuf {
        match &self.0 {
            None => path.to_owned(),
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }
}

/// Does all of it.
pub(super) fn carry_out(steps: &[Step], binds: &[Bind], sources: &[Source], spare: &Path) -> Result<(), String> {
    // As they are now: a mirror may be laid over them.
    let mut trees = Vec::new();
    for (source, bind) in sources.iter().zip(binds) {
        trees.push(clone_of(&source.fd, c"").map_err(|e| failed(bind, "cannot show it elsewhere", e))?);
    }
    let mut root = Root(None);
    let mut mirrors = Vec::new();
    for step in steps {
        match step {
            Step::Mirror(dir) => {
                let new = if dir == Path::new("/") { spare.to_owned() } else { root.at(dir) };
                mirror(&root.at(dir), &new).map_err(|why| format!("cannot mirror {}: {why}", dir.display()))?;
                if dir == Path::new("/") {
                    root = Root(Some(new.clone()));
                }
                mirrors.push(new);
            }
            Step::MakeDir(path) => match rustix::fs::mkdir(root.at(path), DIRECTORY) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => {
                    return Err(said(&format!("cannot make {}, over which it is to be mounted", path.display()), e));
                }
            },
            Step::MakeFile(path) => make_file(CWD, root.at(path))
                .map_err(|e| said(&format!("cannot make {}, over which it is to be mounted", path.display()), e))?,
            Step::Bind(which, at) => {
                if let (Some(bind), Some(tree)) = (binds.get(*which), trees.get(*which)) {
                    let at = root.at(at);
                    attach(tree, CWD, &at).map_err(|e| failed(bind, "the kernel refuses it", e))?;
                    if bind.read_only {
                        close_all(&at).map_err(|e| failed(bind, "it cannot be made read-only", e))?;
                    }
                }
            }
        }
    }
    for mirror in mirrors {
        close(&mirror).map_err(|e| said("cannot close a mirror", e))?;
    }
    match root.0 {
        Some(new) => enter_root(&new).map_err(|e| said("cannot make another root the root", e)),
        None => Ok(()),
    }
}

fn failed(bind: &Bind, what: &str, e: Errno) -> String {
    said(&format!("cannot mount {} at {}: {what}", bind.source.display(), bind.target.display()), e)
}

/// Lays an empty file system over `new`, and shows in it all that is in `dir`.
fn mirror(dir: &Path, new: &Path) -> Result<(), String> {
    let words = |what: &'static str| move |e: Errno| said(what, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open(dir, flags, Mode::empty()).map_err(words("cannot open it"))?;
    let of = rustix::fs::fstatfs(&old).map_err(words("cannot look at it"))?.f_type;
    if KERNELS_OWN.contains(&i128::from(of)) {
        return Err("it is the kernel's own, and changes as the system does: mount elsewhere".to_owned());
    }
    let mut entries = Vec::new();
    for entry in Dir::read_from(&old).map_err(words("cannot list it"))? {
        let entry = entry.map_err(words("cannot list it"))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), Shown::of(&old, entry.file_name(), entry.file_type())));
        }
        if entries.len() > MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries: mount at a path that is there"));
        }
    }
    // Before something is laid over it, which would be cloned, too.
    let whole = match entries.iter().any(|(_, shown)| *shown == Shown::InWhole) {
        true => Some(clone_of(&old, c"").map_err(words("cannot show it elsewhere"))?),
        false => None,
    };
    let mode = rustix::fs::fstat(&old).map_err(words("cannot look at it"))?.st_mode & 0o1777;
    let options = std::ffi::CString::new(format!("mode={mode:o},size=4m,nr_inodes={}", 4 * entries.len() + 1024));
    mount("tmpfs", new, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.unwrap_or_default().as_c_str())
        .map_err(words("cannot lay an empty file system over it"))?;
    // A new root is mounted over a place in the old one, and what shows in it is not to show it once more.
    if new != dir {
        mount_change(new, MountPropagationFlags::UNBINDABLE).map_err(words("cannot keep it to itself"))?;
    }
    let made = rustix::fs::open(new, flags, Mode::empty()).map_err(words("cannot open it anew"))?;
    if let Some(whole) = whole {
        rustix::fs::mkdirat(&made, WHOLE, DIRECTORY).map_err(words("cannot make a directory in its mirror"))?;
        attach(&whole, &made, WHOLE).map_err(words("cannot show it in its mirror"))?;
    }
    // What is laid over has no path any more, but for a process that is in it.
    rustix::process::fchdir(&old).map_err(words("cannot enter it"))?;
    for (name, shown) in entries {
        match show(&old, new, &made, &name, shown) {
            Ok(()) => {}
            // What the user could not use is not there in the mirror either, or is empty: another user's FUSE, a file
            // server that is gone, what went just now.
            Err(
                Errno::ACCESS
                | Errno::PERM
                | Errno::NOENT
                | Errno::NOTCONN
                | Errno::STALE
                | Errno::IO
                | Errno::HOSTDOWN
                | Errno::INVAL,
            ) => {}
            Err(e) => return Err(said(&format!("cannot show {} again", dir.join(display(&name)).display()), e)),
        }
    }
    rustix::process::chdir("/").map_err(words("cannot leave it"))
}

/// How an entry of a directory shows in its mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// As the same link.
    Link,
    /// By a link into [`WHOLE`].
    InWhole,
    /// By a mount over an empty directory.
    Directory,
    /// By a mount over an empty file.
    File,
}

impl Shown {
    /// Of an entry of this kind, by the listing of its directory.
    fn of(dir: &OwnedFd, name: &CStr, listed: FileType) -> Self {
        let mut kind = listed;
        // Not every file system says it.
        if kind == FileType::Unknown
            && let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        {
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        match kind {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            FileType::CharacterDevice | FileType::BlockDevice if !PLAIN_DEVICES.contains(&name.to_bytes()) => {
                Self::InWhole
            }
            FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            // The mount will say why not.
            | FileType::Unknown => Self::File,
        }
    }
}

fn display(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Shows `name` of `old`, which this process is in, in `new` too, which is open as `made`. A directory may have hundreds of
/// entries, so this takes two system calls for each.
fn show(old: &OwnedFd, new: &Path, made: &OwnedFd, name: &CStr, shown: Shown) -> Result<(), Errno> {
    match shown {
        Shown::Link => return rustix::fs::symlinkat(rustix::fs::readlinkat(old, name, Vec::new())?, made, name),
        Shown::InWhole => {
            return rustix::fs::symlinkat([WHOLE.to_bytes(), b"/", name.to_bytes()].concat(), made, name);
        }
        Shown::Directory => rustix::fs::mkdirat(made, name, DIRECTORY)?,
        Shown::File => rustix::fs::mknodat(made, name, FileType::RegularFile, FILE, 0)?,
    }
    mount_bind_recursive(name, new.join(OsStr::from_bytes(name.to_bytes())))
}

fn make_file(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<(), Errno> {
    rustix::fs::openat(dir, name, OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE).map(drop)
}

/// `name` in `dir` with all that is mounted beneath it, to be attached elsewhere.
pub(super) fn clone_of(dir: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    flags |= if name.is_empty() { OpenTreeFlags::AT_EMPTY_PATH } else { OpenTreeFlags::AT_SYMLINK_NOFOLLOW };
    open_tree(dir, name, flags)
}

fn attach(tree: &OwnedFd, dir: impl AsFd, at: impl rustix::path::Arg) -> Result<(), Errno> {
    move_mount(tree, c"", dir, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The same, over what is open as `at`.
pub(super) fn attach_over(tree: &OwnedFd, at: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", at, c"", flags)
}

/// Makes a mount read-only, with those beneath it where the kernel can (5.12).
fn close_all(at: &Path) -> Result<(), Errno> {
    match close_tree(at) {
        Err(Errno::NOSYS) => close(at),
        done => done,
    }
}

/// Makes a mount read-only, with those beneath it.
#[allow(unsafe_code)]
pub(super) fn close_tree(at: &Path) -> Result<(), Errno> {
    // The argument of mount_setattr(2).
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const READ_ONLY: u64 = 1;
    const RECURSIVE: libc::c_int = 0x8000;
    let attributes = Attributes { set: READ_ONLY, clear: 0, propagation: 0, userns_fd: 0 };
    let path = rustix::path::Arg::into_c_str(at)?;
    // SAFETY: the text ends with a NUL and the structure is the kernel's, of the size that is said; both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            RECURSIVE,
            std::ptr::from_ref(&attributes),
            size_of::<Attributes>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Makes one mount read-only. What else is forbidden of it stays so: in a user namespace it cannot be allowed again.
fn close(at: &Path) -> Result<(), Errno> {
    let now = rustix::fs::statvfs(at)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (is, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if now.contains(is) {
            flags |= flag;
        }
    }
    mount_remount(at, flags, c"")
}

/// Has `new` be the root, and nothing be left of the old one but what shows in it.
fn enter_root(new: &Path) -> Result<(), Errno> {
    rustix::process::chdir(new)?;
    // Over itself, and then away: see "pivot_root(".", ".")" in pivot_root(2).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM)
}
