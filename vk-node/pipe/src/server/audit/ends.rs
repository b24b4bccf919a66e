//! Writing ends, apart from all who report them: a log that cannot be written to delays no report.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, info};
use vk_record::points::{Point, reach};
use vk_record::{RecordError, TaskDir, chain};
use vk_site::audit::Event;
use vk_task::{TaskState, TaskView};
use vk_words::counted;

use crate::server::Pipe;

/// How many ends are made durable at once.
const BATCH: usize = 256;
/// The wait before ends that could not be written are tried again, at first and at last.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long an end waits for others.
const MOMENT: Duration = Duration::from_millis(100);
/// How long anything written may not be durable.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// An end that is to be written.
#[derive(Debug)]
pub(in crate::server) struct End {
    /// The task, as it ended.
    pub(in crate::server) view: TaskView,
    /// It had been accepted before this pipe started.
    pub(in crate::server) found: bool,
    /// Who waits for it: it is told when it is durable, and why it is not if it cannot be written now.
    pub(in crate::server) tell: Option<oneshot::Sender<Result<(), String>>>,
}

/// Writes the ends that come, for ever.
pub(in crate::server) async fn run(pipe: Arc<Pipe>, mut coming: mpsc::UnboundedReceiver<End>) {
    let mut waiting: Vec<End> = Vec::new();
    let mut pause = PAUSE;
    loop {
        let patience = if waiting.is_empty() {
            // Nothing is written, so nothing is waited for but an end: an idle pipe is not woken.
            tokio::select! {
                // Cancel-safe: an end that is not taken out stays in the channel.
                end = coming.recv() => match end {
                    Some(end) => waiting.push(end),
                    // A pipe that ends; this task ends with it.
                    None => std::future::pending().await,
                },
                // Cancel-safe: see there.
                () = pipe.audit.file.written() => {}
            }
            if waiting.is_empty() { SYNC_EVERY } else { MOMENT }
        } else {
            Duration::ZERO
        };
        gather(&mut coming, &mut waiting, patience).await;
        let (its, batch) = (Arc::clone(&pipe), std::mem::take(&mut waiting));
        let (batch, written) = pipe
            .blocking
            .run(move || {
                let written = write(&its, &batch);
                (batch, written)
            })
            .await;
        match written {
            Ok(()) => {
                if pause > PAUSE {
                    info!("ends can be written to the audit log again");
                }
                pause = PAUSE;
                batch.into_iter().filter_map(|end| end.tell).for_each(|tell| drop(tell.send(Ok(()))));
            }
            Err(e) => {
                let why = chain(&e);
                let what = counted(batch.len(), "end is", "ends are");
                error!("{what} not in the audit log yet, which is tried again in {pause:?}: {why}");
                waiting = batch;
                for tell in waiting.iter_mut().filter_map(|end| end.tell.take()) {
                    drop(tell.send(Err(why.clone())));
                }
                rest(&mut coming, &mut waiting, pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Takes what comes, for at most `patience` until the first one, and then a moment for others: what is made durable in one
/// go costs the disk as much as one.
async fn gather(coming: &mut mpsc::UnboundedReceiver<End>, waiting: &mut Vec<End>, mut patience: Duration) {
    let mut until = Instant::now() + patience;
    while waiting.len() < BATCH && waiting.iter().all(|end| end.tell.is_none()) {
        // Cancel-safe: an end that is not taken out stays in the channel.
        match tokio::time::timeout_at(until, coming.recv()).await {
            Ok(Some(end)) => waiting.push(end),
            // A pipe that ends; this task ends with it.
            Ok(None) => std::future::pending().await,
            Err(_) => break,
        }
        if patience > MOMENT {
            patience = MOMENT;
            until = Instant::now() + MOMENT;
        }
    }
    while waiting.len() < BATCH
        && let Ok(end) = coming.try_recv()
    {
        waiting.push(end);
    }
}

/// Waits before what could not be written is tried again, or until somebody asks for it.
async fn rest(coming: &mut mpsc::UnboundedReceiver<End>, waiting: &mut Vec<End>, pause: Duration) {
    let until = Instant::now() + pause;
    // Cancel-safe: an end that is not taken out stays in the channel.
    while let Ok(Some(end)) = tokio::time::timeout_at(until, coming.recv()).await {
        let is_asked_for = end.tell.is_some();
        waiting.push(end);
        if is_asked_for {
            break;
        }
    }
}

/// Writes all of them that are not marked, makes them durable, and marks them.
fn write(pipe: &Pipe, ends: &[End]) -> Result<(), RecordError> {
    let mut to_mark = Vec::new();
    // An end that somebody asks for may be here twice.
    let mut seen = HashSet::new();
    for end in ends.iter().filter(|end| seen.insert(&end.view.id)) {
        let task = match pipe.tasks.open_dir(end.view.id.as_str()) {
            Ok(dir) => TaskDir { dir },
            // It was removed, which nobody does before its end is written.
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        if task.is_audited()? {
            continue;
        }
        if end.found && was_started_before_this_boot(pipe, &task) {
            pipe.audit_accepted_again(&task)?;
        }
        if let Some(event) = event(&end.view.state) {
            pipe.audit_one(&end.view.id, &end.view.origin, event)?;
            to_mark.push(task);
        }
    }
    pipe.audit.file.sync()?;
    reach(Point::EndAudited);
    for task in to_mark {
        // Without it the end is written once more by the next pipe, which is better than never.
        if let Err(e) = task.mark_audited() {
            error!("an end that is in the audit log is not marked: {}", chain(&e));
        }
    }
    Ok(())
}

/// Whether the machine may have lost what was written when the task was accepted.
fn was_started_before_this_boot(pipe: &Pipe, task: &TaskDir) -> bool {
    let start = task.facts().ok().and_then(|facts| facts.start);
    start.is_some_and(|start| start.process.boot_id != pipe.info.boot_id)
}

fn event(state: &TaskState) -> Option<Event> {
    Some(match state.clone() {
        TaskState::Accepted { .. } | TaskState::Running { .. } => return None,
        TaskState::Ended { started_at, finished_at, end, exceeded } => {
            Event::Ended { end, started_at, finished_at, exceeded }
        }
        TaskState::Unknown { message, .. } => Event::Unknown { message },
    })
}
