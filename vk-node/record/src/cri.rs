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

    /// Takes bytes that came at `stamp`, and gives each entry that is complete to `put`, in pieces.
    pub fn push(&mut self, stamp: &str, mut bytes: &[u8], mut put: impl FnMut(&[u8])) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            self.add(stamp, line, &mut put);
            entry(self.stream, stamp, b" F ", &self.pending, &mut put);
            self.pending.clear();
            // The newline itself.
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.add(stamp, bytes, &mut put);
    }

    /// Gives what is pending to `put` as an entry without a newline.
    pub fn flush(&mut self, stamp: &str, put: impl FnMut(&[u8])) {
        if self.has_pending() {
            entry(self.stream, stamp, b" P ", &self.pending, put);
            self.pending.clear();
        }
    }

    fn add(&mut self, stamp: &str, mut text: &[u8], put: &mut impl FnMut(&[u8])) {
        loop {
            let room = MAX_TEXT_BYTES.saturating_sub(self.pending.len()).min(text.len());
            let (now, later) = text.split_at(room);
            self.pending.extend_from_slice(now);
            text = later;
            if text.is_empty() {
                return;
            }
            entry(self.stream, stamp, b" P ", &self.pending, &mut *put);
            self.pending.clear();
        }
    }
}

fn entry(stream: Stream, stamp: &str, tag: &[u8; 3], text: &[u8], mut put: impl FnMut(&[u8])) {
    for part in [stamp.as_bytes(), b" ", stream.word(), tag, text, b"\n"] {
        put(part);
    }
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
                ], any::<bool>()), 1..20)
        ) {
            let mut encoder = Encoder::new(Stream::Stdout);
            let (mut log, mut all) = (Vec::new(), Vec::new());
            for (chunk, flush) in &chunks {
                encoder.push(NOW, chunk, |b| log.extend_from_slice(b));
                if *flush {
                    encoder.flush(NOW, |b| log.extend_from_slice(b));
                }
                all.extend_from_slice(chunk);
            }
            encoder.flush(NOW, |b| log.extend_from_slice(b));
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
        encoder.push(NOW, b"one\n\nthr", |b| log.extend_from_slice(b));
        encoder.flush(NOW, |b| log.extend_from_slice(b));
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
