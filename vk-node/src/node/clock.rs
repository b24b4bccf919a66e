//! Watching the wall clock for steps. Whoever asks for the time sees them too; this is for when nobody does.

use std::time::Duration;

use tracing::warn;
use vk_record::clock::Clock;

/// How often it is looked: of what is recorded between a step and the next look, it is not sure by which scale it is.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for ever, and says what it sees.
pub(super) async fn keep(clock: &Clock) {
    let mut said = clock.now().steps.latest();
    loop {
        tokio::time::sleep(EVERY).await;
        let steps = clock.now().steps;
        if steps.latest() != said {
            said = steps.latest();
            if let Some((_, by)) = said {
                warn!(by = %format_args!("{by:#}"), "the wall clock was set; what counts from an earlier time goes on as before");
            }
        }
    }
}
