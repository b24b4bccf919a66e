//! Every system call that the records make is made to fail, one after the other, with each error: the record is the old
//! or the new and whole, the caller is told, and a second try succeeds.

// The lints' leave for tests knows `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::io::Errno;
use tempfile::TempDir;
use vk_record::faults::{Effect, Plan, with_plan};
use vk_record::process::Identity;
use vk_record::{
    Dir, Exit, Intent, LingeringProcesses, Lock, LockHolder, Lost, RecordError, Start, TaskDir, Version, names,
};
use vk_task::{End, HostSetup, Launch, Leftovers, Origin, Program, ScriptRunner, StopRequest, TaskId, TaskSpec};

const T: Timestamp = Timestamp::UNIX_EPOCH;
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

const ERRORS: [Errno; 6] = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::INTR, Errno::MFILE, Errno::NFILE];
/// How many calls in a row fail: one alone, two, and a disk that stays full.
const TIMES: [u32; 3] = [1, 2, u32::MAX];

/// All ways to fail. (A call that is interrupted is made again; one that always is would be so for ever.)
fn failures() -> impl Iterator<Item = (Effect, u32)> {
    let effects = ERRORS.into_iter().map(Effect::Fails).chain([Effect::Short]);
    effects.flat_map(|e| TIMES.map(|t| (e, t))).filter(|f| *f != (Effect::Fails(Errno::INTR), u32::MAX))
}

/// In memory where that can be: these are some thousand cells, and what a disk does to be durable is not what they show.
fn fresh() -> (TempDir, TaskDir) {
    let temporary = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let task = TaskDir { dir: Dir::open_or_create(&temporary.path().join("t")).unwrap() };
    (temporary, task)
}

fn intent() -> Intent {
    let program = Program::Script { text: "echo".into(), runner: ScriptRunner::Shebang };
    let spec = TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Kill);
    Intent {
        version: Version,
        id: TaskId::new("t").unwrap(),
        accepted_at: T,
        spec,
        launch: Launch::Direct,
        setup: HostSetup::default(),
    }
}

fn start(run: &str) -> Start {
    let process = Identity { pid: 7, start_ticks: 8, boot_id: "b".into() };
    Start { version: Version, process, run: run.into(), started_at: T, cgroup: None }
}

fn exit() -> Exit {
    Exit {
        version: Version,
        started_at: T,
        finished_at: T,
        end: End::Exited { code: 3 },
        exceeded: None,
        termination_message: Some("m".into()),
    }
}

fn lost() -> Lost {
    Lost { version: Version, started_at: T, noticed_at: T, message: "m".into() }
}

fn stop(reason: &str) -> StopRequest {
    StopRequest { kill_at: T, reason: reason.into() }
}

type Content = BTreeMap<String, Vec<u8>>;

/// The records that are there, with what is in them. A script is none: it is nothing without its intent.
fn content(dir: &Dir) -> Content {
    let records = dir.entries().unwrap().into_iter().filter(|n| !n.starts_with('.') && n != names::SCRIPT);
    records.map(|n| (n.clone(), dir.read(&n).unwrap().unwrap())).collect()
}

fn temporaries(dir: &Dir) -> Vec<String> {
    dir.entries().unwrap().into_iter().filter(|n| n.starts_with('.')).collect()
}

/// What is there after a call has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The old record or the new one.
    OldOrNew,
    /// The old one, but where taking the new one back fails as well.
    Old,
}

/// Makes each call of `work` fail in each way. `prepare` comes before, without failures.
fn each_call<T: Debug>(
    what: &str,
    after: After,
    prepare: impl Fn(&TaskDir),
    work: impl Fn(&TaskDir) -> Result<T, RecordError>,
) {
    let (old, new) = {
        let (_temporary, task) = fresh();
        prepare(&task);
        let old = content(&task.dir);
        work(&task).unwrap();
        (old, content(&task.dir))
    };
    let mut cells = 0;
    for (effect, times) in failures() {
        for first in 0.. {
            let (_temporary, task) = fresh();
            prepare(&task);
            let (result, hit) = with_plan(Plan::new("", first, times, effect), || work(&task));
            if hit == 0 {
                break;
            }
            cells += 1;
            let cell = format!("{what}, {times} times {effect:?} from call {first}: {result:?}");
            let found = content(&task.dir);
            match (&result, effect) {
                (Ok(_), _) => assert_eq!(found, new, "{cell}"),
                (Err(e), Effect::Fails(errno)) => {
                    assert_eq!(e.io().and_then(Errno::from_io_error), Some(errno), "{cell}");
                    assert_eq!(e.is_no_space(), matches!(errno, Errno::NOSPC | Errno::DQUOT), "{cell}");
                    let may_be_new = after == After::OldOrNew || times > 1;
                    assert!(found == old || (may_be_new && found == new), "{cell}: {found:?}");
                }
                (Err(_), Effect::Short) => panic!("{cell}"),
            }
            // Something is left only where it could not be removed.
            assert!(times > 1 || temporaries(&task.dir).is_empty(), "{cell}: {:?}", temporaries(&task.dir));
            // The second try, on a disk that is well again.
            match work(&task) {
                Ok(_) | Err(RecordError::Exists { .. }) => {}
                Err(e) => panic!("{cell}, then {e:?}"),
            }
            assert_eq!(content(&task.dir), new, "{cell}, and again");
        }
    }
    println!("{what}: {cells} cells");
    assert!(cells > 0);
}

#[test]
fn an_intent_is_there_or_not() {
    each_call("intent", After::Old, |_| {}, |task| task.write_intent(&intent()));
}

#[test]
fn a_start_is_there_or_not() {
    each_call("start", After::Old, |t| t.write_intent(&intent()).unwrap(), |task| task.write_start(&start("r")));
}

/// Who fails to record its start does not start: of two who try, one at most is told that it may.
#[test]
fn two_starts_are_never_both_told_of() {
    for (effect, times) in failures() {
        for first in 0.. {
            let (_temporary, task) = fresh();
            let (one, hit) = with_plan(Plan::new("", first, times, effect), || task.write_start(&start("one")));
            if hit == 0 {
                break;
            }
            let two = task.write_start(&start("two"));
            let run = task.facts().unwrap().start.unwrap().run;
            match (&one, &two) {
                (Ok(()), Err(RecordError::Exists { .. })) => assert_eq!(run, "one"),
                (Err(_), Ok(())) => assert_eq!(run, "two"),
                // The first could not even take its record back. Nobody starts the task.
                (Err(_), Err(RecordError::Exists { .. })) => assert!(times > 1 && run == "one"),
                other => panic!("{times} times {effect:?} from {first}: {other:?}"),
            }
        }
    }
}

#[test]
fn an_end_is_there_or_not() {
    let started = |t: &TaskDir| {
        t.write_intent(&intent()).unwrap();
        t.write_start(&start("r")).unwrap();
    };
    each_call("exit", After::OldOrNew, started, |task| task.write_exit(&exit()));
    each_call("unknown", After::OldOrNew, started, |task| task.write_lost(&lost()));
}

#[test]
fn what_is_replaced_is_the_old_or_the_new() {
    each_call("stop", After::OldOrNew, |t| t.write_stop(&stop("old")).unwrap(), |t| t.write_stop(&stop("new")));
    each_call("first stop", After::OldOrNew, |_| {}, |t| t.write_stop(&stop("new")));
    let lingering = LingeringProcesses::default();
    each_call("lingering", After::OldOrNew, |_| {}, |t| t.write_lingering(&lingering));
}

/// The number of the call that does `what` while an end is written.
fn call_number(what: &str) -> u32 {
    let calls = ["open", "write", "sync the file", "rename", "sync the directory"];
    u32::try_from(calls.iter().position(|call| *call == what).unwrap()).unwrap()
}

/// An end that is said to be there is there for good: the fsync that failed for its writer is made up for.
#[test]
fn exists_means_durable() {
    let (_temporary, task) = fresh();
    let plan = |call| Plan::new(names::EXIT, call_number(call), 1, Effect::Fails(Errno::IO));
    let (first, hit) = with_plan(plan("sync the directory"), || task.write_exit(&exit()));
    assert!(hit == 1 && first.is_err() && task.facts().unwrap().exit.is_some());
    let (again, hit) = with_plan(plan("sync the directory"), || task.write_exit(&exit()));
    assert!(hit == 1 && matches!(again, Err(RecordError::Io { .. })), "{again:?}");
    assert!(matches!(task.write_exit(&exit()), Err(RecordError::Exists { .. })));
}

/// A record that cannot be read is not one that is not there.
#[test]
fn what_cannot_be_read_is_not_absent() {
    let full = |t: &TaskDir| {
        t.write_intent(&intent()).unwrap();
        t.write_start(&start("r")).unwrap();
        t.write_exit(&exit()).unwrap();
    };
    let whole = {
        let (_temporary, task) = fresh();
        full(&task);
        task.facts().unwrap()
    };
    each_call("facts", After::OldOrNew, full, |task| task.facts().inspect(|facts| assert_eq!(*facts, whole)));
    each_call("what was asked", After::OldOrNew, full, |task| {
        task.intent().inspect(|read| assert_eq!(*read, Some(intent())))
    });
}

#[test]
fn a_lock_is_held_or_not() {
    each_call(
        "lock",
        After::OldOrNew,
        |_| {},
        |task| Lock::try_take(&task.dir, names::LOCK).inspect(|lock| assert!(lock.is_some())),
    );
    each_call(
        "its holder",
        After::OldOrNew,
        |_| {},
        |task| LockHolder::of(&task.dir, names::LOCK).inspect(|holder| assert_eq!(*holder, LockHolder::Nobody)),
    );
}

#[test]
fn what_is_removed_is_there_or_not() {
    each_call(
        "remove",
        After::OldOrNew,
        |t| t.dir.write("x", b"1", PRIVATE).unwrap(),
        |task| task.dir.remove_file("x").and_then(|()| task.dir.sync()),
    );
}

/// A crash between link and unlink, on a file system that cannot rename without replacing, leaves a record with two
/// names. A later process of the same number must not write into it by the other name.
#[test]
fn a_temporary_file_of_an_earlier_process_is_no_way_into_a_record() {
    let (_temporary, task) = fresh();
    task.write_exit(&exit()).unwrap();
    let before = task.dir.read(names::EXIT).unwrap();
    // The other tests of this process count on.
    for n in 0..20_000 {
        let old = task.dir.path().join(format!(".{}.{}.{n}", names::STOP, std::process::id()));
        std::fs::hard_link(task.dir.path().join(names::EXIT), old).unwrap();
    }
    task.write_stop(&stop("s")).unwrap();
    assert_eq!(task.dir.read(names::EXIT).unwrap(), before);
    assert_eq!(task.stop().unwrap(), Some(stop("s")));
    assert_eq!(temporaries(&task.dir).len(), 19_999);
}

/// As NFS answers.
#[test]
fn where_a_rename_cannot_spare_what_is_there_a_link_does() {
    for errno in [Errno::INVAL, Errno::NOSYS] {
        let (_temporary, task) = fresh();
        let plan = || Plan::new(names::START, call_number("rename"), 1, Effect::Fails(errno));
        let (made, hit) = with_plan(plan(), || task.write_start(&start("one")));
        assert!(made.is_ok() && hit == 1, "{made:?}");
        let (again, _) = with_plan(plan(), || task.write_start(&start("two")));
        assert!(matches!(again, Err(RecordError::Exists { .. })), "{again:?}");
        assert_eq!(task.facts().unwrap().start.unwrap().run, "one");
        assert_eq!(temporaries(&task.dir), Vec::<String>::new());
    }
}
