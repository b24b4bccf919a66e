//! The audit log: who asked for what and when, what was said to it, and how it ended.
//!
//! ```text
//!   intent durable ──▶ `accepted` written ──▶ the shim is started     not written: the intent is taken back, and the
//!                                                                     start refused
//!   a verdict or a stream ──▶ `denied`, `stream` written ──▶ answered not written: refused for that
//!   the end told to watchers ──▶ `ended` written, made durable ──▶ marked in the task's directory ──▶ records may go
//!                                    └── not written: tried again for ever; the end is reported all the same
//! ```
//!
//! So each entry is written at least once, whatever is killed when: a task without a mark has its end written (again) by
//! the next pipe, and a task that was not started has its `accepted` written again before it is. What the kernel had not
//! put on disk when the machine lost power is found by the boot that a task was started in.

mod ends;
mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use vk_record::{Dir, Intent, RecordError, TaskDir};
use vk_site::audit::{Entry, Event, What, cut_all};
use vk_site::{Denied, StreamKind};
use vk_task::stream::StreamRequest;
use vk_task::{ApiError, ErrorReason, Origin, TaskId, TaskSpec, TaskView};

use super::Pipe;
use super::refusal::{failure, no_task};
pub(super) use ends::{End, run};
use file::LogFile;

/// The file's name in the pipe's directory, where the site names no other.
const NAME: &str = "audit.log";

/// How long a request waits for the audit log.
const PATIENCE: Duration = Duration::from_secs(10);

/// The audit log.
#[derive(Debug)]
pub(super) struct AuditLog {
    file: LogFile,
    usual_place: PathBuf,
    ends: mpsc::UnboundedSender<End>,
}

impl AuditLog {
    /// For the pipe of this directory. The ends that come out of the receiver are for [`run`].
    pub(super) fn new(root: &Dir) -> (Self, mpsc::UnboundedReceiver<End>) {
        let (ends, receiver) = mpsc::unbounded_channel();
        (Self { file: LogFile::default(), usual_place: root.path().join(NAME), ends }, receiver)
    }

    /// Has an end written as soon as that can be done.
    pub(super) fn end(&self, end: End) {
        // Only a pipe that ends has no receiver any more; the next one looks for the mark.
        let _ = self.ends.send(end);
    }
}

impl Pipe {
    /// Writes one entry. It waits for the disk to take it, not for it to be durable.
    fn audit_one(&self, task: &TaskId, by: &Origin, event: Event) -> Result<(), RecordError> {
        let config = self.site.current().audit.clone();
        let place = config.file.as_ref().unwrap_or(&self.audit.usual_place);
        let entry = Entry { at: Timestamp::now(), task: task.clone(), by: by.clone(), event };
        self.audit.file.append(place, &config, &entry)
    }

    /// That a task is going to be started. `again`: by a pipe that does not know whether that was written before.
    pub(super) fn audit_accepted(&self, intent: &Intent, told: Vec<String>, again: bool) -> Result<(), RecordError> {
        let event = Event::Accepted { what: What::of(&intent.spec), told, again };
        self.audit_one(&intent.id, &intent.spec.origin, event)
    }

    /// The same, of a task that is on disk.
    pub(super) fn audit_accepted_again(&self, task: &TaskDir) -> Result<(), RecordError> {
        match task.intent()? {
            Some(intent) => self.audit_accepted(&intent, Vec::new(), true),
            None => Ok(()),
        }
    }

    /// That a task is refused, by the site or, for a line of the FIFO, for another reason.
    pub(super) fn audit_denied(&self, id: &TaskId, asked: &TaskSpec, reasons: Vec<String>) -> Result<(), RecordError> {
        self.audit_one(id, &asked.origin, Event::Denied { what: What::of(asked), reasons })
    }

    /// That somebody enters a task, or wanted to.
    fn audit_stream(
        &self,
        id: &TaskId,
        by: &Origin,
        asked: &StreamRequest,
        denied: &[String],
    ) -> Result<(), RecordError> {
        let (kind, user, argv) = match asked {
            StreamRequest::Exec { argv, user, .. } => (StreamKind::Exec, user, cut_all(argv)),
            StreamRequest::Attach { user, .. } => (StreamKind::Attach, user, Vec::new()),
        };
        let event = Event::Stream {
            kind: kind.word().to_owned(),
            user: user.clone(),
            argv,
            port: None,
            denied: denied.to_vec(),
        };
        self.audit_one(id, by, event)
    }

    /// That somebody is connected to a port of a pod, or wanted to.
    pub(super) fn audit_forward(
        &self,
        id: &TaskId,
        by: &Origin,
        port: u16,
        user: String,
        denied: Vec<String>,
    ) -> Result<(), ApiError> {
        let kind = StreamKind::PortForward.word().to_owned();
        let event = Event::Stream { kind, user, argv: Vec::new(), port: Some(port), denied };
        self.audit_one(id, by, event).map_err(|e| not_written(&e))
    }

    /// Waits until a task's end is in the audit log: before that its records may not go.
    pub(super) async fn await_audit(self: &Arc<Self>, view: &TaskView) -> Result<(), ApiError> {
        let (pipe, id) = (Arc::clone(self), view.id.clone());
        let is_marked = move || TaskDir { dir: pipe.tasks.open_dir(id.as_str())? }.is_audited();
        match self.blocking.run(is_marked).await {
            Ok(true) => return Ok(()),
            // An earlier try has moved the records away.
            Err(e) if e.is_not_found() => return Ok(()),
            Ok(false) | Err(_) => {}
        }
        let (tell, told) = oneshot::channel();
        self.audit.end(End { view: view.clone(), found: false, tell: Some(tell) });
        let why = match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "the pipe ends".to_owned(),
            Err(_) => format!("the disk has not taken it within {PATIENCE:?}"),
        };
        let message = format!("the end of task {} is not in the audit log yet, so its records stay: {why}", view.id);
        Err(ApiError { reason: ErrorReason::Conflict, message })
    }

    /// Asks the site about a stream, and writes down what it said. Only then may anything of the stream be done.
    pub(super) async fn permit_stream(self: &Arc<Self>, id: &TaskId, asked: &StreamRequest) -> Result<(), ApiError> {
        let view = self.table.get(id).ok_or_else(|| no_task(id))?;
        let (pipe, id, asked) = (Arc::clone(self), id.clone(), asked.clone());
        let work = move || {
            let verdict = pipe.site.may_stream(&id, &view.origin, &asked);
            let reasons = verdict.as_ref().map_or_else(Denied::reasons, |()| Vec::new());
            pipe.audit_stream(&id, &view.origin, &asked, &reasons).map_err(|e| not_written(&e))?;
            verdict.map_err(|denied| super::site::refusal(&denied))
        };
        self.blocking.run(work).await
    }
}

/// The refusal of what cannot be written down.
pub(super) fn not_written(e: &RecordError) -> ApiError {
    failure("it cannot be written to the audit log, and what cannot is not done", e)
}
