//! Exit codes and signals: each of them, as the kernel gave it.

use std::collections::BTreeMap;
use std::fs;

use futures::{StreamExt, TryStreamExt, stream};
use vk_record::Exit;
use vk_task::{End, Signal, TaskId, TaskSpec, TaskState, WatchEvent};

use crate::Test;
use crate::support::{Host, block_on, id, script};

pub(crate) const TESTS: &[Test] = &[("all_exit_codes_come_back", exit_codes), ("all_signals_come_back", signals)];

/// How many are asked for at once.
const AT_ONCE: usize = 32;

/// Those that do not end a process that has not asked for them: see signal(7).
const IGNORED: [u8; 4] = [17, 18, 23, 28];
/// Those that stop it.
const STOPPING: [u8; 4] = [19, 20, 21, 22];

fn exit_codes() {
    let tasks = (0..=255).map(|code| (id(&format!("exit-{code}")), script(&format!("exit {code}"))));
    block_on(all_end(tasks.collect(), |id| {
        let code = id.as_str().strip_prefix("exit-").unwrap().parse().unwrap();
        End::Exited { code }
    }));
}

fn signals() {
    let text = |signal: u8| match signal {
        n if IGNORED.contains(&n) => format!("kill -{n} $$; exit 3"),
        // Somebody wakes it: what is sent before it has stopped is without effect.
        n if STOPPING.contains(&n) => {
            format!("(while :; do kill -CONT $$; sleep 0.01; done) & kill -{n} $$; exit 3")
        }
        n => format!("ulimit -c 0; kill -{n} $$; exit 3"),
    };
    let tasks = (1..=64).map(|signal| (id(&format!("signal-{signal}")), script(&text(signal))));
    block_on(all_end(tasks.collect(), |id| {
        let signal = id.as_str().strip_prefix("signal-").unwrap().parse().unwrap();
        if IGNORED.contains(&signal) || STOPPING.contains(&signal) {
            End::Exited { code: 3 }
        } else {
            End::Signaled { signal: Signal(signal), core_dumped: false }
        }
    }));
}

/// Starts them all, and has each of them end as wanted, in the API and on disk.
async fn all_end(tasks: BTreeMap<TaskId, TaskSpec>, wanted: impl Fn(&TaskId) -> End) {
    let host = Host::new().await;
    let mut events = host.client.watch().await.unwrap();
    let starts = tasks.iter().map(|(id, spec)| host.client.start(id, spec));
    let asking = stream::iter(starts).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) });
    let mut ends = BTreeMap::new();
    let watching = async {
        while ends.len() < tasks.len() {
            let views = match events.next().await.unwrap().unwrap() {
                WatchEvent::Snapshot { tasks } => tasks,
                WatchEvent::Changed { task } => vec![task],
                WatchEvent::Removed { .. } => vec![],
            };
            for view in views {
                if let TaskState::Ended { end, .. } = view.state {
                    ends.insert(view.id, end);
                }
            }
        }
    };
    let (asked, ()) = tokio::join!(asking, watching);
    asked.unwrap();
    for (id, mut end) in ends {
        let record = host.directory().join("tasks").join(id.as_str()).join("exit.json");
        let record: Exit = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        assert_eq!(record.end, end, "{id}");
        // Whether there is a core is the host's affair: see core(5).
        if let End::Signaled { core_dumped, .. } = &mut end {
            *core_dumped = false;
        }
        assert_eq!(end, wanted(&id), "{id}");
    }
}
