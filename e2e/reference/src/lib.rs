//! The parts of docs/reference that are written by code: a page has parts between two marks, and a test of the crate that knows a part
//! sees to it that the page has it as the code does. With `UPDATE_GOLDEN=1` the test writes it anew.
//!
//! ```text
//!   <!-- part NAME -->
//!   what the code says
//!   <!-- end NAME -->
//! ```
//!
//! Only tests depend on this crate.

mod commands;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

pub use commands::commands;

/// Set this to have the pages written anew.
pub const UPDATE: &str = "UPDATE_GOLDEN";

/// A table. What is in a cell may have several lines and bars.
#[must_use]
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| format!("| {} |\n", cells.map(|cell| of_cell(&cell)).join(" | "));
    let mut text = line(head.map(str::to_owned)) + &format!("|{}\n", "---|".repeat(N));
    rows.into_iter().for_each(|row| text += &line(row));
    text
}

fn of_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Text as it is typed.
#[must_use]
pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Sees to it that a part of a page of docs/reference is this text.
///
/// # Errors
/// Where it is not, and how to have it so.
pub fn part(page: &str, name: &str, text: &str) -> Result<(), String> {
    let path = root().join("docs/reference").join(page);
    // With an empty line on both sides, as Markdown wants it.
    let text = format!("\n{}\n\n", text.trim_end());
    let is_update = std::env::var_os(UPDATE).is_some();
    let wrong = |why: &str| format!("docs/reference/{page}: {why}");
    let mut file = File::options()
        .read(true)
        .write(is_update)
        .open(&path)
        .map_err(|error| wrong(&format!("cannot open it: {error}")))?;
    if is_update {
        // Other tests write other parts of it at the same time.
        file.lock().map_err(|error| wrong(&format!("cannot lock it: {error}")))?;
    }
    let mut page_text = String::new();
    file.read_to_string(&mut page_text).map_err(|error| wrong(&format!("cannot read it: {error}")))?;
    let [begin, end] = [format!("<!-- part {name} -->\n"), format!("<!-- end {name} -->")];
    let marks = || wrong(&format!("it has not the lines {begin:?} and {end:?}"));
    let (before, rest) = page_text.split_once(&begin).ok_or_else(marks)?;
    let (found, after) = rest.split_once(&end).ok_or_else(marks)?;
    if found == text {
        return Ok(());
    }
    if is_update {
        let written = format!("{before}{begin}{text}{end}{after}");
        let write = |file: &mut File| {
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(written.as_bytes())
        };
        return write(&mut file).map_err(|error| wrong(&format!("cannot write it: {error}")));
    }
    let differs = text.lines().zip(found.lines()).find(|(is, was)| is != was);
    let (is, was) = differs.unwrap_or(("(it is longer or shorter)", "(it is longer or shorter)"));
    Err(wrong(&format!(
        "its part {name} is not what the code says: {UPDATE}=1 cargo test, with the same arguments, writes it anew.\n  code: {is}\n  page: {was}"
    )))
}

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
