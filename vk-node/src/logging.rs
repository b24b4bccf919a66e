//! What is logged, and that it may change while the process runs.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;

/// The filter of the process's log.
pub(crate) struct Logging {
    set: Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>,
}

impl Logging {
    /// Begins to log to standard error, what this filter lets through. Once in a process.
    ///
    /// # Errors
    /// When it is no filter.
    pub(crate) fn start(filter: &str) -> anyhow::Result<Self> {
        // What cannot be logged, on a full disk for one, is not worth a panic: that is what complaining of it would come to.
        let builder = tracing_subscriber::fmt()
            .with_env_filter(read(filter)?)
            .with_writer(std::io::stderr)
            // In a file, a batch system's output or the journal they would be noise. https://no-color.org
            .with_ansi(
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            )
            .log_internal_errors(false)
            .with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map_err(|error| anyhow!("cannot begin to log: {error}"))?;
        Ok(Self { set: Box::new(move |filter| handle.reload(filter).context("the log's filter cannot be changed")) })
    }

    /// Lets this through from now on.
    ///
    /// # Errors
    /// When it is no filter.
    pub(crate) fn set(&self, filter: &str) -> anyhow::Result<()> {
        (self.set)(read(filter)?)
    }
}

fn read(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?}: write a level, or module=level"))
}
