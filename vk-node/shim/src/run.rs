//! The shim's work, from the lock to the end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use vk_record::points::{Point, reach};
use vk_record::process::{Identity, Stat, boot_id, new_mark};
use vk_record::runtime::Removal;
use vk_record::{Dir, Exit, Intent, Lock, RecordError, Start, TaskDir, Version, chain, names};
use vk_task::{CGROUP_VARIABLE, End, Launch, Limits, OPEN_FILES_VARIABLE, Origin, StartFailure, Stdio, StopRequest};

use crate::cgroup::Held;
use crate::clock::{self, Alarm};
use crate::command::{Command, client_command, command};
use crate::control::Control;
use crate::error::say;
use crate::gate::{Failure, Gated, Report};
use crate::limits::Confinement;
use crate::log::Log;
use crate::notify::Notifier;
use crate::prepare::prepare;
use crate::relay::Relay;
use crate::watch::Watch;
use crate::watchdog::Watchdog;
use crate::{ShimError, remove, stdio};

/// How soon an end that could not be written down is written again, at first and at last.
const RECORD_PAUSE: Duration = Duration::from_millis(50);
const RECORD_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Does all of it. Returns early and quietly when another shim has this task, or had it.
pub(crate) fn run(path: &Path) -> Result<(), ShimError> {
    let signals = prepare()?;
    let task = TaskDir { dir: Dir::open(path)? };
    let root = Dir::open(&path.join("../.."))?;
    reach(Point::ShimBegun);
    let Some(_lock) = Lock::try_take(&task.dir, names::LOCK)? else { return Ok(()) };
    reach(Point::ShimLocked);
    let facts = task.facts()?;
    if facts.start.is_some() || facts.exit.is_some() || facts.lost.is_some() {
        return Ok(());
    }
    let intent = task.intent()?.ok_or_else(|| ShimError::NoIntent(path.to_owned()))?;
    reach(Point::IntentRead);
    // What a line of the FIFO writes also goes where the original had it.
    let copies = if matches!(intent.spec.origin, Origin::Fifo { .. }) { Some(root.try_clone()?) } else { None };
    let mut notifier = Notifier::new(root, intent.id.to_string());

    if let Some(stop) = facts.stop {
        record_end(&task, &never_started(Timestamp::now(), StartFailure::Stopped, stopped_message(&stop)), None);
        notifier.ring_end();
        return Ok(());
    }
    let (leftovers, stdio, limits) = (intent.spec.leftovers, intent.spec.stdio, intent.spec.limits.clone());
    let run = new_mark().map_err(ShimError::system("make a mark for the task's processes"))?;
    let mut held = Held::make(&intent.id, &run, &limits);
    let (command, removal) = plan(path, &run, &held, intent)?;
    let (exit, relay) = match start(&task, run, &command, stdio, &limits, &mut held)? {
        Ok(mut started) => {
            if let Some(dir) = copies {
                started.relay.copy_to(dir);
            }
            Watch::new(&task, &command, leftovers, signals, &mut notifier, started, &held).attend()
        }
        Err(Failure { kind, message }) => (never_started(Timestamp::now(), kind, message), None),
    };
    // Who connects from now on is told that nobody listens.
    let _ = task.dir.remove_file(names::CONTROL);
    // What was never executed has left nothing behind.
    if let Some(removal) = removal.filter(|_| !matches!(exit.end, End::NotStarted { .. })) {
        remove::remove(&removal, &task, &mut notifier);
        reach(Point::ContainerGone);
    }
    drop(held);
    record_end(&task, &exit, relay);
    notifier.ring_end();
    reach(Point::Rung);
    Ok(())
}

/// What `execve` will be given, and what is to be run when all of that is over. The intent, which may hold a long script,
/// is not needed after that.
fn plan(path: &Path, run: &str, held: &Held, intent: Intent) -> Result<(Command, Option<Removal>), ShimError> {
    let base = || std::env::vars_os().filter(|(name, _)| name != OPEN_FILES_VARIABLE && name != CGROUP_VARIABLE);
    let (command, removal) = match &intent.launch {
        Launch::Direct => (command(&intent.id, run, &intent.spec, &path.join(names::SCRIPT), base())?, None),
        Launch::Runtime(launch) => {
            (client_command(launch, &intent.id, run, base())?, Removal::new(launch, &intent.id, run, base()))
        }
    };
    Ok((Command { confinement: Confinement::new(&intent.spec.limits, held, run), ..command }, removal))
}

/// A task whose program has been let go.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    /// By which it is seen to end, and sent signals.
    pub(crate) main: OwnedFd,
    pub(crate) relay: Relay,
    pub(crate) control: Control,
    pub(crate) report: Report,
    pub(crate) at: Timestamp,
    /// When its wall time is over, by the clock of the boot.
    pub(crate) wall_over: Option<Duration>,
    pub(crate) alarm: Option<Alarm>,
    pub(crate) watchdog: Option<Watchdog>,
}

/// Starts the program; or says why it is not started, of which a stop that came before is one reason.
fn start(
    task: &TaskDir,
    run: String,
    command: &Command,
    stdio: Stdio,
    limits: &Limits,
    held: &mut Held,
) -> Result<Result<Started, Failure>, ShimError> {
    // All that can fail comes before the start is on record, for then nothing has happened.
    let log = Log::open(task, limits.log)?;
    let alarm = limits.wall_seconds.map(|_| Alarm::new()).transpose()?;
    let (theirs, ours) = match stdio::make(stdio) {
        Ok(made) => made,
        Err(e) => return Ok(Err(Failure { kind: StartFailure::Other, message: chain(&e) })),
    };
    let control = Control::new(&task.dir, ours.input);
    let gated = Gated::fork(command, theirs)?;
    reach(Point::ChildForked);
    let pid = gated.pid;
    if let (false, Some(group)) = (gated.entered, &held.group)
        && let Err(e) = group.add(pid.as_raw_nonzero().get())
    {
        held.give_up(&e);
    }
    let main =
        pidfd_open(pid, PidfdFlags::empty()).map_err(ShimError::system("get a descriptor of the new process"))?;
    let stat = Stat::of(pid.as_raw_nonzero().get())
        .ok_or_else(|| ShimError::system("see the new process in /proc")(io::Error::from(Errno::SRCH)))?;
    let process = Identity {
        pid: stat.pid,
        start_ticks: stat.start_ticks,
        boot_id: boot_id().map_err(ShimError::system("read the id of this boot"))?,
    };
    if let Some(stop) = task.stop()? {
        gated.close();
        return Ok(Err(Failure { kind: StartFailure::Stopped, message: stopped_message(&stop) }));
    }
    let at = Timestamp::now();
    // If this fails the shim ends, and with it the child at the gate: it never ran, and another shim may start it. Only
    // where the record can neither be made durable nor taken back, the end of what never ran is unknown: the safe side.
    let cgroup = held.group.as_ref().map(|group| group.path().to_owned());
    task.write_start(&Start { version: Version, process, run, started_at: at, cgroup })?;
    let wall_over = limits.wall_seconds.map(|n| clock::boot().saturating_add(Duration::from_secs(n)));
    let report = gated.open();
    reach(Point::GateOpened);
    if let (Some(alarm), Some(over)) = (&alarm, wall_over) {
        alarm.set(over);
    }
    let watchdog = Watchdog::new(limits, held.holds, clock::boot());
    let relay = Relay::new(ours.stdout, ours.stderr, log, limits.output_bytes);
    Ok(Ok(Started { pid, main, relay, control, report, at, wall_over, alarm, watchdog }))
}

fn stopped_message(stop: &StopRequest) -> String {
    format!("it was stopped before it was started: {}", stop.reason)
}

fn never_started(at: Timestamp, failure: StartFailure, message: String) -> Exit {
    Exit {
        version: Version,
        started_at: at,
        finished_at: at,
        end: End::NotStarted { failure, message },
        exceeded: None,
    }
}

/// Writes the end down. A full disk is waited out: the end is known nowhere else. What is missing in the log, the log is
/// told before.
fn record_end(task: &TaskDir, exit: &Exit, mut relay: Option<Relay>) {
    let mut pause = RECORD_PAUSE;
    loop {
        if let Some(relay) = &mut relay {
            relay.flush_pending();
        }
        match task.write_exit(exit) {
            Ok(()) | Err(RecordError::Exists { .. }) => return,
            Err(e) => say(format_args!("the task's end is not written down yet: {}", chain(&e))),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(RECORD_PAUSE_MAX);
    }
}
