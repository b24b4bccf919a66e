//! From the task's two pipes into its log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use vk_record::cri::{Encoder, Stream, stamp};
use vk_record::{TaskDir, names};

use crate::ShimError;

/// How much is read at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// How much is written at once.
const BUFFER_BYTES: usize = 64 << 10;
/// How many chunks of one output are read before the other output and the signals have their turn.
const CHUNKS_PER_TURN: usize = 8;

/// The log's file.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// How long it is, up to the last entry that is whole.
    len: u64,
}

impl Log {
    /// Opens the log of a task.
    pub(crate) fn open(task: &TaskDir) -> Result<Self, ShimError> {
        let file = task.dir.append_to(names::LOG)?;
        let len = file.metadata().map_err(ShimError::system("look at the log"))?.len();
        Ok(Self { file, len })
    }
}

/// The log with a buffer before it. A write that fails costs the output that was in the buffer, never the log's form, and
/// the log says what is missing.
#[derive(Debug)]
struct Sink {
    log: Log,
    buffer: Vec<u8>,
    /// How much could not be written, and the reason.
    lost: Option<(usize, io::Error)>,
}

impl Sink {
    /// Takes a piece of an entry.
    fn put(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        // Only between entries: if the write fails, what is in the file must end with a whole one.
        if piece == b"\n" && self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() && self.lost.is_none() {
            return;
        }
        let fresh = self.buffer.len();
        if let Some((bytes, error)) = &self.lost {
            let note = format!(
                "{} stderr F vk-cmd: {bytes} bytes of the log are missing here: {error}\n",
                stamp(Timestamp::now())
            );
            self.buffer.splice(0..0, note.into_bytes());
        }
        match self.log.file.write_all(&self.buffer) {
            Ok(()) => {
                self.log.len += self.buffer.len() as u64;
                self.lost = None;
            }
            Err(e) => {
                // Away with what was written of it: an entry that is not whole would spoil the next.
                let _ = self.log.file.set_len(self.log.len);
                let before = self.lost.as_ref().map_or(0, |(bytes, _)| *bytes);
                self.lost = Some((before + fresh, e));
            }
        }
        self.buffer.clear();
    }
}

/// One output of the task.
#[derive(Debug)]
struct Source {
    /// The reading end; `None` once all writers are gone.
    pipe: Option<File>,
    encoder: Encoder,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more.
    More,
    /// There is no more now.
    Empty,
}

/// Both outputs and the log.
#[derive(Debug)]
pub(crate) struct Relay {
    sources: [Source; 2],
    sink: Sink,
    chunk: Vec<u8>,
}

impl Relay {
    /// From the reading ends of the task's pipes, which must not block, to `log`. (A terminal has only one.)
    pub(crate) fn new(stdout: OwnedFd, stderr: Option<OwnedFd>, log: Log) -> Self {
        let source =
            |pipe: Option<OwnedFd>, stream| Source { pipe: pipe.map(File::from), encoder: Encoder::new(stream) };
        Self {
            sources: [source(Some(stdout), Stream::Stdout), source(stderr, Stream::Stderr)],
            sink: Sink { log, buffer: Vec::new(), lost: None },
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// The descriptors to wait at.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().filter_map(|s| s.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Takes what is there, within bounds, and writes it.
    pub(crate) fn turn(&mut self) {
        for source in &mut self.sources {
            read_some(source, &mut self.chunk, &mut self.sink, CHUNKS_PER_TURN);
        }
        self.sink.flush();
    }

    /// Whether there is the beginning of a line that the log does not have: it is held back for a moment, in the hope
    /// of the rest.
    pub(crate) fn has_pending(&self) -> bool {
        self.sources.iter().any(|s| s.encoder.has_pending())
    }

    /// Writes the beginnings of lines as they are.
    pub(crate) fn flush_pending(&mut self) {
        let now = stamp(Timestamp::now());
        for source in &mut self.sources {
            source.encoder.flush(&now, |bytes| self.sink.put(bytes));
        }
        self.sink.flush();
    }

    /// Takes all that is there. Once the tree is gone that is all there will be, even if somebody outside of it still
    /// holds a writing end.
    pub(crate) fn drain(&mut self) {
        for source in &mut self.sources {
            while read_some(source, &mut self.chunk, &mut self.sink, CHUNKS_PER_TURN) == Turn::More {}
        }
        self.flush_pending();
    }
}

fn read_some(source: &mut Source, chunk: &mut [u8], sink: &mut Sink, chunks: usize) -> Turn {
    let Some(mut pipe) = source.pipe.as_ref() else { return Turn::Empty };
    for _ in 0..chunks {
        match pipe.read(chunk) {
            Ok(0) => {
                source.pipe = None;
                return Turn::Empty;
            }
            Ok(n) => {
                let now = stamp(Timestamp::now());
                source.encoder.push(&now, chunk.get(..n).unwrap_or_default(), |bytes| sink.put(bytes));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // All that had the other side of the terminal are gone, or it was taken from them when its session ended.
            Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => {
                source.pipe = None;
                return Turn::Empty;
            }
            Err(_) => return Turn::Empty,
        }
    }
    Turn::More
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_could_not_be_written_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut sink = Sink { log: Log { file: full, len: 0 }, buffer: Vec::new(), lost: None };
        sink.put(b"one\n");
        sink.flush();
        sink.put(b"two\n");
        sink.flush();
        sink.log.file = File::create(&path).unwrap();
        sink.put(b"three\n");
        sink.flush();
        sink.put(b"four\n");
        sink.flush();
        let log = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = log.lines().collect();
        assert!(lines[0].contains(" stderr F vk-cmd: 8 bytes of the log are missing here: No space left"), "{log}");
        assert_eq!(lines[1..], ["three", "four"]);
    }

    #[test]
    fn an_entry_is_never_written_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log { file: File::create(&path).unwrap(), len: 0 };
        let mut sink = Sink { log, buffer: Vec::new(), lost: None };
        for _ in 0..100 {
            for piece in [&b"head "[..], &[b'x'; 1500], b"\n"] {
                sink.put(piece);
                assert!(fs::metadata(&path).unwrap().len().is_multiple_of(1506));
            }
        }
        assert!(sink.log.len > 0);
    }
}
