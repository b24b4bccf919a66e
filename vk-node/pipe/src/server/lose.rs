//! The end of a task whose shim is gone: nobody saw it, so it is unknown. Before that is written down nothing may be left
//! of the task.
//!
//! ```text
//!   kill its processes ──gone──▶ remove its container ──done──▶ unknown.json
//!        ▲      │ some do not end      │ a command fails
//!        └──────┴──────────────────────┘ told in lingering.json; tried again
//! ```

use jiff::Timestamp;
use tracing::{error, warn};
use vk_record::points::{Point, reach};
use vk_record::runtime::{PATIENCE, Removal};
use vk_record::{LingeringProcesses, Lock, Lost, RecordError, Start, TaskDir, Version, chain, names};
use vk_task::{Launch, Lingering, TaskId};

use super::host;
use super::leftovers::{self, Cleared};

/// What came of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// There is nothing more to do.
    Done,
    /// Something is left, and told of: try again.
    Left,
}

/// Does one round of it.
pub(super) fn lose(id: &TaskId, task: &TaskDir) -> Result<Round, RecordError> {
    let Some(_lock) = Lock::try_take(&task.dir, names::LOCK)? else { return Ok(Round::Done) };
    let facts = task.facts()?;
    let (Some(start), None, None) = (facts.start, facts.exit, facts.lost) else { return Ok(Round::Done) };
    let (message, left) = match leftovers::clear_away(&start) {
        Ok(Cleared::Gone(message)) => remove_container(id, task, &start, message)?,
        Ok(Cleared::Left(left)) => (String::new(), left),
        Err(source) => {
            let action = "end all processes of the lost task in";
            return Err(RecordError::Io { action, path: task.dir.path().to_owned(), source });
        }
    };
    let is_left = !left.is_empty();
    if left != facts.lingering {
        for l in &left {
            warn!("of task {id} there is left: {} (process {}): {}", l.name, l.pid, l.why);
        }
        task.write_lingering(&LingeringProcesses { version: Version, processes: left })?;
    }
    if is_left {
        return Ok(Round::Left);
    }
    warn!("the end of task {id} is unknown: {message}");
    reach(Point::LossFound);
    let (started_at, noticed_at) = (start.started_at, Timestamp::now());
    task.write_lost(&Lost { version: Version, started_at, noticed_at, message })?;
    Ok(Round::Done)
}

/// Removes the task's container, if it has one. Gives what happened, for people, and the container if it is still there.
fn remove_container(
    id: &TaskId,
    task: &TaskDir,
    start: &Start,
    message: String,
) -> Result<(String, Vec<Lingering>), RecordError> {
    let intent = match task.intent() {
        Ok(intent) => intent,
        Err(e @ RecordError::Io { .. }) => return Err(e),
        // It will not make sense later either.
        Err(e) => {
            error!("nothing is known of a container of task {id}: {}", chain(&e));
            let message = format!("{message}; if it had a container, that may be there still: {}", chain(&e));
            return Ok((message, Vec::new()));
        }
    };
    let removal = intent.and_then(|intent| match intent.launch {
        Launch::Direct => None,
        Launch::Runtime(launch) => Removal::new(&launch, id, &start.run, host::base_environment()),
    });
    let left = removal.and_then(|removal| removal.attempt(PATIENCE, || task.complaints()).err());
    Ok((message, left.iter().map(vk_record::runtime::NotRemoved::lingering).collect()))
}
