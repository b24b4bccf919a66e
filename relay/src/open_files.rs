//! How many files the relay may have open: each node costs a connection and a port, each stream a connection.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::{KNOCKING, Limits};

/// What it has open besides: files, the API server, probes.
const BESIDES: usize = 64;

/// Raises the limit, if it is too low, as far as this user may.
pub(crate) fn raise_for(limits: &Limits) {
    let wanted = limits.nodes.saturating_mul(2) + limits.streams + limits.handshakes + KNOCKING + BESIDES;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|now| now >= wanted) {
        return;
    }
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        warn!(
            "this relay may need {wanted} open files, and this user may have {most}: nodes and streams beyond that fail. Start it \
             with a higher `ulimit -n`, or with lower --max-nodes and --max-streams"
        );
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}
