//! One cell: a host of its own, a task, a point, and who is killed there.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vk_record::points::VARIABLE;
use vk_record::process::{self, Stat};
use vk_record::{Dir, LockHolder, names};
use vk_site::audit::Event;
use vk_task::{End, Gpus, Image, Place, TaskId, TaskState};

use super::oracle::{Cell, Ends, Story, Timing, story};
use crate::audit;
use crate::small_node::{Job, reports};
use crate::support::{Host, id, script};

/// Longer than any step of a cell takes, with a dozen of them on two processors.
const PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(2);
/// "Later" is up to so many microseconds later.
const LATER_MICROS: u64 = 25_000;

/// How a cell came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The exact end, after one start.
    Exact,
    /// Unknown, and the program was never seen to start.
    UnknownNotRun,
    /// Unknown, after one start.
    UnknownRun,
}

/// Plays a cell; says what is wrong, if anything is. `n` sets it apart from the others.
pub(crate) fn play(cell: Cell, n: u64) -> Result<Outcome, String> {
    let mut stage = Stage::set(cell);
    let reached = stage.until_reached()?;
    if cell.timing == Timing::Later {
        stage.release(reached);
        std::thread::sleep(Duration::from_micros(n * 7919 % LATER_MICROS));
    }
    let evidence = stage.kill();
    if cell.timing == Timing::AtOnce {
        stage.release(reached);
    }
    stage.start_again();
    stage.until_done()?;
    let outcome = stage.outcome(evidence)?;
    stage.until_clean()?;
    Ok(outcome)
}

/// What the task's records say when nobody is left who could change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    NotStarted,
    Started,
    Ended,
}

struct Stage {
    cell: Cell,
    host: Host,
    id: TaskId,
    node: Child,
    points: PathBuf,
}

impl Stage {
    fn set(cell: Cell) -> Self {
        let mut host = Host::without_pipe();
        let (witness, points) = (host.file("witness"), host.file("points"));
        fs::create_dir(&points).unwrap();
        let ran = format!("echo ran >> {}", witness.display());
        let text = match story(cell.point) {
            Story::Ends | Story::InContainer => format!("{ran}; echo out; sleep 0.01; exit 7"),
            Story::IsStopped => format!("trap 'exit 7' TERM; {ran}; echo out; while :; do sleep 0.02; done"),
            Story::LosesShim => format!("{ran}; echo out; kill -9 $PPID; sleep 1000"),
        };
        let id = id("t");
        let stop_when = (story(cell.point) == Story::IsStopped).then_some(witness);
        let mut spec = script(&text);
        if story(cell.point) == Story::InContainer {
            spec.place = in_container(&host, &text);
        }
        let jobs = [Job { id: id.clone(), spec, stop_when, keep: false }];
        fs::write(host.file("jobs"), serde_json::to_vec(&jobs).unwrap()).unwrap();

        let armed = format!("{:?}@{}", cell.point, points.display());
        let mut pipe = host.pipe_command();
        pipe.env(VARIABLE, &armed).stderr(Stdio::null());
        host.spawn_pipe_as(pipe);
        let node = node_command(&host).env(VARIABLE, &armed).spawn().unwrap();
        Self { cell, host, id, node, points }
    }

    /// Waits until a process stands at the point; gives its number.
    fn until_reached(&mut self) -> Result<i32, String> {
        let file = self.points.join(format!("{:?}", self.cell.point));
        let until = Instant::now() + PATIENCE;
        loop {
            let said: Option<i32> = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
            if let Some(pid) = said
                && is_stopped(pid)
            {
                return Ok(pid);
            }
            self.check(until, "the point is never reached")?;
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets a process that stands at the point go on, if it is still there.
    fn release(&self, pid: i32) {
        fs::write(self.points.join(format!("{:?}.released", self.cell.point)), "").unwrap();
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT);
    }

    /// Kills the victims, and takes what evidence there is then.
    fn kill(&mut self) -> Option<Evidence> {
        let victims = self.cell.victims;
        if victims.shim {
            kill_all(&self.first_shims());
        }
        if victims.pipe {
            self.host.kill_pipe();
        }
        if victims.node {
            let _ = self.node.kill();
            self.node.wait().unwrap();
        }
        if !(victims.shim && victims.pipe) {
            return None;
        }
        // The pipe may have started one after the others had been looked up; with the pipe gone, there will be no more.
        kill_all(&self.shims());
        let records = self.host.directory().join(names::TASKS).join(self.id.as_str());
        let there = |name| records.join(name).exists();
        Some(match (there(names::START), there(names::EXIT)) {
            (_, true) => Evidence::Ended,
            (true, false) => Evidence::Started,
            // Or removed, which comes after the end.
            (false, false) if reports(&self.host.file("reports")).is_empty() => Evidence::NotStarted,
            (false, false) => Evidence::Ended,
        })
    }

    /// The task's shim, looked up fast: it holds the lock, or is a child of the pipe.
    fn first_shims(&self) -> Vec<Stat> {
        let records = self.host.directory().join(names::TASKS).join(self.id.as_str());
        let holder = Dir::open(&records).ok().and_then(|dir| match LockHolder::of(&dir, names::LOCK) {
            Ok(LockHolder::Process(pid)) => Some(pid.as_raw_nonzero().get()),
            _ => None,
        });
        let threads = fs::read_dir(format!("/proc/{}/task", self.host.pipe_pid())).unwrap();
        let children = threads.filter_map(|t| fs::read_to_string(t.ok()?.path().join("children")).ok());
        let children: Vec<i32> =
            children.flat_map(|text| text.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<_>>()).collect();
        children.into_iter().chain(holder).filter_map(Stat::of).filter(|stat| !stat.zombie).collect()
    }

    /// The shims of this host that live.
    fn shims(&self) -> Vec<Stat> {
        let directory = self.host.directory();
        let is_shim = |stat: &Stat| {
            let text = fs::read(format!("/proc/{}/cmdline", stat.pid)).unwrap_or_default();
            let mut words = text.split(|b| *b == 0).skip(1);
            let (part, place) = (words.next(), words.next());
            part == Some(b"shim") && place.is_some_and(|p| p.starts_with(directory.as_os_str().as_encoded_bytes()))
        };
        // Not the child at the gate, which has the shim's command line until its exec: it is a child of a shim.
        let found: Vec<Stat> = process::all().unwrap().into_values().filter(|s| !s.zombie && is_shim(s)).collect();
        let is_child = |stat: &Stat| found.iter().any(|other| other.pid == stat.parent);
        found.iter().filter(|stat| !is_child(stat)).copied().collect()
    }

    /// As a supervisor would.
    fn start_again(&mut self) {
        if self.cell.victims.pipe {
            let mut pipe = self.host.pipe_command();
            pipe.stderr(Stdio::null());
            self.host.spawn_pipe_as(pipe);
        }
        if self.cell.victims.node {
            self.node = node_command(&self.host).spawn().unwrap();
        }
    }

    /// Waits until the node has seen its task to the end.
    fn until_done(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.node.try_wait().unwrap() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the node: {status}")),
                None => self.check(until, "the node does not come to the end")?,
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn outcome(&self, evidence: Option<Evidence>) -> Result<Outcome, String> {
        let expected = self.cell.expected();
        let reports = reports(&self.host.file("reports"));
        let Some(first) = reports.first() else { return Err("the end was not reported".to_owned()) };
        if reports.iter().any(|report| report != first) {
            return Err(format!("two different ends were reported: {reports:?}"));
        }
        let runs = fs::read_to_string(self.host.file("witness")).unwrap_or_default().lines().count();
        let is_unknown = match &first.state {
            TaskState::Ended { end: End::Exited { code: 7 }, .. } => false,
            TaskState::Unknown { .. } => true,
            other => return Err(format!("the end is {other:?}, after {runs} starts")),
        };
        let allowed = match (expected.ends, is_unknown) {
            (Ends::Exact, unknown) => !unknown && runs == 1,
            (Ends::Either, false) => runs == 1,
            (Ends::Unknown, false) => false,
            (Ends::Unknown | Ends::Either, true) => expected.runs_if_unknown.contains(&runs),
        };
        if !allowed {
            return Err(format!("unknown: {is_unknown}, {runs} starts; expected {expected:?}"));
        }
        if let Some(evidence) = evidence
            && (evidence == Evidence::Started) != is_unknown
            && story(self.cell.point) != Story::LosesShim
        {
            return Err(format!("unknown: {is_unknown}, but when all were dead the records said {evidence:?}"));
        }
        self.check_others(is_unknown)?;
        Ok(match (is_unknown, runs) {
            (false, _) => Outcome::Exact,
            (true, 0) => Outcome::UnknownNotRun,
            (true, _) => Outcome::UnknownRun,
        })
    }

    /// Whether the audit log tells the same story, and no container was left.
    fn check_others(&self, is_unknown: bool) -> Result<(), String> {
        let entries = audit::entries(&self.host);
        let is_accepted = entries.iter().any(|e| matches!(e.event, Event::Accepted { .. }));
        let is_ended = entries.iter().any(|e| matches!(e.event, Event::Ended { .. }));
        let is_lost = entries.iter().any(|e| matches!(e.event, Event::Unknown { .. }));
        if !is_accepted || (is_ended, is_lost) != (!is_unknown, is_unknown) {
            return Err(format!("the audit log says {entries:?}"));
        }
        if story(self.cell.point) == Story::InContainer && !self.host.file("removed").exists() {
            return Err("the container was left".to_owned());
        }
        Ok(())
    }

    /// Waits until nothing is left: no process, no record.
    fn until_clean(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let processes = (self.host.processes_of(&self.id), self.shims());
            let entries = |name| fs::read_dir(self.host.directory().join(name)).map_or(0, Iterator::count);
            let records = (entries(names::TASKS), entries(names::TRASH));
            if processes.0.is_empty() && processes.1.is_empty() && records == (0, 0) {
                return Ok(());
            }
            self.check(until, &format!("something is left: processes {processes:?}, records {records:?}"))?;
            std::thread::sleep(PAUSE);
        }
    }

    fn check(&mut self, until: Instant, what: &str) -> Result<(), String> {
        if Instant::now() < until {
            return Ok(());
        }
        let node: Option<ExitStatus> = self.node.try_wait().unwrap();
        let tasks = self.host.directory().join(names::TASKS).join(self.id.as_str());
        let records: Vec<_> =
            fs::read_dir(tasks).map_or_else(|_| Vec::new(), |d| d.map(|e| e.unwrap().file_name()).collect());
        Err(format!("{what}; node {node:?}, shims {:?}, records {records:?}", self.shims()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// Kills them, and waits until they are dead: only then the kernel has killed what dies with them.
fn kill_all(shims: &[Stat]) {
    for shim in shims {
        let _ = process::send(shim, Signal::KILL, |_| true);
    }
    for shim in shims {
        while Stat::of(shim.pid).is_some_and(|now| now.start_ticks == shim.start_ticks && !now.zombie) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A place that is a container: the runtime is a stand-in for docker's client, which runs `text` whatever it is told to
/// run, and says when it is told to remove it.
fn in_container(host: &Host, text: &str) -> Place {
    let program = host.file("docker");
    fs::write(host.file("program"), text).unwrap();
    let client = "#!/bin/sh\ncase $1 in run) exec /bin/sh $HOME/program;; rm) echo removed >> $HOME/removed;; esac\n";
    fs::write(&program, client).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    fs::DirBuilder::new().mode(0o700).create(host.directory()).unwrap();
    host.write_site(&format!("runtime: {{kind: docker, program: {}}}", program.display()));
    Place::Image(Image { reference: "image".into(), mounts: Vec::new(), gpus: Gpus::default() })
}

fn node_command(host: &Host) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("node").arg(host.directory()).arg(host.file("jobs")).arg(host.file("reports"));
    command.env("HOME", host.home()).stdin(Stdio::null());
    command
}

fn is_stopped(pid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
