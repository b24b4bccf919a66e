//! The shim's work, from the lock to the end.

use std::path::Path;

use jiff::Timestamp;
use vk_record::points::{Point, reach};
use vk_record::process::new_mark;
use vk_record::runtime::Removal;
use vk_record::{Dir, Exit, Intent, Lock, TaskDir, names};
use vk_task::{CGROUP_VARIABLE, End, Launch, OPEN_FILES_VARIABLE, Origin, Security, StartFailure};

use crate::cgroup::Held;
use crate::command::{Command, client_command, command};
use crate::end::{record_end, stopped_message};
use crate::gate::Failure;
use crate::last_words::LastWords;
use crate::limits::Confinement;
use crate::notify::Notifier;
use crate::prepare::prepare;
use crate::start::start;
use crate::watch::Watch;
use crate::{ShimError, remove};

/// Does all of it. Returns early and quietly when another shim has this task, or had it.
pub(crate) fn run(path: &Path, pipe: &Path) -> Result<(), ShimError> {
    let signals = prepare()?;
    let task = TaskDir { dir: open_task(path)? };
    let root = Dir::open(pipe)?;
    reach(Point::ShimBegun);
    let Some(_lock) = Lock::try_take(&task.dir, names::LOCK)? else { return Ok(()) };
    reach(Point::ShimLocked);
    let facts = task.facts()?;
    if facts.start.is_some() || facts.is_final() {
        return Ok(());
    }
    let intent = task.intent()?.ok_or_else(|| ShimError::NoIntent(path.to_owned()))?;
    reach(Point::IntentRead);
    // What a line of the FIFO writes also goes where the original had it.
    let copies = if matches!(intent.spec.origin, Origin::Fifo { .. }) { Some(root.try_clone()?) } else { None };
    let mut notifier = Notifier::new(root, intent.id.to_string());

    if let Some(stop) = facts.stop {
        record_end(&task, &Exit::never_started(Timestamp::now(), StartFailure::Stopped, stopped_message(&stop)), None);
        notifier.ring_end();
        return Ok(());
    }
    let last_words = LastWords::of(&intent);
    let (leftovers, stdio, limits) = (intent.spec.leftovers, intent.spec.stdio, intent.spec.limits.clone());
    let run = new_mark().map_err(ShimError::system("make a mark for the task's processes"))?;
    let mut held = Held::make(&intent.id, &run, &limits);
    let (command, removal) = plan(path, &run, &held, intent)?;
    let (mut exit, relay) = match start(&task, run, &command, stdio, &limits, &mut held)? {
        Ok(mut started) => {
            if let Some(dir) = copies {
                started.relay.copy_to(dir);
            }
            Watch::new(&task, &command, leftovers, signals, &mut notifier, started, &held).attend()
        }
        Err(Failure { kind, message }) => (Exit::never_started(Timestamp::now(), kind, message), None),
    };
    // Who connects from now on is told that nobody listens.
    let _ = task.dir.remove_file(names::CONTROL);
    // What was never executed has left nothing behind.
    if let Some(removal) = removal.filter(|_| !matches!(exit.end, End::NotStarted { .. })) {
        remove::remove(&removal, &task, &mut notifier);
        reach(Point::ContainerGone);
    }
    drop(held);
    exit.termination_message = last_words.and_then(|words| words.read(&task, &exit));
    record_end(&task, &exit, relay);
    notifier.ring_end();
    reach(Point::Rung);
    Ok(())
}

/// Opens a task's directory, `<records>/tasks/<id>`, step by step: where the records are is the user's word, but beneath
/// that no link is followed, for whoever could put one there would have the shim write elsewhere.
fn open_task(path: &Path) -> Result<Dir, ShimError> {
    let no_task = || ShimError::NoIntent(path.to_owned());
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(no_task);
    let tasks = path.parent().ok_or_else(no_task)?;
    let records = tasks.parent().ok_or_else(no_task)?;
    Ok(Dir::open(records)?.open_dir(&name(tasks)?)?.open_dir(&name(path)?)?)
}

/// What `execve` will be given, and what is to be run when all of that is over. The intent, which may hold a long script,
/// is not needed after that.
fn plan(path: &Path, run: &str, held: &Held, intent: Intent) -> Result<(Command, Option<Removal>), ShimError> {
    let base = || std::env::vars_os().filter(|(name, _)| name != OPEN_FILES_VARIABLE && name != CGROUP_VARIABLE);
    let (command, removal) = match &intent.launch {
        Launch::Direct => {
            let script = path.join(names::SCRIPT);
            (command(&intent.id, run, &intent.spec, &intent.setup, &script, base())?, None)
        }
        Launch::Runtime(launch) => {
            (client_command(launch, &intent.id, run, base())?, Removal::new(launch, &intent.id, run, base()))
        }
    };
    // A client gets its container confined, and may itself need what the container is not to have; unless it is the kind
    // that becomes the container.
    let none = Security::default();
    let security = match &intent.launch {
        Launch::Direct => &intent.spec.security,
        Launch::Runtime(launch) if launch.confine_client => &intent.spec.security,
        Launch::Runtime(_) => &none,
    };
    let confinement = Confinement::new(&intent.spec.limits, security, held, run);
    Ok((Command { confinement, stop_signal: intent.spec.stop_signal.unwrap_or_default(), ..command }, removal))
}
