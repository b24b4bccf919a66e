//! How long a doctor waits for others: one end for all of it, and not one for each who is asked.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// What is left to whoever is asked, however late it has become: else a machine that takes its time to start a program would have
/// everybody taken for silent.
const LEAST: Duration = Duration::from_millis(250);

/// Until when everybody is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    until: Instant,
    /// How long that is, in words for people.
    limit: Duration,
}

impl Patience {
    /// Counted from the start of this process: what the machine took to load it, and to read the settings, is in it.
    pub(super) fn from_start(limit: Duration) -> Self {
        Self { until: Instant::now() + left(limit, taken().unwrap_or_default()), limit }
    }

    /// Counted from now.
    pub(super) fn from_now(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, limit }
    }

    /// What comes of `work`, if it comes in time.
    pub(super) async fn within<T>(self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.until, work).await.ok()
    }

    /// The same of something that may hold its thread for as long as it likes: a file server that is away, say. The thread is
    /// left to itself, and ends with the process.
    pub(super) async fn thread<T: Send + 'static>(self, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.within(tokio::task::spawn_blocking(look)).await?.ok()
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.limit.as_secs_f32())
    }
}

fn left(limit: Duration, taken: Duration) -> Duration {
    limit.saturating_sub(taken).max(LEAST.min(limit))
}

/// How long this process has had a processor, or waited for one. When it was started would not do: it may have been a script
/// before, which has waited for other things and then become this program. None where the kernel does not say:
/// `Documentation/scheduler/sched-stats.rst`.
fn taken() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let mut nanoseconds = text.split_ascii_whitespace().map_while(|word| word.parse().ok());
    Some(Duration::from_nanos(nanoseconds.next()?) + Duration::from_nanos(nanoseconds.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_the_start_has_taken_is_not_waited_for_again() {
        assert_eq!(left(ms(1500), ms(0)), ms(1500));
        assert_eq!(left(ms(1500), ms(400)), ms(1100));
        // Somebody who answers at once is heard all the same.
        assert_eq!(left(ms(1500), ms(1400)), LEAST);
        assert_eq!(left(ms(1500), ms(9000)), LEAST);
        assert_eq!(left(ms(100), ms(9000)), ms(100));
    }

    #[tokio::test]
    async fn a_thread_that_does_not_come_back_is_not_waited_for() {
        let patience = Patience::from_now(ms(50));
        let (_held, silent) = std::sync::mpsc::channel::<()>();
        let (said, begun) = (patience.thread(move || silent.recv().is_ok()).await, std::time::Instant::now());
        assert_eq!(said, None);
        // All of it is over: the next is not waited for either.
        assert_eq!(patience.within(std::future::pending::<()>()).await, None);
        assert!(begun.elapsed() < ms(5000));
        assert_eq!(patience.to_string(), "0.05 s");
    }
}
