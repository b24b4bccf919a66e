//! The directories of pods: their volumes, and what their containers have for themselves. What is where is drawn in
//! [`vk_task`]'s module `pod`.
//!
//! Tasks write here, as the same user as the pipe. So nothing beneath a pod's directory is taken for what it was when it
//! was made: each step opens one name and follows no link, and what is in the way of what the pipe needs is told of, or
//! removed where it is the pipe's own to say what is there.
//!
//! Nothing here is made durable. Volumes are written again by the node before a task is started, and what tasks keep
//! here is no safer than on any disk that they write to themselves.

mod part;
mod sweep;
mod volume;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use vk_task::{DirName, OwnDirectory, VolumeContent};

use crate::faults::{self, Call};
use crate::{Dir, RecordError};

pub use part::{Part, part};
pub use sweep::remove_tree;

/// The directory of a pod's volumes.
const VOLUMES: &str = "volumes";
/// That of what its containers have for themselves.
const CONTAINERS: &str = "containers";
const WORK: &str = "work";
const TMP: &str = "tmp";
const TERMINATION_LOG: &str = "termination-log";
const HOSTS: &str = "etc-hosts";

/// All pods' directories.
#[derive(Debug)]
pub struct Pods {
    dir: Dir,
    /// The same in memory, where the host has a place for that.
    memory: Option<Dir>,
}

impl Pods {
    /// Beneath `dir`, and for what is to be in memory beneath `memory`. Their paths must hold everywhere on this host.
    #[must_use]
    pub fn new(dir: Dir, memory: Option<Dir>) -> Self {
        Self { dir, memory }
    }

    /// Where what is to be in memory is, if it can be.
    #[must_use]
    pub fn memory(&self) -> Option<&Path> {
        self.memory.as_ref().map(Dir::path)
    }

    /// The pods that have a directory.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn all(&self) -> Result<Vec<DirName>, RecordError> {
        Ok(self.dir.entries()?.into_iter().filter_map(|name| DirName::new(name).ok()).collect())
    }

    /// When a pod's directory was last asked for, in seconds since 1970; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn last_used(&self, pod: &DirName) -> Result<Option<i64>, RecordError> {
        Ok(self.dir.stat(pod.as_str())?.map(|stat| stat.st_mtime))
    }

    /// Notes that a pod's directory is asked for now, if there is one. That it could not be noted harms nobody: it may only
    /// be found to be unused sooner.
    pub fn touch(&self, pod: &DirName) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: Timespec { tv_nsec: UTIME_OMIT, ..now }, last_modification: now };
        let _ = rustix::fs::utimensat(&self.dir, pod.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Has a volume be there as it is to be. Says whether anything had to be written for it.
    ///
    /// # Errors
    /// When it could not be made so. What was there before is then there still, unless it was no volume.
    pub fn put_volume(&self, pod: &DirName, name: &DirName, content: &VolumeContent) -> Result<bool, RecordError> {
        let of_pod = self.make(pod)?;
        let (volumes, _) = of_pod.create_dir(VOLUMES)?;
        let name = name.as_str();
        match content {
            VolumeContent::Files { files, memory } => {
                self.place(*memory, pod, &volumes, name, &|place| volume::write_files(place, name, files))
            }
            VolumeContent::Empty { memory } => {
                self.place(*memory, pod, &volumes, name, &|place| volume::make_empty(place, name))
            }
        }
    }

    /// Has a volume be made where it belongs: in memory, if it is to be there and there is a place for that.
    fn place(
        &self,
        in_memory: bool,
        pod: &DirName,
        volumes: &Dir,
        name: &str,
        make: &dyn Fn(&Dir) -> Result<bool, RecordError>,
    ) -> Result<bool, RecordError> {
        match self.memory.as_ref().filter(|_| in_memory) {
            Some(memory) => volume::make_in_memory(volumes, name, &memory.create_dir(pod.as_str())?.0, make),
            None => make(volumes),
        }
    }

    /// Where a volume's files are; `None` when it has not been written.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn volume(&self, pod: &DirName, name: &DirName) -> Result<Option<PathBuf>, RecordError> {
        let volumes = match self.dir.open_dir(pod.as_str()).and_then(|dir| dir.open_dir(VOLUMES)) {
            Ok(volumes) => volumes,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        };
        let kind = volumes.stat(name.as_str())?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let path = match (kind, &self.memory) {
            (Some(FileType::Directory), _) => volumes.path().join(name.as_str()),
            // Where the link leads to is not asked: a task may have made another of it.
            (Some(FileType::Symlink), Some(memory)) => {
                let path = memory.path().join(pod.as_str()).join(name.as_str());
                if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                    return Ok(None);
                }
                path
            }
            _ => return Ok(None),
        };
        Ok(Some(path))
    }

    /// Makes the directories that a container has for itself, as far as they are not there.
    ///
    /// # Errors
    /// When something else is in their place, or they could not be made.
    pub fn own_directory(&self, pod: &DirName, container: &DirName) -> Result<OwnDirectory, RecordError> {
        let of_container = self.of_container(pod, container)?;
        of_container.make_dir(WORK, Mode::RWXU)?;
        of_container.make_dir(TMP, Mode::RWXU)?;
        let path = of_container.path();
        Ok(OwnDirectory { work: path.join(WORK), tmp: path.join(TMP) })
    }

    /// Where the file for a container's last words is, once it has been made.
    #[must_use]
    pub fn termination_log(&self, pod: &DirName, container: &DirName) -> PathBuf {
        let of_pod = self.dir.path().join(pod.as_str());
        of_pod.join(CONTAINERS).join(container.as_str()).join(TERMINATION_LOG)
    }

    /// Makes it for the container's next run, anew and empty: what an earlier run wrote has been read.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn make_termination_log(&self, pod: &DirName, container: &DirName) -> Result<PathBuf, RecordError> {
        let dir = self.of_container(pod, container)?;
        let error = |e: Errno| dir.error("make", TERMINATION_LOG, e);
        if dir.stat(TERMINATION_LOG)?.is_some() {
            // Whatever a task has made of it.
            remove_tree(&dir, TERMINATION_LOG)?;
        }
        // As the kubelet's: whoever a program in an image is, it may write there. Nobody else comes that far.
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = faults::at(Call::Open, TERMINATION_LOG)
            .and_then(|()| rustix::fs::openat(&dir, TERMINATION_LOG, flags, mode))
            .map_err(error)?;
        rustix::fs::fchmod(&file, mode).map_err(error)?;
        Ok(self.termination_log(pod, container))
    }

    /// Where a container's file of host names is, once it has been written.
    #[must_use]
    pub fn hosts(&self, pod: &DirName, container: &DirName) -> PathBuf {
        self.dir.path().join(pod.as_str()).join(CONTAINERS).join(container.as_str()).join(HOSTS)
    }

    /// Writes it, for the container's next run.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_hosts(&self, pod: &DirName, container: &DirName, text: &str) -> Result<(), RecordError> {
        let dir = self.of_container(pod, container)?;
        if dir.stat(HOSTS)?.is_some() {
            // Whatever a task has made of it.
            remove_tree(&dir, HOSTS)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let written = faults::at(Call::Open, HOSTS)
            .and_then(|()| rustix::fs::openat(&dir, HOSTS, flags, mode))
            .and_then(|file| rustix::fs::fchmod(&file, mode).map(|()| std::fs::File::from(file)))
            .map_err(|e| dir.error("make", HOSTS, e))
            .map(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written?.map_err(|e| dir.error("write", HOSTS, Errno::from_io_error(&e).unwrap_or(Errno::IO)))
    }

    /// Has a link in a container's own directory, at the relative path `target`, lead to `source`.
    ///
    /// # Errors
    /// When something else is in its place.
    pub fn link(&self, pod: &DirName, container: &DirName, target: &Path, source: &Path) -> Result<(), RecordError> {
        let of_container = self.of_container(pod, container)?;
        let mut dir = of_container.make_dir(WORK, Mode::RWXU)?;
        let mut parts: Vec<&str> = target.iter().filter_map(|part| part.to_str()).collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            dir = dir.make_dir(part, Mode::RWXU)?;
        }
        match dir.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Symlink) if std::fs::read_link(dir.short_path(name)).is_ok_and(|to| to == source) => Ok(()),
            Some(FileType::Symlink) => {
                dir.remove_file(name)?;
                dir.make_link(source, name)
            }
            None => dir.make_link(source, name),
            Some(_) => {
                Err(RecordError::InTheWay { path: dir.path().join(name), what: "a link to a volume".to_owned() })
            }
        }
    }

    /// Takes a pod's directory away into `trash`, in one step; says under which name. `None` when there is none. What it
    /// has in memory is then for [`Self::remove_discarded`].
    ///
    /// # Errors
    /// When it could not be moved.
    pub fn discard(&self, pod: &DirName, trash: &Dir) -> Result<Option<String>, RecordError> {
        let name = sweep::fresh_name(pod.as_str());
        if let Some(memory) = &self.memory
            && memory.stat(pod.as_str())?.is_some()
        {
            sweep::open_up(memory, pod.as_str());
            memory.move_to(pod.as_str(), memory, &name)?;
        }
        sweep::open_up(&self.dir, pod.as_str());
        match self.dir.move_to(pod.as_str(), trash, &name) {
            Ok(()) => Ok(Some(name)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes what [`Self::discard`] has moved away in memory, under the name that it said.
    ///
    /// # Errors
    /// When something could not be removed.
    pub fn remove_discarded(&self, name: &str) -> Result<(), RecordError> {
        match &self.memory {
            Some(memory) => remove_tree(memory, name),
            None => Ok(()),
        }
    }

    /// Removes what is in memory of pods that have no directory (any more).
    ///
    /// # Errors
    /// When something could not be removed; the rest is.
    pub fn sweep_memory(&self) -> Result<(), RecordError> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let mut failure = Ok(());
        for name in memory.entries()? {
            if self.dir.stat(&name)?.is_none() {
                failure = remove_tree(memory, &name).and(failure);
            }
        }
        failure
    }

    fn of_container(&self, pod: &DirName, container: &DirName) -> Result<Dir, RecordError> {
        Ok(self.make(pod)?.create_dir(CONTAINERS)?.0.create_dir(container.as_str())?.0)
    }

    fn make(&self, pod: &DirName) -> Result<Dir, RecordError> {
        let (dir, _) = self.dir.create_dir(pod.as_str())?;
        self.touch(pod);
        Ok(dir)
    }
}

/// What tasks may have changed: they may, for instance, have opened it to others, who do not come that far.
impl Dir {
    /// Makes the directory `name` in this one if it is not there, with this mode whatever the umask, and opens it whatever
    /// its mode is by now.
    fn make_dir(&self, name: &str, mode: Mode) -> Result<Self, RecordError> {
        let made = faults::at(Call::MakeDir, name).and_then(|()| rustix::fs::mkdirat(self, name, mode));
        let is_new = match made {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(self.error("make the directory", name, e)),
        };
        let dir = match self.open_any_dir(name) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(RecordError::InTheWay { path: self.path().join(name), what: "a directory".to_owned() });
            }
            opened => opened.map_err(|e| self.error("open the directory", name, e))?,
        };
        if is_new {
            rustix::fs::fchmod(&dir, mode).map_err(|e| self.error("set the mode of", name, e))?;
        }
        Ok(Self::of_fd(dir, self.path().join(name)))
    }

    fn open_any_dir(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::fs::openat(self, name, flags, Mode::empty()))
    }

    /// The names in this directory, whatever characters they are of.
    fn entries_as_they_are(&self) -> Result<Vec<OsString>, RecordError> {
        let listing = |e: Errno| self.error("list", "", e);
        faults::at(Call::List, "").map_err(listing)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(self).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let bytes = entry.file_name().to_bytes();
            if !matches!(bytes, b"." | b"..") {
                names.push(OsStr::from_bytes(bytes).to_owned());
            }
        }
        Ok(names)
    }

    fn make_link(&self, to: &Path, name: &str) -> Result<(), RecordError> {
        faults::at(Call::Link, name)
            .and_then(|()| rustix::fs::symlinkat(to, self, name))
            .map_err(|e| self.error("make the link", name, e))
    }
}

#[cfg(test)]
mod tests;
