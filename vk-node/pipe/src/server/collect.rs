//! Removing the records that nobody needs any more.

use std::sync::Arc;

use tracing::error;
use vk_record::points::{Point, reach};
use vk_record::{Dir, RecordError, names};
use vk_task::ErrorReason;

use super::Pipe;

/// How many records of ended lines are kept: nobody asks for them by name, so the oldest go.
const KEPT: usize = 1000;

/// Removes the oldest records of ended lines beyond those that are kept.
pub(super) async fn collect(pipe: Arc<Pipe>) {
    let ended = pipe.table.ended_from_fifo();
    let too_many = ended.len().saturating_sub(KEPT);
    for id in ended.iter().take(too_many) {
        match pipe.remove(id).await {
            Ok(_) => {}
            Err(e) if e.reason == ErrorReason::Conflict => {}
            Err(e) => error!("the records of {id} are still there: {e}"),
        }
    }
}

/// Removes the records of one task, in the trash or where they are: the intent before all else. A shim that was started for the task, and
/// has slept until now with its directory open, could otherwise find an intent without a start, and start it again.
pub(super) fn discard(place: &Dir, name: &str) -> Result<(), RecordError> {
    match place.open_dir(name) {
        Ok(dir) => dir.remove_file(names::INTENT)?,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e),
    }
    reach(Point::IntentGone);
    place.remove_tree(name)
}
