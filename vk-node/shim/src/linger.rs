//! Telling of processes that have been killed and do not end.

use std::collections::BTreeSet;
use std::time::Duration;

use vk_record::lingering::Left;
use vk_record::process::{Sent, Stat};
use vk_record::{LingeringProcesses, TaskDir, Version, chain};
use vk_task::Lingering;

use crate::error::say;
use crate::notify::Notifier;
use crate::tree;

/// So long processes may take to end before that is worth telling.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells of them in `lingering.json`.
#[derive(Debug, Default)]
pub(crate) struct Lingerers {
    /// When they were first killed, by the clock of the boot.
    since: Option<Duration>,
    /// Those that have been killed: number and time of start.
    killed: BTreeSet<(i32, u64)>,
    /// What stands in the record.
    told: Vec<Lingering>,
}

impl Lingerers {
    /// These have just been killed (again). Says whether there are new ones among them.
    pub(crate) fn note(
        &mut self,
        killed: &[(Stat, Sent)],
        now: Duration,
        task: &TaskDir,
        notifier: &mut Notifier,
    ) -> bool {
        let known = self.killed.len();
        self.killed.extend(killed.iter().map(|(s, _)| (s.pid, s.start_ticks)));
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) >= PATIENCE {
            // Children that have ended and cannot be waited for are held by somebody who traces them.
            let held = tree::ended_children().into_iter().map(|s| (s, Sent::Yes));
            let left = killed.iter().copied().chain(held).filter_map(|(stat, sent)| Left::of(&stat, sent));
            let own = rustix::process::geteuid().as_raw();
            let mut left: Vec<Lingering> = left.map(|l| l.explain(own)).collect();
            if left.is_empty() {
                left.push(hidden());
            }
            self.tell(left, task, notifier);
        }
        self.killed.len() > known
    }

    /// Has this stand in the record, unless it does.
    pub(crate) fn tell(&mut self, left: Vec<Lingering>, task: &TaskDir, notifier: &mut Notifier) {
        if left == self.told {
            return;
        }
        let record = LingeringProcesses { version: Version, processes: left };
        match task.write_lingering(&record) {
            Ok(()) => {
                self.told = record.processes;
                notifier.ring();
            }
            Err(e) => say(format_args!("it cannot be told yet what does not end: {}", chain(&e))),
        }
    }
}

/// There is one, for the kernel says that there are children, and it is not to be seen.
fn hidden() -> Lingering {
    let why = "the kernel says that there is one, and /proc does not show it (mount option hidepid): it has become another \
               user's, and an administrator of the host can end it";
    Lingering { pid: 0, name: "hidden process".to_owned(), why: why.to_owned() }
}
