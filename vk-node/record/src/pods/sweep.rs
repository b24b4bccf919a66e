//! Removing what tasks have left: any number of directories, as deep as they like, some of which nobody may enter.
//!
//! Each step opens one name and follows no link, so no path can be swapped for another on the way. What is too deep for the
//! stack and the open files of a process is moved up to the top first. What a crash leaves there has a name that begins
//! with a dot, and goes with the next sweep.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::faults::{self, Call};
use crate::{Dir, RecordError};

/// So many levels are gone down at once.
const MAX_DEPTH: usize = 100;

/// Sets the names of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name that nothing has: of no task and no pod, for it begins with a dot.
pub(super) fn fresh_name(of: &str) -> String {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    format!(".{of}.{nanos}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes `name` in `top`, whatever it is, with all that is in it. It follows no link.
///
/// # Errors
/// When something in it could not be removed; what is left is still in `top`.
pub fn remove_tree(top: &Dir, name: &str) -> Result<(), RecordError> {
    faults::at(Call::RemoveDir, name).map_err(|e| top.error("remove the directory", name, e))?;
    let mut sweep = Sweep { top, moved: vec![name.to_owned()] };
    let mut failure = Ok(());
    while let Some(name) = sweep.moved.pop() {
        failure = sweep.remove(top, OsStr::new(&name), 0).and(failure);
    }
    failure
}

struct Sweep<'a> {
    top: &'a Dir,
    /// What is in `top` and has still to go.
    moved: Vec<String>,
}

impl Sweep<'_> {
    /// Removes `name` in `dir`, which is so deep; or moves it to the top.
    fn remove(&mut self, dir: &Dir, name: &OsStr, depth: usize) -> Result<(), RecordError> {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux says the former of a directory, POSIX the latter.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(dir.error("remove", &name.to_string_lossy(), e)),
        }
        let failed = |action| move |e| dir.error(action, &name.to_string_lossy(), e);
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => open_up(dir, name),
            Err(e) => return Err(failed("remove")(e)),
        }
        if depth >= MAX_DEPTH {
            let moved = fresh_name("tree");
            rustix::fs::renameat(dir, name, self.top, &moved).map_err(failed("remove"))?;
            self.moved.push(moved);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            // Somebody else removes it too.
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.map_err(failed("open the directory"))?,
        };
        self.empty(&Dir::of_fd(fd, dir.path().join(name)), depth + 1)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove the directory")(e)),
        }
    }

    /// Removes all that is in `dir`.
    fn empty(&mut self, dir: &Dir, depth: usize) -> Result<(), RecordError> {
        // What is removed while it is listed may hide what comes after it: until nothing is found that can be removed.
        loop {
            let (mut removed, mut failure) = (0_usize, None);
            for name in dir.entries_as_they_are()? {
                match self.remove(dir, &name, depth) {
                    Ok(()) => removed += 1,
                    Err(e) => failure = Some(e),
                }
            }
            match failure {
                Some(e) if removed == 0 => return Err(e),
                None if removed == 0 => return Ok(()),
                Some(_) | None => {}
            }
        }
    }
}

/// Gives ourselves all rights to the directory `name`, if it is one and ours. Where that fails, what is done with it next
/// fails too, and that is told.
pub(super) fn open_up(dir: &Dir, name: impl rustix::path::Arg) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return };
    let Ok(stat) = rustix::fs::fstat(&fd) else { return };
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_dir && !Mode::from_raw_mode(stat.st_mode).contains(Mode::RWXU) {
        // By the descriptor, for the name may be another's by now; fchmod(2) does not take one that is opened so.
        let _ = rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), Mode::RWXU);
    }
}
