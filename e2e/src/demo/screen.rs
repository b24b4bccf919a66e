//! What the viewer sees: live lines on a terminal, plain ones elsewhere.

use std::future::Future;
use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long somebody looks at nothing, where there is no terminal to show that something goes on.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(120);

/// Where everything is shown.
#[derive(Debug)]
pub(super) struct Screen {
    live: Option<MultiProgress>,
    verdict: OnceLock<ExitCode>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let live = stdout().is_terminal().then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self { live, verdict: OnceLock::new() }
    }

    /// A line that stays.
    pub(super) fn line(&self, text: &str) {
        let result = match &self.live {
            Some(live) => live.println(text),
            None => writeln!(stdout(), "{text}"),
        };
        // Nobody is looking any more: `cargo demo | head`.
        let _ = result;
    }

    /// Shows that `work` is being done, and how long it took.
    pub(super) async fn step<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let bar = self.bar(what);
        let mut work = std::pin::pin!(work);
        let result = match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(result) => result,
            Err(_) => {
                if bar.is_none() {
                    self.line(&format!("… {what}: not yet; the first time it takes minutes"));
                }
                work.await
            }
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let mark = if result.is_ok() { "✓" } else { "✗" };
        self.line(&format!("{mark} {what} ({:.1} s)", started.elapsed().as_secs_f64()));
        result
    }

    /// A line that changes while something goes on; none where there is no terminal.
    pub(super) fn bar(&self, what: &str) -> Option<ProgressBar> {
        let bar = self.live.as_ref()?.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix:<14} {elapsed:>4}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        Some(bar)
    }

    /// The examples have run, and this is what came of them.
    pub(super) fn set_verdict(&self, code: ExitCode) {
        // Set once, at the end of the only play.
        let _ = self.verdict.set(code);
    }

    pub(super) fn verdict(&self) -> Option<ExitCode> {
        self.verdict.get().copied()
    }
}
