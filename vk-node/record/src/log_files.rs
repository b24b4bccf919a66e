//! The files that a task's log is in.
//!
//! ```text
//!   log.0000000000131040   log.0000000000262101   log
//!   [0, 131040)            [131040, 262101)       [262101, …)      bytes of the whole log
//! ```
//!
//! `log` is written to. When it is full it gets a number: how long the whole log was when it was closed; and a new `log`
//! is begun. So each byte of a log has a place that never changes, whatever comes after it and whatever is thrown away
//! before it, and `cat log.* log` shows all that is kept, in order. Each file holds whole entries.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;

use crate::{Dir, RecordError, names};

/// How often a log is looked at anew that is rotated just while it is being looked at.
const TRIES: u32 = 1000;

/// The name of the file that was closed when the whole log was `end` bytes long.
#[must_use]
pub fn closed_name(end: u64) -> String {
    format!("{}.{end:016}", names::LOG)
}

/// How long the whole log was when the file of this name was closed; `None` if it is no closed file of a log.
#[must_use]
pub fn closed_end(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(names::LOG)?.strip_prefix('.')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// One file of a log, open for reading.
#[derive(Debug)]
pub struct LogFile {
    /// It.
    pub file: File,
    /// The place of its first byte in the whole log.
    pub begin: u64,
    /// Whether nothing will be added to it.
    pub closed: bool,
    /// Its number on its file system: by it, it is known under another name.
    inode: u64,
}

impl LogFile {
    /// Opens the file that holds the byte at `place`; if that is gone, the one that holds the oldest after it. `None`
    /// when there is no such file now: a log that has none yet, or is being rotated.
    ///
    /// # Errors
    /// When the files cannot be read, or are not ours.
    pub fn at(dir: &Dir, place: u64) -> Result<Option<Self>, RecordError> {
        for _ in 0..TRIES {
            let ends = closed_ends(dir)?;
            if let Some(end) = ends.iter().copied().find(|end| *end > place) {
                // It may have been thrown away since.
                if let Some(found) = Self::open_closed(dir, end)? {
                    return Ok(Some(found));
                }
                continue;
            }
            let Some((file, inode)) = open(dir, names::LOG)? else { return Ok(None) };
            // Numbers only grow, and the last closed file is not thrown away while there are later ones to be: if it is
            // the same as before, what was opened in between came right after it.
            let last = ends.last().copied();
            if closed_ends(dir)?.last().copied() == last {
                return Ok(Some(Self { file, begin: last.unwrap_or(0), closed: false, inode }));
            }
        }
        Ok(None)
    }

    /// Opens the file before the one that begins at `begin`, if it is there.
    ///
    /// # Errors
    /// When the files cannot be read, or are not ours.
    pub fn before(dir: &Dir, begin: u64) -> Result<Option<Self>, RecordError> {
        if closed_ends(dir)?.contains(&begin) { Self::open_closed(dir, begin) } else { Ok(None) }
    }

    /// Opens the file that is written to; where there is none, the last that was. `None` if there is no log at all.
    ///
    /// # Errors
    /// When the files cannot be read, or are not ours.
    pub fn last(dir: &Dir) -> Result<Option<Self>, RecordError> {
        match (Self::at(dir, u64::MAX)?, closed_ends(dir)?.last()) {
            (Some(current), _) => Ok(Some(current)),
            (None, Some(end)) => Self::open_closed(dir, *end),
            (None, None) => Ok(None),
        }
    }

    /// The place after its last byte.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn end(&self) -> std::io::Result<u64> {
        Ok(self.begin + self.file.metadata()?.len())
    }

    /// Whether this is the file that is written to. Once it is not, it has all it ever will.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_current(&self, dir: &Dir) -> Result<bool, RecordError> {
        Ok(!self.closed && dir.stat(names::LOG)?.is_some_and(|stat| stat.st_ino == self.inode))
    }

    fn open_closed(dir: &Dir, end: u64) -> Result<Option<Self>, RecordError> {
        let Some((file, inode)) = open(dir, &closed_name(end))? else { return Ok(None) };
        let len = file.metadata().map_err(|source| read_error(dir, source))?.len();
        Ok(Some(Self { file, begin: end.saturating_sub(len), closed: true, inode }))
    }
}

/// How long the whole log was when each closed file was, the oldest first.
fn closed_ends(dir: &Dir) -> Result<Vec<u64>, RecordError> {
    let mut ends: Vec<u64> = dir.entries()?.iter().filter_map(|name| closed_end(name)).collect();
    ends.sort_unstable();
    Ok(ends)
}

fn open(dir: &Dir, name: &str) -> Result<Option<(File, u64)>, RecordError> {
    let Some(file) = dir.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
    let inode = file.metadata().map_err(|source| read_error(dir, source))?.ino();
    Ok(Some((file, inode)))
}

fn read_error(dir: &Dir, source: std::io::Error) -> RecordError {
    RecordError::Io { action: "look at a log in", path: dir.path().to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_sort_as_the_log_does_and_come_back() {
        assert_eq!(closed_end(&closed_name(131_040)), Some(131_040));
        assert_eq!(closed_end(&closed_name(u64::MAX)), Some(u64::MAX));
        assert!(closed_name(9) < closed_name(10));
        for other in ["log", "log.", "log.1x", "log.+1", "log.99999999999999999999999", "intent.json", ".log.next"] {
            assert_eq!(closed_end(other), None, "{other}");
        }
    }

    #[test]
    fn each_byte_is_found_at_its_place() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(temporary.path()).unwrap();
        assert!(LogFile::at(&dir, 0).unwrap().is_none() && LogFile::last(&dir).unwrap().is_none());
        let write = |name: &str, text: &str| fs::write(temporary.path().join(name), text).unwrap();
        write(&closed_name(14), "abcd");
        write(&closed_name(17), "efg");
        write("log", "hi");
        let find = |place| LogFile::at(&dir, place).unwrap().map(|f| (f.begin, f.closed, f.end().unwrap()));
        // What is gone begins with the oldest that is left.
        assert_eq!([0, 10, 13].map(find), [Some((10, true, 14)); 3]);
        assert_eq!([14, 16].map(find), [Some((14, true, 17)); 2]);
        assert_eq!([17, 18, 99].map(find), [Some((17, false, 19)); 3]);
        let before = |begin| LogFile::before(&dir, begin).unwrap().map(|f| f.begin);
        assert_eq!([17, 14, 10, 0].map(before), [Some(14), Some(10), None, None]);
        let current = LogFile::at(&dir, 17).unwrap().unwrap();
        assert!(current.is_current(&dir).unwrap());
        fs::rename(temporary.path().join("log"), temporary.path().join(closed_name(19))).unwrap();
        assert!(!current.is_current(&dir).unwrap());
        assert!(LogFile::at(&dir, 19).unwrap().is_none());
        assert_eq!(LogFile::last(&dir).unwrap().map(|f| (f.begin, f.closed)), Some((17, true)));
        write("log", "");
        assert_eq!(find(19), Some((19, false, 19)));
        assert!(!current.is_current(&dir).unwrap());
    }
}
