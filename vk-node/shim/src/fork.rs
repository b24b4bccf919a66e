//! Forking a child, into a cgroup where there is one.
//!
//! To be born into a group costs nothing. To be moved into one later has the kernel wait until no process is just being
//! born or ending, which takes some milliseconds.

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::unistd::ForkResult;
use rustix::io::Errno;
use rustix::process::Pid;
use vk_record::cgroup::Group;

use crate::ShimError;
use crate::command::Command;

/// Which of the two processes this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The shim.
    Parent {
        /// The child.
        child: Pid,
        /// Whether it was born into the command's cgroup.
        entered: bool,
    },
    /// The child. It must become another program or leave, and never return to where the shim goes on.
    Child {
        /// As above.
        entered: bool,
    },
}

/// Forks a child that is to become `command`.
#[allow(unsafe_code)]
pub(crate) fn fork(command: &Command) -> Result<Forked, ShimError> {
    // A kernel before 5.7 cannot do it; then the child is moved.
    if let Some(Ok(forked)) = command.confinement.group.as_ref().map(fork_into) {
        return Ok(forked);
    }
    // SAFETY: this process has one thread (see `crate::main`), so the child gets a whole and consistent copy of it: no
    // lock can be held by a thread that the child does not have.
    match unsafe { nix::unistd::fork() }.map_err(ShimError::system("fork"))? {
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).ok_or(io::Error::from(Errno::SRCH));
            Ok(Forked::Parent { child: child.map_err(ShimError::system("fork"))?, entered: false })
        }
        ForkResult::Child => Ok(Forked::Child { entered: false }),
    }
}

/// The argument of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2) has the child born there.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[allow(unsafe_code)]
fn fork_into(group: &Group) -> io::Result<Forked> {
    let dir = group.open()?;
    let cgroup = u64::try_from(dir.as_raw_fd()).unwrap_or_default();
    let arguments = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::try_from(libc::SIGCHLD).unwrap_or_default(),
        cgroup,
        ..CloneArgs::default()
    };
    let arguments = std::ptr::from_ref(&arguments);
    // SAFETY: without CLONE_VM and a stack it is a fork, for which see above; the structure is the kernel's, of the size
    // that is said, and outlives the call. What the C library's fork does besides is for threads and handlers of its own,
    // of which this process has none.
    match unsafe { libc::syscall(libc::SYS_clone3, arguments, size_of::<CloneArgs>()) } {
        0 => Ok(Forked::Child { entered: true }),
        n => match i32::try_from(n).ok().and_then(Pid::from_raw).filter(|_| n > 0) {
            Some(child) => Ok(Forked::Parent { child, entered: true }),
            None => Err(io::Error::last_os_error()),
        },
    }
}
