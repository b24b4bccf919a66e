//! How tasks come into being, and come back when the pipe does.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info};
use vk_record::pods::remove_tree;
use vk_record::points::{self, Point, reach};
use vk_record::{Dir, Exit, Facts, Intent, IntentHead, RecordError, TaskDir, Version, chain, names, view_of};
use vk_site::{Cleared, Denied};
use vk_task::{ApiError, ErrorReason, HostSetup, Launch, Origin, StartFailure, TaskId, TaskSpec, TaskView};

use super::keeper::{Keeper, Shim};
use super::refusal::failure;
use super::remove::discard;
use super::{Pipe, audit, complain, given, host, last_words, site};

/// How soon records that the kernel would not read are read again, at first and at last.
const UNREAD_PAUSE: Duration = Duration::from_secs(1);
const UNREAD_PAUSE_MAX: Duration = Duration::from_secs(60);

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
    reach(Point::RequestRead);
    let _busy = pipe.table.busy_with(&id).await;
    if let Some(view) = pipe.table.get(&id) {
        return Ok(Started::Known(view));
    }
    if let Some(why) = pipe.collection.full() {
        return Err(ApiError { reason: ErrorReason::NoSpace, message: why });
    }
    // Until it is in the table, for by that its pod's directory is known to be in use.
    let _pod = pipe.pods.hold(&spec).await;
    let made = {
        let (pipe, id) = (Arc::clone(pipe), id.clone());
        pipe.clone().blocking.run(move || make(&pipe, id, &spec)).await
    };
    match made {
        Ok(Made::New(head, child)) => {
            let view = view_of(&id, &head, &Facts::default());
            let nudge = pipe.table.publish(view.clone());
            let shim = child.and_then(|child| Shim::of_child(child).ok());
            tokio::spawn(Keeper::of_new(Arc::clone(pipe), id, *head, nudge, shim).keep());
            reach(Point::StartAnswered);
            Ok(Started::New(view))
        }
        Ok(Made::Before(records)) => Ok(Started::Known(take_up(pipe, id, *records))),
        Err(e) => Err(e.refusal()),
    }
}

/// What came of making a task's records.
#[derive(Debug)]
enum Made {
    /// They are new, and this is the task's shim.
    New(Box<IntentHead>, Option<Child>),
    /// They are there, of an earlier try: its intent could neither be made durable nor be taken back, or the records could
    /// not be read when the pipe started.
    Before(Box<Records>),
}

/// What a task's records say: what was asked, and what has come of it, if that makes sense.
type Records = (IntentHead, Option<Facts>);

/// Why a task's records were not made.
#[derive(Debug)]
enum NotMade {
    /// The site does not run it.
    Denied(Denied),
    /// What it needs of its pod's directory cannot be had; nothing is there of its records.
    NotSetUp(ApiError),
    /// It could not be written to the audit log; nothing is there.
    NotAudited(RecordError),
    /// Nothing of them is there.
    Nothing(RecordError),
    /// The intent may be there.
    InDoubt(RecordError),
    /// There are some, and they make no sense.
    Unreadable(RecordError),
}

impl NotMade {
    fn refusal(&self) -> ApiError {
        match self {
            Self::Denied(denied) => site::refusal(denied),
            Self::NotSetUp(e) => e.clone(),
            Self::NotAudited(e) => audit::not_written(e),
            Self::Nothing(e) => failure("the task's intent is not on disk, so it will not be started", e),
            Self::InDoubt(e) => failure(
                "what must be written before a task is started could not be, and its intent not be taken back either: ask \
                 again, for as it is the next pipe may start it",
                e,
            ),
            Self::Unreadable(e) => failure(
                "there is a task of this name whose records cannot be read, so it is neither started nor reported",
                e,
            ),
        }
    }
}

/// Records a task that is not started, and why: it has ended before it began. For one that nobody who asked for it
/// waits to hear of.
pub(super) async fn refuse(pipe: &Arc<Pipe>, id: TaskId, spec: TaskSpec, why: ApiError) -> Result<(), RecordError> {
    let _busy = pipe.table.busy_with(&id).await;
    let now = Timestamp::now();
    let intent = Intent {
        version: Version,
        id: id.clone(),
        accepted_at: now,
        spec,
        launch: Launch::Direct,
        setup: HostSetup::default(),
    };
    // What the site forbids has been written to the audit log when it was asked.
    let to_audit = (why.reason != ErrorReason::Denied).then(|| why.message.clone());
    let exit = Exit::never_started(now, StartFailure::Other, why.message);
    let made = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || make_refused(&pipe, &intent, exit, to_audit)).await
    };
    let (head, facts) = made?;
    pipe.table.publish(view_of(&id, &head, &facts));
    pipe.collection.hint();
    Ok(())
}

/// The end before the intent: with both in the other order, a crash in between would leave a task that is to be started.
fn make_refused(
    pipe: &Pipe,
    intent: &Intent,
    exit: Exit,
    to_audit: Option<String>,
) -> Result<(IntentHead, Facts), RecordError> {
    if let Some(why) = to_audit {
        pipe.audit_denied(&intent.id, &intent.spec, vec![why])?;
    }
    let (dir, _) = pipe.tasks.create_dir(intent.id.as_str())?;
    let task = TaskDir { dir };
    let written = task
        .write_exit(&exit)
        // That it is refused is all that is to be said of it.
        .and_then(|()| task.mark_audited())
        .and_then(|()| task.write_intent(intent))
        .and_then(|()| pipe.tasks.sync());
    if let Err(e) = written {
        if let Err(left) = discard(&pipe.tasks, intent.id.as_str()) {
            complain(&format!("what was written of task {} is still there", intent.id), &left);
        }
        return Err(e);
    }
    Ok((IntentHead::of(intent), Facts { exit: Some(exit), ..Facts::default() }))
}

/// Asks the site, makes the intent durable and starts the first shim. (A shim that cannot be started is the keeper's to
/// care for.)
fn make(pipe: &Pipe, id: TaskId, asked: &TaskSpec) -> Result<Made, NotMade> {
    let (dir, _) = pipe.tasks.create_dir(id.as_str()).map_err(NotMade::Nothing)?;
    let task = TaskDir { dir };
    reach(Point::TaskDirMade);
    // Before the script is touched.
    match read_records(pipe, &task) {
        Ok(Some(records)) => return Ok(Made::Before(Box::new(records))),
        Ok(None) => {}
        Err(e) => return Err(NotMade::Unreadable(e)),
    }
    // A task that is there was cleared when it came; what the site says now is for new ones.
    let nothing_of_it = |e| {
        if let Err(left) = discard(&pipe.tasks, id.as_str()) {
            complain(&format!("the empty directory of {id}, which is not run, is still there"), &left);
        }
        NotMade::NotSetUp(e)
    };
    let volumes = given::find(&pipe.pods, asked).map_err(nothing_of_it)?;
    let verdict =
        pipe.site.clear(&id, asked, &volumes, last_words::file(&pipe.pods, asked), &pipe.info.mount_namespaces);
    let Cleared { spec, launch, told } = verdict.map_err(|denied| {
        if let Err(e) = discard(&pipe.tasks, id.as_str()) {
            complain(&format!("the empty directory of {id}, which is not run, is still there"), &e);
        }
        match pipe.audit_denied(&id, asked, denied.reasons()) {
            Ok(()) => NotMade::Denied(denied),
            Err(e) => NotMade::NotAudited(e),
        }
    })?;
    let mut setup = given::set_up(&pipe.pods, &spec, &volumes).map_err(nothing_of_it)?;
    last_words::make_ready(&pipe.pods, &spec, &mut setup).map_err(nothing_of_it)?;
    let intent = Intent { version: Version, id, accepted_at: Timestamp::now(), spec, launch, setup };
    if let Err(e) = task.write_intent(&intent).and_then(|()| pipe.tasks.sync()) {
        return Err(take_back(pipe, &intent.id, e, NotMade::Nothing));
    }
    reach(Point::TaskDirDurable);
    if let Err(e) = pipe.audit_accepted(&intent, told, false) {
        return Err(take_back(pipe, &intent.id, e, NotMade::NotAudited));
    }
    reach(Point::StartAudited);
    let head = IntentHead::of(&intent);
    let shim = spawn_shim(pipe, &task);
    reach(Point::ShimSpawned);
    if let Err(e) = &shim {
        error!("the shim of task {} could not be started yet: {e}", intent.id);
    }
    Ok(Made::New(Box::new(head), shim.ok()))
}

/// Sees to it that nothing is left by which a later pipe would start what its client is now told will not be.
fn take_back(pipe: &Pipe, id: &TaskId, why: RecordError, refused: impl FnOnce(RecordError) -> NotMade) -> NotMade {
    match discard(&pipe.tasks, id.as_str()).and_then(|()| pipe.tasks.sync()) {
        Ok(()) => refused(why),
        Err(left) => {
            complain(&format!("what was written of task {id} is still there"), &left);
            NotMade::InDoubt(why)
        }
    }
}

/// Starts a shim: with the base environment, which becomes the task's, and nothing else of the pipe's.
pub(super) fn spawn_shim(pipe: &Pipe, task: &TaskDir) -> std::io::Result<Child> {
    let open_files = pipe.open_files.map(|n| (vk_task::OPEN_FILES_VARIABLE, n.to_string()));
    Command::new(&pipe.shim_program)
        .arg("shim")
        .arg(task.dir.path())
        .arg(pipe.root.path())
        .env_clear()
        .envs(host::base_environment())
        .envs(open_files)
        .envs(pipe.info.enforcement.cgroup.as_ref().map(|dir| (vk_task::CGROUP_VARIABLE, dir)))
        .envs(points::inherited())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(task.complaints())
        .spawn()
}

/// Takes up all tasks whose records are on disk.
pub(super) async fn recover(pipe: &Arc<Pipe>) -> Result<(), RecordError> {
    let found = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || read_all(&pipe)).await?
    };
    for (id, records) in found.tasks {
        take_up(pipe, id, records);
    }
    for id in found.unread {
        tokio::spawn(take_up_later(Arc::clone(pipe), id));
    }
    let alive = pipe.table.list().iter().filter(|view| !view.state.is_final()).count();
    if alive > 0 {
        info!(tasks = alive, "taking up tasks that were not final when the last pipe ended");
    }
    Ok(())
}

/// Takes up a task whose records have been read; gives what is known of it.
fn take_up(pipe: &Arc<Pipe>, id: TaskId, (head, facts): Records) -> TaskView {
    // Facts that make no sense are the keeper's to judge.
    let view = view_of(&id, &head, facts.as_ref().unwrap_or(&Facts::default()));
    let nudge = pipe.table.publish(view.clone());
    if view.state.is_final() {
        pipe.audit.end(audit::End { view: view.clone(), found: true, tell: None });
    } else {
        tokio::spawn(Keeper::of_found(Arc::clone(pipe), id, head, nudge).keep());
    }
    view
}

/// Takes up a task whose records the kernel would not read: when it does.
async fn take_up_later(pipe: Arc<Pipe>, id: TaskId) {
    let mut pause = UNREAD_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(UNREAD_PAUSE_MAX);
        let _busy = pipe.table.busy_with(&id).await;
        if pipe.table.get(&id).is_some() {
            return;
        }
        let read = {
            let (pipe, id) = (Arc::clone(&pipe), id.clone());
            pipe.clone().blocking.run(move || read_one(&pipe, &id)).await
        };
        match read {
            Ok(Some(records)) => {
                take_up(&pipe, id, records);
                return;
            }
            Ok(None) => return,
            Err(e) => complain(&format!("task {id} is still left out"), &e),
        }
    }
}

/// What a pipe finds when it starts.
#[derive(Debug, Default)]
struct Found {
    tasks: Vec<(TaskId, Records)>,
    /// Those whose records the kernel would not read.
    unread: Vec<TaskId>,
}

fn read_all(pipe: &Pipe) -> Result<Found, RecordError> {
    for name in pipe.trash.entries()? {
        // Those of pods begin with a dot, which no task's can.
        let discarded =
            if name.starts_with('.') { remove_tree(&pipe.trash, &name) } else { discard(&pipe.trash, &name) };
        if let Err(e) = discarded {
            complain("old records are still there", &e);
        }
    }
    let mut found = Found::default();
    for name in pipe.tasks.entries()? {
        let Ok(id) = TaskId::new(name) else { continue };
        match read_one(pipe, &id) {
            Ok(Some(records)) => found.tasks.push((id, records)),
            Ok(None) => {}
            Err(e) => {
                complain(&format!("task {id} is left out"), &e);
                if e.io().is_some() {
                    found.unread.push(id);
                }
            }
        }
    }
    Ok(found)
}

fn read_one(pipe: &Pipe, id: &TaskId) -> Result<Option<Records>, RecordError> {
    let task = TaskDir { dir: pipe.tasks.open_dir(id.as_str())? };
    let found = read_records(pipe, &task)?;
    if found.is_none() {
        // A pipe died while it made this task: nobody was told that it was accepted.
        pipe.tasks.move_to(id.as_str(), &pipe.trash, id.as_str())?;
        discard(&pipe.trash, id.as_str())?;
    }
    Ok(found)
}

/// The records of a task, if it has an intent. An intent from which a start is about to follow is made durable, and an end
/// that is about to be told of: their writers may have died before they could. (A line's end is told to nobody.)
fn read_records(pipe: &Pipe, task: &TaskDir) -> Result<Option<Records>, RecordError> {
    let Some(head) = task.intent_head()? else { return Ok(None) };
    let facts = match task.facts() {
        Ok(facts) => Some(facts),
        Err(e @ RecordError::Io { .. }) => return Err(e),
        Err(e) => {
            error!("a record in {}: {}", task.dir.path().display(), chain(&e));
            None
        }
    };
    if let Some(facts) = &facts {
        let is_final = facts.is_final();
        let is_to_be_told = is_final && !facts.reported && !matches!(head.origin(), Origin::Fifo { .. });
        let is_to_start = !is_final && facts.start.is_none();
        if is_to_be_told || is_to_start {
            task.dir.sync()?;
        }
        if is_to_start {
            pipe.tasks.sync()?;
        }
    }
    Ok(Some((head, facts)))
}

/// The file in which a task's shim complains, from where it may be read.
pub(super) fn complaints(dir: &Dir) -> Option<File> {
    dir.open_file(names::SHIM_ERR, rustix::fs::OFlags::RDONLY).ok().flatten()
}
