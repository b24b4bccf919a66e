//! How many files the process may have open: each of its nodes listens on a port, and serves connections.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// What a process has open besides the ports of its nodes: the pipe, the API server, people's streams.
const BESIDES: u64 = 256;

/// Raises the limit, if it is too low for so many nodes, as far as this user may. Gives the one before if it was changed: the
/// pipe and its tasks are to have that.
pub(super) fn raise_for(nodes: usize) -> Option<u64> {
    let wanted = u64::try_from(nodes).unwrap_or(u64::MAX).saturating_add(BESIDES);
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current.filter(|before| nodes > 1 && *before < wanted)?;
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        warn!(
            "{nodes} nodes need about {wanted} open files, and this user may have {most}: those that find no port begin \
             again and again. Start with fewer nodes, or with a higher `ulimit -n`"
        );
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).is_ok().then_some(before)
}
