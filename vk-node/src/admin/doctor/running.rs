//! What runs here.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vk_node_core::report::NodeReport;
use vk_pipe::PipeClient;
use vk_task::HostInfo;

use super::patience::Patience;
use crate::admin::ask::NodeClient;

/// What answers.
pub(super) struct Running {
    pub(super) pipe: Option<HostInfo>,
    pub(super) node: Option<NodeReport>,
    pub(super) is_locked: bool,
    pub(super) lingering: usize,
}

pub(super) async fn look(hostpipe: &Path, patience: Patience) -> Running {
    let (client, pipe) = (NodeClient::new(hostpipe), PipeClient::new(hostpipe));
    let (info, node, tasks) =
        tokio::join!(patience.within(pipe.info()), patience.within(client.status()), patience.within(pipe.list()),);
    let tasks = tasks.and_then(Result::ok).unwrap_or_default();
    Running {
        pipe: info.and_then(Result::ok),
        node: node.and_then(Result::ok),
        is_locked: is_locked(&hostpipe.join("node.lock")),
        lingering: tasks.iter().filter(|task| !task.lingering.is_empty()).count(),
    }
}

/// Whether somebody holds a lock. It is not tried out: who starts a node at this moment would be refused.
fn is_locked(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:12345 0 EOF`: proc_locks(5).
    let inode = format!(":{}", metadata.ino());
    locks
        .lines()
        .any(|line| line.split_ascii_whitespace().any(|word| word.matches(':').count() == 2 && word.ends_with(&inode)))
}
