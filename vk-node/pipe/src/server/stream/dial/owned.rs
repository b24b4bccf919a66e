//! Which sockets are a pod's: those that the processes of its tasks have open.

use std::collections::BTreeSet;
use std::fs;

use vk_record::cgroup::Group;
use vk_record::{TaskDir, process};
use vk_task::TaskId;

use super::sockets::{self, Listener};
use crate::server::Pipe;
use crate::server::stats::is_shim_of;

/// All sockets of this host that listen on `port`.
pub(super) fn listeners(port: u16) -> Vec<Listener> {
    let text = |file| fs::read_to_string(file).unwrap_or_default();
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|file| sockets::listeners(&text(file)))
        .filter(|listener| listener.at.port() == port)
        .collect()
}

/// The sockets of a task's processes. What another user's process has open cannot be seen.
pub(super) fn sockets(pipe: &Pipe, id: &TaskId, main: i32) -> BTreeSet<u64> {
    processes(pipe, id, main).into_iter().flat_map(open).collect()
}

fn processes(pipe: &Pipe, id: &TaskId, main: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([main]);
    let all = process::all().unwrap_or_default();
    let is_shim = |pid: &i32| is_shim_of(*pid, id.as_str());
    // When the main process has ended, others of the task may go on.
    let parent = all.get(&main).map(|main| main.parent).filter(is_shim);
    if let Some(shim) = parent.or_else(|| all.keys().copied().find(is_shim)) {
        found.extend(process::descendants(&all, &[shim].into()).into_iter().map(|stat| stat.pid));
    }
    // Its records may go while this looks.
    if let Ok(dir) = pipe.tasks.open_dir(id.as_str())
        && let Some(start) = (TaskDir { dir }).facts().ok().and_then(|facts| facts.start)
        && let Some(group) = start.cgroup.as_deref().and_then(|path| Group::of_run(path, &start.run))
    {
        found.extend(group.processes());
    }
    found
}

fn open(pid: i32) -> Vec<u64> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| sockets::socket_inode(fs::read_link(entry.path()).ok()?.to_str()?))
        .collect()
}
