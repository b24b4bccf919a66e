//! The CRI log format, in which a task's output is kept: what `kubectl logs` is answered from everywhere else.
//!
//! ```text
//! 2026-11-23T16:40:00.123456789Z stdout F a whole line
//! 2026-11-23T16:40:00.123456789Z stderr P a piece of a line: more follows, or the output ended without a newline
//! ```
//!
//! `F` stands for a newline after the text, `P` for none. So reading gives back the very bytes that were written.

use jiff::Timestamp;

/// The longest text of one entry. The kubelet and the runtimes use the same.
pub const MAX_TEXT_BYTES: usize = 16 << 10;

/// One of a task's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// One entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was written, as text.
    pub time: &'a str,
    /// To which output.
    pub stream: Stream,
    /// Whether a newline follows the text.
    pub newline: bool,
    /// The text.
    pub text: &'a [u8],
}

/// Reads one entry, given without the newline that ends it in the file; `None` when it is none.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let (time, rest) = split_at_space(line)?;
    let (stream, rest) = split_at_space(rest)?;
    let (tag, text) = split_at_space(rest)?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let newline = match tag {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Entry { time: std::str::from_utf8(time).ok()?, stream, newline, text })
}

fn split_at_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// A time as entries carry it: RFC 3339 in UTC with nine digits after the second, so that text sorts as time does.
#[must_use]
pub fn stamp(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Turns the bytes of one output into entries.
#[derive(Debug)]
pub struct Encoder {
    stream: Stream,
    /// The beginning of a line whose newline has not come, shorter than [`MAX_TEXT_BYTES`].
    pending: Vec<u8>,
}

impl Encoder {
    /// For one output.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Whether there is the beginning of a line that no entry has yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes bytes that came at `stamp`, and adds each entry that is complete to `out`, until that holds `enough`. Gives
    /// the bytes that it has not taken.
    pub fn push<'a>(&mut self, stamp: &str, mut bytes: &'a [u8], out: &mut Vec<u8>, enough: usize) -> &'a [u8] {
        let head = Head::new(stamp, self.stream);
        while out.len() < enough {
            let room = MAX_TEXT_BYTES.saturating_sub(self.pending.len());
            // The newline may come right after the longest text.
            let window = bytes.get(..=room).unwrap_or(bytes);
            let (tag, text, rest) = match memchr::memchr(b'\n', window) {
                Some(at) => {
                    let (text, rest) = bytes.split_at(at);
                    // The newline itself.
                    (b'F', text, rest.get(1..).unwrap_or_default())
                }
                None if bytes.len() > room => {
                    let (text, rest) = bytes.split_at(room);
                    (b'P', text, rest)
                }
                None => {
                    self.pending.extend_from_slice(bytes);
                    return &[];
                }
            };
            head.entry(tag, &self.pending, text, out);
            self.pending.clear();
            bytes = rest;
        }
        bytes
    }

    /// Adds what is pending to `out` as an entry without a newline.
    pub fn flush(&mut self, stamp: &str, out: &mut Vec<u8>) {
        if self.has_pending() {
            Head::new(stamp, self.stream).entry(b'P', &self.pending, &[], out);
            self.pending.clear();
        }
    }

    /// Gives the memory back that it does not need now.
    pub fn rest(&mut self) {
        self.pending.shrink_to_fit();
    }
}

/// What entries of one output and one time begin with.
struct Head(Vec<u8>);

impl Head {
    fn new(stamp: &str, stream: Stream) -> Self {
        Self([stamp.as_bytes(), b" ", stream.word(), b" "].concat())
    }

    /// Adds an entry whose text is in two parts.
    fn entry(&self, tag: u8, begin: &[u8], end: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.0.len() + begin.len() + end.len() + 3);
        out.extend_from_slice(&self.0);
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(begin);
        out.extend_from_slice(end);
        out.push(b'\n');
    }
}

/// An entry of this program's own, among those of the task: what became of the output.
#[must_use]
pub fn note(stamp: &str, text: &str) -> String {
    format!("{stamp} stderr F vk-cmd: {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: &str = "2026-11-23T16:40:00.123456789Z";

    fn decode(log: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in log.strip_suffix(b"\n").unwrap_or_default().split(|b| *b == b'\n') {
            let entry = parse(line).unwrap();
            assert!(entry.text.len() <= MAX_TEXT_BYTES);
            bytes.extend_from_slice(entry.text);
            bytes.extend_from_slice(if entry.newline { b"\n" } else { b"" });
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            chunks in proptest::collection::vec(
                (prop_oneof![
                    proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..200),
                    (1usize..40_000).prop_map(|n| vec![b'x'; n]),
                ], any::<bool>()), 1..20),
            enough in 1usize..100_000,
        ) {
            let mut encoder = Encoder::new(Stream::Stdout);
            let (mut log, mut all) = (Vec::new(), Vec::new());
            for (chunk, flush) in &chunks {
                let mut left = chunk.as_slice();
                while !left.is_empty() {
                    let mut part = Vec::new();
                    left = encoder.push(NOW, left, &mut part, enough);
                    // No more than one entry past what is enough.
                    prop_assert!(part.len() < enough + MAX_TEXT_BYTES + 50);
                    log.append(&mut part);
                }
                if *flush {
                    encoder.flush(NOW, &mut log);
                }
                all.extend_from_slice(chunk);
            }
            encoder.flush(NOW, &mut log);
            prop_assert!(!encoder.has_pending());
            prop_assert_eq!(decode(&log), all);
        }

        #[test]
        fn garbage_is_no_entry(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&line);
        }
    }

    #[test]
    fn entries_look_as_the_runtimes_write_them() {
        let mut log = Vec::new();
        let mut encoder = Encoder::new(Stream::Stderr);
        encoder.push(NOW, b"one\n\nthr", &mut log, 1000);
        encoder.flush(NOW, &mut log);
        let text = String::from_utf8(log).unwrap();
        assert_eq!(text, format!("{NOW} stderr F one\n{NOW} stderr F \n{NOW} stderr P thr\n"));
    }

    #[test]
    fn stamps_sort_as_times_do() {
        let stamp = |n| stamp(Timestamp::new(1_800_000_000, n).unwrap());
        assert_eq!(stamp(5), "2027-01-15T08:00:00.000000005Z");
        assert!(stamp(0) < stamp(5) && stamp(5) < stamp(50));
    }
}
