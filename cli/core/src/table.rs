//! Tables on a terminal and in a pipe.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The space between two columns, as kubectl has it.
const GAP: usize = 3;
/// The same where room is short.
const NARROW_GAP: usize = 2;
/// The last column is cut no shorter than this.
const LEAST: usize = 20;
/// The headings of columns of words, which may be cut. In all others are names and numbers, which people copy.
const WORDS: [&str; 2] = ["REASON", "WHAT"];

/// Rows under headings. The last column, if it is one of words, is cut so that a line is no longer than `width` columns, and before that
/// columns stand closer to each other, and those are left out in which nothing stands. Without a width nothing of that is done.
/// `paint` may colour a cell: it is given the column's heading and the text.
#[must_use]
pub fn render(
    headings: &[&str],
    rows: &[Vec<String>],
    width: Option<usize>,
    paint: impl Fn(&str, &str) -> Option<&'static str>,
) -> String {
    let columns: Vec<Column<'_>> =
        headings.iter().enumerate().map(|(index, heading)| Column::of(index, heading, rows)).collect();
    let Layout { before, last, gap, most } = Layout::of(&columns, width);
    let heading_row: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let mut text = String::new();
    for (n, row) in std::iter::once(&heading_row).chain(rows).enumerate() {
        let mut line = String::new();
        for column in before.iter().chain(&last) {
            let Some(cell) = row.get(column.index) else { continue };
            let is_last = last.is_some_and(|last| last.index == column.index);
            let shown = match most {
                Some(most) if is_last => cut(cell, most),
                _ => one_line(cell),
            };
            let padding = if is_last { 0 } else { column.width.saturating_sub(shown.width()).saturating_add(gap) };
            let colour = Some(column.heading).filter(|_| n > 0).and_then(|heading| paint(heading, cell));
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

/// A column.
struct Column<'a> {
    index: usize,
    heading: &'a str,
    width: usize,
    /// Whether nothing stands in it.
    is_empty: bool,
}

impl<'a> Column<'a> {
    fn of(index: usize, heading: &'a str, rows: &[Vec<String>]) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(index));
        let widest = cells().map(|cell| cell.width()).max().unwrap_or_default();
        Self { index, heading, width: widest.max(heading.width()), is_empty: cells().all(String::is_empty) }
    }
}

/// What is shown.
struct Layout<'a> {
    before: Vec<&'a Column<'a>>,
    last: Option<&'a Column<'a>>,
    /// The space between two columns.
    gap: usize,
    /// What the last one is cut to.
    most: Option<usize>,
}

impl<'a> Layout<'a> {
    fn of(columns: &'a [Column<'a>], width: Option<usize>) -> Self {
        let (before, last) = columns.split_at(columns.len().saturating_sub(1));
        let (before, last) = (before.iter().collect::<Vec<_>>(), last.first());
        let Some((width, whole)) = width.zip(last.filter(|last| WORDS.contains(&last.heading)).map(|last| last.width))
        else {
            return Self { before, last, gap: GAP, most: None };
        };
        let room = |before: &[&Column<'_>], gap: usize| {
            width.saturating_sub(before.iter().map(|column| column.width.saturating_add(gap)).sum())
        };
        if room(&before, GAP) >= whole {
            return Self { before, last, gap: GAP, most: None };
        }
        let gap = NARROW_GAP;
        let filled = || before.iter().copied().filter(|column| !column.is_empty).collect();
        let before = if room(&before, gap) >= whole { before } else { filled() };
        let most = Some(room(&before, gap).max(LEAST));
        Self { before, last, gap, most }
    }
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
        assert_eq!(text.lines().last(), Some("longer-名  Failed   a text that goes on and…"));
        assert!(text.lines().all(|line| line.width() <= 44));
    }

    /// Names and numbers stay whole, for they are copied.
    #[test]
    fn a_narrow_terminal_has_what_room_there_is_for_words() {
        let row = |exit: &str| {
            [
                "fit-x2b4z",
                "Running",
                "3/10",
                "vk-perlmutter-01",
                "65s",
                exit,
                "2m",
                "3 succeeded, 2 active; the last one failed",
            ]
            .map(str::to_owned)
            .to_vec()
        };
        let shown = |exit: &str, columns: usize| {
            let text = render(&crate::list::HEADINGS, &[row(exit)], Some(columns), plain);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let narrow = [
            "NAME       STATE    DONE  NODE              TIME  AGE  REASON",
            "fit-x2b4z  Running  3/10  vk-perlmutter-01  65s   2m   3 succeeded, 2 active; t…",
        ];
        assert_eq!(shown("", 80), narrow);
        assert!(shown("5", 80)[1].ends_with("65s   5     2m   3 succeeded, 2 acti…"));
        assert!(shown("5", 105)[1].ends_with("65s   5     2m   3 succeeded, 2 active; the last one failed"));
        assert!(shown("", 110)[1].ends_with("65s           2m    3 succeeded, 2 active; the last one failed"));
    }

    /// As it is with `top`.
    #[test]
    fn a_name_is_not_cut_at_the_end_either() {
        let rows = [["fit", "fit-0-0-a-pod-whose-name-is-rather-long"].map(str::to_owned).to_vec()];
        let text = render(&["NAME", "POD"], &rows, Some(20), plain);
        assert!(text.ends_with("fit    fit-0-0-a-pod-whose-name-is-rather-long\n"), "{text}");
    }

    #[test]
    fn colours_change_no_column() {
        let text = render(&["NAME", "STATE", "REASON"], &rows(), None, colour);
        assert!(text.contains("\x1b[32mRunning\x1b[0m   short"), "{text:?}");
        assert!(text.contains("\x1b[31mFailed\x1b[0m    a text"), "{text:?}");
    }
}
