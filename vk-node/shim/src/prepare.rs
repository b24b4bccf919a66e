//! Making this process a shim.

use std::io;

use nix::sys::signalfd::SignalFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vk_task::OPEN_FILES_VARIABLE;

use crate::error::complain;
use crate::{ShimError, signals};

/// Makes this process a shim: of no session but its own, with its signals in a descriptor, and the parent of all that
/// lose theirs.
pub(crate) fn prepare() -> Result<SignalFd, ShimError> {
    close_inherited();
    lower_open_files();
    let signals = signals::take()?;
    // Here and not in the pipe: with nothing left to do between fork and exec, std starts the shim without copying the
    // pipe's page tables first.
    rustix::process::chdir("/").map_err(ShimError::system("leave the pipe's working directory"))?;
    // It fails for the leader of a process group; then the shim is not in the pipe's group, which is what matters.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"vk-shim");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(ShimError::system("become the parent of orphans"))?;
    Ok(signals)
}

/// Closes what the pipe's own parent may have left open. It would be held for as long as the task runs.
#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet (see `crate::main`), so none of them is owned.
    // A kernel without the call keeps them open, which is untidy and no more.
    let _ = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3, nix::libc::c_uint::MAX, 0) };
}

/// Takes back what the pipe has done to its own limit of open files.
fn lower_open_files() {
    let wanted = std::env::var(OPEN_FILES_VARIABLE).ok().and_then(|text| text.parse().ok());
    if let Some(wanted) = wanted {
        let limit = Rlimit { current: Some(wanted), ..getrlimit(Resource::Nofile) };
        complain("lower the limit of open files", setrlimit(Resource::Nofile, limit).map_err(io::Error::from));
    }
}
