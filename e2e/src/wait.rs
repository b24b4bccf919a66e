//! Waiting for something to become true, never without a limit, and saying what was still missing when the limit is reached.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What one look at the world found.
#[derive(Debug)]
pub enum Probe<T> {
    /// It is there: stop waiting.
    Ready(T),
    /// Not yet, and why: the reason is shown if the wait times out.
    NotYet(String),
}

impl<T> Probe<T> {
    /// `NotYet` with a reason.
    pub fn not_yet(reason: impl Into<String>) -> Self {
        Self::NotYet(reason.into())
    }
}

/// Looks every `every` until `probe` says [`Probe::Ready`], fails at once if it fails, and gives up after `limit` with the last reason heard.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut probe: impl AsyncFnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut reason = String::from("nothing heard yet");
    loop {
        let left = limit.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Probe::Ready(value))) => return Ok(value),
            Ok(Ok(Probe::NotYet(why))) => reason = why,
            Ok(Err(error)) => return Err(error.context(format!("while waiting for {what}"))),
            Err(_) if left > every => reason = format!("the last look did not answer; before that: {reason}"),
            Err(_) => {}
        }
        if started.elapsed() >= limit {
            bail!("waited {limit:.0?} for {what} in vain; last seen: {reason}");
        }
        tokio::time::sleep(every).await;
    }
}
