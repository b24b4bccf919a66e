//! From what comes out of the FIFO to lines. Pure.

/// The longest line. What is longer without a newline in it is thrown away: somebody writes something else than lines.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// Why a line is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    /// It is too long.
    #[error("a line of more than {MAX_LINE_BYTES} bytes was thrown away")]
    TooLong,
    /// It is not text.
    #[error("a line that is not UTF-8 was thrown away; it begins with {0:?}")]
    NotText(String),
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
    /// The line that is coming is too long.
    skipping: bool,
}

impl Lines {
    /// Takes bytes; gives the lines that they complete, without those that are blank.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<Result<String, BadLine>> {
        let mut lines = Vec::new();
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (line, more) = bytes.split_at(at);
            bytes = more.get(1..).unwrap_or_default();
            self.take(line, &mut lines);
            let line = std::mem::take(&mut self.rest);
            if !std::mem::take(&mut self.skipping) && !line.iter().all(u8::is_ascii_whitespace) {
                lines.push(text(line));
            }
        }
        self.take(bytes, &mut lines);
        lines
    }

    fn take(&mut self, part: &[u8], lines: &mut Vec<Result<String, BadLine>>) {
        if self.skipping {
            return;
        }
        if self.rest.len() + part.len() > MAX_LINE_BYTES {
            self.skipping = true;
            self.rest = Vec::new();
            lines.push(Err(BadLine::TooLong));
        } else {
            self.rest.extend_from_slice(part);
        }
    }
}

fn text(line: Vec<u8>) -> Result<String, BadLine> {
    const SHOWN: usize = 60;
    String::from_utf8(line).map_err(|e| {
        let bytes = e.as_bytes();
        BadLine::NotText(String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blank_lines_are_none() {
        assert_eq!(Lines::default().push(b"\n  \n\ta\n\n"), [Ok("\ta".to_owned())]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_of_once_and_the_next_is_read() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for _ in 0..40 {
            got.extend(lines.push(&[b'x'; 64 << 10]));
        }
        got.extend(lines.push(b"x\nnext\n"));
        assert_eq!(got, [Err(BadLine::TooLong), Ok("next".to_owned())]);
    }

    #[test]
    fn what_is_not_text_is_no_line() {
        let got = Lines::default().push(b"\xff\xfe\nok\n");
        assert!(matches!(got.as_slice(), [Err(BadLine::NotText(_)), Ok(ok)] if ok == "ok"));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_pieces(text in "[a-z \n]{0,200}", piece in 1_usize..50) {
            let wanted: Vec<_> =
                text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|l| l.trim_end_matches('\n'))
                    .filter(|l| !l.trim().is_empty()).map(|l| Ok(l.to_owned())).collect();
            let mut lines = Lines::default();
            let got: Vec<_> = text.as_bytes().chunks(piece).flat_map(|p| lines.push(p)).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
