//! Reading a task's log: from where, how far, and for how long. What its bytes mean is in [`log_text`](super::log_text).
//!
//! Nothing is read ahead of the one who takes it, and no more than a block is held.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, stream};
use rustix::fs::OFlags;
use tokio::sync::Notify;
use vk_record::{RecordError, names};
use vk_task::{LogQuery, TaskId};

use super::Pipe;
use super::log_text::{Flow, Reader, TailFinder};
use super::log_watch::Watched;

/// How much is read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// How soon a log is looked at again where nothing tells of a change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Someone who reads a log.
struct Reading {
    pipe: Arc<Pipe>,
    id: TaskId,
    query: LogQuery,
    reader: Reader,
    /// `None` until the task has a log.
    file: Option<Arc<File>>,
    offset: u64,
    /// Where to end: without `follow`, where the log ended when it was opened.
    end: u64,
    /// Rings when what is known of the task changes.
    changed: Arc<Notify>,
    /// Rings when the log is written to.
    watched: Option<Watched>,
}

/// What one look at the log gave.
enum Look {
    /// Bytes to show, perhaps none.
    Bytes(Vec<u8>),
    /// Bytes to show, and no more after them.
    Last(Vec<u8>),
    /// Nothing new.
    Nothing,
}

/// The output of a task, as the query wants it; `None` if there is no such task.
pub(super) async fn read(
    pipe: Arc<Pipe>,
    id: TaskId,
    query: LogQuery,
) -> Option<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let changed = pipe.table.changes_of(&id)?;
    let reader = Reader::new(&query);
    let reading = Reading { pipe, id, query, reader, file: None, offset: 0, end: u64::MAX, changed, watched: None };
    Some(stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok((bytes, more)) => Some((Ok(bytes), more.then_some(reading))),
            Err(e) => Some((Err(e), None)),
        }
    }))
}

impl Reading {
    /// The next bytes, and whether more may come.
    async fn next(&mut self) -> io::Result<(Bytes, bool)> {
        loop {
            let changed = Arc::clone(&self.changed);
            let changed = changed.notified();
            tokio::pin!(changed);
            // From here on, a change is not missed.
            changed.as_mut().enable();
            // Before the log is read: a task that is final now will not write again.
            let is_final = self.pipe.table.get(&self.id).is_none_or(|view| view.state.is_final());
            match self.look(is_final).await? {
                Look::Bytes(bytes) if bytes.is_empty() => {}
                Look::Bytes(bytes) => return Ok((bytes.into(), true)),
                Look::Last(bytes) => return Ok((bytes.into(), false)),
                Look::Nothing if is_final || !self.query.follow => {
                    let mut bytes = Vec::new();
                    // While the task runs, an entry that breaks off is one that is just being written.
                    if is_final {
                        self.reader.finish(&mut bytes);
                    }
                    return Ok((bytes.into(), false));
                }
                Look::Nothing => {
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

    /// Looks for bytes past those that were read.
    async fn look(&mut self, is_final: bool) -> io::Result<Look> {
        if self.file.is_none() && !self.open(is_final).await? {
            return Ok(Look::Nothing);
        }
        let Some(file) = self.file.clone() else { return Ok(Look::Nothing) };
        let offset = self.offset;
        let len = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let block = self
            .pipe
            .blocking
            .run(move || {
                let mut block = vec![0; len];
                let n = file.read_at(&mut block, offset)?;
                block.truncate(n);
                io::Result::Ok(block)
            })
            .await?;
        if block.is_empty() {
            return Ok(Look::Nothing);
        }
        self.offset += block.len() as u64;
        let mut bytes = Vec::new();
        Ok(match self.reader.push(&block, &mut bytes) {
            Flow::More => Look::Bytes(bytes),
            Flow::Enough => Look::Last(bytes),
        })
    }

    /// Opens the log at the place where the query wants it, if there is one. One file holds it all; when logs are
    /// rotated, this is where the older ones come in.
    async fn open(&mut self, is_final: bool) -> io::Result<bool> {
        let (pipe, id, tail) = (Arc::clone(&self.pipe), self.id.clone(), self.query.tail_lines);
        let watch = self.query.follow && !is_final;
        let opened = self
            .pipe
            .blocking
            .run(move || {
                let dir = pipe.tasks.open_dir(id.as_str())?;
                let Some(file) = dir.open_file(names::LOG, OFlags::RDONLY)? else { return Ok(None) };
                let watched = watch.then(|| pipe.log_watch.add(&dir.short_path(names::LOG))).flatten();
                let looked = || Ok((tail.map_or(Ok(0), |lines| tail_offset(&file, lines))?, file.metadata()?.len()));
                let (offset, len) = looked().map_err(|source| RecordError::Io {
                    action: "read",
                    path: dir.path().join(names::LOG),
                    source,
                })?;
                Ok(Some((file, offset, len, watched)))
            })
            .await
            .map_err(|e: RecordError| io::Error::other(e))?;
        let Some((file, offset, len, watched)) = opened else { return Ok(false) };
        self.file = Some(Arc::new(file));
        self.offset = offset;
        if !self.query.follow && !is_final {
            self.end = len;
        }
        self.watched = watched;
        Ok(true)
    }
}

/// Waits until the log is written to, if that can be seen.
async fn written(watched: Option<&Watched>) {
    match watched {
        Some(watched) => watched.written().await,
        None => std::future::pending().await,
    }
}

/// Where the last `lines` of a log begin.
fn tail_offset(file: &File, lines: u64) -> io::Result<u64> {
    let mut finder = TailFinder::new(lines);
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES as u64);
        let part = usize::try_from(end - begin).ok().and_then(|n| block.get_mut(..n)).unwrap_or_default();
        file.read_exact_at(part, begin)?;
        if let Some(place) = finder.push(begin, part) {
            return Ok(place);
        }
        end = begin;
    }
    Ok(0)
}
