//! The keeper of one task that is not final.
//!
//! ```text
//!          ┌───────────────── rung, or the shim ended ────────────────┐
//!          ▼                                                          │
//!   read the records ──▶ tell the table ──▶ a shim is watched ──▶ wait for it
//!          ▲                  │ final            │ none
//!          │                  ▼                  ▼
//!          │                done             `decide`: start one, watch one, lose the task, give it up
//!          └──────────────────────────────────────┘
//! ```

use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tracing::{error, warn};
use vk_record::points::{Point, reach};
use vk_record::{Dir, Exit, Facts, IntentHead, Lock, LockHolder, RecordError, TaskDir, chain, names, runtime, view_of};
use vk_task::{StartFailure, StopRequest, TaskId, TaskState, TaskView};

use super::audit::End as AuditedEnd;
use super::blocking::Blocking;
use super::decide::{self, Next};
use super::lose::{self, Round};
use super::{Pipe, start};

/// How soon a record that could not be read or written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a shim may take to leave after it has written its task's end down.
const LEAVE: Duration = Duration::from_secs(30);
/// So much of a shim's complaints goes into a message.
const COMPLAINT_BYTES: u64 = 2048;
/// The signal by which a shim is told to look at `stop.json`: see `vk_shim::DOORBELL`.
const DOORBELL: rustix::process::Signal = rustix::process::Signal::URG;

/// A shim that is being watched.
#[derive(Debug)]
pub(super) struct Shim {
    pidfd: AsyncFd<OwnedFd>,
    /// If this pipe is its parent.
    child: Option<Child>,
    /// The request to stop that it has been told of.
    told: Option<StopRequest>,
}

impl Shim {
    /// A shim that this pipe has just started.
    pub(super) fn of_child(child: Child) -> io::Result<Self> {
        // A child that has not been waited for keeps its number, so this is it.
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        Self::open(pid, Some(child))
    }

    #[allow(unsafe_code)]
    fn open(pid: Pid, child: Option<Child>) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // SAFETY: an `OwnedFd` is open and the same for as long as it is owned, and the `AsyncFd` owns it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(io::Error::from)?;
        Ok(Self { pidfd, child, told: None })
    }

    /// Waits for its end. Cancel-safe: it only waits.
    async fn ended(&mut self) {
        // An error means that the runtime goes down.
        let _ = self.pidfd.readable().await.map(|mut guard| guard.retain_ready());
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }

    /// Has it look for a request to stop, if there is one that it has not been told of.
    fn tell(&mut self, stop: Option<&StopRequest>) {
        if self.told.as_ref() != stop {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), DOORBELL);
            self.told = stop.cloned();
        }
    }
}

/// The keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    pipe: Arc<Pipe>,
    id: TaskId,
    head: Arc<IntentHead>,
    nudge: Arc<Notify>,
    shim: Option<Shim>,
    /// How many shims have ended without having started the task.
    failures: u32,
    /// How often something was left of the task after its shim was gone.
    rounds: u32,
    /// The task was accepted before this pipe started.
    found: bool,
    /// That it was accepted is known to be in the audit log.
    is_audited: bool,
}

impl Keeper {
    /// Of the new task `id`, with the shim that was started for it, if one was.
    pub(super) fn of_new(
        pipe: Arc<Pipe>,
        id: TaskId,
        head: IntentHead,
        nudge: Arc<Notify>,
        shim: Option<Shim>,
    ) -> Self {
        Self { shim, found: false, is_audited: true, ..Self::of_found(pipe, id, head, nudge) }
    }

    /// Of the task `id`, whose records were found.
    pub(super) fn of_found(pipe: Arc<Pipe>, id: TaskId, head: IntentHead, nudge: Arc<Notify>) -> Self {
        let head = Arc::new(head);
        Self { pipe, id, head, nudge, shim: None, failures: 0, rounds: 0, found: true, is_audited: false }
    }

    /// Cares for the task until it is final.
    pub(super) async fn keep(mut self) {
        loop {
            match self.facts().await {
                Ok(facts) => {
                    let is_final = facts.is_final();
                    if is_final {
                        reach(Point::ExitRead);
                    }
                    let view = view_of(&self.id, &self.head, &facts);
                    self.pipe.table.publish(view.clone());
                    if is_final {
                        reach(Point::EndTold);
                        self.pipe.audit.end(AuditedEnd { view, found: self.found, tell: None });
                        break;
                    }
                    self.go_on(&facts).await;
                }
                Err(e @ RecordError::Io { .. }) => {
                    error!("the records of task {} cannot be read for now: {}", self.id, chain(&e));
                    tokio::time::sleep(RETRY).await;
                }
                Err(e) => {
                    if self.garbled(&e).await {
                        break;
                    }
                }
            }
        }
        self.pipe.collection.hint();
        if let Some(mut shim) = self.shim
            && tokio::time::timeout(LEAVE, shim.ended()).await.is_err()
        {
            warn!("the shim of task {} has written down its end and has not left", self.id);
        }
    }

    /// What the records say. An end that they tell of is durable, whoever wrote it and died before it was: after a power
    /// failure nobody may find another end than the one that was told of.
    async fn facts(&self) -> Result<Facts, RecordError> {
        let (pipe, id) = (Arc::clone(&self.pipe), self.id.clone());
        self.with_dir(move |task| {
            let facts = task.facts()?;
            if facts.is_final() && !pipe.table.end_is_durable(&id) {
                task.dir.sync()?;
            }
            Ok(facts)
        })
        .await
    }

    /// Does the next thing for a task that is not final.
    async fn go_on(&mut self, facts: &Facts) {
        if let Some(shim) = &mut self.shim {
            shim.tell(facts.stop.as_ref());
            tokio::select! {
                // Cancel-safe: it only waits; the shim's end stays visible.
                () = shim.ended() => {
                    self.shim = None;
                    self.failures += 1;
                }
                // Cancel-safe: a ring that came while nobody waited is kept by `notify_one`.
                () = self.nudge.notified() => {}
            }
            return;
        }
        let done = match self.with_dir(|task| LockHolder::of(&task.dir, names::LOCK)).await {
            Ok(holder) => match decide::next(facts, holder, self.failures) {
                Next::Rest => Ok(()),
                Next::Watch(pid) => self.watch(pid).await,
                Next::Start(pause) => self.start(pause).await,
                Next::GiveUp => self.give_up().await,
                Next::Lose => self.lose().await,
                Next::LookAgain(pause) => {
                    tokio::time::sleep(pause).await;
                    Ok(())
                }
            },
            Err(e) => Err(e),
        };
        if let Err(e) = done {
            error!("task {} is not cared for at the moment: {}", self.id, chain(&e));
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Watches the process that holds the lock, if it still does once it is being watched: otherwise its number might
    /// have gone to another in between.
    async fn watch(&mut self, pid: Pid) -> Result<(), RecordError> {
        let shim = match Shim::open(pid, None) {
            Ok(shim) => shim,
            // It has ended since it was seen.
            Err(e) if e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(()),
            Err(source) => return Err(self.io_error("watch the shim of", source)),
        };
        let holder = self.with_dir(|task| LockHolder::of(&task.dir, names::LOCK)).await?;
        if holder == LockHolder::Process(pid) {
            self.shim = Some(shim);
        }
        Ok(())
    }

    /// Starts a shim.
    async fn start(&mut self, pause: Duration) -> Result<(), RecordError> {
        tokio::time::sleep(pause).await;
        let pipe = Arc::clone(&self.pipe);
        if !self.is_audited {
            // The pipe that accepted it may have died before it could write that down.
            self.with_dir(move |task| pipe.audit_accepted_again(task)).await?;
            self.is_audited = true;
        }
        let pipe = Arc::clone(&self.pipe);
        let spawned = self.with_dir(move |task| Ok(start::spawn_shim(&pipe, task))).await?;
        match spawned.and_then(Shim::of_child) {
            Ok(shim) => {
                self.shim = Some(shim);
                Ok(())
            }
            Err(source) => {
                self.failures += 1;
                Err(self.io_error("start the shim of", source))
            }
        }
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> RecordError {
        RecordError::Io { action, path: self.pipe.tasks.path().join(self.id.as_str()), source }
    }

    /// Writes down that the task could not be started, if that is so.
    async fn give_up(&mut self) -> Result<(), RecordError> {
        self.with_dir(|task| {
            let Some(_lock) = Lock::try_take(&task.dir, names::LOCK)? else { return Ok(()) };
            let facts = task.facts()?;
            if facts.start.is_some() || facts.exit.is_some() {
                return Ok(());
            }
            let now = Timestamp::now();
            let message = format!(
                "the process that was to watch over it (the shim) ended again and again before it could start it; \
                 its last words: {}",
                last_words(&task.dir)
            );
            task.write_exit(&Exit::never_started(now, StartFailure::Other, message))
        })
        .await
    }

    /// Clears away what is left of a task whose shim is gone, and writes down that nobody saw its end.
    async fn lose(&mut self) -> Result<(), RecordError> {
        let id = self.id.clone();
        if self.with_dir_by(&self.pipe.losing, move |task| lose::lose(&id, task)).await? == Round::Left {
            self.rounds += 1;
            let facts = self.with_dir(|task| task.facts()).await?;
            self.pipe.table.publish(view_of(&self.id, &self.head, &facts));
            tokio::time::sleep(runtime::pause(self.rounds)).await;
        }
        Ok(())
    }

    /// A record makes no sense. While the task's shim lives, that changes nothing; after that, its end is unknown. Says
    /// whether it is so.
    async fn garbled(&mut self, e: &RecordError) -> bool {
        error!("a record of task {}: {}", self.id, chain(e));
        if let Some(shim) = &mut self.shim {
            shim.ended().await;
            self.shim = None;
            return false;
        }
        let holder = self.with_dir(|task| LockHolder::of(&task.dir, names::LOCK)).await;
        if let Ok(LockHolder::Process(pid)) = holder
            && self.watch(pid).await.is_ok()
            && self.shim.is_some()
        {
            return false;
        }
        let state =
            TaskState::Unknown { started_at: self.head.accepted_at, noticed_at: Timestamp::now(), message: chain(e) };
        let origin = self.head.origin().clone();
        let view = TaskView {
            id: self.id.clone(),
            origin,
            state,
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        };
        self.pipe.table.publish(view.clone());
        self.pipe.audit.end(AuditedEnd { view, found: self.found, tell: None });
        true
    }

    /// Does something with the task's directory, off the main thread.
    async fn with_dir<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TaskDir) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        self.with_dir_by(&self.pipe.blocking, work).await
    }

    async fn with_dir_by<T: Send + 'static>(
        &self,
        blocking: &Blocking,
        work: impl FnOnce(&TaskDir) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let (pipe, id) = (Arc::clone(&self.pipe), self.id.clone());
        blocking
            .run(move || {
                let task = TaskDir { dir: pipe.tasks.open_dir(id.as_str())? };
                work(&task)
            })
            .await
    }
}

/// The end of what a task's shims have complained of.
fn last_words(dir: &Dir) -> String {
    let Some(mut file) = start::complaints(dir) else { return "none".to_owned() };
    let len = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(len.saturating_sub(COMPLAINT_BYTES)))
        .and_then(|_| file.take(COMPLAINT_BYTES).read_to_end(&mut bytes));
    match (read, String::from_utf8_lossy(&bytes).trim()) {
        (Ok(_), text) if !text.is_empty() => text.to_owned(),
        _ => "none".to_owned(),
    }
}
