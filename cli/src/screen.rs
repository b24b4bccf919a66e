//! Standard output and standard error: what a terminal gets, and what a pipe gets.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use vk_cli_core::output::{self, Format};
use vk_cli_core::table;

/// How often the sign turns that something is waited for.
const TICK: Duration = Duration::from_millis(120);

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Says something to people, on standard error.
pub(crate) fn say(text: &str) {
    // Who has closed it does not want to know.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints a table, in colours and cut to its width on a terminal.
pub(crate) fn print_table(headings: &[&str], rows: &[Vec<String>], is_wide: bool) -> Result<()> {
    let colour = if has_colours() { table::colour } else { table::plain };
    print(&table::render(headings, rows, width().filter(|_| !is_wide), colour))
}

/// Prints a value in a format that has values.
pub(crate) fn print_value(format: Format, value: &Value) -> Result<()> {
    print(&output::text(format, value).unwrap_or_default())
}

/// Whether standard output takes colours: see no-color.org.
pub(crate) fn has_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// How wide the terminal is, if standard output is one.
fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// What is said while something is waited for: a line that changes, on a terminal; elsewhere a line for each change.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    is_silent: bool,
}

impl Progress {
    /// Begins.
    pub(crate) fn begin() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: None, is_silent: false };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar: Some(bar), is_silent: false }
    }

    /// Says nothing but what shall stay.
    pub(crate) fn silent() -> Self {
        Self { bar: None, is_silent: true }
    }

    /// Something has changed.
    pub(crate) fn tell(&self, line: String) {
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if self.is_silent => {}
            None => say(&line),
        }
    }

    /// Something that shall stay to be read.
    pub(crate) fn keep(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// Takes the line away, for what follows.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
