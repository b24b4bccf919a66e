//! What is used, asked of the pipe when somebody asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use vk_node_core::stats::summary::Summary;
use vk_node_core::stats::{Given, gather};
use vk_pipe::client::ClientError;
use vk_task::{Stats, TaskView};

use super::super::Context;
use crate::pods::Unreadable;

/// A rate is told over at least so much time.
const RATE_OVER: SignedDuration = SignedDuration::from_secs(5);

/// The last two measurements that are far enough from each other, the older one first.
#[derive(Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<[Option<Arc<Stats>>; 2]>>);

impl Measured {
    /// Takes in a measurement; gives the one that it is to be compared with.
    fn compare(&self, now: &Arc<Stats>) -> Option<Arc<Stats>> {
        // A panic of another holder leaves both whole: they are set in one step.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [older, newer] = kept.clone();
        match newer {
            Some(newer) if now.host.usage.at.duration_since(newer.host.usage.at) < RATE_OVER => older,
            newer => {
                *kept = [newer.clone(), Some(now.clone())];
                newer
            }
        }
    }
}

/// Why it is not known what is used.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMeasured {
    #[error("the pipe does not tell what is used")]
    Pipe(#[from] ClientError),
    #[error(transparent)]
    Pod(#[from] Unreadable),
}

/// Asks the pipe, and makes the kubelet's summary of it.
pub(super) async fn summary(context: &Context, only_cpu_and_memory: bool) -> Result<Summary, NotMeasured> {
    let stats = Arc::new(context.pipe.stats().await?);
    let before = context.measured.compare(&stats);
    let pods: Vec<Pod> = context.pods.state().iter().map(|pod| pod.read()).collect::<Result<_, _>>()?;
    let pods: Vec<&Pod> = pods.iter().collect();
    let uids = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref());
    let tasks: Vec<TaskView> = uids.flat_map(|uid| context.mirror.of_pod(uid)).collect();
    Ok(gather(Given {
        node: &context.node.name,
        stats: &stats,
        before: before.as_deref(),
        pods: &pods,
        tasks: &tasks,
        only_cpu_and_memory,
    }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use vk_task::{Disk, HostUsage, Usage};

    use super::*;

    fn stats(second: i64) -> Arc<Stats> {
        let usage = Usage { at: Timestamp::from_second(second).unwrap(), ..Usage::default() };
        let disk = Disk { capacity_bytes: 0, available_bytes: 0, inodes: 0, inodes_free: 0 };
        let host = HostUsage {
            usage,
            memory_available_bytes: 0,
            booted_at: Timestamp::UNIX_EPOCH,
            processes: 0,
            max_processes: 0,
            disk,
        };
        Arc::new(Stats { host, tasks: vec![], pods: vec![] })
    }

    #[test]
    fn a_rate_is_over_some_time_however_often_it_is_asked_for() {
        let measured = Measured::default();
        let compared = [0, 3, 7, 9, 11, 13, 100]
            .map(|second| measured.compare(&stats(second)).map(|before| before.host.usage.at.as_second()));
        assert_eq!(compared, [None, None, Some(0), Some(0), Some(0), Some(7), Some(13)]);
    }
}
