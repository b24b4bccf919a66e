//! System calls of the records that fail in the shim and in the pipe, and disks that are really full: no end is lost, and
//! nothing is started twice. What each call of its own leaves is in `vk-node/record/tests/faults.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::future::join_all;
use rustix::io::Errno;
use vk_record::faults::{Effect, Kind, Plan, VARIABLE, VARIABLE_OF_SHIMS};
use vk_record::names;
use vk_task::{End, ErrorReason, LogQuery, StartFailure, TaskId};

use crate::Test;
use crate::support::{Host, block_on, eventually, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("an_end_that_cannot_be_written_is_written_again", exit_fails),
    ("a_start_that_cannot_be_written_is_made_by_another_shim", start_fails_once),
    ("a_start_that_never_can_be_written_is_none_and_told", start_fails_always),
    ("an_intent_that_cannot_be_written_is_refused_and_taken_later", intent_fails),
    ("records_that_cannot_be_read_at_first_are_read_later", read_fails),
    ("a_full_disk_costs_no_end", full_disk),
    ("a_disk_without_inodes_costs_no_end", full_of_files),
];

const ERRORS: [Errno; 5] = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::INTR, Errno::MFILE];
/// Opening, writing, syncing, naming, syncing the directory.
const CALLS: u32 = 5;

fn effects() -> impl Iterator<Item = (u32, Effect)> {
    let effects = ERRORS.into_iter().map(Effect::Fails).chain([Effect::Short]);
    effects.flat_map(|effect| (0..CALLS).map(move |call| (call, effect)))
}

/// A host whose pipe, or its shims, have a fault.
async fn host_with(variable: &str, mut plan: Plan, once: bool) -> Host {
    let mut host = Host::without_pipe();
    plan.only.get_or_insert(Kind::Changes);
    plan.only_one = once.then(|| host.file("fault"));
    let mut command = host.pipe_command();
    command.env(variable, plan.text()).stderr(std::process::Stdio::null());
    host.spawn_pipe_as(command);
    host.wait_for_pipe().await;
    host
}

fn witness(host: &Host) -> String {
    format!("echo ran >> {}", host.file("witness").display())
}

fn runs(host: &Host) -> usize {
    fs::read_to_string(host.file("witness")).unwrap_or_default().lines().count()
}

fn exit_fails() {
    block_on(join_all(effects().map(|(call, effect)| async move {
        let host = host_with(VARIABLE_OF_SHIMS, Plan::new(names::EXIT, call, 3, effect), false).await;
        let end = host.run("t", &format!("{}; exit 5", witness(&host))).await;
        assert_eq!((end, runs(&host)), (End::Exited { code: 5 }, 1), "{effect:?} in call {call}");
        assert!(host.directory().join("tasks/t").join(names::EXIT).exists());
    })));
}

fn start_fails_once() {
    block_on(join_all(effects().map(|(call, effect)| async move {
        let host = host_with(VARIABLE_OF_SHIMS, Plan::new(names::START, call, 1, effect), true).await;
        let end = host.run("t", &format!("{}; exit 5", witness(&host))).await;
        assert_eq!((end, runs(&host)), (End::Exited { code: 5 }, 1), "{effect:?} in call {call}");
    })));
}

fn start_fails_always() {
    block_on(join_all([Errno::NOSPC, Errno::IO].map(|errno| async move {
        let plan = Plan::new(names::START, 1, 1, Effect::Fails(errno));
        let host = host_with(VARIABLE_OF_SHIMS, plan, false).await;
        match host.run("t", &witness(&host)).await {
            End::NotStarted { failure: StartFailure::Other, message } => {
                assert!(message.contains(&std::io::Error::from(errno).to_string()), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(runs(&host), 0);
    })));
}

/// The client asks again until it is heard; in between, the pipe is started anew. However the first tries failed, and
/// whatever they left, the task is started once.
fn intent_fails() {
    let cells = effects().flat_map(|(call, effect)| [1, 2, 1000].map(|times| (call, effect, times)));
    // A call that is always interrupted is made again for ever.
    let cells = cells.filter(|(_, effect, times)| !(*effect == Effect::Fails(Errno::INTR) && *times == 1000));
    block_on(join_all(cells.map(|(call, effect, times)| async move {
        let cell = format!("{times} times {effect:?} from call {call}");
        let mut host = host_with(VARIABLE, Plan::new(names::INTENT, call, times, effect), false).await;
        let (id, spec) = (id("t"), script(&format!("{}; exit 5", witness(&host))));
        let mut refused = 0;
        let mut asked = host.client.start(&id, &spec).await;
        while let Err(e) = asked {
            let refusal = e.refusal().unwrap_or_else(|| panic!("{cell}: {e}"));
            let is_full = matches!(effect, Effect::Fails(Errno::NOSPC | Errno::DQUOT));
            let wanted = if is_full { ErrorReason::NoSpace } else { ErrorReason::Internal };
            assert_eq!(refusal.reason, wanted, "{cell}: {refusal}");
            assert_eq!(runs(&host), 0, "{cell}");
            refused += 1;
            if refused == 3 {
                host.kill_pipe();
                host.start_pipe().await;
            }
            asked = host.client.start(&id, &spec).await;
        }
        let is_told = match effect {
            // Renaming is not interrupted by signals, so that this error of it is taken as it is.
            Effect::Fails(Errno::INTR) => call == 3,
            Effect::Fails(_) => true,
            Effect::Short => false,
        };
        assert_eq!(refused > 0, is_told, "{cell}");
        assert_eq!(host.ended(&id).await, End::Exited { code: 5 }, "{cell}");
        host.kill_pipe();
        host.start_pipe().await;
        assert_eq!((host.ended(&id).await, runs(&host)), (End::Exited { code: 5 }, 1), "{cell}");
    })));
}

/// A pipe that cannot read what an earlier one wrote neither starts the task again nor forgets it.
fn read_fails() {
    let cells = [names::INTENT, names::START, names::STOP].into_iter().flat_map(|record| [(record, 0), (record, 1)]);
    block_on(join_all(cells.map(|(record, call)| async move {
        let mut host = Host::new().await;
        let (id, go) = (id("t"), host.file("go"));
        let text = format!("{}; while [ ! -e {} ]; do sleep 0.01; done; exit 5", witness(&host), go.display());
        host.client.start(&id, &script(&text)).await.unwrap();
        host.running(&id).await;
        host.kill_pipe();
        let mut plan = Plan::new(record, call, 2, Effect::Fails(Errno::IO));
        plan.only = Some(Kind::Reads);
        let mut command = host.pipe_command();
        command.env(VARIABLE, plan.text()).stderr(std::process::Stdio::null());
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        host.running(&id).await;
        fs::write(&go, "").unwrap();
        assert_eq!((host.ended(&id).await, runs(&host)), (End::Exited { code: 5 }, 1), "{record} {call}");
    })));
}

/// A small file system of its own, unmounted in the end.
struct Disk(PathBuf);

impl Disk {
    /// `None` where mounting is not permitted.
    fn mount(place: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).output().unwrap();
        if !output.status.success() {
            println!("not tried, for nothing can be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self(place.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Though it may be in use: the host's processes are killed only after this.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk() {
    let fill = |disk: &Path| {
        fs::write(disk.join("fill"), vec![1; 1 << 20]).unwrap_err();
    };
    on_a_full_disk("size=256k,mode=700", fill, |disk| fs::remove_file(disk.join("fill")).unwrap());
}

fn full_of_files() {
    let file = |disk: &Path, n: usize| disk.join(format!("fill-{n}"));
    let fill = |disk: &Path| {
        let made = (0..1000).take_while(|n| fs::write(file(disk, *n), "").is_ok()).count();
        assert!(made < 1000);
    };
    on_a_full_disk("size=4m,nr_inodes=64,mode=700", fill, |disk| {
        (0..1000).for_each(|n| drop(fs::remove_file(file(disk, n))));
    });
}

/// How often a process has gone to sleep, if it lives.
fn switches(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// A task runs, the disk becomes full, the task writes and ends; then there is room again.
fn on_a_full_disk(options: &str, fill: impl Fn(&Path), empty: impl Fn(&Path)) {
    block_on(async {
        let mut host = Host::without_pipe();
        let directory = host.directory();
        let Some(_disk) = Disk::mount(&directory, options) else { return };
        host.start_pipe().await;
        let (task, go, gone) = (id("t"), host.file("go"), host.file("gone"));
        let text = format!(
            "{}; echo before; while [ ! -e {} ]; do sleep 0.01; done; head -c 100000 /dev/zero | tr '\\0' x; \
             echo > {}; exit 5",
            witness(&host),
            go.display(),
            gone.display()
        );
        host.client.start(&task, &script(&text)).await.unwrap();
        let shim = host.shim_of(host.running(&task).await);
        eventually("it runs", || runs(&host) == 1).await;
        // The witness comes first: what is written after it must not meet the full disk.
        let log = directory.join("tasks").join(task.as_str()).join(names::LOG);
        eventually("its first output is kept", || fs::metadata(&log).is_ok_and(|m| m.len() > 0)).await;

        fill(&directory);
        let late = id("late");
        let refusal = host.client.start(&late, &script(&witness(&host))).await.unwrap_err();
        assert_eq!(refusal.refusal().unwrap().reason, ErrorReason::NoSpace);
        fs::write(&go, "").unwrap();
        eventually("it has ended", || gone.exists()).await;
        let is_there = |id: &TaskId, name| directory.join("tasks").join(id.as_str()).join(name).exists();
        // The shim tries again and again, and sleeps in between.
        let sleeps = switches(shim).unwrap_or_default();
        let has_tried = || switches(shim).is_none_or(|n| n > sleeps + 2);
        eventually("its shim has tried", has_tried).await;
        // Unless it has found room: its socket was a file too, and is no more.
        assert!(switches(shim).is_some() || is_there(&task, names::EXIT));
        assert!(!is_there(&late, names::INTENT));
        // The end is on record as soon as there is room, pipe or no pipe.
        host.kill_pipe();
        empty(&directory);
        eventually("its end is on record", || is_there(&task, names::EXIT)).await;
        host.start_pipe().await;
        assert_eq!((host.ended(&task).await, runs(&host)), (End::Exited { code: 5 }, 1));
        assert_eq!(host.run("late", "exit 6").await, End::Exited { code: 6 });

        let mut log = Vec::new();
        let mut parts = host.client.logs(&task, &LogQuery::default()).await.unwrap();
        while let Some(part) = futures::StreamExt::next(&mut parts).await {
            log.extend(part.unwrap());
        }
        let log = String::from_utf8(log).unwrap();
        assert!(log.starts_with("before\n"), "{log}");
        assert!(log.len() > 100_000 || log.contains("bytes of the log are missing here"), "{} bytes", log.len());
    });
}
