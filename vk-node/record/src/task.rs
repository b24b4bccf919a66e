//! The records of one task.

use std::path::PathBuf;

use std::process::Stdio;

use jiff::Timestamp;
use rustix::fs::Mode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vk_task::{
    End, HostSetup, Launch, LimitKind, Lingering, Origin, Program, StartFailure, StopRequest, TaskId, TaskSpec,
    TaskState, TaskView,
};

use crate::process::Identity;
use crate::{Dir, RecordError, Version, names};

/// `intent.json`: what was asked, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The record's version.
    pub version: Version,
    /// The task.
    pub id: TaskId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What was asked.
    pub spec: TaskSpec,
    /// How it is started at this site.
    #[serde(default)]
    pub launch: Launch,
    /// What has been made ready for it on the host.
    #[serde(default)]
    pub setup: HostSetup,
}

/// The part of `intent.json` that a view of the task needs: the rest may be long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentHead {
    /// The record's version.
    pub version: Version,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What was asked, as far as it matters here.
    spec: SpecHead,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct SpecHead {
    origin: Origin,
}

/// `start.json`: that the task was started, and as which process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The record's version.
    pub version: Version,
    /// Which process it is, of all that ever were on this host.
    #[serde(flatten)]
    pub process: Identity,
    /// The mark that all its processes carry in their environment: see [`vk_task::RUN_VARIABLE`].
    pub run: String,
    /// When the gate was opened.
    pub started_at: Timestamp,
    /// The cgroup (version 2) that holds all its processes and no other, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

/// `exit.json`: how the task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The record's version.
    pub version: Version,
    /// When the gate was opened, or when it was found that it never would be.
    pub started_at: Timestamp,
    /// When the end was seen.
    pub finished_at: Timestamp,
    /// How it ended.
    pub end: End,
    /// The limit that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<LimitKind>,
    /// Its last words, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<String>,
}

/// `unknown.json`: that nobody saw how the task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// The record's version.
    pub version: Version,
    /// When the gate was opened.
    pub started_at: Timestamp,
    /// When the loss was noticed.
    pub noticed_at: Timestamp,
    /// What is known of it, for people.
    pub message: String,
}

/// `stop.json`: that the task is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The record's version.
    pub version: Version,
    /// The request.
    #[serde(flatten)]
    pub request: StopRequest,
}

/// `lingering.json`: the processes that were killed and do not end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LingeringProcesses {
    /// The record's version.
    pub version: Version,
    /// The processes; none when there were some and they have ended.
    pub processes: Vec<Lingering>,
}

/// All that a task's records say, apart from the whole of what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// That it was started.
    pub start: Option<Start>,
    /// That it is to end.
    pub stop: Option<StopRequest>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// That nobody saw how it ended.
    pub lost: Option<Lost>,
    /// Processes that were killed and do not end.
    pub lingering: Vec<Lingering>,
    /// Its end has been told of by whoever asked for it.
    pub reported: bool,
}

/// The directory of one task.
#[derive(Debug)]
pub struct TaskDir {
    /// The directory.
    pub dir: Dir,
}

impl TaskDir {
    /// Where the task's shim complains, and what is run in its stead: nowhere, if that cannot be opened.
    #[must_use]
    pub fn complaints(&self) -> Stdio {
        self.dir.append_to(names::SHIM_ERR).map_or_else(|_| Stdio::null(), Stdio::from)
    }

    /// Makes the intent durable, the script before it. The directory's own name must be made durable by the caller.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when there is an intent; others when it could not be written.
    pub fn write_intent(&self, intent: &Intent) -> Result<(), RecordError> {
        if let Program::Script { text, .. } = &intent.spec.program {
            self.dir.write(names::SCRIPT, text.as_bytes(), Mode::RWXU)?;
        }
        self.write_new_or_nothing(names::INTENT, intent)
    }

    /// What was asked.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn intent(&self) -> Result<Option<Intent>, RecordError> {
        self.read(names::INTENT)
    }

    /// What was asked, as far as a view needs it.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn intent_head(&self) -> Result<Option<IntentHead>, RecordError> {
        self.read(names::INTENT)
    }

    /// Records the start. Only for the holder of the task's lock.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when the task was started before; others when it could not be written. The gate stays closed
    /// then, and it is taken back if it was there for a moment, so that another may start the task.
    pub fn write_start(&self, start: &Start) -> Result<(), RecordError> {
        self.write_new_or_nothing(names::START, start)
    }

    /// Records the end. Only for the holder of the task's lock.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when the end was recorded before, durably; others when it could not be written durably: it
    /// may be there, and is to be written again.
    pub fn write_exit(&self, exit: &Exit) -> Result<(), RecordError> {
        self.write_new(names::EXIT, exit)
    }

    /// Records that nobody saw the end. Only for the holder of the task's lock.
    ///
    /// # Errors
    /// [`RecordError::Exists`] when that was recorded before, durably; others when it could not be written durably: it may
    /// be there, and is to be written again.
    pub fn write_lost(&self, lost: &Lost) -> Result<(), RecordError> {
        self.write_new(names::UNKNOWN, lost)
    }

    /// Records a request to end the task, in place of an earlier one.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_stop(&self, request: &StopRequest) -> Result<(), RecordError> {
        let stop = Stop { version: Version, request: request.clone() };
        self.dir.write(names::STOP, &self.json(names::STOP, &stop)?, Mode::RUSR | Mode::WUSR)
    }

    /// The request to end the task.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn stop(&self) -> Result<Option<StopRequest>, RecordError> {
        Ok(self.read::<Stop>(names::STOP)?.map(|s| s.request))
    }

    /// Records which processes were killed and do not end, in place of what was recorded before.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_lingering(&self, processes: &LingeringProcesses) -> Result<(), RecordError> {
        self.dir.write(names::LINGERING, &self.json(names::LINGERING, processes)?, Mode::RUSR | Mode::WUSR)
    }

    /// All that is known of the task's life.
    ///
    /// # Errors
    /// When a record cannot be read or makes no sense.
    pub fn facts(&self) -> Result<Facts, RecordError> {
        // What comes later in a life is read first: read the other way round, an end written in between would be seen
        // with the start it follows missing.
        let exit = self.read(names::EXIT)?;
        let lost = self.read(names::UNKNOWN)?;
        let start = self.read(names::START)?;
        let stop = self.stop()?;
        let lingering = self.read::<LingeringProcesses>(names::LINGERING)?.map(|l| l.processes).unwrap_or_default();
        let reported = self.dir.stat(names::REPORTED)?.is_some();
        Ok(Facts { start, stop, exit, lost, lingering, reported })
    }

    /// Takes down that whoever asked for the task has told of its end. Not durable: if it is lost, the end is told again
    /// and the records stay for longer.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write_reported(&self) -> Result<(), RecordError> {
        self.dir.append_to(names::REPORTED).map(drop)
    }

    /// How much room the task's files take on disk, in bytes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn bytes_on_disk(&self) -> Result<u64, RecordError> {
        // The unit of `st_blocks`, whatever the file system: see stat(3type).
        const BLOCK_BYTES: u64 = 512;
        let mut bytes = 0;
        // A file may go while this looks.
        for stat in self.dir.entries()?.iter().filter_map(|name| self.dir.stat(name).transpose()) {
            bytes += u64::try_from(stat?.st_blocks).unwrap_or(0) * BLOCK_BYTES;
        }
        Ok(bytes)
    }

    /// Marks that the task's end is in the audit log. The mark need not be durable: without it, the end is written once
    /// more.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn mark_audited(&self) -> Result<(), RecordError> {
        self.dir.append_to(names::AUDITED).map(drop)
    }

    /// Whether it was marked so.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_audited(&self) -> Result<bool, RecordError> {
        Ok(self.dir.stat(names::AUDITED)?.is_some())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RecordError> {
        let Some(bytes) = self.dir.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecordError::Malformed { path: self.dir.path().join(name), source })
    }

    fn write_new<T: Serialize>(&self, name: &str, record: &T) -> Result<(), RecordError> {
        self.dir.write_new(name, &self.json(name, record)?, Mode::RUSR | Mode::WUSR)
    }

    fn write_new_or_nothing<T: Serialize>(&self, name: &str, record: &T) -> Result<(), RecordError> {
        self.dir.write_new_or_nothing(name, &self.json(name, record)?, Mode::RUSR | Mode::WUSR)
    }

    fn json<T: Serialize>(&self, name: &str, record: &T) -> Result<Vec<u8>, RecordError> {
        let mut bytes = serde_json::to_vec_pretty(record)
            .map_err(|source| RecordError::Malformed { path: self.dir.path().join(name), source })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Exit {
    /// Of a task that was never started.
    #[must_use]
    pub fn never_started(at: Timestamp, failure: StartFailure, message: String) -> Self {
        let end = End::NotStarted { failure, message };
        Self { version: Version, started_at: at, finished_at: at, end, exceeded: None, termination_message: None }
    }
}

impl Facts {
    /// Whether nothing more can become of the task.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.exit.is_some() || self.lost.is_some()
    }
}

impl IntentHead {
    /// The head of `intent`.
    #[must_use]
    pub fn of(intent: &Intent) -> Self {
        let Intent { version, id: _, accepted_at, spec, launch: _, setup: _ } = intent;
        Self { version: *version, accepted_at: *accepted_at, spec: SpecHead { origin: spec.origin.clone() } }
    }

    /// Who asked.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.spec.origin
    }
}

/// Where a task is in its life.
#[must_use]
pub fn state_of(accepted_at: Timestamp, facts: &Facts) -> TaskState {
    match facts {
        Facts { exit: Some(exit), .. } => TaskState::Ended {
            started_at: exit.started_at,
            finished_at: exit.finished_at,
            end: exit.end.clone(),
            exceeded: exit.exceeded,
        },
        Facts { lost: Some(lost), .. } => TaskState::Unknown {
            started_at: lost.started_at,
            noticed_at: lost.noticed_at,
            message: lost.message.clone(),
        },
        Facts { start: Some(start), .. } => TaskState::Running { pid: start.process.pid, started_at: start.started_at },
        Facts { start: None, exit: None, lost: None, .. } => TaskState::Accepted { at: accepted_at },
    }
}

/// The task as the API shows it.
#[must_use]
pub fn view_of(id: &TaskId, head: &IntentHead, facts: &Facts) -> TaskView {
    TaskView {
        id: id.clone(),
        origin: head.origin().clone(),
        state: state_of(head.accepted_at, facts),
        stop: facts.stop.clone(),
        // What is final has none left.
        lingering: if facts.is_final() { Vec::new() } else { facts.lingering.clone() },
        reported: facts.reported,
        termination_message: facts.exit.as_ref().and_then(|exit| exit.termination_message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_task::{Leftovers, ScriptRunner};

    fn fresh() -> (tempfile::TempDir, TaskDir) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(temporary.path()).unwrap();
        (temporary, TaskDir { dir })
    }

    fn intent() -> Intent {
        let program =
            Program::Script { text: "echo".into(), runner: ScriptRunner::Shell { path: "/bin/sh".to_owned() } };
        let spec = TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Kill);
        let id = TaskId::new("t").unwrap();
        let (launch, setup) = (Launch::Direct, HostSetup::default());
        Intent { version: Version, id, accepted_at: Timestamp::UNIX_EPOCH, spec, launch, setup }
    }

    const T: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn records_come_back() {
        let (_temporary, task) = fresh();
        assert_eq!(task.intent().unwrap(), None);
        assert_eq!(task.facts().unwrap(), Facts::default());
        task.write_intent(&intent()).unwrap();
        assert_eq!(task.intent().unwrap(), Some(intent()));
        assert_eq!(task.intent_head().unwrap(), Some(IntentHead::of(&intent())));
        assert_eq!(task.dir.read(names::SCRIPT).unwrap().unwrap(), b"echo");
        let process = Identity { pid: 7, start_ticks: 8, boot_id: "b".into() };
        let start = Start { version: Version, process, run: "r".into(), started_at: T, cgroup: None };
        task.write_start(&start).unwrap();
        assert!(matches!(task.write_start(&start), Err(RecordError::Exists { .. })));
        let request = StopRequest { kill_at: T, reason: "r".into() };
        task.write_stop(&request).unwrap();
        let exit = Exit {
            version: Version,
            started_at: T,
            finished_at: T,
            end: End::Exited { code: 3 },
            exceeded: None,
            termination_message: Some("m".into()),
        };
        task.write_exit(&exit).unwrap();
        let facts = Facts { start: Some(start), stop: Some(request), exit: Some(exit), ..Facts::default() };
        assert_eq!(task.facts().unwrap(), facts);
        task.write_reported().unwrap();
        task.write_reported().unwrap();
        assert_eq!(task.facts().unwrap(), Facts { reported: true, ..facts });
        let before = task.bytes_on_disk().unwrap();
        task.dir.write("more", &[1; 100_000], Mode::RUSR | Mode::WUSR).unwrap();
        assert!(before > 0 && task.bytes_on_disk().unwrap() >= before + 100_000);
    }

    #[test]
    fn each_record_is_a_step_in_life() {
        let mut facts = Facts::default();
        assert_eq!(state_of(T, &facts), TaskState::Accepted { at: T });
        let process = Identity { pid: 7, start_ticks: 8, boot_id: "b".into() };
        facts.start = Some(Start { version: Version, process, run: "r".into(), started_at: T, cgroup: None });
        assert_eq!(state_of(T, &facts), TaskState::Running { pid: 7, started_at: T });
        facts.lost = Some(Lost { version: Version, started_at: T, noticed_at: T, message: "m".into() });
        assert!(matches!(state_of(T, &facts), TaskState::Unknown { .. }));
        // A fact wins over its absence.
        facts.exit = Some(Exit {
            version: Version,
            started_at: T,
            finished_at: T,
            end: End::Exited { code: 0 },
            exceeded: None,
            termination_message: None,
        });
        assert!(matches!(state_of(T, &facts), TaskState::Ended { .. }));
    }

    #[test]
    fn other_versions_and_garbage_are_refused() {
        let (_temporary, task) = fresh();
        let private = Mode::RUSR | Mode::WUSR;
        for text in [
            &br#"{"version":2,"startedAt":"2026-01-01T00:00:00Z"}"#[..],
            b"",
            b"{",
            b"null",
            b"\xff",
            br#"{"version":1}"#,
        ] {
            task.dir.write(names::EXIT, text, private).unwrap();
            assert!(matches!(task.facts(), Err(RecordError::Malformed { .. })), "{text:?}");
        }
    }
}
