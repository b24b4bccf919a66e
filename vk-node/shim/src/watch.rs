//! The watch over a task that runs: waits for what happens, has `life` decide what to do about it, and does it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use vk_record::points::{Point, reach};
use vk_record::{Exit, TaskDir, Version, chain};
use vk_task::{End, Leftovers, LimitKind, Signal, StartFailure, Terminate};

use crate::cgroup::Held;
use crate::clock::{self, Alarm};
use crate::command::Command;
use crate::control::{self, Control};
use crate::end::end_of;
use crate::error::{complain, say};
use crate::gate::{Failure, Report};
use crate::life::{self, Seen, Step};
use crate::linger::Lingerers;
use crate::mounts::Sight;
use crate::notify::Notifier;
use crate::relay::Relay;
use crate::start::Started;
use crate::tree::{KILL_PAUSE, KILL_PAUSE_MAX};
use crate::watchdog::Watchdog;
use crate::{memory, signals, tree};

/// How long the child's exec is waited for before the shim settles down to wait.
const EXEC_PAUSE: Duration = Duration::from_millis(20);
/// A task that has run for so long may run for long.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How long the beginning of a line waits for its rest before it is written as it is.
const PARTIAL_LINE_PAUSE: Duration = Duration::from_millis(100);
/// How soon a pipe that was too busy to hear is told again.
const RING_PAUSE: Duration = Duration::from_millis(5);

/// The watch over a task that runs.
pub(crate) struct Watch<'a> {
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
    /// The same by the clock of the boot.
    started: Duration,
    /// When and how the main process ended.
    end: Option<(Timestamp, WaitStatus)>,
    seen: Seen,
    /// When it is to be killed, as the request to end it has it.
    asked_kill_at: Option<Timestamp>,
    kill_pause: Duration,
    lingerers: Lingerers,
    /// When the shim makes itself small, by the clock of the boot; `None` once it has.
    settled_at: Option<Duration>,
    held: &'a Held,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
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
            started: clock::boot(),
            end: None,
            seen,
            asked_kill_at: None,
            kill_pause: KILL_PAUSE,
            settled_at: Some(clock::boot().saturating_add(SETTLE_PAUSE)),
            lingerers: Lingerers::default(),
            held,
        }
    }

    pub(crate) fn attend(mut self) -> (Exit, Option<Relay>) {
        self.look_for_stop();
        self.wait_until_it_runs();
        loop {
            self.reap();
            match life::next(self.leftovers, &self.seen, clock::boot()) {
                Step::Finish => {
                    reach(Point::TreeGone);
                    return self.finish();
                }
                Step::Wait(pause) => self.wait_watchfully(pause),
                Step::Exceed(kind) => self.seen.exceeded = Some(kind),
                Step::Terminate => {
                    complain("tell the task's processes to end", self.terminate());
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
        let signal = self.command.stop_signal;
        let tells_all = self.command.terminate == Terminate::Tree || !signal.can_be_caught() || self.end.is_some();
        tree::terminate(signal, |stat| tells_all || stat.pid == client)
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
            // Before that, those who ask have to wait: they are to see what the program sees.
            let is_in_place = self.report.is_none() || self.command.sight == Sight::Host;
            fds.extend(
                self.control
                    .descriptors()
                    .filter(|_| is_in_place)
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
            );
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
            let process = main.map(|_| self.main);
            self.control.turn(control::Task { command: self.command, main, process, ending });
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
                // What was told by the wall clock once stands, however that is set.
                if self.asked_kill_at != stop.as_ref().map(|s| s.kill_at) {
                    self.asked_kill_at = stop.as_ref().map(|s| s.kill_at);
                    // There is no grace for who asked to be killed.
                    let is_kill = self.command.stop_signal.is_kill();
                    self.seen.kill_at =
                        self.asked_kill_at.map(|at| if is_kill { Duration::ZERO } else { clock::boot_at(at) });
                }
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
        // A clock that was set back in between makes no task end before it began: then the time is told by how long it ran.
        let finished_at = if finished_at < self.started_at {
            self.started_at.saturating_add(clock::boot().saturating_sub(self.started)).unwrap_or(self.started_at)
        } else {
            finished_at
        };
        let exceeded = self.seen.exceeded;
        (
            Exit {
                version: Version,
                started_at: self.started_at,
                finished_at,
                end,
                exceeded,
                termination_message: None,
            },
            Some(self.relay),
        )
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
