//! The FIFO's path, and what may be there instead. What to do about it is decided by [`verdict`], which is pure.
//!
//! Each FIFO has a hidden name of its own, `.vk-cmd.<n>`, for as long as it is in use, so that a pipe which comes after
//! one that was killed finds it. The one that writers are to open has the path `vk-cmd` too.

use std::os::fd::OwnedFd;

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;
use vk_record::{Dir, names};

use super::counter::{Counter, READ, Watcher};

/// What the hidden names begin with.
pub(super) const HIDDEN: &str = ".vk-cmd.";
/// The name by which a FIFO goes to the path.
const ON_ITS_WAY: &str = ".vk-cmd.new";
/// Whose bits a FIFO is to have.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
/// What is in the way goes to this name, and a number.
const ASIDE: &str = "vk-cmd.not-a-fifo";

/// Which file it is, of all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// A FIFO that is being read.
#[derive(Debug)]
pub(super) struct Fifo {
    pub(super) fd: OwnedFd,
    pub(super) id: FileId,
    pub(super) counter: Counter,
    /// The sticky bit, which means nothing on a FIFO but what we say: its first line may have been begun by another.
    pub(super) marked: bool,
    name: String,
}

/// What to do about what is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it should be.
    Ours,
    /// A FIFO that we read may be put there.
    Free,
    /// It is a FIFO that we do not know: it is to be read, and then replaced.
    Adopt,
    /// It is something of the user's that is no FIFO: it is to be moved aside.
    MoveAside,
    /// It is another user's: nothing can be done.
    Foreign,
}

/// What is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtPath {
    pub(super) id: FileId,
    pub(super) is_fifo: bool,
    pub(super) uid: u32,
    pub(super) mode: u32,
}

impl FileId {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Decides from what is `there`, who we are, which FIFO was put there, and which others we read.
pub(super) fn verdict(there: Option<AtPath>, uid: u32, published: Option<FileId>, known: &[FileId]) -> Verdict {
    match there {
        None => Verdict::Free,
        Some(there) if there.uid != uid => Verdict::Foreign,
        Some(there) if !there.is_fifo => Verdict::MoveAside,
        Some(there) if published == Some(there.id) => Verdict::Ours,
        Some(there) if known.contains(&there.id) => Verdict::Free,
        Some(_) => Verdict::Adopt,
    }
}

/// Looks at the path.
pub(super) fn look(root: &Dir) -> anyhow::Result<Option<AtPath>> {
    Ok(root.stat(names::FIFO)?.map(|stat| AtPath {
        id: FileId::of(&stat),
        is_fifo: FileType::from_raw_mode(stat.st_mode) == FileType::Fifo,
        uid: stat.st_uid,
        mode: stat.st_mode,
    }))
}

/// Makes a FIFO with a hidden name, the `n`th of this process.
pub(super) fn make(root: &Dir, n: u64, watcher: &mut Watcher) -> anyhow::Result<Fifo> {
    let name = format!("{HIDDEN}{}-{n}", std::process::id());
    root.remove_file(&name)?;
    rustix::fs::mkfifoat(root, &*name, PRIVATE)
        .and_then(|()| rustix::fs::chmodat(root, &*name, PRIVATE, AtFlags::empty()))
        .with_context(|| format!("cannot make a FIFO in {}", root.path().display()))?;
    open(root, name, watcher)
}

/// Opens the FIFO `name` for reading; it is counted from before that.
pub(super) fn open(root: &Dir, name: String, watcher: &mut Watcher) -> anyhow::Result<Fifo> {
    let counter = Counter::new(root, &name, watcher);
    let path = root.path().join(&name);
    let fd = rustix::fs::openat(root, &*name, READ, Mode::empty())
        .with_context(|| format!("cannot open the FIFO {}", path.display()))?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo || stat.st_uid != uid() {
        bail!("{} has become something else than a FIFO of uid {}", path.display(), uid());
    }
    let marked = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
    Ok(Fifo { fd, id: FileId::of(&stat), counter, marked, name })
}

/// The user that everything here belongs to.
pub(super) fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl Fifo {
    /// Puts it at the path, in place of what is there.
    pub(super) fn publish(&self, root: &Dir) -> anyhow::Result<()> {
        root.remove_file(ON_ITS_WAY)?;
        rustix::fs::linkat(root, &*self.name, root, ON_ITS_WAY, AtFlags::empty())
            .and_then(|()| rustix::fs::renameat(root, ON_ITS_WAY, root, names::FIFO))
            .with_context(|| format!("cannot put a FIFO at {}", root.path().join(names::FIFO).display()))
    }

    /// Notes on it that its first line may have been begun by another, when it is read again.
    pub(super) fn mark(&self) -> std::io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, PRIVATE | Mode::SVTX)?)
    }

    /// Closes it to others again, if it is open to them.
    pub(super) fn repair(&self, mode: u32) -> std::io::Result<()> {
        let has = Mode::from_raw_mode(mode);
        let wanted = PRIVATE | (has & Mode::SVTX);
        if has != wanted { Ok(rustix::fs::fchmod(&self.fd, wanted)?) } else { Ok(()) }
    }

    /// Opens it anew, for a descriptor that has seen all writers leave tells that for ever. There is always one who
    /// reads it.
    pub(super) fn reopen(&mut self) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        // Through a link of the kernel's, which leads to this very FIFO.
        let flags = READ.difference(rustix::fs::OFlags::NOFOLLOW);
        self.fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(())
    }

    /// Takes its hidden name away.
    pub(super) fn forget(&self, root: &Dir) -> anyhow::Result<()> {
        Ok(root.remove_file(&self.name)?)
    }
}

/// Gives a FIFO that is at the path a hidden name.
pub(super) fn hide(root: &Dir, n: u64) -> anyhow::Result<String> {
    let name = format!("{HIDDEN}{}-{n}", std::process::id());
    root.remove_file(&name)?;
    rustix::fs::linkat(root, names::FIFO, root, &*name, AtFlags::empty())
        .with_context(|| format!("cannot read the FIFO {}", root.path().join(names::FIFO).display()))?;
    Ok(name)
}

/// Moves what is at the path to a name that is free, and gives that name.
pub(super) fn move_aside(root: &Dir) -> anyhow::Result<String> {
    for n in 1_u32.. {
        let name = format!("{ASIDE}.{n}");
        if root.stat(&name)?.is_some() {
            continue;
        }
        match rustix::fs::renameat_with(root, names::FIFO, root, &*name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            // NFS and Lustre cannot do it without replacing; that the name is free was looked at above.
            Err(Errno::INVAL | Errno::NOSYS) => {
                root.move_to(names::FIFO, root, &name)?;
                return Ok(name);
            }
            Err(e) => {
                return Err(e).with_context(|| format!("cannot move {} away", root.path().join(names::FIFO).display()));
            }
        }
    }
    bail!("there are too many {ASIDE} files in {}: remove them", root.path().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    fn there(inode: u64, is_fifo: bool, uid: u32) -> Option<AtPath> {
        Some(AtPath { id: file(inode), is_fifo, uid, mode: 0 })
    }

    #[test]
    fn what_is_at_the_path_is_judged() {
        let judge = |there| verdict(there, 7, Some(file(1)), &[file(1), file(2)]);
        assert_eq!(judge(None), Verdict::Free);
        assert_eq!(judge(there(1, true, 7)), Verdict::Ours);
        // An older one of ours, which somebody has put back.
        assert_eq!(judge(there(2, true, 7)), Verdict::Free);
        assert_eq!(judge(there(3, true, 7)), Verdict::Adopt);
        assert_eq!(judge(there(3, false, 7)), Verdict::MoveAside);
        assert_eq!(judge(there(3, true, 0)), Verdict::Foreign);
        assert_eq!(judge(there(3, false, 0)), Verdict::Foreign);
    }
}
