//! Volumes, on disk or in memory. Those of files are as the kubelet's `AtomicWriter` has them:
//!
//! ```text
//!   <volume>/
//!     ..<time>.<number>/       all the files: the only place where they are
//!     ..data ─────────────────▶ ..<time>.<number>     swapped by one rename: readers see all of the old or all of the new
//!     a ──────────────────────▶ ..data/a              one link for each name at the top
//!     sub ────────────────────▶ ..data/sub
//! ```
//!
//! What is there is compared with what is to be; anything else is removed, whether an older set, half of a set that a crash
//! has left, or what a task has put there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use vk_task::{FileContent, FilePath};

use super::sweep::{fresh_name, remove_tree};
use crate::faults::{self, Call};
use crate::{Dir, RecordError};

const DATA: &str = "..data";
const NEXT_DATA: &str = "..data_tmp";
/// As the kubelet has them; nobody but the pipe's user comes as far as here.
const DIRECTORY: Mode = Mode::from_bits_retain(0o755);
/// The kubelet's, for an `emptyDir`: in an image, its tasks may be other users.
const EMPTY: Mode = Mode::from_bits_retain(0o777);

/// Has exactly these files be in the volume `name`. Says whether anything had to be written.
pub(super) fn write_files(
    volumes: &Dir,
    name: &str,
    files: &BTreeMap<FilePath, FileContent>,
) -> Result<bool, RecordError> {
    clear_unless(volumes, name, FileType::Directory)?;
    let volume = volumes.make_dir(name, DIRECTORY)?;
    let tops: BTreeSet<&str> = files.keys().filter_map(|path| path.as_str().split('/').next()).collect();
    let current = link_at(&volume, DATA).and_then(|to| Some(to.to_str()?.to_owned()));
    let is_same = current.as_deref().is_some_and(|set| is_set(&volume, set, files));
    if let Some(set) = current.as_deref().filter(|_| is_same) {
        return tidy(&volume, set, &tops);
    }
    let set = fresh_name(".set");
    write_set(&volume, &set, files)?;
    clear_unless(&volume, NEXT_DATA, FileType::Unknown)?;
    volume.make_link(Path::new(&set), NEXT_DATA)?;
    // A directory that somebody has put there is in the way of the rename.
    clear_unless(&volume, DATA, FileType::Symlink)?;
    volume.move_to(NEXT_DATA, &volume, DATA)?;
    tidy(&volume, &set, &tops)?;
    Ok(true)
}

/// Has the links at the top be there, and nothing else but the set that is in force. Says whether anything had to be done.
fn tidy(volume: &Dir, set: &str, tops: &BTreeSet<&str>) -> Result<bool, RecordError> {
    let mut changed = false;
    for top in tops {
        let to = Path::new(DATA).join(top);
        if link_at(volume, top).as_ref() != Some(&to) {
            clear_unless(volume, top, FileType::Unknown)?;
            volume.make_link(&to, top)?;
            changed = true;
        }
    }
    for entry in volume.entries_as_they_are()? {
        let is_wanted = entry.to_str().is_some_and(|name| name == DATA || name == set || tops.contains(name));
        if !is_wanted {
            remove_any(volume, &entry)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn remove_any(volume: &Dir, name: &OsStr) -> Result<(), RecordError> {
    match name.to_str() {
        Some(name) => remove_tree(volume, name),
        None => {
            // A name that only a task can have given: it is given another, by which the next round removes it.
            let other = fresh_name("tree");
            rustix::fs::renameat(volume, name, volume, &other)
                .map_err(|e| volume.error("remove", &name.to_string_lossy(), e))?;
            remove_tree(volume, &other)
        }
    }
}

/// Whether the directory `set` of the volume holds these files and no others.
fn is_set(volume: &Dir, set: &str, files: &BTreeMap<FilePath, FileContent>) -> bool {
    // A link may lead anywhere; the sets of a volume are in it.
    let is_own = set.starts_with("..") && !set.contains('/') && set.len() > 2;
    let mut found = 0;
    is_own
        && volume.open_any_dir(set).is_ok_and(|fd| holds(&Dir::of_fd(fd, PathBuf::new()), "", files, &mut found))
        && found == files.len()
}

/// Whether all that is in `dir`, whose path in the set is `prefix`, is as it is to be; counts the files.
fn holds(dir: &Dir, prefix: &str, files: &BTreeMap<FilePath, FileContent>, found: &mut usize) -> bool {
    let is_right = |stat: &rustix::fs::Stat, mode: u32| stat.st_mode & 0o7777 == mode & 0o7777;
    let Ok(stat) = rustix::fs::fstat(dir) else { return false };
    let Ok(names) = dir.entries_as_they_are() else { return false };
    is_right(&stat, DIRECTORY.bits())
        && names.iter().filter_map(|name| name.to_str()).count() == names.len()
        && names.iter().filter_map(|name| name.to_str()).all(|name| {
            let path = format!("{prefix}{name}");
            let Ok(Some(stat)) = dir.stat(name) else { return false };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let prefix = format!("{path}/");
                    files.keys().any(|wanted| wanted.as_str().starts_with(&prefix))
                        && dir
                            .open_any_dir(name)
                            .is_ok_and(|fd| holds(&Dir::of_fd(fd, PathBuf::new()), &prefix, files, found))
                }
                FileType::RegularFile => {
                    *found += 1;
                    let wanted = FilePath::new(path).ok().and_then(|path| files.get(&path));
                    wanted.is_some_and(|file| is_right(&stat, file.mode) && reads(dir, name, &file.data))
                }
                FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => false,
            }
        })
}

/// Whether the file `name` can be read, and holds this.
fn reads(dir: &Dir, name: &str, data: &[u8]) -> bool {
    let Ok(Some(file)) = dir.open_file(name, OFlags::RDONLY) else { return false };
    let mut bytes = Vec::new();
    let limit = u64::try_from(data.len()).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).is_ok() && bytes == data
}

fn write_set(volume: &Dir, set: &str, files: &BTreeMap<FilePath, FileContent>) -> Result<(), RecordError> {
    let root = volume.make_dir(set, DIRECTORY)?;
    for (path, content) in files {
        let mut parts: Vec<&str> = path.as_str().split('/').collect();
        let name = parts.pop().unwrap_or_default();
        let mut dir = None;
        for part in parts {
            dir = Some(dir.as_ref().unwrap_or(&root).make_dir(part, DIRECTORY)?);
        }
        write_file(dir.as_ref().unwrap_or(&root), name, content)?;
    }
    Ok(())
}

fn write_file(dir: &Dir, name: &str, content: &FileContent) -> Result<(), RecordError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = faults::at(Call::Open, name)
        .and_then(|()| rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR))
        .map_err(|e| dir.error("write", name, e))?;
    let mut file = File::from(fd);
    faults::at(Call::Write, name).map_err(|e| dir.error("write", name, e))?;
    file.write_all(&content.data).map_err(|source| RecordError::Io {
        action: "write",
        path: dir.path().join(name),
        source,
    })?;
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(content.mode & 0o7777))
        .map_err(|e| dir.error("set the mode of", name, e))
}

/// Has an empty volume be there; one that is there is left as it is. Says whether it was made.
pub(super) fn make_empty(volumes: &Dir, name: &str) -> Result<bool, RecordError> {
    clear_unless(volumes, name, FileType::Directory)?;
    let is_new = volumes.stat(name)?.is_none();
    if is_new {
        volumes.make_dir(name, EMPTY)?;
    }
    Ok(is_new)
}

/// Has a volume be made in the directory `memory`, to which a link leads. One that is on disk stays there. After the host was
/// started anew it is to be made again.
pub(super) fn make_in_memory(
    volumes: &Dir,
    name: &str,
    memory: &Dir,
    make: &dyn Fn(&Dir) -> Result<bool, RecordError>,
) -> Result<bool, RecordError> {
    let is_dir = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if volumes.stat(name)?.is_some_and(is_dir) {
        return make(volumes);
    }
    let is_new = make(memory)?;
    let to = memory.path().join(name);
    if link_at(volumes, name).as_ref() == Some(&to) {
        return Ok(is_new);
    }
    clear_unless(volumes, name, FileType::Unknown)?;
    volumes.make_link(&to, name)?;
    Ok(true)
}

/// Removes what is at `name`, unless it is of this kind.
fn clear_unless(dir: &Dir, name: &str, kind: FileType) -> Result<(), RecordError> {
    match dir.stat(name)? {
        Some(stat) if FileType::from_raw_mode(stat.st_mode) != kind => remove_tree(dir, name),
        _ => Ok(()),
    }
}

/// Where the link `name` leads to, if it is one.
fn link_at(dir: &Dir, name: &str) -> Option<PathBuf> {
    std::fs::read_link(dir.short_path(name)).ok()
}
