//! What tasks and their host use: the answer to `GET /v1/stats`.
//!
//! ```text
//!   the running tasks ──┬── with a cgroup: what the kernel has added up there (`group`)
//!                       └── without: the processes below the task's shim (`tree`), out of one look at /proc for all
//!   the host: /proc/stat, meminfo, vmstat (`host`)
//! ```
//!
//! An answer is given again for a second: whoever asks more often learns nothing new, and the look costs the more, the more
//! processes the host has.

mod disk;
mod group;
mod host;
mod process;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::Stat as FileStat;
use tokio::sync::Mutex;
use vk_record::cgroup::Group;
use vk_record::{TaskDir, closed_end, names};
use vk_task::{HostUsage, Stats, TaskId, TaskState, TaskUsage, TaskView, Usage};

use self::disk::PodSizes;
pub(super) use self::process::is_shim_of;
use self::process::{Process, Table};
use self::tree::Shares;
use super::{Pipe, lock};

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// The unit of `st_blocks`, whatever the file system: see stat(3type).
const BLOCK_BYTES: u64 = 512;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    /// The last answer, and when it was made. Whoever asks while one is being made waits for that one.
    last: Mutex<Option<(Instant, Arc<Stats>)>>,
    /// What is known of each task that runs.
    tasks: std::sync::Mutex<HashMap<TaskId, Known>>,
    pods: std::sync::Mutex<PodSizes>,
}

/// What is known of a task that runs.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its cgroup, once that has been looked up.
    group: Option<Option<Group>>,
    /// Its shim: its number, and when it was started.
    shim: Option<(i32, u64)>,
    /// The most that was measured of what only grows.
    most: Grown,
}

/// What only grows while a task runs. A process that ends without being waited for takes what it has used with it: then
/// what was measured before still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Grown {
    cpu_nanos: u64,
    page_faults: u64,
    major_page_faults: u64,
}

/// What a task takes at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    grown: Grown,
    memory: Memory,
    processes: u64,
}

/// Memory, in bytes: see [`Usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    working_set: u64,
    anonymous: u64,
    usage: u64,
}

/// What the host uses now: little work, for whoever asks often.
pub(super) async fn of_host(pipe: &Arc<Pipe>) -> HostUsage {
    let pipe = Arc::clone(pipe);
    pipe.clone().blocking.run(move || host::usage(&pipe.records)).await
}

/// What is used now.
pub(super) async fn current(pipe: &Arc<Pipe>) -> Arc<Stats> {
    let mut last = pipe.measurements.last.lock().await;
    if let Some((_, stats)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
        return Arc::clone(stats);
    }
    let stats = {
        let pipe = Arc::clone(pipe);
        pipe.clone().blocking.run(move || Arc::new(measure(&pipe))).await
    };
    *last = Some((Instant::now(), Arc::clone(&stats)));
    stats
}

fn measure(pipe: &Pipe) -> Stats {
    let running: Vec<(TaskView, i32, Timestamp)> = pipe
        .table
        .list()
        .into_iter()
        .filter_map(|task| match task.state {
            TaskState::Running { pid, started_at } => Some((task, pid, started_at)),
            TaskState::Accepted { .. } | TaskState::Ended { .. } | TaskState::Unknown { .. } => None,
        })
        .collect();
    // Nobody else needs it while this looks, and there is one look at a time.
    let mut known = std::mem::take(&mut *lock(&pipe.measurements.tasks));
    known.retain(|id, _| running.iter().any(|(task, _, _)| task.id == *id));
    let table = Table::read();
    let mut shares = Shares::default();
    let tasks = running
        .into_iter()
        .filter_map(|(task, main, started_at)| {
            let known = known.entry(task.id.clone()).or_default();
            // Its records may go while this looks.
            let dir = TaskDir { dir: pipe.tasks.open_dir(task.id.as_str()).ok()? };
            let taken = taken(&task.id, main, known, &dir, &table, &mut shares)?;
            known.most = known.most.max(taken.grown);
            let log_bytes = log_bytes(&dir);
            Some(TaskUsage {
                id: task.id,
                started_at,
                usage: usage(known.most, taken.memory),
                processes: taken.processes,
                log_bytes,
            })
        })
        .collect();
    *lock(&pipe.measurements.tasks) = known;
    let pods = lock(&pipe.measurements.pods).look(&pipe.records, pipe.pods.memory(), Instant::now());
    Stats { host: host::usage(&pipe.records), tasks, pods }
}

fn usage(grown: Grown, memory: Memory) -> Usage {
    Usage {
        at: Timestamp::now(),
        cpu_nanos: grown.cpu_nanos,
        memory_working_set_bytes: memory.working_set,
        memory_rss_bytes: memory.anonymous,
        memory_usage_bytes: memory.usage,
        page_faults: grown.page_faults,
        major_page_faults: grown.major_page_faults,
    }
}

/// What a task takes; `None` when nothing can be found of it, for it is just ending.
fn taken(
    id: &TaskId,
    main: i32,
    known: &mut Known,
    dir: &TaskDir,
    table: &Table,
    shares: &mut Shares,
) -> Option<Taken> {
    if known.group.is_none() {
        let start = dir.facts().ok()?.start?;
        known.group = Some(start.cgroup.as_deref().and_then(|path| Group::of_run(path, &start.run)));
    }
    if let Some(Some(group)) = &known.group
        && let Some(taken) = group::taken(group.path(), || tree::memory(&group.processes(), shares))
    {
        return Some(taken);
    }
    let shim = known.shim.filter(|(pid, ticks)| table.get(*pid).is_some_and(|shim| shim.start_ticks == *ticks));
    let shim = shim.or_else(|| find_shim(id, main, table).map(|shim| (shim.pid, shim.start_ticks)));
    known.shim = shim;
    Some(tree::taken(table, shim?.0, shares))
}

/// The shim is the parent of the task's main process, and goes on when that has ended and others of the task have not.
fn find_shim<'a>(id: &TaskId, main: i32, table: &'a Table) -> Option<&'a Process> {
    let parent = table.get(main).and_then(|main| table.get(main.parent));
    let is_its = |shim: &&Process| process::is_shim_of(shim.pid, id.as_str());
    parent.filter(is_its).or_else(|| table.all().find(is_its))
}

/// How much room a task's log takes on disk.
fn log_bytes(dir: &TaskDir) -> u64 {
    let logs = dir.dir.entries().unwrap_or_default();
    let logs = logs.iter().filter(|name| *name == names::LOG || closed_end(name).is_some());
    // A file may go while this looks.
    logs.filter_map(|name| dir.dir.stat(name).ok()?).map(|stat| blocks(&stat)).sum()
}

/// The bytes that a file takes on disk.
fn blocks(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES
}

impl Grown {
    fn max(self, other: Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.max(other.cpu_nanos),
            page_faults: self.page_faults.max(other.page_faults),
            major_page_faults: self.major_page_faults.max(other.major_page_faults),
        }
    }
}
