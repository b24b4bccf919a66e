//! How the records of a task go.
//!
//! ```text
//!   tasks/<id> ── one rename, made durable ──▶ trash/<id>.<time> ── the intent first ──▶ nothing
//! ```
//!
//! A pipe that dies in between leaves all records or none in `tasks`; what is in the trash goes when the next one starts.

use std::sync::Arc;

use jiff::Timestamp;
use vk_record::points::{Point, reach};
use vk_record::{Dir, RecordError, names};
use vk_task::{ApiError, ErrorReason, TaskId};

use super::refusal::failure;
use super::{Pipe, complain};

impl Pipe {
    /// Removes the records of a task that is final; says whether there were any.
    pub(super) async fn remove(self: &Arc<Self>, id: &TaskId) -> Result<bool, ApiError> {
        let _busy = self.table.busy_with(id).await;
        let Some(view) = self.table.get(id) else { return Ok(false) };
        if !view.state.is_final() {
            let message = format!("task {id} has not ended: stop it, and remove it when it has");
            return Err(ApiError { reason: ErrorReason::Conflict, message });
        }
        self.await_audit(&view).await?;
        reach(Point::RemoveRequested);
        // One that no earlier task of this name can have there still.
        let trash = format!("{id}.{}", Timestamp::now().as_nanosecond());
        let moved = {
            let (pipe, id, trash) = (Arc::clone(self), id.clone(), trash.clone());
            self.blocking
                .run(move || {
                    // In one step, so that a crash leaves all records or none.
                    match pipe.tasks.move_to(id.as_str(), &pipe.trash, &trash) {
                        // An earlier try has moved them, and could not make that durable.
                        Err(e) if e.is_not_found() => {}
                        moved => moved?,
                    }
                    pipe.tasks.sync()
                })
                .await
        };
        moved.map_err(|e| failure("the task's records are still there", &e))?;
        self.table.remove(id);
        self.pods.note_use(&view);
        self.collection.hint();
        let pipe = Arc::clone(self);
        self.blocking
            .run(move || {
                reach(Point::MovedToTrash);
                if let Err(e) = discard(&pipe.trash, &trash) {
                    complain("old records are still there; they will be removed when the pipe starts again", &e);
                }
                reach(Point::Removed);
            })
            .await;
        Ok(true)
    }
}

/// Removes the records of one task, in the trash or where they are: the intent before all else. A shim that was started
/// for the task, and has slept until now with its directory open, could otherwise find an intent without a start, and
/// start it again.
pub(super) fn discard(place: &Dir, name: &str) -> Result<(), RecordError> {
    match place.open_dir(name) {
        Ok(dir) => dir.remove_file(names::INTENT)?,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e),
    }
    reach(Point::IntentGone);
    place.remove_tree(name)
}
