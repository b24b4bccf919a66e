//! From the task's two pipes into its log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use vk_record::cri::{Encoder, Stream, note, stamp};
use vk_record::{Dir, names};

use crate::log::{BUFFER_BYTES, Log, Sink};
use crate::pipeline::Copy;

/// How much is read at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks of one output are read before the other output and the signals have their turn.
const CHUNKS_PER_TURN: usize = 8;
/// How many are read once the tree is gone: more than any pipe holds. Somebody outside of the tree may hold a writing
/// end still, and the end must not wait for him.
const CHUNKS_AT_LAST: usize = 32;
/// How long nothing must come before the buffers are given back.
const QUIET: Duration = Duration::from_secs(1);

/// One output of the task.
#[derive(Debug)]
struct Source {
    /// The reading end; `None` once all writers are gone.
    pipe: Option<File>,
    encoder: Encoder,
    /// Where else it goes.
    copy: Option<Copy>,
}

/// Where the output goes.
#[derive(Debug)]
struct Drain {
    sink: Sink,
    /// How many bytes of output may still come, and how many might at first; `None` when it is not limited.
    limit: Option<(u64, u64)>,
    exceeded: bool,
}

/// Both outputs and the log.
#[derive(Debug)]
pub(crate) struct Relay {
    sources: [Source; 2],
    drain: Drain,
    /// What is read into. It has no memory of its own while nothing comes.
    chunk: Vec<u8>,
    /// When the last output came; `None` when the buffers have been given back.
    last: Option<Instant>,
}

impl Relay {
    /// From the reading ends of the task's pipes, which must not block, to `log`; `limit` bytes at most. (A terminal has
    /// only one.)
    pub(crate) fn new(stdout: OwnedFd, stderr: Option<OwnedFd>, log: Log, limit: Option<u64>) -> Self {
        let source = |pipe: Option<OwnedFd>, stream| Source {
            pipe: pipe.map(File::from),
            encoder: Encoder::new(stream),
            copy: None,
        };
        Self {
            sources: [source(Some(stdout), Stream::Stdout), source(stderr, Stream::Stderr)],
            drain: Drain { sink: Sink::new(log), limit: limit.map(|n| (n, n)), exceeded: false },
            chunk: Vec::new(),
            last: None,
        }
    }

    /// Has what is written also added to `pipeline.out` and `pipeline.err` in `dir`.
    pub(crate) fn copy_to(&mut self, dir: Dir) {
        let dir = Rc::new(dir);
        for (source, name) in self.sources.iter_mut().zip([names::PIPELINE_OUT, names::PIPELINE_ERR]) {
            source.copy = Some(Copy::new(Rc::clone(&dir), name));
        }
    }

    /// The descriptors to wait at.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sources.iter().filter_map(|s| s.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Whether there was more output than may be.
    pub(crate) fn exceeded(&self) -> bool {
        self.drain.exceeded
    }

    /// Takes what is there, within bounds, and writes it.
    pub(crate) fn turn(&mut self) {
        self.take(CHUNKS_PER_TURN);
        self.drain.sink.flush();
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
            source.encoder.flush(&now, &mut self.drain.sink.buffer);
        }
        self.drain.sink.flush();
    }

    /// How long it is until the buffers can be given back, if nothing comes.
    pub(crate) fn quiet_in(&self) -> Option<Duration> {
        self.last.map(|last| QUIET.saturating_sub(last.elapsed()))
    }

    /// Gives the buffers back if nothing has come for a while.
    pub(crate) fn rest_if_quiet(&mut self) {
        if self.quiet_in() != Some(Duration::ZERO) || self.has_pending() {
            return;
        }
        self.last = None;
        self.chunk = Vec::new();
        self.drain.sink.rest();
        for source in &mut self.sources {
            source.encoder.rest();
            if let Some(copy) = &mut source.copy {
                copy.rest();
            }
        }
    }

    /// Takes all that is there. Once the tree is gone that is all there will be.
    pub(crate) fn drain(&mut self) {
        self.take(CHUNKS_AT_LAST);
        self.flush_pending();
        for copy in self.sources.iter_mut().filter_map(|s| s.copy.as_mut()) {
            copy.finish();
        }
    }

    fn take(&mut self, chunks: usize) {
        for source in &mut self.sources {
            if source.read(&mut self.chunk, &mut self.drain, chunks) {
                self.last = Some(Instant::now());
            }
        }
        if !self.chunk.is_empty() {
            self.last.get_or_insert_with(Instant::now);
        }
    }
}

impl Source {
    /// Reads so many chunks at most; says whether anything came.
    fn read(&mut self, chunk: &mut Vec<u8>, drain: &mut Drain, chunks: usize) -> bool {
        let Some(mut pipe) = self.pipe.as_ref() else { return false };
        let mut came = false;
        for _ in 0..chunks {
            // Not before there is something: most tasks are silent most of the time.
            if chunk.is_empty() && is_empty(pipe) {
                return came;
            }
            chunk.resize(CHUNK_BYTES, 0);
            match pipe.read(chunk) {
                Ok(0) => {
                    self.pipe = None;
                    return came;
                }
                Ok(n) => {
                    let kept = drain.put(&mut self.encoder, chunk.get(..n).unwrap_or_default());
                    if let Some(copy) = &mut self.copy {
                        copy.put(kept);
                    }
                    came = true;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // All that had the other side of the terminal are gone, or it was taken from them when its session ended.
                Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => {
                    self.pipe = None;
                    return came;
                }
                Err(_) => return came,
            }
        }
        came
    }
}

/// Whether there is nothing to read now, the end of the output included.
fn is_empty(pipe: &File) -> bool {
    let mut fds = [rustix::event::PollFd::new(pipe, rustix::event::PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

impl Drain {
    /// Takes bytes; gives those of them that are kept.
    fn put<'a>(&mut self, encoder: &mut Encoder, bytes: &'a [u8]) -> &'a [u8] {
        let now = stamp(Timestamp::now());
        let kept = self.allowed(bytes);
        let cut_off = kept.len() < bytes.len();
        let mut left = kept;
        while !left.is_empty() {
            left = encoder.push(&now, left, &mut self.sink.buffer, BUFFER_BYTES);
            self.sink.flush_if_full();
        }
        if let Some((_, limit)) = self.limit
            && cut_off
            && !self.exceeded
        {
            self.exceeded = true;
            encoder.flush(&now, &mut self.sink.buffer);
            let text = format!("the output is longer than its limit of {limit} bytes; what follows is not kept");
            self.sink.buffer.extend_from_slice(note(&now, &text).as_bytes());
        }
        kept
    }

    /// What of the bytes may be, after all that came before.
    fn allowed<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((left, _)) = &mut self.limit else { return bytes };
        let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= n as u64;
        bytes.get(..n).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::open;
    use std::fs;
    use std::io::Write;
    use vk_task::LogLimits;

    fn relay(dir: &std::path::Path, limit: Option<u64>) -> ([File; 2], Relay) {
        let (out, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (err, other) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        ([writer, other].map(File::from), Relay::new(out, Some(err), open(dir, LogLimits::default()), limit))
    }

    fn texts(dir: &std::path::Path) -> Vec<String> {
        let log = fs::read_to_string(dir.join("log")).unwrap();
        log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn output_past_the_limit_is_not_kept_and_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let ([mut task, _other], mut relay) = relay(dir.path(), Some(6));
        task.write_all(b"one\n").unwrap();
        relay.turn();
        assert!(!relay.exceeded());
        for _ in 0..2 {
            task.write_all(b"second\n").unwrap();
            relay.turn();
            assert!(relay.exceeded());
        }
        relay.drain();
        let told = "stderr F vk-cmd: the output is longer than its limit of 6 bytes; what follows is not kept";
        assert_eq!(texts(dir.path()), ["stdout F one", "stdout P se", told]);
    }

    #[test]
    fn output_of_just_the_limit_is_within_it() {
        let dir = tempfile::tempdir().unwrap();
        let ([mut task, _other], mut relay) = relay(dir.path(), Some(4));
        task.write_all(b"one\n").unwrap();
        drop(task);
        relay.drain();
        assert!(!relay.exceeded());
        assert_eq!(texts(dir.path()), ["stdout F one"]);
    }

    #[test]
    fn there_are_buffers_only_while_there_is_output() {
        let dir = tempfile::tempdir().unwrap();
        let ([mut task, _other], mut relay) = relay(dir.path(), None);
        let memory = |relay: &Relay| relay.chunk.capacity() + relay.drain.sink.buffer.capacity();
        relay.turn();
        assert_eq!((memory(&relay), relay.quiet_in()), (0, None));
        task.write_all(b"one\n").unwrap();
        relay.turn();
        relay.rest_if_quiet();
        assert!(memory(&relay) > 0 && relay.quiet_in().is_some());
        relay.last = Some(Instant::now().checked_sub(QUIET).unwrap());
        relay.rest_if_quiet();
        assert_eq!((memory(&relay), relay.quiet_in()), (0, None));
    }
}
