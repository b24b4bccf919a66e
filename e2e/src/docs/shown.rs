//! What a page shows of a command's output, compared with what came.
//!
//! All must be equal, but for this:
//!
//! - `…` in a line stands for any characters, and alone in a line for any lines
//! - what a [`Varies`] matches (a time, an id) is replaced by its name in both
//! - spaces between columns are any number from two on, because other names make other widths

use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use snapbox::{Assert, IntoData};

/// What is another each time: a name for it, and a regular expression.
pub type Varies = (&'static str, &'static str);

/// Whether what came is what the page shows.
///
/// # Errors
/// Where they differ.
pub fn fits(shown: &str, came: &str, varies: &[Varies]) -> Result<()> {
    let varies = varies.iter().map(|(name, pattern)| {
        let regex = Regex::new(pattern).with_context(|| format!("{pattern} is no regular expression"))?;
        anyhow::Ok((*name, regex))
    });
    let varies = varies.collect::<Result<Vec<_>>>()?;
    let of_page = plain(shown, &varies);
    let pattern: Vec<String> =
        of_page.lines().map(|line| if line == "…" { "...".to_owned() } else { line.replace('…', "[..]") }).collect();
    let pattern = format!("{}\n", pattern.join("\n"));
    let came = plain(came, &varies);
    let assert = Assert::new().palette(snapbox::report::Palette::plain()).normalize_paths(false);
    match assert.try_eq(None, came.clone().into_data(), pattern.clone().into_data()) {
        Ok(()) => Ok(()),
        Err(difference) => bail!("the page shows\n{pattern}\nand what came is\n{came}\n{difference}"),
    }
}

/// Without what differs each time.
fn plain(text: &str, varies: &[(&str, Regex)]) -> String {
    let mut lines: Vec<String> = text.trim_end().lines().map(columns).collect();
    for line in &mut lines {
        for (name, regex) in varies {
            *line = regex.replace_all(line, format!("<{name}>")).into_owned();
        }
    }
    format!("{}\n", lines.join("\n"))
}

/// With two spaces between columns; what a line begins with stays.
fn columns(line: &str) -> String {
    let line = line.trim_end();
    let text = line.trim_start();
    let (indent, mut all) = (line.len() - text.len(), String::new());
    all.push_str(line.get(..indent).unwrap_or_default());
    let mut pieces = text.split("  ").map(str::trim).filter(|piece| !piece.is_empty());
    all.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        all.push_str("  ");
        all.push_str(piece);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_varies_may_differ() {
        let varies: &[Varies] = &[("time", r"\b\d+[smh]\b")];
        let shown = "NAME    STATUS     AGE\nhello   Complete   4s\n…\nwrote a-….tar\n";
        fits(shown, "NAME  STATUS  AGE\nhello  Complete  17s\nx\ny\nwrote a-7.tar\n", varies).unwrap();
        for came in [
            "NAME  STATE  AGE\nhello  Complete  17s\nwrote a-7.tar\n",
            "NAME  STATUS  AGE\nhello  Failed  17s\nwrote a-7.tar\n",
            "NAME  STATUS  AGE\nhello  Complete  17s\n",
            "",
        ] {
            fits(shown, came, varies).unwrap_err();
        }
    }
}
