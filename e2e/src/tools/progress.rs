//! Showing how a build goes: a spinner on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    started: Instant,
    spinner: Option<ProgressBar>,
    last: Mutex<(Instant, String)>,
}

impl Progress {
    pub(super) fn new(what: String) -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4}  {wide_msg}") {
                spinner.set_style(style);
            }
            spinner.set_prefix(format!("building {what} (only this once)"));
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        let started = Instant::now();
        Self { what, started, spinner, last: Mutex::new((started, String::new())) }
    }

    /// Shows where it stands.
    pub(super) fn say(&self, message: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(message.to_owned());
            return;
        }
        if let Ok(mut last) = self.last.lock() {
            message.clone_into(&mut last.1);
            if last.0.elapsed() >= EVERY {
                last.0 = Instant::now();
                self.line(message);
            }
        }
    }

    /// Nothing new, but still alive.
    pub(super) fn say_again(&self) {
        let message = self.last.lock().map(|last| last.1.clone()).unwrap_or_default();
        if self.spinner.is_none() {
            self.say(&message);
        }
    }

    pub(super) fn done(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        self.line("done");
    }

    /// Written past `eprintln!`, which the test harness would hold back until the test has failed.
    fn line(&self, message: &str) {
        let elapsed = self.started.elapsed().as_secs();
        let _ = writeln!(stderr(), "building {} (only this once): {elapsed} s, {message}", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
