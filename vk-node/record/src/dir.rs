//! A directory of ours: files are opened relative to it, and written so that a crash leaves the old or the new.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::RecordError;
use crate::faults::{self, Call};

/// The names of the files.
pub mod names {
    /// The FIFO.
    pub const FIFO: &str = "vk-cmd";
    /// The socket of the API.
    pub const SOCKET: &str = "vk-cmd.sock";
    /// The socket that shims ring at.
    pub const EVENTS: &str = "events.sock";
    /// What lines of the FIFO write to standard output, as in the original.
    pub const PIPELINE_OUT: &str = "pipeline.out";
    /// What they write to standard error, and what went wrong with lines that were not run.
    pub const PIPELINE_ERR: &str = "pipeline.err";
    /// The steps of the wall clock that the pipe has seen.
    pub const CLOCK: &str = "clock.json";
    /// Those that the node has seen.
    pub const NODE_CLOCK: &str = "node-clock.json";
    /// Since when the node is there, and whether it was told to end.
    pub const NODE_STAY: &str = "node-stay.json";
    /// The lock of the pipe.
    pub const PIPE_LOCK: &str = "pipe.lock";
    /// The directory of the tasks' directories.
    pub const TASKS: &str = "tasks";
    /// The directory of the pods' directories.
    pub const PODS: &str = "pods";
    /// The directory of what is being removed.
    pub const TRASH: &str = "trash";
    /// What was asked.
    pub const INTENT: &str = "intent.json";
    /// The script's text.
    pub const SCRIPT: &str = "script";
    /// The lock of a task.
    pub const LOCK: &str = "lock";
    /// That it was started.
    pub const START: &str = "start.json";
    /// That it is to end.
    pub const STOP: &str = "stop.json";
    /// How it ended.
    pub const EXIT: &str = "exit.json";
    /// That nobody saw how it ended.
    pub const UNKNOWN: &str = "unknown.json";
    /// The output.
    pub const LOG: &str = "log";
    /// The file that is about to become [`LOG`].
    pub const NEXT_LOG: &str = ".log.next";
    /// What the shim has to complain of.
    pub const SHIM_ERR: &str = "shim.err";
    /// Processes that were killed and do not end.
    pub const LINGERING: &str = "lingering.json";
    /// That its end is in the audit log.
    pub const AUDITED: &str = "audited";
    /// The socket at which the shim takes requests.
    pub const CONTROL: &str = "control.sock";
    /// That whoever asked for the task has told of its end.
    pub const REPORTED: &str = "reported";
}

/// The size at which `pipeline.out` and `pipeline.err` are set aside.
pub const MAX_PIPELINE_BYTES: u64 = 16 << 20;

/// No record is longer: an intent holds a script, which came through the API server, which takes 3 MiB at most.
const MAX_RECORD_BYTES: u64 = 64 << 20;
/// Most records are no longer than this.
const USUAL_RECORD_BYTES: usize = 4 << 10;

/// A directory that belongs to this user alone, held open: whatever happens to its path, it stays the same directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`, making it if it is not there, and closes it to all other users. The path itself
    /// is the user's word: it may lead over symbolic links.
    ///
    /// # Errors
    /// When it cannot be made or opened, or belongs to somebody else.
    pub fn open_or_create(path: &Path) -> Result<Self, RecordError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| RecordError::Io {
            action: "make the directory",
            path: path.to_owned(),
            source,
        })?;
        let dir = Self::open(path)?;
        let stat = rustix::fs::fstat(&dir.fd).map_err(|e| dir.error("look at", "", e))?;
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&dir.fd, Mode::RWXU).map_err(|e| dir.error("close to others", "", e))?;
        }
        Ok(dir)
    }

    /// Opens the directory `name` in `base`, which is open to all users as `/var/tmp` is, making it if it is not there.
    /// The path of `base` may lead over symbolic links, `name` may be none.
    ///
    /// # Errors
    /// When it cannot be made or opened, or is not ours alone: somebody else may have been there first. Also when others
    /// may replace it, because `base` is not sticky.
    pub fn open_or_create_among_others(base: &Path, name: &str) -> Result<Self, RecordError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(base, flags, Mode::empty()).map_err(|e| RecordError::Io {
            action: "open the directory",
            path: base.to_owned(),
            source: e.into(),
        })?;
        // It is another user's: nothing is done with it but this.
        let base = Self { fd, path: base.to_owned() };
        let stat = rustix::fs::fstat(&base.fd).map_err(|e| base.error("look at", "", e))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
            return Err(base.not_ours("", "can be written to by others, and is not sticky".to_owned()));
        }
        Ok(base.create_dir(name)?.0)
    }

    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or belongs to somebody else.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| RecordError::Io { action: "open the directory", path: path.to_owned(), source: e.into() })?;
        let dir = Self { fd, path: path.to_owned() };
        dir.check_owner(&dir.fd, "")?;
        Ok(dir)
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    /// When it is not there, cannot be opened or is not ours.
    pub fn open_dir(&self, name: &str) -> Result<Self, RecordError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open =
            || faults::at(Call::Look, name).and_then(|()| rustix::fs::openat(&self.fd, name, flags, Mode::empty()));
        let fd = retry_on_intr(open).map_err(|e| self.error("open the directory", name, e))?;
        let dir = Self { fd, path: self.path.join(name) };
        let stat = dir.check_owner(&dir.fd, "")?;
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(dir.not_ours("", "can be written to by others".to_owned()));
        }
        Ok(dir)
    }

    /// Makes the directory `name` in this one if it is not there, and opens it. Says whether it was made.
    ///
    /// # Errors
    /// When it cannot be made or opened, or is not ours.
    pub fn create_dir(&self, name: &str) -> Result<(Self, bool), RecordError> {
        let new = match faults::at(Call::MakeDir, name).and_then(|()| rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(self.error("make the directory", name, e)),
        };
        Ok((self.open_dir(name)?, new))
    }

    /// The same directory, held open once more.
    ///
    /// # Errors
    /// When the process may have no more files open.
    pub fn try_clone(&self) -> Result<Self, RecordError> {
        let fd = self.fd.try_clone().map_err(|source| RecordError::Io {
            action: "hold open",
            path: self.path.clone(),
            source,
        })?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Of an open directory.
    pub(crate) fn of_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// The path it was opened by, for messages and for programs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to `name` in this directory that is short whatever the directory's own path: the address of a Unix
    /// socket has room for 107 bytes. It holds as long as this value lives, in this process.
    #[must_use]
    pub fn short_path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()))
    }

    /// The names in this directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entries(&self) -> Result<Vec<String>, RecordError> {
        let listing = |e| self.error("list", "", e);
        faults::at(Call::List, "").map_err(listing)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(listing)? {
            // A name that is not UTF-8 is none that this program gave.
            if let Ok(name) = entry.map_err(listing)?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// What `name` is, without following it; `None` when it is not there.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, RecordError> {
        let stat =
            faults::at(Call::Stat, name).and_then(|()| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.error("look at", name, e)),
        }
    }

    /// Opens the file `name`; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a plain file of ours. A file that is to be written must have no other name:
    /// what goes into it would go into something else as well.
    pub fn open_file(&self, name: &str, flags: OFlags) -> Result<Option<File>, RecordError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let call = if flags.contains(OFlags::CREATE) { Call::Open } else { Call::Look };
        let open = || faults::at(call, name).and_then(|()| rustix::fs::openat(&self.fd, name, flags, mode));
        let fd = match retry_on_intr(open) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if !flags.contains(OFlags::CREATE) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.not_ours(name, "is a symbolic link".to_owned())),
            Err(e) => return Err(self.error("open", name, e)),
        };
        let stat = self.check_owner(&fd, name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(self.not_ours(name, format!("is no plain file but a {kind:?}")));
        }
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR) && stat.st_nlink > 1 {
            return Err(self.not_ours(name, "has another name too (a hard link)".to_owned()));
        }
        Ok(Some(File::from(fd)))
    }

    /// Opens the file `name` for appending, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened or made, or is not a plain file of ours.
    pub fn append_to(&self, name: &str) -> Result<File, RecordError> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        self.open_file(name, flags)?.ok_or_else(|| self.error("open", name, Errno::NOENT))
    }

    /// The bytes of the file `name`; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read, or is not a plain file of ours.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(file) = self.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
        // Room for most: reading begins with few bytes otherwise, and asks for more again and again.
        let mut bytes = Vec::with_capacity(USUAL_RECORD_BYTES);
        retry_on_intr(|| faults::at(Call::Read, name)).map_err(|e| self.error("read", name, e))?;
        file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes).map_err(|source| RecordError::Io {
            action: "read",
            path: self.path.join(name),
            source,
        })?;
        Ok(Some(bytes))
    }

    /// Moves `name` into `other`, under the name `new_name`.
    ///
    /// # Errors
    /// When the kernel could not.
    pub fn move_to(&self, name: &str, other: &Self, new_name: &str) -> Result<(), RecordError> {
        faults::at(Call::Rename, name)
            .and_then(|()| rustix::fs::renameat(&self.fd, name, &other.fd, new_name))
            .map_err(|e| self.error("move away", name, e))
    }

    /// Removes the file `name`, if it is there.
    ///
    /// # Errors
    /// When the kernel could not.
    pub fn remove_file(&self, name: &str) -> Result<(), RecordError> {
        match faults::at(Call::Unlink, name).and_then(|()| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.error("remove", name, e)),
        }
    }

    /// Removes the directory `name` with all that is in it, following no link.
    ///
    /// # Errors
    /// When something in it could not be removed.
    pub fn remove_tree(&self, name: &str) -> Result<(), RecordError> {
        faults::at(Call::RemoveDir, name).map_err(|e| self.error("remove the directory", name, e))?;
        match std::fs::remove_dir_all(self.short_path(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(RecordError::Io { action: "remove the directory", path: self.path.join(name), source: e })
            }
            _ => Ok(()),
        }
    }

    fn check_owner(&self, fd: &OwnedFd, name: &str) -> Result<Stat, RecordError> {
        let stat = rustix::fs::fstat(fd).map_err(|e| self.error("look at", name, e))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(self.not_ours(name, format!("belongs to uid {}", stat.st_uid)));
        }
        Ok(stat)
    }

    fn not_ours(&self, name: &str, what: String) -> RecordError {
        RecordError::NotOurs { path: self.path_of(name), what, uid: rustix::process::geteuid().as_raw() }
    }

    pub(crate) fn error(&self, action: &'static str, name: &str, errno: Errno) -> RecordError {
        RecordError::Io { action, path: self.path_of(name), source: errno.into() }
    }

    fn path_of(&self, name: &str) -> PathBuf {
        // Joining an empty name would give the path a slash at its end.
        if name.is_empty() { self.path.clone() } else { self.path.join(OsStr::new(name)) }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

    fn fresh() -> (tempfile::TempDir, Dir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(&temporary.path().join("a/b")).unwrap();
        (temporary, dir)
    }

    #[test]
    fn a_directory_is_closed_to_others() {
        let (temporary, _) = fresh();
        let path = temporary.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let dir = Dir::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        dir.write("x", b"1", PRIVATE).unwrap();
        assert_eq!(fs::metadata(path.join("x")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_made_once_is_made_once() {
        let (_temporary, dir) = fresh();
        dir.write_new("x", b"first", PRIVATE).unwrap();
        assert!(matches!(dir.write_new("x", b"second", PRIVATE), Err(RecordError::Exists { .. })));
        assert_eq!(dir.read("x").unwrap().unwrap(), b"first");
        dir.write("x", b"third", PRIVATE).unwrap();
        assert_eq!(dir.read("x").unwrap().unwrap(), b"third");
        // Nothing temporary is left, whatever came of it.
        assert_eq!(dir.entries().unwrap(), ["x"]);
    }

    #[test]
    fn of_many_who_make_it_at_once_one_does() {
        let (_temporary, dir) = fresh();
        let make = |n: u8| dir.write_new("x", &[n], PRIVATE).is_ok();
        let made: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || make(n))).collect();
            threads.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
        });
        assert_eq!(made, 1);
        assert_eq!(dir.entries().unwrap(), ["x"]);
    }

    #[test]
    fn links_and_other_things_are_refused() {
        let (temporary, dir) = fresh();
        fs::write(temporary.path().join("elsewhere"), "secret").unwrap();
        symlink(temporary.path().join("elsewhere"), dir.path().join("link")).unwrap();
        symlink(temporary.path(), dir.path().join("dirlink")).unwrap();
        rustix::fs::mkfifoat(&dir, "fifo", PRIVATE).unwrap();
        assert!(matches!(dir.read("link"), Err(RecordError::NotOurs { .. })));
        assert!(matches!(dir.append_to("link"), Err(RecordError::NotOurs { .. })));
        assert!(matches!(dir.read("fifo"), Err(RecordError::NotOurs { .. })));
        assert!(dir.read("dirlink").is_err());
        assert!(dir.open_dir("dirlink").is_err());
        assert_eq!(dir.read("nothing").unwrap(), None);
        // A link in the place of a record is replaced, and what it led to is not touched.
        dir.write("link", b"new", PRIVATE).unwrap();
        assert_eq!(fs::read(temporary.path().join("elsewhere")).unwrap(), b"secret");
        assert_eq!(dir.read("link").unwrap().unwrap(), b"new");
    }

    #[test]
    fn a_file_with_another_name_is_not_written() {
        let (temporary, dir) = fresh();
        let elsewhere = temporary.path().join("elsewhere");
        fs::write(&elsewhere, "kept").unwrap();
        fs::hard_link(&elsewhere, dir.path().join("log")).unwrap();
        assert!(matches!(dir.append_to("log"), Err(RecordError::NotOurs { .. })));
        assert!(matches!(dir.open_file("log", OFlags::RDWR), Err(RecordError::NotOurs { .. })));
        // Replacing it leaves the other alone.
        dir.write("log", b"new", PRIVATE).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"kept");
        assert!(dir.append_to("log").is_ok());
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let (_temporary, dir) = fresh();
        let (sub, _) = dir.create_dir("sub").unwrap();
        fs::set_permissions(sub.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(dir.open_dir("sub"), Err(RecordError::NotOurs { .. })));
        fs::set_permissions(sub.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(dir.open_dir("sub").is_ok());
    }

    #[test]
    fn among_others_only_what_is_ours_alone_is_used() {
        let (temporary, _) = fresh();
        let base = temporary.path().join("tmp");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Dir::open_or_create_among_others(&base, "u"), Err(RecordError::NotOurs { .. })));
        fs::set_permissions(&base, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(Dir::open_or_create_among_others(&base, "u").is_ok());
        assert!(Dir::open_or_create_among_others(&base, "u").is_ok());
        symlink(base.join("u"), base.join("link")).unwrap();
        assert!(Dir::open_or_create_among_others(&base, "link").is_err());
        fs::create_dir(base.join("open")).unwrap();
        fs::set_permissions(base.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Dir::open_or_create_among_others(&base, "open"), Err(RecordError::NotOurs { .. })));
    }

    #[test]
    fn names_that_lead_elsewhere_are_errors() {
        let (_temporary, dir) = fresh();
        let long = "x".repeat(256);
        for name in ["a\0b", long.as_str(), "", "no/such"] {
            assert!(dir.write(name, b"x", PRIVATE).is_err(), "{name:?}");
            assert!(dir.append_to(name).is_err(), "{name:?}");
        }
        for name in ["a\0b", long.as_str(), "no/such"] {
            assert!(dir.create_dir(name).is_err(), "{name:?}");
        }
        assert!(dir.write("..", b"x", PRIVATE).is_err());
        assert_eq!(dir.entries().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_tree_is_removed_without_following_links() {
        let (temporary, dir) = fresh();
        fs::write(temporary.path().join("elsewhere"), "kept").unwrap();
        let (sub, new) = dir.create_dir("sub").unwrap();
        assert!(new && !dir.create_dir("sub").unwrap().1);
        sub.write("x", b"1", PRIVATE).unwrap();
        symlink(temporary.path(), sub.path().join("link")).unwrap();
        dir.remove_tree("sub").unwrap();
        dir.remove_tree("sub").unwrap();
        assert_eq!(dir.entries().unwrap(), Vec::<String>::new());
        assert!(temporary.path().join("elsewhere").exists());
    }
}
