//! The task's log: entries into files of a bounded size, of which the newest are kept.
//!
//! ```text
//!   full ──▶ make .log.next ──▶ log becomes log.<number> ──▶ .log.next becomes log ──▶ the oldest are removed
//!              │ no room          │ no room                    │ no room
//!              ▼                  ▼                            ▼
//!            log grows on, and it is tried again later       named later
//! ```
//!
//! See [`vk_record::LogFile`] for what readers make of it. Entries are written whole or not at all, whatever fails.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

use jiff::Timestamp;
use vk_record::cri::{note, stamp};
use vk_record::points::{Point, reach};
use vk_record::{Dir, RecordError, TaskDir, closed_name, names};
use vk_task::LogLimits;
use vk_words::counted;

use crate::ShimError;

/// How many bytes of entries are gathered before they are written.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;

/// The files of a log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: Dir,
    limits: LogLimits,
    file: File,
    /// How long the file is, up to the last entry that is whole.
    len: u64,
    /// How long the whole log was when the file was begun.
    begin: u64,
    /// The file has not got its name yet.
    unnamed: bool,
    /// The numbers of the closed files that are there, the oldest first.
    closed: VecDeque<u64>,
}

impl Log {
    /// Opens the log of a task that is about to be started.
    pub(crate) fn open(task: &TaskDir, limits: LogLimits) -> Result<Self, ShimError> {
        let file = task.dir.append_to(names::LOG)?;
        let len = file.metadata().map_err(ShimError::system("look at the log"))?.len();
        let dir = task.dir.try_clone()?;
        Ok(Self { dir, limits: limits.in_force(), file, len, begin: 0, unnamed: false, closed: VecDeque::new() })
    }

    /// Writes whole entries, all of them or none.
    fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.len > 0 && self.len + entries.len() as u64 > self.limits.file_bytes {
            self.rotate();
        }
        if self.unnamed {
            self.give_name();
        }
        match self.file.write_all(entries) {
            Ok(()) => {
                self.len += entries.len() as u64;
                Ok(())
            }
            Err(e) => {
                // Away with what was written of it: an entry that is not whole would spoil the next.
                let _ = self.file.set_len(self.len);
                Err(e)
            }
        }
    }

    /// Closes the file and begins the next, if there is room for that.
    fn rotate(&mut self) {
        // Its own name must be given before the next can have it.
        let end = self.begin + self.len;
        if self.unnamed {
            return;
        }
        let Ok(next) = self.begin_next(&closed_name(end)) else { return };
        self.file = next;
        self.begin = end;
        self.len = 0;
        self.unnamed = true;
        self.closed.push_back(end);
        self.give_name();
        while self.closed.len() as u64 >= u64::from(self.limits.files) {
            let Some(oldest) = self.closed.pop_front() else { return };
            // If it cannot be removed, it goes with the task's other records.
            let _ = self.dir.remove_file(&closed_name(oldest));
        }
    }

    /// Makes the next file and closes this one, as `closed`; or changes nothing.
    fn begin_next(&self, closed: &str) -> Result<File, RecordError> {
        self.dir.remove_file(names::NEXT_LOG)?;
        let next = self.dir.append_to(names::NEXT_LOG)?;
        self.dir.move_to(names::LOG, &self.dir, closed)?;
        Ok(next)
    }

    fn give_name(&mut self) {
        self.unnamed = self.dir.move_to(names::NEXT_LOG, &self.dir, names::LOG).is_err();
    }
}

/// The log with a buffer before it. A write that fails costs the output that was in the buffer, never the log's form, and
/// the log says what is missing.
#[derive(Debug)]
pub(crate) struct Sink {
    log: Log,
    /// Entries that are to be written. It has no memory of its own while nothing comes.
    pub(crate) buffer: Vec<u8>,
    /// How much could not be written, and the reason.
    lost: Option<(usize, io::Error)>,
}

impl Sink {
    /// Before `log`.
    pub(crate) fn new(log: Log) -> Self {
        Self { log, buffer: Vec::new(), lost: None }
    }

    /// Writes what is gathered, if that is much.
    pub(crate) fn flush_if_full(&mut self) {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) {
        if self.buffer.is_empty() && self.lost.is_none() {
            return;
        }
        let fresh = self.buffer.len();
        if let Some((bytes, error)) = &self.lost {
            let what = counted(*bytes, "byte of the log is", "bytes of the log are");
            let text = format!("{what} missing here: {error}");
            self.buffer.splice(0..0, note(&stamp(Timestamp::now()), &text).into_bytes());
        }
        match self.log.append(&self.buffer) {
            Ok(()) => {
                self.lost = None;
                reach(Point::FirstOutput);
            }
            Err(e) => {
                let before = self.lost.as_ref().map_or(0, |(bytes, _)| *bytes);
                self.lost = Some((before + fresh, e));
            }
        }
        self.buffer.clear();
    }

    /// Gives the buffer's memory back.
    pub(crate) fn rest(&mut self) {
        self.flush();
        self.buffer = Vec::new();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use vk_record::LogFile;
    use vk_record::cri::{Encoder, MAX_TEXT_BYTES, Stream, parse};

    pub(crate) fn open(path: &Path, limits: LogLimits) -> Log {
        Log::open(&TaskDir { dir: Dir::open(path).unwrap() }, limits).unwrap()
    }

    const SMALL: LogLimits = LogLimits { file_bytes: 0, files: 3 };

    /// The text of all files from `place` on, read as a reader does, and where it begins.
    fn read_from(path: &Path, place: u64) -> (u64, Vec<u8>) {
        let dir = Dir::open(path).unwrap();
        let first = LogFile::at(&dir, place).unwrap().unwrap();
        let (begin, mut file, mut text) = (first.begin, first, Vec::new());
        loop {
            io::Read::read_to_end(&mut file.file, &mut text).unwrap();
            if !file.closed {
                return (begin, text);
            }
            file = LogFile::at(&dir, begin + text.len() as u64).unwrap().unwrap();
            assert_eq!(file.begin, begin + text.len() as u64);
        }
    }

    fn files(path: &Path) -> Vec<(String, u64)> {
        let mut files: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn the_newest_files_are_kept_and_no_byte_between_them_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), SMALL);
        let mut all = Vec::new();
        for n in 0..2000 {
            let entries = format!("{n} {}\n", "x".repeat(n % 1000)).into_bytes();
            log.append(&entries).unwrap();
            all.extend(entries);
            let files = files(dir.path());
            assert!(files.len() <= 3 && files.iter().all(|(_, len)| *len <= SMALL.in_force().file_bytes), "{files:?}");
        }
        let (begin, text) = read_from(dir.path(), 0);
        assert!(begin > 0 && text.len() as u64 > SMALL.in_force().file_bytes * 3 / 2);
        assert!(text == all[usize::try_from(begin).unwrap()..]);
        assert_eq!(all[usize::try_from(begin).unwrap() - 1], b'\n');
    }

    #[test]
    fn a_log_that_cannot_be_rotated_grows_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), SMALL);
        // Nothing can be made under the next file's name.
        fs::create_dir(dir.path().join(names::NEXT_LOG)).unwrap();
        let entries = [vec![b'x'; 60_000], b"\n".to_vec()].concat();
        for _ in 0..5 {
            log.append(&entries).unwrap();
        }
        assert_eq!(read_from(dir.path(), 0), (0, entries.repeat(5)));
        fs::remove_dir(dir.path().join(names::NEXT_LOG)).unwrap();
        log.append(&entries).unwrap();
        let names: Vec<_> = files(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["log".to_owned(), closed_name(5 * 60_001)]);
        assert_eq!(read_from(dir.path(), 0), (0, entries.repeat(6)));
    }

    #[test]
    fn a_file_that_cannot_get_its_name_gets_it_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), SMALL);
        let entries = [vec![b'x'; 100_000], b"\n".to_vec()].concat();
        log.append(&entries).unwrap();
        // As it is between the two renames.
        fs::rename(dir.path().join("log"), dir.path().join(closed_name(100_001))).unwrap();
        fs::create_dir_all(dir.path().join("log/in-the-way")).unwrap();
        log.file = log.dir.append_to(names::NEXT_LOG).unwrap();
        (log.begin, log.len, log.unnamed) = (100_001, 0, true);
        log.append(&entries).unwrap();
        log.append(&entries).unwrap();
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        log.append(b"last\n").unwrap();
        assert_eq!(read_from(dir.path(), 0), (0, [entries.repeat(3), b"last\n".to_vec()].concat()));
    }

    #[test]
    fn what_could_not_be_written_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = Sink::new(open(dir.path(), SMALL));
        sink.log.file = File::options().write(true).open("/dev/full").unwrap();
        for lost in [b"one\n", b"two\n"] {
            sink.buffer.extend_from_slice(lost);
            sink.flush();
        }
        sink.log.file = File::create(&path).unwrap();
        for kept in ["three\n", "four\n"] {
            sink.buffer.extend_from_slice(kept.as_bytes());
            sink.flush();
        }
        let log = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[0].contains(" stderr F vk-cmd: 8 bytes of the log are missing here: No space left"), "{log}");
        assert_eq!(lines[1..], ["three", "four"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What goes in comes out, over all the files there are, up to the oldest that is kept.
        #[test]
        fn the_end_of_the_output_is_in_the_files(
            chunks in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..300),
                    (1_usize..120_000).prop_map(|n| vec![b'x'; n]),
                    (1_usize..3_000).prop_map(|n| vec![b'\n'; n]),
                ], 1..30),
            files in 2_u32..5,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut sink = Sink::new(open(dir.path(), LogLimits { file_bytes: 0, files }));
            let mut encoder = Encoder::new(Stream::Stdout);
            let now = stamp(Timestamp::UNIX_EPOCH);
            for chunk in &chunks {
                let mut left = chunk.as_slice();
                while !left.is_empty() {
                    left = encoder.push(&now, left, &mut sink.buffer, BUFFER_BYTES);
                    sink.flush_if_full();
                }
            }
            encoder.flush(&now, &mut sink.buffer);
            sink.flush();
            let (begin, text) = read_from(dir.path(), 0);
            let mut output = Vec::new();
            for line in text.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n') {
                let entry = parse(line).unwrap();
                prop_assert!(entry.text.len() <= MAX_TEXT_BYTES);
                output.extend_from_slice(entry.text);
                output.extend(entry.newline.then_some(b'\n'));
            }
            let all = chunks.concat();
            prop_assert!(all.ends_with(&output));
            prop_assert!(begin > 0 || all.len() == output.len());
            prop_assert!(super::tests::files(dir.path()).len() as u64 <= u64::from(files));
        }
    }
}
