//! What tasks use, as the pipe measures it.

use std::time::Duration;

use vk_task::{TaskId, TaskUsage};

use crate::cgroups::with_cgroup;
use crate::support::{Host, PATIENCE, block_on, id, script};

pub(crate) const TESTS: &[crate::Test] = &[
    ("what_a_task_uses_is_measured_over_its_whole_tree", whole_tree),
    ("what_a_task_in_a_cgroup_uses_is_what_the_kernel_has_added_up", in_a_cgroup),
    ("what_the_host_uses_is_measured", the_host),
];

/// Children that work and end, one that escapes its parents and holds memory, and then nothing is done.
const WORKS: &str = "\
for i in 1 2 3; do sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; done
(setsid sh -c 'x=$(head -c 20000000 /dev/zero | tr \"\\\\0\" x); echo > $HOME/holds; sleep 1000; echo $x' &)
while [ ! -e $HOME/holds ]; do sleep 0.01; done
echo > $HOME/ready
sleep 1000";

fn whole_tree() {
    block_on(async { works(&Host::new().await, &id("works")).await });
}

fn in_a_cgroup() {
    with_cgroup(async |delegated| works(&delegated.host().await, &id("grouped")).await);
}

async fn works(host: &Host, id: &TaskId) {
    host.client.start(id, &script(WORKS)).await.unwrap();
    host.running(id).await;
    // The work of children that have ended counts, and so does the memory of one that has escaped its parents. The
    // script, its sleep, and the one that holds memory with its own, are there in the end.
    let seen = until(host, id, |task| {
        let usage = task.usage;
        usage.cpu_nanos >= 30_000_000
            && usage.memory_working_set_bytes >= 20_000_000
            && usage.memory_rss_bytes >= 20_000_000
            && task.processes >= 3
            && host.file("ready").exists()
    })
    .await;
    let usage = seen.usage;
    // What was used stays used, whoever ends.
    let later = until(host, id, |now| now.usage.at > usage.at).await;
    assert!(later.usage.cpu_nanos >= usage.cpu_nanos, "{later:?} {usage:?}");
}

/// Asks until a task's usage is as wanted.
async fn until(host: &Host, id: &TaskId, wanted: impl Fn(&TaskUsage) -> bool) -> TaskUsage {
    let work = async {
        loop {
            let stats = host.client.stats().await.unwrap();
            if let Some(found) = stats.tasks.into_iter().find(|task| task.id == *id)
                && wanted(&found)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.expect("it is never as wanted")
}

fn the_host() {
    block_on(async {
        let host = Host::new().await;
        let stats = host.client.stats().await.unwrap();
        assert_eq!((stats.tasks.len(), stats.pods.len()), (0, 0));
        assert!(stats.host.usage.cpu_nanos > 0 && stats.host.disk.capacity_bytes > 0, "{stats:?}");
        // An answer is given again.
        assert_eq!(host.client.stats().await.unwrap().host.usage.at, stats.host.usage.at);
        let id = id("logs");
        host.client.start(&id, &script("head -c 100000 /dev/zero | tr '\\0' 'x'; echo; sleep 1000")).await.unwrap();
        until(&host, &id, |usage| usage.log_bytes >= 100_000).await;
    });
}
