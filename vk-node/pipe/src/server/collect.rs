//! Removing the records that nobody needs any more, and refusing new tasks where there is no room for theirs. What may
//! go is decided in `retention`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::{error, info, warn};
use vk_record::TaskDir;
use vk_task::{ErrorReason, TaskId};

use super::retention::{Full, Record, Standing, decide};
use super::{Pipe, lock};

/// How often it is looked how much room the tasks that run take by now, and what has become too old.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The least time between two looks: where many tasks end at once, one look is for all of them.
const PAUSE: Duration = Duration::from_millis(250);
/// How many records are removed at once. Each waits for the disk.
const AT_ONCE: usize = 16;

/// What the collection knows.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// How much room each task's records took when they were last looked at, and whether that is for good.
    sizes: Mutex<HashMap<TaskId, Size>>,
    full: Mutex<Option<Full>>,
    hint: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    bytes: u64,
    is_final: bool,
}

impl Collection {
    /// There may be something to collect.
    pub(super) fn hint(&self) {
        // One that is kept if it is not waited for just now.
        self.hint.notify_one();
    }

    /// Why there is no room for a new task, if that is so.
    pub(super) fn full(&self) -> Option<String> {
        lock(&self.full).as_ref().map(ToString::to_string)
    }
}

/// Collects for ever.
pub(super) async fn run(pipe: Arc<Pipe>) {
    let mut anew = true;
    loop {
        look(&pipe, anew).await;
        tokio::time::sleep(PAUSE).await;
        anew = tokio::select! {
            // Cancel-safe: a hint that comes while nobody waits is kept.
            () = pipe.collection.hint.notified() => false,
            // Cancel-safe: a clock.
            () = tokio::time::sleep(LOOK_EVERY) => true,
        };
    }
}

/// Looks once; `anew` also at tasks that run and have been looked at.
async fn look(pipe: &Arc<Pipe>, anew: bool) {
    let tasks = pipe.table.map(|view| (view.id.clone(), Standing::of(view)));
    measure(pipe, &tasks, anew).await;
    let records = {
        let steps = pipe.clock.now().steps;
        let mut sizes = lock(&pipe.collection.sizes);
        let records: Vec<Record> = tasks
            .into_iter()
            .map(|(id, standing)| {
                let bytes = sizes.get(&id).map_or(0, |size| size.bytes);
                // A clock that was set makes nothing older.
                Record { id, standing: standing.with(|ended| steps.present(ended)), bytes }
            })
            .collect();
        if sizes.len() > records.len() {
            *sizes = records.iter().filter_map(|r| Some((r.id.clone(), *sizes.get(&r.id)?))).collect();
        }
        records
    };
    let limits = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || pipe.site.current().records).await
    };
    if anew {
        pipe.sweep_pods(limits.keep_seconds).await;
    }
    let verdict = decide(&records, limits, Timestamp::now());
    let removals = verdict.remove.iter().map(|id| async move {
        match pipe.remove(id).await {
            Ok(_) => {}
            Err(e) if e.reason == ErrorReason::Conflict => {}
            Err(e) => error!("the records of {id} are still there: {e}"),
        }
    });
    stream::iter(removals).for_each_concurrent(AT_ONCE, |removal| removal).await;
    let mut full = lock(&pipe.collection.full);
    match (&*full, &verdict.full) {
        (None, Some(why)) => warn!("new tasks are refused: {why}"),
        (Some(_), None) => info!("there is room for new tasks again"),
        _ => {}
    }
    *full = verdict.full;
}

/// Looks how much room records take of which it is not known, or, `anew`, may have changed.
async fn measure(pipe: &Arc<Pipe>, tasks: &[(TaskId, Standing)], anew: bool) {
    let wanted: Vec<(TaskId, bool)> = {
        let sizes = lock(&pipe.collection.sizes);
        tasks
            .iter()
            .map(|(id, standing)| (id, *standing != Standing::Open))
            .filter(|(id, is_final)| match sizes.get(*id) {
                Some(size) => !size.is_final && (anew || *is_final),
                // A task that has just begun takes next to nothing.
                None => anew || *is_final,
            })
            .map(|(id, is_final)| (id.clone(), is_final))
            .collect()
    };
    if wanted.is_empty() {
        return;
    }
    let its = Arc::clone(pipe);
    let measured: Vec<(TaskId, Size)> = pipe
        .blocking
        .run(move || {
            let size = |id: &TaskId| TaskDir { dir: its.tasks.open_dir(id.as_str())? }.bytes_on_disk();
            wanted
                .into_iter()
                .filter_map(|(id, is_final)| {
                    // What cannot be looked at now is looked at again.
                    let bytes = size(&id).ok()?;
                    Some((id, Size { bytes, is_final }))
                })
                .collect()
        })
        .await;
    lock(&pipe.collection.sizes).extend(measured);
}
