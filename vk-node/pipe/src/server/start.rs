//! How tasks come into being, and come back when the pipe does.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, info};
use vk_record::{Dir, Facts, Intent, IntentHead, RecordError, TaskDir, Version, chain, names, view_of};
use vk_task::{ApiError, ErrorReason, Launch, TaskId, TaskSpec, TaskView};

use super::keeper::{Keeper, Shim};
use super::{Pipe, collect, complain, host};

/// What came of a request to start a task.
#[derive(Debug)]
pub(super) enum Started {
    /// It is new.
    New(TaskView),
    /// It was there.
    Known(TaskView),
}

/// Starts a task, unless it is there. When this answers, its intent is durable.
pub(super) async fn start(pipe: &Arc<Pipe>, id: TaskId, spec: TaskSpec) -> Result<Started, ApiError> {
    let problems: Vec<String> = spec.problems().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(ApiError { reason: ErrorReason::Invalid, message: problems.join("; ") });
    }
    let _busy = pipe.table.busy_with(&id).await;
    if let Some(view) = pipe.table.get(&id) {
        return Ok(Started::Known(view));
    }
    let intent =
        Intent { version: Version, id: id.clone(), accepted_at: Timestamp::now(), spec, launch: Launch::Direct };
    let made = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || make(&pipe, &intent)).await
    };
    let (head, shim) = made.map_err(|e| match e {
        RecordError::Exists { path } => ApiError {
            reason: ErrorReason::Internal,
            message: format!(
                "there is a task of this name whose records could not be read when the pipe started, so it is neither \
                 started nor reported: look at {}, and at what the pipe said of it",
                path.display()
            ),
        },
        e @ (RecordError::Io { .. } | RecordError::Malformed { .. } | RecordError::NotOurs { .. }) => {
            failure("the task's intent is not on disk, so it will not be started", &e)
        }
    })?;
    let view = view_of(&id, &head, &Facts::default());
    let nudge = pipe.table.publish(view.clone());
    let shim = shim.and_then(|child| Shim::of_child(child).ok());
    tokio::spawn(Keeper::new(Arc::clone(pipe), id, head, nudge, shim).keep());
    Ok(Started::New(view))
}

/// Makes the intent durable and starts the first shim. (A shim that cannot be started is the keeper's to care for.)
fn make(pipe: &Pipe, intent: &Intent) -> Result<(IntentHead, Option<Child>), RecordError> {
    let (dir, _) = pipe.tasks.create_dir(intent.id.as_str())?;
    let task = TaskDir { dir };
    // Before the script is touched.
    if task.dir.stat(names::INTENT)?.is_some() {
        return Err(RecordError::Exists { path: task.dir.path().join(names::INTENT) });
    }
    task.write_intent(intent)?;
    pipe.tasks.sync()?;
    let head = IntentHead::of(intent);
    let shim = spawn_shim(pipe, &task.dir);
    if let Err(e) = &shim {
        error!("the shim of task {} could not be started yet: {e}", intent.id);
    }
    Ok((head, shim.ok()))
}

/// Starts a shim: with the base environment, which becomes the task's, and nothing else of the pipe's.
pub(super) fn spawn_shim(pipe: &Pipe, dir: &Dir) -> std::io::Result<Child> {
    let complaints = dir.append_to(names::SHIM_ERR).map_or_else(|_| Stdio::null(), Stdio::from);
    let open_files = pipe.open_files.map(|n| (vk_task::OPEN_FILES_VARIABLE, n.to_string()));
    Command::new(&pipe.shim_program)
        .arg("shim")
        .arg(dir.path())
        .env_clear()
        .envs(host::base_environment())
        .envs(open_files)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints)
        .spawn()
}

/// Takes up all tasks whose records are on disk.
pub(super) async fn recover(pipe: &Arc<Pipe>) -> Result<(), RecordError> {
    let found = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || read_all(&pipe)).await?
    };
    let mut alive = 0_usize;
    for (id, head, facts) in found {
        // Facts that make no sense are the keeper's to judge.
        let nudge = pipe.table.publish(view_of(&id, &head, facts.as_ref().unwrap_or(&Facts::default())));
        let is_final = facts.is_some_and(|f| f.exit.is_some() || f.lost.is_some());
        if !is_final {
            alive += 1;
            tokio::spawn(Keeper::new(Arc::clone(pipe), id, head, nudge, None).keep());
        }
    }
    tokio::spawn(collect::collect(Arc::clone(pipe)));
    if alive > 0 {
        info!(tasks = alive, "taking up tasks that were not final when the last pipe ended");
    }
    Ok(())
}

type Found = (TaskId, IntentHead, Option<Facts>);

fn read_all(pipe: &Pipe) -> Result<Vec<Found>, RecordError> {
    for name in pipe.trash.entries()? {
        if let Err(e) = pipe.trash.remove_tree(&name) {
            complain("old records are still there", &e);
        }
    }
    let mut found = Vec::new();
    for name in pipe.tasks.entries()? {
        let Ok(id) = TaskId::new(name) else { continue };
        match read_one(pipe, &id) {
            Ok(Some((head, facts))) => found.push((id, head, facts)),
            Ok(None) => {}
            Err(e) => complain(&format!("task {id} is left out"), &e),
        }
    }
    Ok(found)
}

fn read_one(pipe: &Pipe, id: &TaskId) -> Result<Option<(IntentHead, Option<Facts>)>, RecordError> {
    let task = TaskDir { dir: pipe.tasks.open_dir(id.as_str())? };
    match task.intent_head()? {
        Some(head) => {
            let facts = task.facts();
            if let Err(e) = &facts {
                error!("a record of task {id}: {}", chain(e));
            }
            Ok(Some((head, facts.ok())))
        }
        // A pipe died while it made this task: nobody was told that it was accepted.
        None => {
            pipe.tasks.move_to(id.as_str(), &pipe.trash, id.as_str())?;
            pipe.trash.remove_tree(id.as_str())?;
            Ok(None)
        }
    }
}

/// The file in which a task's shim complains, from where it may be read.
pub(super) fn complaints(dir: &Dir) -> Option<File> {
    dir.open_file(names::SHIM_ERR, rustix::fs::OFlags::RDONLY).ok().flatten()
}

/// The refusal that a failure of the records comes to.
pub(super) fn failure(what: &str, e: &RecordError) -> ApiError {
    let reason = if e.is_no_space() { ErrorReason::NoSpace } else { ErrorReason::Internal };
    let message = format!("{what}: {}", chain(e));
    error!("{message}");
    ApiError { reason, message }
}
