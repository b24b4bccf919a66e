//! Opening what is to be mounted.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use vk_record::pods::{Part, part};
use vk_task::Bind;

/// The kubelet's mode for what it makes of a missing `subPath`.
const SUB_PATH: Mode = Mode::from_bits_retain(0o750);
const FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A source, held open.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) is_dir: bool,
}

/// Opens it.
///
/// Where only a part of it is wanted, that is found as the kubelet does: links are followed, what they lead to must be in
/// the source, and it is then opened part by part without following any, so that no task can put one there in between.
pub(super) fn open(bind: &Bind) -> Result<Source, String> {
    let Bind { source, sub_path, .. } = bind;
    let said = |path: &Path| {
        let path = path.display().to_string();
        move |e: Errno| format!("cannot open {path}: {}", std::io::Error::from(e))
    };
    let mut fd = rustix::fs::openat(CWD, source, FLAGS, Mode::empty()).map_err(said(source))?;
    if let Some(sub) = sub_path {
        let said_of = |e| format!("cannot find the subPath {sub} of {}: {e}", source.display());
        let real = std::fs::canonicalize(source).map_err(said_of)?;
        let outside = || format!("its subPath {sub} leads out of {}", source.display());
        let inside = match part(&real, sub).map_err(said_of)? {
            Part::Inside(path) => path,
            Part::Outside => return Err(outside()),
        };
        for name in inside.strip_prefix(&real).map_err(|_| outside())? {
            fd = step(&fd, name).map_err(said(&inside))?;
        }
    }
    let stat = rustix::fs::fstat(&fd).map_err(said(source))?;
    Ok(Source { fd, is_dir: FileType::from_raw_mode(stat.st_mode) == FileType::Directory })
}

/// Opens `name` in `dir`; makes a directory of it where there is nothing.
fn step(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let open = || {
        let fd = rustix::fs::openat(dir, name, FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        // With `O_PATH`, a link is opened as itself.
        match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::Symlink => Err(Errno::LOOP),
            FileType::RegularFile
            | FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(fd),
        }
    };
    match open() {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdirat(dir, name, SUB_PATH) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            open()
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use vk_task::FilePath;

    #[test]
    fn a_part_of_a_source_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("..set/sub")).unwrap();
        fs::write(volume.join("..set/a"), "").unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        for (at, to) in
            [("..data", "..set"), ("a", "..data/a"), ("sub", "..data/sub"), ("out", "../secret"), ("up", "/etc")]
        {
            symlink(to, volume.join(at)).unwrap();
        }
        let open = |sub: &str| {
            let sub_path = Some(FilePath::new(sub).unwrap());
            open(&Bind { source: volume.clone(), sub_path, target: "/x".into(), read_only: false }).map(|s| s.is_dir)
        };
        assert_eq!(open("a"), Ok(false));
        assert_eq!(open("sub"), Ok(true));
        assert_eq!(open("sub/new/deep"), Ok(true));
        assert!(volume.join("..set/sub/new/deep").is_dir());
        for sub in ["out", "up", "up/passwd"] {
            let outside = format!("its subPath {sub} leads out of {}", volume.display());
            assert_eq!(open(sub), Err(outside));
        }
        assert!(open("a/b").unwrap_err().contains("Not a directory"));
    }
}
