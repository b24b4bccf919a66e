//! From a log's entries to the bytes that `kubectl logs` shows, as the kubelet does it. Pure.

use vk_record::cri::{self, stamp};
use vk_task::LogQuery;

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

/// Takes the bytes of a log's file, in order and in any pieces, and gives those that are wanted.
#[derive(Debug)]
pub(super) struct Reader {
    since: Option<String>,
    timestamps: bool,
    left: Option<u64>,
    /// The output is at the beginning of a line.
    at_line_start: bool,
    /// The beginning of an entry whose end has not come.
    rest: Vec<u8>,
}

impl Reader {
    /// For a query.
    pub(super) fn new(query: &LogQuery) -> Self {
        Self {
            since: query.since_time.map(stamp),
            timestamps: query.timestamps,
            left: query.limit_bytes,
            at_line_start: true,
            rest: Vec::new(),
        }
    }

    /// Takes bytes of the file; gives what they mean to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        let mut bytes = bytes;
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, more) = bytes.split_at(at);
            bytes = more.get(1..).unwrap_or_default();
            let flow = if self.rest.is_empty() {
                self.line(line, true, out)
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole, true, out)
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

    /// There is nothing after what was taken: an entry that broke off is shown as far as it goes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest, false, out);
    }

    fn line(&mut self, line: &[u8], whole: bool, out: &mut Vec<u8>) -> Flow {
        let Some(entry) = cri::parse(line) else { return Flow::More };
        // Both are of the same form, so they compare as the times do.
        if self.since.as_deref().is_some_and(|since| entry.time < since) {
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

/// Finds where the last lines of a log begin, looking at its file from the end to the beginning, block by block.
///
/// It counts lines of the output, of which one may be many entries. (The kubelet counts entries, so that it shows only
/// the end of a long last line; nobody can want that.)
#[derive(Debug)]
pub(super) struct TailFinder {
    wanted: u64,
    found: u64,
    /// The length of the file, known from the first block.
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

    /// Takes the block that ends where the last one began; it begins at `offset` in the file. Gives the place where the
    /// wanted lines begin, if it is found. If it never is, they begin where the file does.
    pub(super) fn push(&mut self, offset: u64, block: &[u8]) -> Option<u64> {
        let end = *self.end.get_or_insert(offset + block.len() as u64);
        let mut bytes = block.to_vec();
        bytes.extend_from_slice(&self.seam);
        // An entry begins after each newline, and where the file does.
        let after_newlines = memchr::memrchr_iter(b'\n', block).map(|at| at + 1);
        let beginning = (offset == 0).then_some(0);
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
            if let Some(place) = finder.push(begin as u64, &log[begin..end]) {
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
