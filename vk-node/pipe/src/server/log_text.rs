//! From a log's entries to the bytes that `kubectl logs` shows, as the kubelet does it. Pure.

use vk_record::cri::{self, stamp};
use vk_task::{LogQuery, LogStream};
use vk_words::counted;

/// The longest line of a log's file that is looked at: an entry of ours is much shorter, so a longer one is garbage.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Go on.
    More,
    /// All bytes that were wanted have been given.
    Enough,
}

/// Cuts the bytes of a log's file, which come in any pieces, into entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The beginning of an entry whose end has not come.
    rest: Vec<u8>,
}

impl Entries {
    /// Takes bytes; gives the text of each entry that they complete to `take`, until that has enough.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> Flow) -> Flow {
        let mut bytes = bytes;
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, more) = bytes.split_at(at);
            bytes = more.get(1..).unwrap_or_default();
            let flow = if self.rest.is_empty() {
                take(line)
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                take(&whole)
            };
            if flow == Flow::Enough {
                return flow;
            }
        }
        if self.rest.len() + bytes.len() <= MAX_LINE_BYTES {
            self.rest.extend_from_slice(bytes);
        }
        Flow::More
    }

    /// The beginning of an entry that broke off: nothing comes after what was taken.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }
}

/// Takes the bytes of a log, in order and in any pieces, and gives those that are wanted.
#[derive(Debug)]
pub(super) struct Reader {
    entries: Entries,
    text: Text,
}

/// What has been shown, and what may be.
#[derive(Debug)]
struct Text {
    since: Option<String>,
    only: Option<cri::Stream>,
    timestamps: bool,
    left: Option<u64>,
    /// The output is at the beginning of a line.
    at_line_start: bool,
}

impl Reader {
    /// For a query.
    pub(super) fn new(query: &LogQuery) -> Self {
        let text = Text {
            since: query.since_time.map(stamp),
            only: query.stream.map(|stream| match stream {
                LogStream::Stdout => cri::Stream::Stdout,
                LogStream::Stderr => cri::Stream::Stderr,
            }),
            timestamps: query.timestamps,
            left: query.limit_bytes,
            at_line_start: true,
        };
        Self { entries: Entries::default(), text }
    }

    /// Takes bytes of the log; gives what they mean to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        self.entries.push(bytes, |line| self.text.line(line, true, out))
    }

    /// There is nothing in this file after what was taken: an entry that broke off is shown as far as it goes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Flow {
        self.text.line(&self.entries.finish(), false, out)
    }

    /// So many bytes of the log were thrown away before they could be read: says so, at the time `now`.
    pub(super) fn missing(&mut self, bytes: u64, now: &str, out: &mut Vec<u8>) -> Flow {
        if !self.text.at_line_start {
            self.text.put(b"\n", out);
            self.text.at_line_start = true;
        }
        let what = counted(bytes, "byte of the log is", "bytes of the log are");
        let text = format!("{what} missing here, thrown away unread");
        // It is said whichever output is wanted.
        let only = self.text.only.take();
        let flow = self.text.line(cri::note(now, &text).trim_end().as_bytes(), true, out);
        self.text.only = only;
        flow
    }
}

impl Text {
    fn line(&mut self, line: &[u8], whole: bool, out: &mut Vec<u8>) -> Flow {
        let Some(entry) = cri::parse(line) else { return Flow::More };
        // Both are of the same form, so they compare as the times do.
        if self.since.as_deref().is_some_and(|since| entry.time < since) {
            return Flow::More;
        }
        if self.only.is_some_and(|only| entry.stream != only) {
            return Flow::More;
        }
        let newline = entry.newline && whole;
        if self.timestamps && self.at_line_start {
            self.put(entry.time.as_bytes(), out);
            self.put(b" ", out);
        }
        self.put(entry.text, out);
        if newline {
            self.put(b"\n", out);
        }
        self.at_line_start = newline;
        if self.left == Some(0) { Flow::Enough } else { Flow::More }
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let n = self.left.map_or(bytes.len(), |left| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
        out.extend_from_slice(bytes.get(..n).unwrap_or_default());
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(n as u64);
        }
    }
}

/// Finds where the last lines of a log begin, looking at it from the end to the beginning, block by block.
///
/// It counts lines of the output, of which one may be many entries. (The kubelet counts entries, so that it shows only
/// the end of a long last line; nobody can want that.)
#[derive(Debug)]
pub(super) struct TailFinder {
    wanted: u64,
    found: u64,
    /// Where the log ends, known from the first block.
    end: Option<u64>,
    /// Where the entry begins that was looked at last.
    next_entry: Option<u64>,
    /// The first bytes of the block that was looked at last: an entry's head may lie across.
    seam: Vec<u8>,
}

/// An entry's time, output and tag fit into so many bytes.
const HEAD_BYTES: usize = 64;

impl TailFinder {
    /// For the last `wanted` lines.
    pub(super) fn new(wanted: u64) -> Self {
        Self { wanted, found: 0, end: None, next_entry: None, seam: Vec::new() }
    }

    /// Takes the block that ends where the last one began; it begins at `offset` in the whole log. Gives the place where the
    /// wanted lines begin, if it is found. If it never is, they begin where the log does, with the block that is
    /// `first` in it.
    pub(super) fn push(&mut self, offset: u64, block: &[u8], first: bool) -> Option<u64> {
        let end = *self.end.get_or_insert(offset + block.len() as u64);
        let mut bytes = block.to_vec();
        bytes.extend_from_slice(&self.seam);
        // An entry begins after each newline, and where the log does.
        let after_newlines = memchr::memrchr_iter(b'\n', block).map(|at| at + 1);
        let beginning = first.then_some(0);
        for at in after_newlines.chain(beginning) {
            let head = bytes.get(at..).unwrap_or_default();
            let place = offset + at as u64;
            if head.is_empty() {
                // After the newline at the very end there is no entry.
                continue;
            }
            let ends_a_line = match (cri::parse(head), self.next_entry) {
                // The last entry ends a line, with or without a newline.
                (Some(_), None) => true,
                (Some(entry), Some(_)) => entry.newline,
                (None, _) => false,
            };
            if ends_a_line {
                self.found += 1;
                if self.found > self.wanted {
                    return Some(self.next_entry.unwrap_or(end));
                }
            }
            self.next_entry = Some(place);
        }
        bytes.truncate(HEAD_BYTES);
        self.seam = bytes;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn at(second: i64) -> String {
        stamp(Timestamp::from_second(second).unwrap())
    }

    /// A log of (second, tag, text).
    fn log(entries: &[(i64, char, &str)]) -> Vec<u8> {
        let line = |(second, tag, text): &(i64, char, &str)| format!("{} stdout {tag} {text}\n", at(*second));
        entries.iter().map(line).collect::<String>().into_bytes()
    }

    fn read(query: &LogQuery, log: &[u8], pieces: usize) -> String {
        let mut reader = Reader::new(query);
        let mut out = Vec::new();
        for piece in log.chunks(pieces) {
            if reader.push(piece, &mut out) == Flow::Enough {
                return String::from_utf8(out).unwrap();
            }
        }
        reader.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn tail(log: &[u8], lines: u64, block: usize) -> u64 {
        let mut finder = TailFinder::new(lines);
        let mut end = log.len();
        while end > 0 {
            let begin = end.saturating_sub(block);
            if let Some(place) = finder.push(begin as u64, &log[begin..end], begin == 0) {
                return place;
            }
            end = begin;
        }
        0
    }

    #[test]
    fn a_long_line_gets_one_timestamp() {
        let log = log(&[(1, 'P', "ab"), (2, 'F', "cd"), (3, 'F', ""), (4, 'P', "e")]);
        let query = LogQuery { timestamps: true, ..LogQuery::default() };
        assert_eq!(read(&query, &log, 7), format!("{} abcd\n{} \n{} e", at(1), at(3), at(4)));
        assert_eq!(read(&LogQuery::default(), &log, 1), "abcd\n\ne");
    }

    #[test]
    fn old_entries_are_left_out() {
        let log = log(&[(1, 'F', "a"), (2, 'F', "b"), (3, 'F', "c")]);
        let query = LogQuery { since_time: Some(Timestamp::from_second(2).unwrap()), ..LogQuery::default() };
        assert_eq!(read(&query, &log, 100), "b\nc\n");
    }

    #[test]
    fn one_of_the_outputs_can_be_had_alone() {
        let entry = |second, stream: &str, tag, text: &str| format!("{} {stream} {tag} {text}\n", at(second));
        let log = [
            entry(1, "stdout", 'F', "a"),
            entry(2, "stderr", 'F', "b"),
            entry(3, "stdout", 'P', "c"),
            entry(4, "stderr", 'F', "d"),
            entry(5, "stdout", 'F', "e"),
        ]
        .concat();
        for (stream, wanted) in [(LogStream::Stdout, "a\nce\n"), (LogStream::Stderr, "b\nd\n")] {
            let query = LogQuery { stream: Some(stream), ..LogQuery::default() };
            assert_eq!(read(&query, log.as_bytes(), 9), wanted);
        }
        let query = LogQuery { stream: Some(LogStream::Stderr), limit_bytes: Some(3), ..LogQuery::default() };
        assert_eq!(read(&query, log.as_bytes(), 9), "b\nd");
    }

    #[test]
    fn bytes_are_limited_with_the_timestamps() {
        let log = log(&[(1, 'F', "abc"), (2, 'F', "def")]);
        for (limit, wanted) in [(1, "a"), (4, "abc\n"), (5, "abc\nd"), (100, "abc\ndef\n")] {
            let query = LogQuery { limit_bytes: Some(limit), ..LogQuery::default() };
            assert_eq!(read(&query, &log, 3), wanted);
        }
        let query = LogQuery { limit_bytes: Some(32), timestamps: true, ..LogQuery::default() };
        assert_eq!(read(&query, &log, 3), format!("{} a", at(1)));
    }

    #[test]
    fn garbage_and_broken_entries_do_no_harm() {
        let mut text = b"garbage\n\n".to_vec();
        text.extend(log(&[(1, 'F', "a"), (2, 'F', "broken off")]));
        text.truncate(text.len() - 5);
        assert_eq!(read(&LogQuery::default(), &text, 10), "a\nbroken");
    }

    #[test]
    fn what_was_thrown_away_is_told_of_on_a_line_of_its_own() {
        let mut reader = Reader::new(&LogQuery { timestamps: true, ..LogQuery::default() });
        let mut out = Vec::new();
        reader.push(&log(&[(1, 'P', "a")]), &mut out);
        reader.missing(7, &at(2), &mut out);
        reader.push(&log(&[(3, 'F', "b")]), &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], format!("{} a", at(1)));
        assert!(lines[1].starts_with(&format!("{} vk-cmd: 7 bytes of the log are missing", at(2))), "{text}");
        assert_eq!(lines[2], format!("{} b", at(3)));
    }

    #[test]
    fn lines_are_counted_not_entries() {
        let entries = log(&[(1, 'F', "a"), (2, 'P', "b1"), (3, 'P', "b2"), (4, 'F', "b3"), (5, 'P', "c")]);
        let one = log(&[(1, 'F', "a")]).len() as u64;
        for block in [1, 10, 50, 1000] {
            assert_eq!(tail(&entries, 0, block), entries.len() as u64);
            assert_eq!(tail(&entries, 2, block), one, "{block}");
            assert_eq!(tail(&entries, 3, block), 0);
            assert_eq!(tail(&entries, 9, block), 0);
        }
    }

    proptest! {
        #[test]
        fn a_tail_is_the_last_lines(
            entries in proptest::collection::vec((any::<bool>(), "[ -~]{0,30}"), 0..40),
            lines in 0_u64..10,
            block in 1_usize..300,
        ) {
            let entries: Vec<_> =
                entries.iter().map(|(newline, text)| (1, if *newline { 'F' } else { 'P' }, text.as_str())).collect();
            let log = log(&entries);
            let all = read(&LogQuery::default(), &log, 1000);
            let begin = usize::try_from(tail(&log, lines, block)).unwrap();
            let shown = read(&LogQuery::default(), &log[begin..], 1000);
            let kept: Vec<&str> = all.split_inclusive('\n').collect();
            let first = kept.len().saturating_sub(usize::try_from(lines).unwrap());
            // An empty piece after the last newline shows as nothing, and may or may not be counted as a line.
            if !entries.last().is_some_and(|(_, tag, text)| *tag == 'P' && text.is_empty()) {
                prop_assert_eq!(shown, kept[first..].concat());
            }
        }
    }
}
