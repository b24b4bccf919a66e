//! Tasks in cgroups of their own: on any host where a cgroup of version 2 can be made, with or without controllers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vk_record::process::Stat;
use vk_record::{Dir, TaskDir};
use vk_task::{End, LimitKind, Limits, TaskId, TaskSpec, TaskState};

use crate::Test;
use crate::support::{CGROUP_VARIABLE, Host, block_on, eventually, exec, id, kill, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("a_task_has_a_cgroup_of_its_own", own_group),
    ("nothing_in_a_tasks_cgroup_survives_its_shim", escapee),
    ("what_has_become_another_users_does_not_survive_in_a_cgroup", another_users),
    ("a_task_of_the_same_name_below_the_same_cgroup_is_left_alone", twins),
    ("a_limit_that_no_controller_holds_is_watched", watched),
    ("a_cgroup_that_goes_away_stops_no_task", gone),
    ("a_cgroup_that_cannot_be_used_is_refused", refused),
];

/// A cgroup for one test, as an administrator would delegate it.
pub(crate) struct Delegated(PathBuf);

impl Delegated {
    /// `None` on a host where there can be none.
    fn new() -> Option<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let made = at.map(|at| tempfile::Builder::new().prefix("vk-test-").tempdir_in(at));
        match made {
            Some(Ok(dir)) => Some(Self(dir.keep())),
            other => {
                println!("no cgroup of version 2 can be made here: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn groups(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten().filter(|e| e.file_type().unwrap().is_dir());
        entries.map(|e| e.file_name().into_string().unwrap()).filter(|name| name != "pipe").collect()
    }

    /// A pipe that uses it.
    pub(crate) async fn host(&self) -> Host {
        let mut host = Host::without_pipe();
        self.start_pipe(&mut host).await;
        host
    }

    async fn start_pipe(&self, host: &mut Host) {
        let mut command = host.pipe_command();
        command.env(CGROUP_VARIABLE, self.path());
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // All that a failed test has left.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..1000 {
            for name in self.groups().iter().map(String::as_str).chain(["pipe"]) {
                let _ = fs::remove_dir(self.0.join(name));
            }
            match fs::remove_dir(&self.0) {
                Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
    }
}

/// Runs a test where it can be run.
pub(crate) fn with_cgroup(test: impl AsyncFnOnce(&Delegated)) {
    // It outlives the host, whose processes are in it.
    if let Some(delegated) = Delegated::new() {
        block_on(test(&delegated));
    }
}

fn group_of(host: &Host, id: &TaskId) -> PathBuf {
    let dir = Dir::open(&host.directory().join("tasks").join(id.as_str())).unwrap();
    TaskDir { dir }.facts().unwrap().start.unwrap().cgroup.unwrap()
}

fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

/// It is in a session of its own, its parents have ended, and its environment is empty.
const ESCAPES: &str =
    "setsid sh -c '(env -i /bin/sh -c \"exec sleep 1000\" &) ; exit' & wait; echo > $HOME/escaped; sleep 1000";

fn own_group() {
    with_cgroup(async |delegated| {
        let host = delegated.host().await;
        let said = host.client.info().await.unwrap().enforcement.cgroup.unwrap();
        assert_eq!(said, fs::canonicalize(delegated.path()).unwrap());
        assert!(members(&delegated.path().join("pipe")).contains(&host.pipe_pid()));
        let id = id("grouped");
        host.client.start(&id, &script(ESCAPES)).await.unwrap();
        let main = host.running(&id).await;
        let group = group_of(&host, &id);
        assert!(group.file_name().unwrap().to_str().unwrap().starts_with("vk-grouped-"), "{group:?}");
        // The shell, what it waits in, and the escapee; of the shim nothing.
        let all_are_born = || host.file("escaped").exists() && members(&group).len() == 3;
        eventually("it has started all", all_are_born).await;
        assert!(members(&group).contains(&main), "{:?}", members(&group));
        assert!(!members(&group).contains(&host.shim_of(main)));
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
        assert_eq!(delegated.groups(), Vec::<String>::new());
        assert_eq!(host.run("plain", "exit 3").await, End::Exited { code: 3 });
        assert_eq!(delegated.groups(), Vec::<String>::new());
    });
}

fn escapee() {
    with_cgroup(async |delegated| {
        let mut host = delegated.host().await;
        for pipe_dies in [false, true] {
            let id = id(&format!("escaping-{pipe_dies}"));
            let _ = fs::remove_file(host.file("escaped"));
            host.client.start(&id, &script(ESCAPES)).await.unwrap();
            let main = host.running(&id).await;
            let group = group_of(&host, &id);
            // The last of the three is born after it has said so.
            eventually("it has started all", || host.file("escaped").exists() && members(&group).len() == 3).await;
            let all: Vec<Stat> = members(&group).into_iter().filter_map(Stat::of).collect();
            assert_eq!(all.len(), 3);
            let shim = host.shim_of(main);
            if pipe_dies {
                host.kill_pipe();
            }
            kill(shim);
            if pipe_dies {
                delegated.start_pipe(&mut host).await;
            }
            match host.until(&id, TaskState::is_final).await.state {
                TaskState::Unknown { message, .. } => assert!(message.contains("have been killed"), "{message}"),
                other => panic!("{other:?}"),
            }
            for stat in all {
                let now = Stat::of(stat.pid);
                assert!(now.is_none_or(|now| now.zombie || now.start_ticks != stat.start_ticks), "{now:?}");
            }
            assert_eq!(delegated.groups(), Vec::<String>::new());
        }
    });
}

/// The kernel kills what is in a group whoever it belongs to: no `lingering` as without one.
fn another_users() {
    with_cgroup(async |delegated| {
        let host = delegated.host().await;
        let id = id("nobodys");
        // As root all may be killed; what is told apart here is that nothing but the group leads to it.
        let text = "setsid env -i setpriv --reuid=65534 --clear-groups --regid=65534 sleep 1000 & sleep 1000";
        host.client.start(&id, &script(text)).await.unwrap();
        let main = host.running(&id).await;
        let group = group_of(&host, &id);
        let uid =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| s.contains("Uid:\t65534"));
        eventually("it is another user's", || members(&group).iter().any(uid)).await;
        kill(host.shim_of(main));
        let state = host.until(&id, TaskState::is_final).await.state;
        assert!(matches!(state, TaskState::Unknown { .. }), "{state:?}");
        assert!(!group.exists());
    });
}

fn twins() {
    with_cgroup(async |delegated| {
        let (one, other) = (delegated.host().await, delegated.host().await);
        let id = id("twin");
        let mut mains = Vec::new();
        for host in [&one, &other] {
            host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
            mains.push(host.running(&id).await);
        }
        kill(one.shim_of(mains[0]));
        one.until(&id, TaskState::is_final).await;
        assert_eq!(members(&group_of(&other, &id)), [mains[1]]);
        other.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        other.ended(&id).await;
        assert_eq!(delegated.groups(), Vec::<String>::new());
    });
}

/// On a host whose cgroups of version 2 have no controllers the shim watches; on another the kernel holds the limit.
fn watched() {
    with_cgroup(async |delegated| {
        let host = delegated.host().await;
        let id = id("hog");
        let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
        let text = "x=0123456789abcdef; while :; do x=$x$x; sleep 0.05; done";
        host.client.start(&id, &TaskSpec { limits, ..script(text) }).await.unwrap();
        match host.until(&id, TaskState::is_final).await.state {
            TaskState::Ended { end, exceeded, .. } => {
                assert_eq!((end.exit_code(), exceeded), (137, Some(LimitKind::Memory)));
            }
            other => panic!("{other:?}"),
        }
    });
}

fn gone() {
    with_cgroup(async |delegated| {
        // Groups can no longer be made there: the pipe's process is in it, but it has no room for others.
        let host = delegated.host().await;
        fs::write(delegated.path().join("cgroup.max.descendants"), "1").unwrap();
        assert_eq!(host.run("homeless", "exit 4").await, End::Exited { code: 4 });
        let words = fs::read_to_string(host.directory().join("tasks/homeless/shim.err")).unwrap();
        assert!(words.contains("cannot make a cgroup"), "{words}");
    });
}

fn refused() {
    block_on(async {
        let host = Host::without_pipe();
        for (cgroup, word) in [("/no/such/cgroup", "there is no cgroup"), ("/tmp", "no cgroup file system")] {
            let output = host.pipe_command().env(CGROUP_VARIABLE, cgroup).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && words.contains(word), "{words}");
        }
    });
}
