//! From the bytes of one FIFO to lines, and which of them may be run. Pure.
//!
//! Each line must be what one writer wrote. The kernel writes up to `PIPE_BUF` bytes in one piece and more in several,
//! between which another writer's may come: see pipe(7). So it matters how many have had this FIFO open:
//!
//! | opened by | a line of up to `PIPE_BUF` bytes | a longer one | no newline at the end |
//! |---|---|---|---|
//! | one | run | run | run |
//! | more, or nobody knows | run, if it came in one piece | not run, nor anything after it | not run |
//!
//! What is not run is told of: nothing is dropped without a word.

/// The longest line. What is longer without a newline in it is not run: somebody writes something else than lines.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;
/// What Linux writes in one piece: limits.h.
const PIPE_BUF: usize = 4096;
/// So much of a line that is not run is told.
const SHOWN_BYTES: usize = 1024;
/// So many lines in a row are told of one by one; of more, how many there were. Whoever writes a file of garbage would
/// otherwise push the records of others out.
const MAX_TOLD: u32 = 100;

/// How often a FIFO has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opens {
    /// So often.
    Counted(u32),
    /// It was not counted from the beginning.
    Unknown,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A line to be run.
    Run(String),
    /// A line that is not run.
    Refuse(Refused),
}

/// A line that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Why not.
    pub(super) why: Why,
    /// Its beginning, as text.
    pub(super) text: String,
}

/// Why a line is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    /// It is too long.
    #[error("it is longer than {MAX_LINE_BYTES} bytes: put it into a file, and write a line that runs the file")]
    TooLong,
    /// It is not text.
    #[error("it is not UTF-8: put it into a file, and write a line that runs the file")]
    NotText,
    /// Its parts may be of several writers.
    #[error(
        "it was not written in one piece, and others had the FIFO open at the same time, so its parts may be of several \
         writers: write it again, or write lines of less than {PIPE_BUF} bytes at once"
    )]
    Mixed,
    /// It came after one whose parts may be of several writers.
    #[error(
        "it came after a line that several writers may have mixed, so it may be the end of that one: write it again"
    )]
    AfterMixed,
    /// It has no newline, and it is not sure that it is whole.
    #[error("no newline ended it, and others had the FIFO open at the same time: write it again, with a newline")]
    Unfinished,
    /// Too many before it were not run either.
    #[error("{} not run, for reasons as those before", vk_words::counted(*.0, "more line of the same writer was", "more lines of the same writer were"))]
    More(u32),
    /// A pipe before this one may have read its beginning.
    #[error("a pipe that is gone may have read its beginning, so it may not be whole: write it again")]
    Headless,
}

/// One FIFO.
#[derive(Debug)]
pub(super) struct Inode {
    opens: Opens,
    rest: Vec<u8>,
    /// The line that is coming is too long, and has been told of.
    skipping: bool,
    /// Nothing more of this FIFO is run, for this reason.
    suspect: Option<Why>,
    /// The first line may lack its beginning.
    headless: bool,
    /// How many bytes came since it is suspect.
    suspect_bytes: usize,
    /// How many lines in a row were not run.
    refused: u32,
}

impl Inode {
    /// A new one.
    pub(super) fn new() -> Self {
        Self::with(Opens::Counted(0), false)
    }

    /// One that was there before; `headless` if somebody may have read the beginning of a line.
    pub(super) fn adopted(opens: Opens, headless: bool) -> Self {
        Self::with(opens, headless)
    }

    fn with(opens: Opens, headless: bool) -> Self {
        Self { opens, rest: Vec::new(), skipping: false, suspect: None, headless, suspect_bytes: 0, refused: 0 }
    }

    /// It has been opened `n` more times. To be told before the bytes that came after that.
    pub(super) fn opened(&mut self, n: u32) {
        if let Opens::Counted(all) = self.opens {
            self.opens = Opens::Counted(all.saturating_add(n));
        }
    }

    /// Nobody counts any more.
    pub(super) fn lose_count(&mut self) {
        self.opens = Opens::Unknown;
    }

    /// Whether the beginning of a line has been read, and its end has not.
    pub(super) fn is_within_line(&self) -> bool {
        self.skipping || !self.rest.is_empty()
    }

    /// How many bytes came since nothing of it is run any more; `None` while lines are run.
    pub(super) fn suspect_bytes(&self) -> Option<usize> {
        self.suspect.map(|_| self.suspect_bytes)
    }

    /// Takes bytes; `all` says that there were no more at that moment. Gives the lines that they complete, without
    /// those that are blank.
    pub(super) fn push(&mut self, mut bytes: &[u8], all: bool) -> Vec<Item> {
        if self.suspect.is_some() {
            self.suspect_bytes = self.suspect_bytes.saturating_add(bytes.len());
        }
        let mut items = Vec::new();
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, more) = bytes.split_at(at);
            bytes = more.get(1..).unwrap_or_default();
            self.take(line, &mut items);
            self.end_line(None, &mut items);
        }
        self.take(bytes, &mut items);
        // What one writes in one piece is read in one piece. So this line comes in several.
        if self.is_shared() && self.is_within_line() && (all || self.rest.len() >= PIPE_BUF) {
            self.distrust();
        }
        items
    }

    /// All who had it open have closed it.
    pub(super) fn end(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        if self.is_within_line() {
            let doubt = (self.is_shared() && self.suspect.is_none()).then_some(Why::Unfinished);
            self.end_line(doubt, &mut items);
        }
        self.tell_more(&mut items);
        items
    }

    fn is_shared(&self) -> bool {
        self.opens != Opens::Counted(1)
    }

    fn distrust(&mut self) {
        // The line that is coming is the mixed one; `end_line` makes those after it be that.
        self.suspect.get_or_insert(Why::Mixed);
    }

    fn take(&mut self, part: &[u8], items: &mut Vec<Item>) {
        if self.skipping {
            return;
        }
        if self.rest.len() + part.len() > MAX_LINE_BYTES {
            let line = if self.rest.is_empty() { part } else { &self.rest };
            let refusal = refusal(Why::TooLong, line);
            self.hand_out(refusal, items);
            self.skipping = true;
            self.rest = Vec::new();
            if self.is_shared() {
                self.distrust();
            }
        } else {
            self.rest.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, doubt: Option<Why>, items: &mut Vec<Item>) {
        let line = std::mem::take(&mut self.rest);
        let headless = std::mem::take(&mut self.headless).then_some(Why::Headless);
        if self.is_shared() && line.len() >= PIPE_BUF {
            self.distrust();
        }
        let why = self.suspect.or(headless).or(doubt);
        // A blank line asks for nothing, but where lines are mixed it may be the end of one.
        let blank = self.suspect.is_none() && line.iter().all(u8::is_ascii_whitespace);
        if self.suspect.is_some() {
            self.suspect = Some(Why::AfterMixed);
        }
        if std::mem::take(&mut self.skipping) || blank {
            return;
        }
        let item = match why {
            Some(why) => refusal(why, &line),
            None => match String::from_utf8(line) {
                Ok(line) => Item::Run(line),
                Err(e) => refusal(Why::NotText, e.as_bytes()),
            },
        };
        self.hand_out(item, items);
    }

    fn hand_out(&mut self, item: Item, items: &mut Vec<Item>) {
        match item {
            Item::Run(_) => {
                self.tell_more(items);
                items.push(item);
            }
            Item::Refuse(_) => {
                self.refused = self.refused.saturating_add(1);
                if self.refused <= MAX_TOLD {
                    items.push(item);
                }
            }
        }
    }

    /// Tells of those that were not told of one by one.
    fn tell_more(&mut self, items: &mut Vec<Item>) {
        let more = std::mem::take(&mut self.refused).saturating_sub(MAX_TOLD);
        if more > 0 {
            items.push(refusal(Why::More(more), b""));
        }
    }
}

fn refusal(why: Why, line: &[u8]) -> Item {
    let shown = line.get(..SHOWN_BYTES).unwrap_or(line);
    Item::Refuse(Refused { why, text: String::from_utf8_lossy(shown).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(times: u32) -> Inode {
        let mut inode = Inode::new();
        inode.opened(times);
        inode
    }

    fn run(text: &str) -> Item {
        Item::Run(text.to_owned())
    }

    fn whys(items: &[Item]) -> Vec<Option<Why>> {
        items
            .iter()
            .map(|item| match item {
                Item::Run(_) => None,
                Item::Refuse(refused) => Some(refused.why),
            })
            .collect()
    }

    #[test]
    fn blank_lines_are_none() {
        assert_eq!(opened(1).push(b"\n  \n\ta\n\n", true), [run("\ta")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_of_once_and_the_next_is_read() {
        let mut inode = opened(1);
        let mut got = Vec::new();
        for _ in 0..40 {
            got.extend(inode.push(&[b'x'; 64 << 10], true));
        }
        got.extend(inode.push(b"x\nnext\n", true));
        assert_eq!(whys(&got), [Some(Why::TooLong), None]);
    }

    #[test]
    fn what_is_not_text_is_no_line() {
        let got = opened(1).push(b"\xff\xfe\nok\n", true);
        assert_eq!(whys(&got), [Some(Why::NotText), None]);
    }

    #[test]
    fn of_very_many_lines_that_are_not_run_the_rest_is_counted() {
        let mut inode = opened(1);
        let mut got = inode.push(&b"\xff\n".repeat(150), true);
        assert_eq!(got.len(), 100);
        got = inode.push(b"fine\n\xff\n", true);
        assert_eq!(whys(&got), [Some(Why::More(50)), None, Some(Why::NotText)]);
        inode.push(&b"\xff\n".repeat(150), true);
        assert_eq!(whys(&inode.end()), [Some(Why::More(51))]);
        assert_eq!(inode.end(), []);
    }

    #[test]
    fn one_writer_may_write_as_it_likes() {
        let mut inode = opened(1);
        assert_eq!(inode.push(&[b'x'; 20_000], true), []);
        assert_eq!(whys(&inode.push(b"y\nlast", true)), [None]);
        assert_eq!(inode.end(), [run("last")]);
        assert_eq!(inode.end(), []);
    }

    #[test]
    fn a_long_line_of_a_shared_fifo_and_all_after_it_are_told_of() {
        let mut inode = opened(2);
        assert_eq!(whys(&inode.push(b"a\nb\n", true)), [None, None]);
        assert_eq!(inode.suspect_bytes(), None);
        let mut long = vec![b'x'; PIPE_BUF];
        long.extend_from_slice(b"\nc\nd");
        assert_eq!(whys(&inode.push(&long, true)), [Some(Why::Mixed), Some(Why::AfterMixed)]);
        assert_eq!(whys(&inode.push(b"\n", true)), [Some(Why::AfterMixed)]);
        assert_eq!(inode.suspect_bytes(), Some(1));
    }

    #[test]
    fn the_longest_line_of_one_piece_is_run() {
        let mut line = vec![b'x'; PIPE_BUF - 1];
        line.push(b'\n');
        assert_eq!(whys(&opened(2).push(&line, true)), [None]);
        line.insert(0, b'x');
        assert_eq!(whys(&opened(2).push(&line, true)), [Some(Why::Mixed)]);
        assert_eq!(whys(&opened(1).push(&line, true)), [None]);
    }

    #[test]
    fn a_line_in_pieces_is_not_trusted_where_others_write_too() {
        let mut inode = opened(2);
        assert_eq!(inode.push(b"rm -rf /tmp", true), []);
        assert_eq!(whys(&inode.push(b"echo\n/old\n", true)), [Some(Why::Mixed), Some(Why::AfterMixed)]);
        // A read that was full says nothing: the line may have been cut by it.
        let mut inode = opened(2);
        assert_eq!(inode.push(b"a\nec", false), [run("a")]);
        assert_eq!(inode.push(b"ho\n", true), [run("echo")]);
    }

    #[test]
    fn a_line_that_was_whole_before_a_second_writer_came_is_run() {
        let mut inode = opened(1);
        let mut long = vec![b'x'; 20_000];
        long.push(b'\n');
        assert_eq!(whys(&inode.push(&long, true)), [None]);
        inode.opened(1);
        assert_eq!(whys(&inode.push(&long, true)), [Some(Why::Mixed)]);
    }

    #[test]
    fn without_a_newline_at_the_end_only_a_single_writer_is_trusted() {
        let mut inode = opened(1);
        inode.push(b"printf", true);
        inode.opened(1);
        assert_eq!(whys(&inode.end()), [Some(Why::Unfinished)]);
    }

    #[test]
    fn what_a_dead_pipe_may_have_begun_to_read_is_not_run() {
        let mut inode = Inode::adopted(Opens::Counted(1), true);
        assert_eq!(whys(&inode.push(b"/old\nnext\n", true)), [Some(Why::Headless), None]);
        let mut inode = Inode::adopted(Opens::Unknown, false);
        assert_eq!(inode.push(b"a\n", true), [run("a")]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_pieces(text in "[a-z \n]{0,200}", piece in 1_usize..50) {
            let wanted: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).map(run).collect();
            let mut inode = opened(1);
            let mut got: Vec<_> = text.as_bytes().chunks(piece).flat_map(|p| inode.push(p, true)).collect();
            got.extend(inode.end());
            prop_assert_eq!(got, wanted);
        }

        /// Whatever comes, and however often it is opened: each line that is not blank is run or told of.
        #[test]
        fn no_line_is_dropped(
            lines in proptest::collection::vec("[a-z]{1,40}|[a-z]{4000,4200}", 0..20),
            piece in 300_usize..9000,
            opens in 0_u32..3,
        ) {
            let text: String = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect();
            let mut inode = opened(opens);
            let mut got: Vec<_> = text.as_bytes().chunks(piece).flat_map(|p| inode.push(p, true)).collect();
            got.extend(inode.end());
            prop_assert_eq!(got.len(), lines.len());
            for (item, line) in got.iter().zip(&lines) {
                if let Item::Run(run) = item {
                    prop_assert_eq!(run, line);
                }
            }
        }
    }
}
