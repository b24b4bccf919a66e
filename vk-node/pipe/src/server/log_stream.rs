//! A task's log as a stream: what there is, and, for a follower, what comes until the task is final.
//!
//! Nothing is read ahead of the one who takes it, and no more than a block is held.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use tokio::sync::Notify;
use vk_record::{RecordError, chain};
use vk_task::TaskId;

use super::Pipe;
use super::log_cursor::{Begin, Cursor, Found};
use super::log_watch::Watched;

/// How soon a log is looked at again where nothing tells of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a log gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes of it.
    Bytes(Vec<u8>),
    /// An entry that has begun ends here, for its file does, or the task has ended.
    EntryEnd,
    /// So many bytes were thrown away before they were read.
    Missing(u64),
}

/// Someone who reads a log.
struct Reading {
    pipe: Arc<Pipe>,
    id: TaskId,
    /// `None` only while it is at work.
    cursor: Option<Cursor>,
    /// Where to end.
    end: u64,
    follow: bool,
    /// Rings when what is known of the task changes.
    changed: Arc<Notify>,
    /// Rings when the log is written to.
    watched: Option<Watched>,
}

/// The log of a task, from the place that is `begin` now; `None` if there is no such task.
///
/// To wait for its next part is cancel-safe: what has been read stays in the stream.
///
/// # Errors
/// When the log cannot be read; an error in the stream ends it.
pub(super) async fn parts(
    pipe: Arc<Pipe>,
    id: TaskId,
    begin: Begin,
    follow: bool,
) -> Result<Option<impl Stream<Item = io::Result<Part>> + Send + 'static>, RecordError> {
    let (Some(changed), Some(view)) = (pipe.table.changes_of(&id), pipe.table.get(&id)) else { return Ok(None) };
    let follow = follow && !view.state.is_final();
    let opened = {
        let (its, id) = (Arc::clone(&pipe), id.clone());
        let work = move || {
            let dir = its.tasks.open_dir(id.as_str())?;
            let watched = follow.then(|| its.log_watch.add(&dir.short_path("."))).flatten();
            Ok((Cursor::new(dir, begin)?, watched))
        };
        pipe.blocking.run(work).await
    };
    let ((cursor, len), watched) = opened?;
    // Of a task that goes on, there is what there was when it was asked for.
    let end = if follow || view.state.is_final() { u64::MAX } else { len };
    let reading = Reading { pipe, id, cursor: Some(cursor), end, follow, changed, watched };
    Ok(Some(stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Next::Part(part)) => Some((Ok(part), Some(reading))),
            Ok(Next::Last(part)) => Some((Ok(part), None)),
            Ok(Next::End) => None,
            Err(e) => Some((Err(io::Error::other(chain(&e))), None)),
        }
    })))
}

enum Next {
    Part(Part),
    Last(Part),
    End,
}

impl Reading {
    async fn next(&mut self) -> Result<Next, RecordError> {
        loop {
            let changed = Arc::clone(&self.changed);
            let changed = changed.notified();
            tokio::pin!(changed);
            // From here on, a change is not missed.
            changed.as_mut().enable();
            // Before the log is read: a task that is final now will not write again.
            let is_final = self.pipe.table.get(&self.id).is_none_or(|view| view.state.is_final());
            match self.look().await? {
                Found::Bytes(bytes) => return Ok(Next::Part(Part::Bytes(bytes))),
                Found::FileEnd => return Ok(Next::Part(Part::EntryEnd)),
                Found::Missing(bytes) => return Ok(Next::Part(Part::Missing(bytes))),
                // While the task runs, an entry that breaks off is one that is just being written.
                Found::Nothing if is_final && self.end == u64::MAX => return Ok(Next::Last(Part::EntryEnd)),
                Found::Nothing if !self.follow => return Ok(Next::End),
                Found::Nothing => {
                    tokio::select! {
                        // Cancel-safe: it only waits, and the next round looks before it waits again.
                        () = &mut changed => {}
                        // Cancel-safe: as above; a ring that comes while nobody waits is kept.
                        () = written(self.watched.as_ref()) => {}
                        // Cancel-safe: a clock.
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
            }
        }
    }

    /// Looks for what comes next.
    async fn look(&mut self) -> Result<Found, RecordError> {
        // The stream keeps this future until it is done, so the cursor is always back.
        let Some(mut cursor) = self.cursor.take() else { return Ok(Found::Nothing) };
        let end = self.end;
        let (cursor, found) = self
            .pipe
            .blocking
            .run(move || {
                let found = cursor.next(end);
                (cursor, found)
            })
            .await;
        self.cursor = Some(cursor);
        found
    }
}

/// Waits until the log is written to, if that can be seen.
async fn written(watched: Option<&Watched>) {
    match watched {
        Some(watched) => watched.written().await,
        None => std::future::pending().await,
    }
}
