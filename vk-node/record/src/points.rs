//! The moments of a task's life at which a crash test stops a process, to kill it or another just then.
//!
//! ```text
//!  node            pipe                       shim                          child at the gate
//!  start ────────▶ RequestRead
//!                  TaskDirMade
//!                  ScriptWritten
//!                  IntentWritten
//!                  IntentSynced
//!                  IntentRenamed
//!                  IntentDurable
//!                  TaskDirDurable
//!                  StartAudited
//!                  ShimSpawned ─────────────▶ ShimBegun
//!       ◀───────── StartAnswered              ShimLocked
//!                                             IntentRead
//!                                             ChildForked ─────────────────▶ (waits)
//!                                             StartWritten
//!                                             StartSynced
//!                                             StartRenamed
//!                                             StartDurable
//!                                             GateOpened ──────────────────▶ Exec
//!                                             ExecSeen ◀──────────────────── (is the program)
//!                                             FirstOutput
//!  stop ─────────▶ StopDurable ─────────────▶ StopSeen ──── SIGTERM ───────▶
//!                                             MainExitSeen ◀──────────────── (ends)
//!                                             TreeGone
//!                                             OutputDrained
//!                                             ContainerGone
//!                                             ExitWritten
//!                                             ExitSynced
//!                                             ExitRenamed
//!                                             ExitDurable
//!                  ExitRead ◀──────────────── Rung
//!  EndReceived ◀── EndTold
//!                  EndAudited
//!  EndReported ──▶ ReportedMarked
//!  remove ───────▶ RemoveRequested
//!                  MovedToTrash
//!                  IntentGone
//!  RemoveAnswered◀ Removed
//!                       shim lost:
//!                  LossFound
//!                  UnknownSynced
//!                  UnknownRenamed
//!                  UnknownDurable
//! ```
//!
//! Without the feature `testing`, which only tests turn on, [`reach`] is nothing and none of this is in the program.
//! With it, the first process that reaches the point named in [`VARIABLE`] stops there with all its threads, and says so
//! by a file that is named like the point and holds the process's number.

use crate::names;

/// A point. They are in the order of a task's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "testing", derive(strum::VariantArray, strum::EnumString, strum::IntoStaticStr))]
pub enum Point {
    /// Pipe: a request to start a task was read and found good.
    RequestRead,
    /// Pipe: the task has a directory.
    TaskDirMade,
    /// Pipe: the script is in it.
    ScriptWritten,
    /// Pipe: the intent is written, under a name for the time being.
    IntentWritten,
    /// Pipe: what is in it is durable.
    IntentSynced,
    /// Pipe: it has its name.
    IntentRenamed,
    /// Pipe: its name is durable.
    IntentDurable,
    /// Pipe: the name of the task's directory is durable.
    TaskDirDurable,
    /// Pipe: that the task was accepted is in the audit log.
    StartAudited,
    /// Pipe: a shim was started.
    ShimSpawned,
    /// Pipe: the request to start is about to be answered.
    StartAnswered,
    /// Shim: it has opened the task's directory.
    ShimBegun,
    /// Shim: it holds the lock.
    ShimLocked,
    /// Shim: it knows what is to be started.
    IntentRead,
    /// Shim: a child waits at the gate.
    ChildForked,
    /// Shim: the start is written, under a name for the time being.
    StartWritten,
    /// Shim: what is in it is durable.
    StartSynced,
    /// Shim: it has its name.
    StartRenamed,
    /// Shim: its name is durable.
    StartDurable,
    /// Shim: the gate is open.
    GateOpened,
    /// Child: it is about to become the program.
    Exec,
    /// Shim: it knows that the child has become the program.
    ExecSeen,
    /// Shim: the program has written something.
    FirstOutput,
    /// Pipe: a request to stop is durable.
    StopDurable,
    /// Shim: it has read that request.
    StopSeen,
    /// Shim: the main process has ended.
    MainExitSeen,
    /// Shim: no process of the task is left.
    TreeGone,
    /// Shim: all output is in the log.
    OutputDrained,
    /// Shim: what a container runtime would have left is gone. (Only of tasks that run in one.)
    ContainerGone,
    /// Shim: the end is written, under a name for the time being.
    ExitWritten,
    /// Shim: what is in it is durable.
    ExitSynced,
    /// Shim: it has its name.
    ExitRenamed,
    /// Shim: its name is durable.
    ExitDurable,
    /// Shim: it has rung at the pipe.
    Rung,
    /// Pipe: it has read the end.
    ExitRead,
    /// Pipe: the watchers have been told of the end.
    EndTold,
    /// Pipe: the end is in the audit log, durably.
    EndAudited,
    /// Node: it has been told of the end.
    EndReceived,
    /// Node: it has reported the end, durably.
    EndReported,
    /// Pipe: that the end was reported is written down.
    ReportedMarked,
    /// Pipe: a request to remove the records was read and found good.
    RemoveRequested,
    /// Pipe: the records are in the trash.
    MovedToTrash,
    /// Pipe: the intent is gone, so that nobody can start the task from what is left.
    IntentGone,
    /// Pipe: all records are gone.
    Removed,
    /// Node: it knows that.
    RemoveAnswered,
    /// Pipe: a task without a shim was found, and nothing is left of it.
    LossFound,
    /// Pipe: that nobody saw the end is written and durable, under a name for the time being.
    UnknownSynced,
    /// Pipe: it has its name.
    UnknownRenamed,
    /// Pipe: its name is durable.
    UnknownDurable,
}

/// How far a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Written,
    Synced,
    Renamed,
    Durable,
}

/// The variable that arms a process: the point's name, `@`, and the directory in which to say that it was reached.
pub const VARIABLE: &str = "VK_TEST_POINT";

/// The record `name` is at `stage`.
pub(crate) fn reach_stage(name: &str, stage: Stage) {
    let point = match (name, stage) {
        (names::SCRIPT, Stage::Durable) => Point::ScriptWritten,
        (names::INTENT, Stage::Written) => Point::IntentWritten,
        (names::INTENT, Stage::Synced) => Point::IntentSynced,
        (names::INTENT, Stage::Renamed) => Point::IntentRenamed,
        (names::INTENT, Stage::Durable) => Point::IntentDurable,
        (names::START, Stage::Written) => Point::StartWritten,
        (names::START, Stage::Synced) => Point::StartSynced,
        (names::START, Stage::Renamed) => Point::StartRenamed,
        (names::START, Stage::Durable) => Point::StartDurable,
        (names::STOP, Stage::Durable) => Point::StopDurable,
        (names::EXIT, Stage::Written) => Point::ExitWritten,
        (names::EXIT, Stage::Synced) => Point::ExitSynced,
        (names::EXIT, Stage::Renamed) => Point::ExitRenamed,
        (names::EXIT, Stage::Durable) => Point::ExitDurable,
        (names::UNKNOWN, Stage::Synced) => Point::UnknownSynced,
        (names::UNKNOWN, Stage::Renamed) => Point::UnknownRenamed,
        (names::UNKNOWN, Stage::Durable) => Point::UnknownDurable,
        _ => return,
    };
    reach(point);
}

/// What a process that is started with a clean environment must be given, so that a test reaches it too.
#[cfg(not(feature = "testing"))]
#[inline(always)]
#[must_use]
pub fn inherited() -> [(&'static str, String); 0] {
    []
}

/// What a process that is started with a clean environment must be given, so that a test reaches it too.
#[cfg(feature = "testing")]
#[must_use]
pub fn inherited() -> Vec<(&'static str, String)> {
    let value = |name| Some((name, std::env::var(name).ok()?));
    [VARIABLE, crate::faults::VARIABLE_OF_SHIMS].into_iter().filter_map(value).collect()
}

/// A point is reached.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn reach(_point: Point) {}

#[cfg(feature = "testing")]
pub use armed::reach;

#[cfg(feature = "testing")]
mod armed {
    use std::fs::{self, OpenOptions};
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Point, VARIABLE};

    static ARMED: LazyLock<Option<(Point, PathBuf)>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (point, directory) = text.split_once('@')?;
        Some((point.parse().ok()?, directory.into()))
    });

    /// A point is reached: stops here if it is the one, and this process the first to come to it.
    pub fn reach(point: Point) {
        if let Some((armed, directory)) = &*ARMED
            && *armed == point
        {
            stop(point, directory);
        }
    }

    fn stop(point: Point, directory: &Path) {
        let name: &str = point.into();
        let file = directory.join(name);
        if OpenOptions::new().write(true).create_new(true).open(&file).is_err() {
            return;
        }
        // Under another name first, so that whoever waits for the file finds the number in it.
        let written = directory.join(format!("{name}.new"));
        let said = fs::write(&written, std::process::id().to_string()).and_then(|()| fs::rename(&written, &file));
        // The whole process stops. This thread may go on for an instant until it does, so it waits by itself too.
        if said.is_ok() && kill_process(getpid(), Signal::STOP).is_ok() {
            while !directory.join(format!("{name}.released")).exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
