//! A task's last words: what it has left in its file for them, or the end of its output where it failed and left nothing.
//! The rules and figures are the kubelet's.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use vk_record::{Exit, Intent, LogFile, RecordError, TaskDir, chain, cri};
use vk_task::{End, MAX_TERMINATION_LOG, MAX_TERMINATION_MESSAGE_BYTES};

/// So much of the log's end is looked at: as many entries as there may be bytes in a message, each with its head.
const LOG_BYTES: u64 = 128 << 10;

/// Where they are.
#[derive(Debug)]
pub(crate) struct LastWords {
    file: PathBuf,
    fallback_to_logs: bool,
}

impl LastWords {
    /// Of a task, where they are asked for.
    pub(crate) fn of(intent: &Intent) -> Option<Self> {
        let (file, asked) = (intent.setup.termination_log.clone()?, intent.spec.termination_message.as_ref()?);
        Some(Self { file, fallback_to_logs: asked.fallback_to_logs })
    }

    /// Reads them; `None` when there are none.
    pub(crate) fn read(&self, task: &TaskDir, exit: &Exit) -> Option<String> {
        let has_failed = match &exit.end {
            End::Exited { code } => *code != 0,
            End::Signaled { .. } => true,
            End::NotStarted { .. } => return None,
        };
        let left = match left_in(&self.file) {
            Ok(bytes) => cut(&bytes, MAX_TERMINATION_MESSAGE_BYTES),
            // It has removed the file: it has nothing to say.
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => format!("Error on reading termination log {}: {e}", self.file.display()),
        };
        let said = if left.is_empty() && has_failed && self.fallback_to_logs {
            match end_of_log(task) {
                Ok(bytes) => cut(&bytes, MAX_TERMINATION_LOG.0),
                Err(e) => format!("Error on reading termination message from logs: {}", chain(&e)),
            }
        } else {
            left
        };
        (!said.is_empty()).then_some(said)
    }
}

/// The end of what is in the file, which the task may have replaced by anything.
fn left_in(file: &Path) -> io::Result<Vec<u8>> {
    // Without waiting for a writer, should it be a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(file, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    read_end(file, u64::try_from(MAX_TERMINATION_MESSAGE_BYTES).unwrap_or(u64::MAX))
}

/// The last bytes of a file, so many at most.
fn read_end(mut file: std::fs::File, most: u64) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a task's output, with more bytes than may be shown.
fn end_of_log(task: &TaskDir) -> Result<Vec<u8>, RecordError> {
    let error = |source| RecordError::Io { action: "read the log in", path: task.dir.path().to_owned(), source };
    let Some(last) = LogFile::last(&task.dir)? else { return Ok(Vec::new()) };
    let before = LogFile::before(&task.dir, last.begin)?;
    let mut bytes = read_end(last.file, LOG_BYTES).map_err(error)?;
    if let Some(before) = before
        && u64::try_from(bytes.len()).is_ok_and(|len| len < LOG_BYTES)
    {
        // Each file holds whole entries.
        bytes.splice(0..0, read_end(before.file, LOG_BYTES).map_err(error)?);
    }
    Ok(last_lines(&bytes, MAX_TERMINATION_LOG.1))
}

/// The text of the last `most` lines of a log. Pure.
fn last_lines(log: &[u8], most: usize) -> Vec<u8> {
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    let mut is_new = true;
    for entry in log.split(|byte| *byte == b'\n').filter_map(cri::parse) {
        if is_new {
            lines.push_back(Vec::new());
        }
        if let Some(line) = lines.back_mut() {
            line.extend_from_slice(entry.text);
            line.extend_from_slice(if entry.newline { b"\n" } else { b"" });
        }
        if lines.len() > most {
            lines.pop_front();
        }
        is_new = entry.newline;
    }
    lines.into_iter().flatten().collect()
}

/// The end of `bytes` as text of at most so many bytes, from the beginning of a character. Pure.
fn cut(bytes: &[u8], most: usize) -> String {
    let end = bytes.get(bytes.len().saturating_sub(most)..).unwrap_or(bytes);
    // Of a character that was cut in two, the rest is left out.
    let is_rest = |byte: &u8| byte & 0xc0 == 0x80;
    let rest = if end.len() < bytes.len() { end.iter().take(3).take_while(|byte| is_rest(byte)).count() } else { 0 };
    let text = String::from_utf8_lossy(end.get(rest..).unwrap_or_default());
    // What is no text has become longer.
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    text.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_from_the_beginning_of_a_character() {
        assert_eq!(cut(b"abc", 4), "abc");
        assert_eq!(cut(b"abcdef", 4), "cdef");
        assert_eq!(cut("aüüü".as_bytes(), 5), "üü");
        assert_eq!(cut("😀x".as_bytes(), 3), "x");
        assert_eq!(cut(&[0xff; 8], 8), "\u{fffd}\u{fffd}");
        assert_eq!(cut(b"", 8), "");
    }

    #[test]
    fn lines_are_counted_over_both_outputs() {
        let log = b"t stdout F 1\nt stderr P 2\nt stderr F b\nt stdout F \ngarbage\nt stdout P end";
        assert_eq!(last_lines(log, 80), b"1\n2b\n\nend");
        assert_eq!(last_lines(log, 3), b"2b\n\nend");
        assert_eq!(last_lines(log, 1), b"end");
        assert_eq!(last_lines(b"", 1), b"");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), vec![b'x'; 10_000]).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(left_in(&at("file")).unwrap().len(), MAX_TERMINATION_MESSAGE_BYTES);
        assert!(left_in(&at("link")).is_err());
        assert_eq!(left_in(&at("fifo")).unwrap_err().to_string(), "it is no regular file");
        assert_eq!(left_in(dir.path()).unwrap_err().to_string(), "it is no regular file");
        assert_eq!(left_in(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
