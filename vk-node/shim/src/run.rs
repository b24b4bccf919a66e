//! The shim's work, from the lock to the end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, WaitStatus, getrlimit, pidfd_open, setrlimit, waitpid,
};
use vk_record::points::{Point, reach};
use vk_record::process::{Identity, Stat, boot_id, new_mark};
use vk_record::runtime::Removal;
use vk_record::{Dir, Exit, Intent, Lock, RecordError, Start, TaskDir, Version, chain, names};
use vk_task::{
    CGROUP_VARIABLE, End, Launch, Leftovers, LimitKind, Limits, OPEN_FILES_VARIABLE, Origin, Signal, StartFailure,
    Stdio, StopRequest, Terminate,
};

use crate::cgroup::Held;
use crate::clock::{self, Alarm};
use crate::command::{Command, client_command, command};
use crate::control::{self, Control};
use crate::error::say;
use crate::gate::{Failure, Gated, Report};
use crate::life::{self, Seen, Step};
use crate::limits::Confinement;
use crate::linger::Lingerers;
use crate::log::Log;
use crate::notify::Notifier;
use crate::relay::Relay;
use crate::watchdog::Watchdog;
use crate::{ShimError, memory, remove, signals, stdio, tree};

/// How long the child's exec is waited for before the shim settles down to wait.
const EXEC_PAUSE: Duration = Duration::from_millis(20);
/// A task that has run for so long may run for long.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How long the beginning of a line waits for its rest before it is written as it is.
const PARTIAL_LINE_PAUSE: Duration = Duration::from_millis(100);
/// How soon a pipe that was too busy to hear is told again.
const RING_PAUSE: Duration = Duration::from_millis(5);
/// How soon a tree that was killed is looked at again, at first and at last.
const KILL_PAUSE: Duration = Duration::from_millis(2);
const KILL_PAUSE_MAX: Duration = Duration::from_secs(5);
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

/// Makes this process a shim: of no session but its own, with its signals in a descriptor, and the parent of all that
/// lose theirs.
fn prepare() -> Result<SignalFd, ShimError> {
    close_inherited();
    lower_open_files();
    let signals = signals::take()?;
    // Here and not in the pipe: with nothing left to do between fork and exec, std starts the shim without copying the
    // pipe's page tables first.
    rustix::process::chdir("/").map_err(ShimError::system("leave the pipe's working directory"))?;
    // It fails for the leader of a process group; then the shim is not in the pipe's group, which is what matters.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"vk-shim");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(ShimError::system("become the parent of orphans"))?;
    Ok(signals)
}

/// Closes what the pipe's own parent may have left open. It would be held for as long as the task runs.
#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet (see `crate::main`), so none of them is owned.
    // A kernel without the call keeps them open, which is untidy and no more.
    let _ = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3, nix::libc::c_uint::MAX, 0) };
}

/// Takes back what the pipe has done to its own limit of open files.
fn lower_open_files() {
    let wanted = std::env::var(OPEN_FILES_VARIABLE).ok().and_then(|text| text.parse().ok());
    if let Some(wanted) = wanted {
        let limit = Rlimit { current: Some(wanted), ..getrlimit(Resource::Nofile) };
        complain("lower the limit of open files", setrlimit(Resource::Nofile, limit).map_err(io::Error::from));
    }
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
struct Started {
    pid: Pid,
    /// By which it is seen to end, and sent signals.
    main: OwnedFd,
    relay: Relay,
    control: Control,
    report: Report,
    at: Timestamp,
    /// When its wall time is over, by the clock of the boot.
    wall_over: Option<Duration>,
    alarm: Option<Alarm>,
    watchdog: Option<Watchdog>,
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

/// The watch over a task that runs.
struct Watch<'a> {
    task: &'a TaskDir,
    command: &'a Command,
    leftovers: Leftovers,
    signals: SignalFd,
    notifier: &'a mut Notifier,
    main: Pid,
    /// The main process, until it has been waited for.
    main_fd: Option<OwnedFd>,
    relay: Relay,
    control: Control,
    alarm: Option<Alarm>,
    watchdog: Option<Watchdog>,
    /// Until the child has said whether it became the program.
    report: Option<Report>,
    failure: Option<Failure>,
    started_at: Timestamp,
    /// When and how the main process ended.
    end: Option<(Timestamp, WaitStatus)>,
    seen: Seen,
    kill_pause: Duration,
    lingerers: Lingerers,
    /// When the shim makes itself small, by the clock of the boot; `None` once it has.
    settled_at: Option<Duration>,
    held: &'a Held,
}

impl<'a> Watch<'a> {
    fn new(
        task: &'a TaskDir,
        command: &'a Command,
        leftovers: Leftovers,
        signals: SignalFd,
        notifier: &'a mut Notifier,
        started: Started,
        held: &'a Held,
    ) -> Self {
        let Started { pid, main, relay, control, report, at, wall_over, alarm, watchdog } = started;
        let seen = Seen {
            main_ended: false,
            children_left: true,
            kill_at: None,
            terminated: false,
            wall_over,
            exceeded: None,
        };
        Self {
            task,
            command,
            leftovers,
            signals,
            notifier,
            main: pid,
            main_fd: Some(main),
            relay,
            control,
            alarm,
            watchdog,
            report: Some(report),
            failure: None,
            started_at: at,
            end: None,
            seen,
            kill_pause: KILL_PAUSE,
            settled_at: Some(clock::boot().saturating_add(SETTLE_PAUSE)),
            lingerers: Lingerers::default(),
            held,
        }
    }

    fn attend(mut self) -> (Exit, Option<Relay>) {
        self.look_for_stop();
        self.wait_until_it_runs();
        loop {
            self.reap();
            match life::next(self.leftovers, &self.seen, clock::now()) {
                Step::Finish => {
                    reach(Point::TreeGone);
                    return self.finish();
                }
                Step::Wait(pause) => self.wait_watchfully(pause),
                Step::Exceed(kind) => self.seen.exceeded = Some(kind),
                Step::Terminate => {
                    complain("send SIGTERM to the task's processes", self.terminate());
                    self.seen.terminated = true;
                }
                Step::Kill => {
                    self.kill();
                    self.wait(Some(self.kill_pause));
                }
            }
        }
    }

    /// Asks the task's processes to end, or the client of their container to pass that on.
    fn terminate(&self) -> io::Result<()> {
        let client = self.main.as_raw_nonzero().get();
        let tells_all = self.command.terminate == Terminate::Tree || self.end.is_some();
        tree::terminate(|stat| tells_all || stat.pid == client)
    }

    /// Kills the tree, and settles when it is looked at again: soon, as long as it grows.
    fn kill(&mut self) {
        self.held.kill();
        match tree::kill() {
            Ok(killed) => {
                let grows = self.lingerers.note(&killed, clock::boot(), self.task, self.notifier);
                self.kill_pause = if grows { KILL_PAUSE } else { (self.kill_pause * 2).min(KILL_PAUSE_MAX) };
            }
            Err(e) => {
                say(format_args!("cannot kill the task's processes: {e}"));
                self.kill_pause = (self.kill_pause * 2).min(KILL_PAUSE_MAX);
            }
        }
    }

    /// Waits for the child's report, for a moment at most: it comes at once, but for a program that has to be fetched
    /// from afar.
    fn wait_until_it_runs(&mut self) {
        if self.report.is_some() {
            self.wait(Some(EXEC_PAUSE));
        }
    }

    /// Waits, and has the watchdog look when it is time. Once the task has
    /// run for a moment the shim makes itself small. (With a shorter one it would pay for its pages twice.)
    fn wait_watchfully(&mut self, pause: Option<Duration>) {
        let idle = self.watchdog.as_ref().map(|w| w.idle(clock::boot()));
        let settle = self.settled_at.map(|at| at.saturating_sub(clock::boot()));
        self.wait([pause, idle, settle].into_iter().flatten().min());
        if self.settled_at.is_some_and(|at| clock::boot() >= at) {
            memory::forget_program();
            self.settled_at = None;
        }
        if let Some(kind) = self.watchdog.as_mut().and_then(|w| w.look(clock::boot())) {
            self.seen.exceeded.get_or_insert(kind);
        }
    }

    /// Waits until something happens, and takes in what it is.
    fn wait(&mut self, pause: Option<Duration>) {
        let held = self.relay.has_pending();
        let pauses = [
            pause,
            held.then_some(PARTIAL_LINE_PAUSE),
            self.notifier.is_pending().then_some(RING_PAUSE),
            self.control.pause(),
            self.relay.quiet_in(),
        ];
        let timeout = pauses.into_iter().flatten().min().and_then(|d| Timespec::try_from(d).ok());
        let (ready, asked) = {
            let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
            fds.extend(self.relay.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            fds.extend(self.alarm.iter().map(|a| PollFd::from_borrowed_fd(a.descriptor(), PollFlags::IN)));
            fds.extend(self.report.iter().map(|r| PollFd::from_borrowed_fd(r.descriptor(), PollFlags::IN)));
            fds.extend(self.main_fd.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
            let others = fds.len();
            fds.extend(self.control.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            // An error leaves nothing ready; all signals are blocked, so it can only be a lack of memory.
            let ready = poll(&mut fds, timeout.as_ref()).unwrap_or_default();
            (ready, fds.iter().skip(others).any(|fd| !fd.revents().is_empty()))
        };
        self.notifier.retry();
        if let Some(alarm) = &self.alarm {
            alarm.take();
        }
        if ready == 0 && held {
            self.relay.flush_pending();
        }
        self.read_report();
        self.relay.turn();
        self.relay.rest_if_quiet();
        if self.relay.exceeded() {
            self.seen.exceeded.get_or_insert(LimitKind::Output);
        }
        if asked || self.control.is_due() {
            let ending = self.seen.terminated
                || self.seen.exceeded.is_some()
                || (self.seen.main_ended && self.leftovers == Leftovers::Kill);
            let main = self.main_fd.as_ref().map(AsFd::as_fd);
            self.control.turn(control::Task { command: self.command, main, ending });
        }
        if self.control.is_eager() && self.relay.has_pending() {
            self.relay.flush_pending();
        }
        if signals::drain(&self.signals) {
            self.look_for_stop();
        }
    }

    /// Takes in the children that have ended.
    fn reap(&mut self) {
        loop {
            let pid = match next_ended() {
                Ok(Some(pid)) => pid,
                Err(Errno::CHILD) => {
                    self.seen.children_left = false;
                    return;
                }
                Ok(None) | Err(_) => return,
            };
            // Before it is waited for: from then on its number may be another's.
            self.control.ending(pid);
            let Ok(Some((_, status))) = waitpid(Some(pid), WaitOptions::NOHANG) else { return };
            if pid == self.main {
                self.end = Some((Timestamp::now(), status));
                self.seen.main_ended = true;
                self.main_fd = None;
                reach(Point::MainExitSeen);
            } else {
                self.control.ended(pid, status);
            }
        }
    }

    fn read_report(&mut self) {
        match self.report.as_mut().and_then(|r| r.read(self.command)) {
            None => {}
            Some(Ok(())) => {
                self.report = None;
                reach(Point::ExecSeen);
                self.notifier.ring();
            }
            Some(Err(failure)) => {
                self.report = None;
                self.failure = Some(failure);
            }
        }
    }

    fn look_for_stop(&mut self) {
        match self.task.stop() {
            Ok(stop) => {
                if stop.is_some() {
                    reach(Point::StopSeen);
                }
                self.seen.kill_at = stop.map(|s| s.kill_at);
            }
            Err(e) => say(format_args!("a request to stop was not understood: {}", chain(&e))),
        }
    }

    fn finish(mut self) -> (Exit, Option<Relay>) {
        self.lingerers.tell(Vec::new(), self.task, self.notifier);
        self.relay.drain();
        reach(Point::OutputDrained);
        self.read_report();
        let (finished_at, status) = self.end.map_or((Timestamp::now(), None), |(at, status)| (at, Some(status)));
        let end = match (self.failure, status) {
            (Some(Failure { kind, message }), _) => End::NotStarted { failure: kind, message },
            (None, Some(status)) => end_of(status),
            (None, None) => End::NotStarted {
                failure: StartFailure::Other,
                message: "the kernel has no record of the task's main process".to_owned(),
            },
        };
        let was_killed = matches!(end, End::Signaled { signal: Signal(9), .. });
        if was_killed && self.seen.exceeded.is_none() && self.held.is_out_of_memory() {
            self.seen.exceeded = Some(LimitKind::Memory);
        }
        // The tree may have taken longer than the main process; the task has not ended before.
        let finished_at = match self.leftovers {
            Leftovers::Kill => finished_at,
            Leftovers::Await => Timestamp::now(),
        };
        // A clock that was set back in between makes no task end before it began.
        let finished_at = finished_at.max(self.started_at);
        let exceeded = self.seen.exceeded;
        (Exit { version: Version, started_at: self.started_at, finished_at, end, exceeded }, Some(self.relay))
    }
}

/// A child that has ended and has not been waited for; an error when there is no child at all.
#[allow(unsafe_code)]
fn next_ended() -> Result<Option<Pid>, Errno> {
    use nix::libc;
    // SAFETY: all zeros are a value of this C structure, and the one that "none" is told from.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a structure that lives for longer than the call.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) } != 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::CHILD));
    }
    // SAFETY: waitid(2) fills this field in, or leaves it zero.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}

/// What the kernel says of a process that has ended.
pub(crate) fn end_of(status: WaitStatus) -> End {
    // WCOREDUMP of wait(2).
    const CORE_DUMPED: i32 = 0x80;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Exited { code: u8::try_from(code & 0xff).unwrap_or(u8::MAX) },
        (None, Some(signal)) => End::Signaled {
            signal: Signal(u8::try_from(signal).unwrap_or(u8::MAX)),
            core_dumped: status.as_raw() & CORE_DUMPED != 0,
        },
        // wait(2) without WUNTRACED and WCONTINUED reports nothing else.
        (None, None) => End::Exited { code: u8::MAX },
    }
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

pub(crate) fn complain(what: &str, result: io::Result<()>) {
    if let Err(e) = result {
        say(format_args!("cannot {what}: {e}"));
    }
}
