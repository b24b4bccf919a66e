//! What a line of the FIFO writes goes, besides its record, to `pipeline.out` and `pipeline.err` in the pipe's directory,
//! where the original had it. There it was the last line's output; here, where many lines run at once, it is added.
//!
//! Whole lines, each written in one go to the end of the file: the kernel does not mix such writes. Whatever goes wrong
//! here is no harm to the task.
//!
//! A file that is full is set aside as `….1`, in place of the one before. Many shims may find that at once. The rule:
//! whoever holds the lock of the very file that still has the name may rename it. Others find, before they write next,
//! that the name is another file's now.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use vk_record::{Dir, RecordError, chain};

use crate::error::say;

/// The size at which a file is set aside.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The longest line. One that is longer is broken.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The copy of one output.
#[derive(Debug)]
pub(crate) struct Copy {
    place: Place,
    file: Option<Held>,
    /// The beginning of a line whose end has not come.
    pending: Vec<u8>,
    /// It has been said that it does not work.
    told: bool,
}

/// Which file it is.
#[derive(Debug)]
struct Place {
    dir: Rc<Dir>,
    name: &'static str,
    max_file_bytes: u64,
}

/// A file that is held open.
#[derive(Debug)]
struct Held {
    file: File,
    /// Its number on its file system.
    inode: u64,
}

impl Copy {
    /// To the file `name` in `dir`.
    pub(crate) fn new(dir: Rc<Dir>, name: &'static str) -> Self {
        let place = Place { dir, name, max_file_bytes: MAX_FILE_BYTES };
        Self { place, file: None, pending: Vec::new(), told: false }
    }

    /// Takes bytes, and writes the lines that they complete.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !lines.is_empty() {
            self.write(lines, b"");
        }
        if self.pending.len() + rest.len() > MAX_LINE_BYTES {
            self.write(rest, b"\n");
        } else {
            self.pending.extend_from_slice(rest);
        }
    }

    /// There is no more: a line that has begun ends here.
    pub(crate) fn finish(&mut self) {
        if !self.pending.is_empty() {
            self.write(b"", b"\n");
        }
        self.file = None;
    }

    /// Gives the memory back that it does not need now.
    pub(crate) fn rest(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Writes what is pending and these bytes, in one go.
    fn write(&mut self, bytes: &[u8], end: &[u8]) {
        let pending = std::mem::take(&mut self.pending);
        let place = &self.place;
        let written = place.current(&mut self.file).and_then(|mut file| {
            let parts = [pending.as_slice(), bytes, end].map(IoSlice::new);
            // If not all of it is written the disk is full, and the rest is left out: it is in the task's own record.
            file.write_vectored(&parts).map_err(|source| place.error("write to", source))
        });
        if let Err(e) = written
            && !std::mem::replace(&mut self.told, true)
        {
            say(format_args!("the output is in the task's record only: {}", chain(&e)));
        }
    }
}

impl Place {
    /// The file that has the name and is not full: the one that is held, if it is that.
    fn current<'a>(&self, held: &'a mut Option<Held>) -> Result<&'a File, RecordError> {
        let named = self.dir.stat(self.name)?;
        let usable = held.take().filter(|held| {
            named.is_some_and(|stat| {
                stat.st_ino == held.inode && u64::try_from(stat.st_size).is_ok_and(|size| size < self.max_file_bytes)
            })
        });
        let usable = match usable {
            Some(usable) => usable,
            None => self.open()?,
        };
        Ok(&held.insert(usable).file)
    }

    fn open(&self) -> Result<Held, RecordError> {
        let (held, full) = self.open_named()?;
        if !full || !self.set_aside(&held)? {
            return Ok(held);
        }
        Ok(self.open_named()?.0)
    }

    /// Opens the file that has the name; says whether it is full.
    fn open_named(&self) -> Result<(Held, bool), RecordError> {
        let file = self.dir.append_to(self.name)?;
        let metadata = file.metadata().map_err(|source| self.error("look at", source))?;
        if metadata.mode() & 0o077 != 0 {
            fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(|e| self.error("close to others", e.into()))?;
        }
        Ok((Held { file, inode: metadata.ino() }, metadata.len() >= self.max_file_bytes))
    }

    /// Sets the file aside, unless another shim does it; says whether it has lost its name.
    fn set_aside(&self, held: &Held) -> Result<bool, RecordError> {
        if flock(&held.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        if self.dir.stat(self.name)?.is_some_and(|stat| stat.st_ino == held.inode) {
            self.dir.move_to(self.name, &self.dir, &format!("{}.1", self.name))?;
        }
        // The lock goes with the file, which the caller lets go.
        Ok(true)
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> RecordError {
        RecordError::Io { action, path: self.dir.path().join(self.name), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn copy(path: &Path) -> Copy {
        Copy::new(Rc::new(Dir::open(path).unwrap()), "pipeline.out")
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path.join("pipeline.out")).unwrap()
    }

    #[test]
    fn lines_are_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (mut a, mut b) = (copy(dir.path()), copy(dir.path()));
        a.put(b"one ");
        b.put(b"two\nthr");
        a.put(b"and a half\n");
        b.put(b"ee");
        assert_eq!(read(dir.path()), "two\none and a half\n");
        b.finish();
        a.finish();
        assert_eq!(read(dir.path()), "two\none and a half\nthree\n");
        let mode = fs::metadata(dir.path().join("pipeline.out")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_is_too_long_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let mut copy = copy(dir.path());
        for _ in 0..3 {
            copy.put(&[b'x'; 40_000]);
        }
        copy.put(b"\nnext\n");
        let text = read(dir.path());
        let lines: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lines, [80_000, 40_000, 4]);
    }

    #[test]
    fn what_is_in_the_way_is_no_harm_and_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("elsewhere");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("pipeline.out")).unwrap();
        let mut copy = copy(dir.path());
        copy.put(b"one\n");
        assert!(copy.told);
        assert_eq!(fs::read(&target).unwrap(), b"");
        fs::remove_file(dir.path().join("pipeline.out")).unwrap();
        copy.put(b"two\n");
        assert_eq!(read(dir.path()), "two\n");
    }

    #[test]
    fn many_set_full_files_aside_and_break_no_line() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = dir.path();
                scope.spawn(move || {
                    let mut copy = copy(path);
                    copy.place.max_file_bytes = 20_000;
                    for n in 0..2000 {
                        copy.put(format!("{writer} {n} {}\n", "x".repeat(n % 50)).as_bytes());
                    }
                });
            }
        });
        let old = fs::read_to_string(dir.path().join("pipeline.out.1")).unwrap();
        // A writer may have looked just before another filled it up, so it is a few lines more at most.
        assert!((20_000..21_000).contains(&old.len()), "{}", old.len());
        let mut last = BTreeMap::new();
        for line in (old + &read(dir.path())).lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let n: usize = fields[1].parse().unwrap();
            assert_eq!(fields[2].len(), n % 50, "{line}");
            // Whoever had looked before the file was set aside wrote to it after others wrote to the next.
            last.entry(fields[0].to_owned()).and_modify(|l| *l = n.max(*l)).or_insert(n);
        }
        assert!(last.values().all(|n| *n <= 1999) && last.values().any(|n| *n == 1999));
    }
}
