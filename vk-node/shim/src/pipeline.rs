//! What a line of the FIFO writes goes, besides its record, to `pipeline.out` and `pipeline.err` in the pipe's directory,
//! where the original had it. There it was the last line's output; here, where many lines run at once, it is added.
//!
//! Whole lines, as [`SharedFile`] has them written. Whatever goes wrong here is no harm to the task.

use std::io::{IoSlice, Write};
use std::rc::Rc;

use vk_record::{Dir, MAX_PIPELINE_BYTES, SharedFile, chain};

use crate::error::say;

/// The longest line. One that is longer is broken.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The copy of one output.
#[derive(Debug)]
pub(crate) struct Copy {
    dir: Rc<Dir>,
    file: SharedFile,
    /// The beginning of a line whose end has not come.
    pending: Vec<u8>,
    /// It has been said that it does not work.
    told: bool,
}

impl Copy {
    /// To the file `name` in `dir`.
    pub(crate) fn new(dir: Rc<Dir>, name: &'static str) -> Self {
        let file = SharedFile::new(name, MAX_PIPELINE_BYTES);
        Self { dir, file, pending: Vec::new(), told: false }
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
        self.file.close();
    }

    /// Gives the memory back that it does not need now.
    pub(crate) fn rest(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Writes what is pending and these bytes, in one go.
    fn write(&mut self, bytes: &[u8], end: &[u8]) {
        let pending = std::mem::take(&mut self.pending);
        let parts = [pending.as_slice(), bytes, end].map(IoSlice::new);
        // If not all of it is written the disk is full, and the rest is left out: it is in the task's own record.
        let written = match self.file.current(&self.dir) {
            Ok(mut file) => {
                file.write_vectored(&parts).map_err(|source| self.file.error(&self.dir, "write to", source))
            }
            Err(e) => Err(e),
        };
        if let Err(e) = written
            && !std::mem::replace(&mut self.told, true)
        {
            say(format_args!("the output is in the task's record only: {}", chain(&e)));
        }
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
                    copy.file = SharedFile::new("pipeline.out", 20_000);
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
