//! How many files the pipe may have open: one for each task that runs, and some for each request.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as this user may. Gives the one before, if it was changed: the tasks are to have that, for
/// there are programs that fail, or grow slow, when they may open very many files.
pub(super) fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current?;
    limit.current = limit.maximum;
    (limit.maximum != Some(before) && setrlimit(Resource::Nofile, limit).is_ok()).then_some(before)
}
