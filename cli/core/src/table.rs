//! Tables on a terminal and in a pipe.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The space between two columns, as kubectl has it.
const GAP: usize = 3;
/// The last column is cut no shorter than this.
const LEAST: usize = 20;

/// Rows under headings. The last column is cut so that a line is no longer than `width` columns; without a width nothing is cut.
/// `paint` may colour a cell: it is given the column's heading and the text.
#[must_use]
pub fn render(
    headings: &[&str],
    rows: &[Vec<String>],
    width: Option<usize>,
    paint: impl Fn(&str, &str) -> Option<&'static str>,
) -> String {
    let columns = headings.len();
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain(headings.get(column).map(|heading| heading.width())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let before: usize = widths.iter().take(columns.saturating_sub(1)).map(|width| width.saturating_add(GAP)).sum();
    let last = width.map(|width| width.saturating_sub(before).max(LEAST));
    let heading_row: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let mut text = String::new();
    for (n, row) in std::iter::once(&heading_row).chain(rows).enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_last = column.saturating_add(1) == columns;
            let shown = match last {
                Some(most) if is_last => cut(cell, most),
                _ => one_line(cell),
            };
            let padding = if is_last { 0 } else { width.saturating_sub(shown.width()).saturating_add(GAP) };
            let colour = headings.get(column).filter(|_| n > 0).and_then(|heading| paint(heading, cell));
            match colour {
                Some(colour) => line.push_str(&format!("{colour}{shown}{RESET}")),
                None => line.push_str(&shown),
            }
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Ends a colour.
pub const RESET: &str = "\x1b[0m";
/// For what is well.
pub const GREEN: &str = "\x1b[32m";
/// For what waits.
pub const YELLOW: &str = "\x1b[33m";
/// For what has failed.
pub const RED: &str = "\x1b[31m";

/// How something is, for colours and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Tone {
    /// Well.
    Good,
    /// It has failed.
    Bad,
    /// It waits, or somebody should look.
    Waits,
    /// Nothing of that.
    #[default]
    Plain,
}

/// What a word under a heading says of how something is.
#[must_use]
pub fn tone(heading: &str, text: &str) -> Tone {
    if heading != "STATE" && heading != "RESULT" {
        return Tone::Plain;
    }
    match text {
        "Running" | "Complete" | "idle" | "busy" | "ok" | "Ready" => Tone::Good,
        "Failed" | "Invalid" | "not ready" | "failed" => Tone::Bad,
        "Waiting" | "Pending" | "Suspended" | "Terminating" | "cordoned" | "drained" | "ending" | "warning"
        | "unknown" => Tone::Waits,
        _ => Tone::Plain,
    }
}

/// The colour of the words that tell how something is; none for others.
#[must_use]
pub fn colour(heading: &str, text: &str) -> Option<&'static str> {
    match tone(heading, text) {
        Tone::Good => Some(GREEN),
        Tone::Bad => Some(RED),
        Tone::Waits => Some(YELLOW),
        Tone::Plain => None,
    }
}

/// No colours.
#[must_use]
pub fn plain(_: &str, _: &str) -> Option<&'static str> {
    None
}

/// At most so many columns of a text, on one line.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    let text = one_line(text);
    if text.width() <= most {
        return text;
    }
    let mut shown = String::new();
    let mut used = 1_usize;
    for c in text.chars() {
        used = used.saturating_add(c.width().unwrap_or_default());
        if used > most {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// Without line feeds and other things that would move the cursor: what a job says reaches the terminal by messages, too.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [["a", "Running", "short"], ["longer-名", "Failed", "a text that goes on\nand on, for rather a while"]]
            .map(|row| row.map(str::to_owned).to_vec())
            .to_vec()
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = render(&["NAME", "STATE", "REASON"], &rows(), None, plain);
        let expected = "NAME        STATE     REASON\n\
                        a           Running   short\n\
                        longer-名   Failed    a text that goes on and on, for rather a while\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_last_column_is_cut_to_the_width() {
        let text = render(&["NAME", "STATE", "REASON"], &rows(), Some(44), plain);
        assert_eq!(text.lines().last(), Some("longer-名   Failed    a text that goes on a…"));
        assert!(text.lines().all(|line| line.width() <= 44));
    }

    #[test]
    fn colours_change_no_column() {
        let text = render(&["NAME", "STATE", "REASON"], &rows(), None, colour);
        assert!(text.contains("\x1b[32mRunning\x1b[0m   short"), "{text:?}");
        assert!(text.contains("\x1b[31mFailed\x1b[0m    a text"), "{text:?}");
    }
}
