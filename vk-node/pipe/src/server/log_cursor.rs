//! A place in a task's log that moves on over its files. It blocks: for use off the main thread.

use std::io;
use std::os::unix::fs::FileExt;

use vk_record::{Dir, LogFile, RecordError};

use super::log_text::TailFinder;

/// How much is read at once.
const BLOCK_BYTES: usize = 64 << 10;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the oldest that there is.
    Oldest,
    /// With the last so many lines.
    Tail(u64),
    /// With what comes after now.
    Now,
}

/// What was found at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The end of a file that is closed, and so the end of an entry.
    FileEnd,
    /// So many bytes were thrown away before they were read.
    Missing(u64),
    /// Nothing, so far.
    Nothing,
}

/// The place.
#[derive(Debug)]
pub(super) struct Cursor {
    dir: Dir,
    /// Counted from the beginning of the whole log. `None` where the oldest that there is has not been found yet.
    place: Option<u64>,
    /// The file that it is in.
    file: Option<LogFile>,
}

impl Cursor {
    /// Where `begin` says, in the log of the task in `dir`; and how long that log is now.
    pub(super) fn new(dir: Dir, begin: Begin) -> Result<(Self, u64), RecordError> {
        let last = LogFile::last(&dir)?;
        let end = last.as_ref().map_or(Ok(0), LogFile::end).map_err(|e| unreadable(&dir, e))?;
        let place = match begin {
            Begin::Oldest => None,
            Begin::Now => Some(end),
            Begin::Tail(lines) => tail(&dir, last, end, lines)?,
        };
        Ok((Self { dir, place, file: None }, end))
    }

    /// What is there, before the place `end`; moves past it.
    pub(super) fn next(&mut self, end: u64) -> Result<Found, RecordError> {
        loop {
            let Some(file) = &mut self.file else {
                let wanted = self.place.unwrap_or(0);
                let Some(found) = LogFile::at(&self.dir, wanted)? else { return Ok(Found::Nothing) };
                let place = wanted.max(found.begin);
                self.file = Some(found);
                match self.place.replace(place) {
                    Some(wanted) if wanted < place => return Ok(Found::Missing(place - wanted)),
                    _ => continue,
                }
            };
            let place = self.place.unwrap_or(file.begin);
            let len = usize::try_from(end.saturating_sub(place)).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            let mut block = vec![0; len];
            let n = file.file.read_at(&mut block, place - file.begin).map_err(|e| unreadable(&self.dir, e))?;
            if n > 0 {
                block.truncate(n);
                self.place = Some(place + n as u64);
                return Ok(Found::Bytes(block));
            }
            if len == 0 {
                return Ok(Found::Nothing);
            }
            if file.closed {
                self.file = None;
                return Ok(Found::FileEnd);
            }
            if file.is_current(&self.dir)? {
                return Ok(Found::Nothing);
            }
            // It has been closed, and perhaps written to since it was read.
            file.closed = true;
        }
    }
}

/// Where the last `lines` of a log begin that ends with `last`, at `end`.
fn tail(dir: &Dir, last: Option<LogFile>, end: u64, lines: u64) -> Result<Option<u64>, RecordError> {
    let Some(mut file) = last else { return Ok(None) };
    let mut finder = TailFinder::new(lines);
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = end;
    loop {
        let before = LogFile::before(dir, file.begin)?;
        while end > file.begin {
            let begin = end.saturating_sub(BLOCK_BYTES as u64).max(file.begin);
            let part = usize::try_from(end - begin).ok().and_then(|n| block.get_mut(..n)).unwrap_or_default();
            file.file.read_exact_at(part, begin - file.begin).map_err(|e| unreadable(dir, e))?;
            let first = begin == file.begin && before.is_none();
            if let Some(place) = finder.push(begin, part, first) {
                return Ok(Some(place));
            }
            end = begin;
        }
        match before {
            Some(before) => file = before,
            None => return Ok(Some(end)),
        }
    }
}

fn unreadable(dir: &Dir, source: io::Error) -> RecordError {
    RecordError::Io { action: "read the log in", path: dir.path().to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;
    use vk_record::closed_name;

    fn entry(n: usize) -> String {
        format!("2026-11-23T16:40:00.123456789Z stdout F {n}\n")
    }

    /// Writes entries `0..n` into files of so many each, the last of them `log`; gives all of it.
    fn write(path: &Path, n: usize, per_file: usize) -> String {
        let entries: Vec<String> = (0..n).map(entry).collect();
        let mut all = String::new();
        let files: Vec<_> = entries.chunks(per_file.max(1)).collect();
        for (i, file) in files.iter().enumerate() {
            let text = file.concat();
            all.push_str(&text);
            let name = if i + 1 == files.len() { "log".to_owned() } else { closed_name(all.len() as u64) };
            fs::write(path.join(name), text).unwrap();
        }
        all
    }

    fn open(path: &Path, begin: Begin) -> (Cursor, u64) {
        Cursor::new(Dir::open(path).unwrap(), begin).unwrap()
    }

    fn read(cursor: &mut Cursor, end: u64) -> (String, u64) {
        let (mut text, mut missing) = (String::new(), 0);
        loop {
            match cursor.next(end).unwrap() {
                Found::Bytes(bytes) => text.push_str(&String::from_utf8(bytes).unwrap()),
                Found::FileEnd => {}
                Found::Missing(n) => missing += n,
                Found::Nothing => return (text, missing),
            }
        }
    }

    proptest! {
        #[test]
        fn files_are_one_log(n in 1_usize..40, per_file in 1_usize..10, gone in 0_usize..3, lines in 0_usize..50) {
            let dir = tempfile::tempdir().unwrap();
            let all = write(dir.path(), n, per_file);
            let mut closed: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            closed.retain(|name| name != "log");
            closed.sort();
            // The last of them is never thrown away.
            let gone = gone.min(closed.len().saturating_sub(1));
            for name in &closed[..gone] {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
            let kept: Vec<&str> = all.split_inclusive('\n').skip(gone * per_file).collect();
            let (mut cursor, end) = open(dir.path(), Begin::Oldest);
            prop_assert_eq!(end, all.len() as u64);
            prop_assert_eq!(read(&mut cursor, u64::MAX), (kept.concat(), 0));
            let (mut cursor, _) = open(dir.path(), Begin::Tail(lines as u64));
            prop_assert_eq!(read(&mut cursor, end), (kept[kept.len().saturating_sub(lines)..].concat(), 0));
            let (mut cursor, _) = open(dir.path(), Begin::Now);
            prop_assert_eq!(read(&mut cursor, u64::MAX), (String::new(), 0));
        }
    }

    #[test]
    fn a_rotation_under_a_reader_loses_and_doubles_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let add = |n| {
            let old = fs::read_to_string(&log).unwrap_or_default();
            // In place: it stays the same file.
            fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
            fs::write(&log, old + &entry(n)).unwrap();
        };
        let close = |end: usize| fs::rename(&log, dir.path().join(closed_name(end as u64))).unwrap();
        let len = entry(0).len();
        let (mut cursor, end) = open(dir.path(), Begin::Oldest);
        assert_eq!((end, read(&mut cursor, u64::MAX)), (0, (String::new(), 0)));
        add(0);
        assert_eq!(read(&mut cursor, u64::MAX), (entry(0), 0));
        add(1);
        close(2 * len);
        // Between the two renames there is no `log`.
        assert_eq!(read(&mut cursor, u64::MAX), (entry(1), 0));
        assert_eq!(read(&mut cursor, u64::MAX), (String::new(), 0));
        add(2);
        assert_eq!(read(&mut cursor, u64::MAX), (entry(2), 0));
        close(3 * len);
        for n in 3..6 {
            add(n);
            close((n + 1) * len);
        }
        add(6);
        assert_eq!(read(&mut cursor, u64::MAX), ([3, 4, 5, 6].map(entry).concat(), 0));
        close(7 * len);
        for n in 7..9 {
            add(n);
            close((n + 1) * len);
        }
        // A reader that is too slow: all that came before 8 is gone, and 6 was read.
        for end in 1..=8 {
            let _ = fs::remove_file(dir.path().join(closed_name(end * len as u64)));
        }
        assert_eq!(read(&mut cursor, u64::MAX), (entry(8), len as u64));
    }
}
