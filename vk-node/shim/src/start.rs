//! The start of a task: all that can fail first, then the record of the start, then the gate.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use vk_record::points::{Point, reach};
use vk_record::process::{Identity, Stat, boot_id};
use vk_record::{Start, TaskDir, Version, chain};
use vk_task::{Limits, StartFailure, Stdio};

use crate::cgroup::Held;
use crate::clock::{self, Alarm};
use crate::command::Command;
use crate::control::Control;
use crate::end::stopped_message;
use crate::gate::{Failure, Gated, Report};
use crate::log::Log;
use crate::relay::Relay;
use crate::watchdog::Watchdog;
use crate::{ShimError, stdio};

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
pub(crate) fn start(
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
